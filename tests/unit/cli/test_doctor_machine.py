"""What the doctor says of a machine's limits: those of the hub's process where it runs, else this shell's."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from exchange.cli.doctor.finding import BAD, GOOD, WARN
from exchange.cli.doctor.limits import Limits, limits
from exchange.cli.doctor.machine import core_dumps, open_files

_HOLD = """
import fcntl, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_where_a_hub_holds_a_log_its_limits_are_told_and_else_this_shells(tmp_path: Path) -> None:
    free, held = tmp_path / "free", tmp_path / "held"
    free.touch()
    hub = subprocess.Popen([sys.executable, "-c", _HOLD, held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with hub:
        assert hub.stdout is not None
        assert hub.stdout.readline() == b"held\n"
        found = limits([tmp_path / "missing", free, held])
        assert found == Limits(f"in the hub's process {hub.pid}", 77, 99, 0)
        hub.communicate()
    here = limits([tmp_path / "missing", free, held])
    assert "this shell" in here.where
    assert (here.files, here.most_files) == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert here.core == resource.getrlimit(resource.RLIMIT_CORE)[0]


def test_each_log_needs_files_of_its_own() -> None:
    few, many = (open_files(Limits("in this shell", 65_536, 65_536, 0), 64, logs) for logs in (2, 5_000))
    assert (few.state, many.state) == (GOOD, BAD)
    assert "in this shell" in many.detail
    assert "LimitNOFILE" in many.hint
    assert open_files(Limits("in this shell", 1_024, 4_096, 0), 64, 2).state == WARN


def test_core_dumps_are_told_with_whose_they_are() -> None:
    none, some = (core_dumps(Limits("in the hub's process 7", 1, 1, core)) for core in (0, 1))
    assert (none.state, none.detail) == (GOOD, "none in the hub's process 7")
    assert (some.state, some.hint) == (WARN, "ulimit -c 0, LimitCORE=0")
    assert "in the hub's process 7" in some.detail
