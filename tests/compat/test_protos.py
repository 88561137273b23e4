"""The protocol takes nothing back that a release has said: `make lint` asks, and would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.earlier import HERE, RELEASES

ROOT = HERE.parents[1]
BUF = Path(sys.executable).with_name("buf")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("line", "instead", "notices"),
    [
        ("  uint64 cursor = 2;\n", "  uint64 cursor = 2;\n", False),
        ("  uint64 cursor = 2;\n", "  uint64 cursor = 2;\n  bytes added = 99;\n", False),
        ("  uint64 cursor = 2;\n", "", True),
        ("  uint64 cursor = 2;\n", "  uint64 cursor = 9;\n", True),
        ("  uint64 cursor = 2;\n", "  string cursor = 2;\n", True),
        ("  rpc Probe(ProbeRequest) returns (ProbeResponse);\n", "", True),
    ],
)
def test_what_is_taken_back_is_noticed(tmp_path: Path, release: str, line: str, instead: str, notices: bool) -> None:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    feed = tmp_path / "proto" / "exchange" / "v1" / "feed.proto"
    assert line in feed.read_text()
    feed.write_text(feed.read_text().replace(line, instead, 1))
    kept = HERE / release / "protos.binpb"
    done = subprocess.run(
        [BUF, "breaking", "--against", kept], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == notices, done.stdout + done.stderr
