"""The coverage-guided fuzzer really runs: a few seconds of it, and that it finds what is wrong."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None, reason="extra: atheris has no wheel for this Python and platform"
    ),
]
ROOT = Path(__file__).parents[2]
#: As few as the slowest machine makes of each in the time: the point is that there are any.
LEAST = 200
#: Replaces one reader by one that fails on some inputs, and fuzzes it.
PLANTED = """
import dataclasses, sys
from pathlib import Path
from tests.fuzz import guided, targets

def read(data):
    if data[:1] == b"b":
        raise KeyError("planted")
    return data

targets.TARGETS["note"] = dataclasses.replace(targets.TARGETS["note"], read=read)
guided.main("note", "5", Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_few_seconds_find_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--seconds", "5", "header", "signed-checkpoint", "json-line"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\S+) +([\d,]+) +([\d,]+) +(\d+)$", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == ["header", "signed-checkpoint", "json-line"]
    for name, executions, covered, findings in rows:
        assert int(executions.replace(",", "")) > LEAST, name
        assert int(covered.replace(",", "")) > 10, name
        assert findings == "0"


def test_what_is_wrong_is_found_and_kept(tmp_path: Path) -> None:
    for name in ("grown", "given"):
        (tmp_path / name).mkdir()
    (tmp_path / "given" / "seed").write_bytes(b"a seed")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PLANTED, str(tmp_path), str(corpus)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    (kept,) = corpus.iterdir()
    assert kept.name.startswith("KeyError-"), done.stderr[-2_000:]
    assert kept.read_bytes()[:1] == b"b"
