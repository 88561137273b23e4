"""The coverage-guided fuzzer really runs: a fixed number of fixed inputs, and that it finds what is wrong.

What it grows and finds here goes to a folder of the test's own. Starting it costs seconds, so few targets are run.
"""

from __future__ import annotations

import importlib.util
import os
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
    pytest.mark.timeout(330),
]
ROOT = Path(__file__).parents[2]
RUNS, SEED, MOST_S = 500, 1, 60
#: With starting and ending it.
LONGEST_S = 300
#: Replaces one reader by one that fails on some inputs, and fuzzes it.
PLANTED = """
import dataclasses, sys
from pathlib import Path
from tests.fuzz import guided

def read(data):
    if data[:1] == b"b":
        raise KeyError("planted")
    return data

target = dataclasses.replace(guided.target_in("tests.fuzz.ledger_targets", "note"), read=read)
guided.main(target, sys.argv[3], Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:])
"""


def fuzzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(SEED)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )


def test_a_fixed_run_finds_nothing(tmp_path: Path) -> None:
    limits = ("--seconds", str(MOST_S), "--runs", str(RUNS), "--seed", str(SEED), "--into", str(tmp_path))
    done = fuzzed("-m", "tests.fuzz.run", *limits, "header", "json-line")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\S+) +([\d,]+) +([\d,]+) +(\d+)$", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == ["header", "json-line"]
    for name, executions, covered, findings in rows:
        assert int(executions.replace(",", "")) >= RUNS, name
        assert int(covered.replace(",", "")) > 10, name
        assert findings == "0"
        assert any((tmp_path / "grown" / name).iterdir()), "nothing that it tried was new"


def test_what_is_wrong_is_found_and_kept(tmp_path: Path) -> None:
    for name in ("grown", "given"):
        (tmp_path / name).mkdir()
    (tmp_path / "given" / "seed").write_bytes(b"a seed")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    limits = (str(MOST_S), f"-runs={RUNS}", f"-seed={SEED}")
    done = fuzzed("-c", PLANTED, str(tmp_path), str(corpus), *limits)
    (kept,) = corpus.iterdir()
    assert kept.name.startswith("KeyError-"), done.stderr[-2_000:]
    assert kept.read_bytes()[:1] == b"b"
