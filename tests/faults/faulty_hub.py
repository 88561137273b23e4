"""The hub of `tests.e2e.child_hub`, made to fail on demand: it dies at a named point of a commit, or a call of its
disk fails; it can also write down what its commits ask of the disk."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from pathlib import Path

import apsw

from exchange.ops import clocks
from tests.e2e import child_hub
from tests.faults.crash_points import POINTS, Reaper
from tests.faults.disk import Disk, Listener
from tests.faults.power import Journal
from tests.faults.sabotage import Full, Saboteur, Tracer

#: What of the disk's calls is a crash point.
_BEFORE = {"wal.sync-commit": "before-wal-sync"}
_AFTER = {"wal.sync-commit": "after-wal-sync", "mark.write": "after-mark-write", "mark.sync": "after-mark-sync"}


class _AtCalls:
    """Crash points that are calls of the disk."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper

    def before(self, call: str) -> None:
        """See `Listener.before`."""
        self._reaper.reach(_BEFORE.get(call, ""))

    def after(self, call: str) -> None:
        """See `Listener.after`."""
        self._reaper.reach(_AFTER.get(call, ""))


def _let_clock_jump(file: Path) -> None:
    """Put the wall clock off by the milliseconds in a file, from each SIGUSR1 on."""
    real, offset_ms = clocks.wall_ms, [0]

    def jump(*_: object) -> None:
        offset_ms[0] = int(file.read_text())

    signal.signal(signal.SIGUSR1, jump)
    clocks.wall_ms = lambda: real() + offset_ms[0]


def main() -> int:
    """Make what the flags say fail, then serve."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--log", default="uk")
    parser.add_argument("--obituary", type=Path)
    parser.add_argument("--crash", choices=POINTS)
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--fail", help="CALL:before|after:ERRNO")
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--move-every", type=int, help="frames after which SQLite moves its log into the file")
    parser.add_argument("--full-while", type=Path, help="there is no room as long as this file is there")
    parser.add_argument("--clock", type=Path, help="file with milliseconds that SIGUSR1 puts the clock off by")
    parser.add_argument("--journal", type=Path, help="where to note what is written and not yet synced")
    options, rest = parser.parse_known_args()
    if options.clock:
        _let_clock_jump(options.clock)
    listeners: list[Listener] = []
    if options.crash:
        reaper = Reaper(options.crash, options.nth, options.log, options.obituary)
        reaper.install()
        listeners.append(_AtCalls(reaper))
    if options.fail:
        call, when, name = options.fail.split(":")
        saboteur = Saboteur(call, when, getattr(errno, name), options.nth, options.obituary)
        saboteur.install(options.log)
        listeners.append(saboteur)
    if options.trace:
        tracer = Tracer(options.trace)
        tracer.install(options.log)
        listeners.append(tracer)
    if options.full_while:
        listeners.append(Full(options.full_while))
    if options.move_every:
        apsw.connection_hooks.append(lambda connection: connection.wal_autocheckpoint(options.move_every))
    journal = Journal(options.journal) if options.journal else None
    if listeners or journal:
        Disk(options.log, *listeners, journal=journal).install()
    return child_hub.main(rest)


if __name__ == "__main__":
    sys.exit(main())
