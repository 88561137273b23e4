"""The README's quick start, run as it stands: from nothing to a verified ledger, and nothing left in the clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.exchange_fixture import free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90.0


def test_it_runs_as_it_stands_and_leaves_the_clone_alone(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Quick start")[1]
    found = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    port = free_port()
    # Other ports than a hub on this machine may have, and a wait for the hub that is as long as it takes.
    listening = f"--listen 127.0.0.1:{port} --ops-listen 127.0.0.1:{free_port()}"
    waiting = f"until (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done"
    text = found[1].replace("--folder hub ", f"--folder hub {listening} ").replace("sleep 3 ", f"{waiting} ")
    assert text.count(str(port)) == 2
    clone, scratch = tmp_path / "clone", tmp_path / "scratch"
    clone.mkdir()
    scratch.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"trap 'kill %1; wait' EXIT; set -e\n{text}"],
        cwd=clone,
        env={**os.environ, "PATH": path, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 in the ledger, 0 refused" in done.stdout
    assert re.search(r"^ +0  alpha +misleading_scam +1 signals", done.stdout, re.MULTILINE)
    assert len(re.findall("^holds", done.stdout, re.MULTILINE)) == 2
    assert list(clone.iterdir()) == []
    (used,) = scratch.glob("tmp.*")
    assert {entry.name for entry in used.iterdir()} == {"hub", "alpha", "beta", "signals.jsonl"}
