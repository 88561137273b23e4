"""The hub of `tests.e2e.child_hub`, made to fail on demand: it dies at a named point of a commit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.e2e import child_hub
from tests.faults.crash_points import POINTS, Reaper
from tests.faults.disk import Disk

#: What of the disk's calls is a crash point.
_BEFORE = {"wal.sync": "before-wal-sync"}
_AFTER = {"wal.sync": "after-wal-sync", "mark.write": "after-mark-write", "mark.sync": "after-mark-sync"}


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


def main() -> int:
    """Make what the flags say fail, then serve."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--log", default="uk")
    parser.add_argument("--obituary", type=Path)
    parser.add_argument("--crash", choices=POINTS)
    parser.add_argument("--nth", type=int, default=1)
    options, rest = parser.parse_known_args()
    if options.crash:
        reaper = Reaper(options.crash, options.nth, options.log, options.obituary)
        reaper.install()
        Disk(options.log, _AtCalls(reaper)).install()
    return child_hub.main(rest)


if __name__ == "__main__":
    sys.exit(main())
