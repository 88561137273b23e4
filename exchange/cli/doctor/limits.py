"""What a hub's process may use: by its own limits where it runs, which its unit sets, else by those of this shell."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one process."""

    #: In whose process, for people.
    where: str
    #: How many files it may have open at once, and how many it may ask for.
    files: int
    most_files: int
    #: Bytes of a core dump.
    core: int


def limits(locks: Iterable[Path]) -> Limits:
    """Return the limits of the process that holds one of these locks of logs; this shell's where none can be found."""
    for pid in filter(None, map(_holder, locks)):
        with suppress(OSError):  # it is gone, or another user's
            return _read(f"in the hub's process {pid}", partial(resource.prlimit, pid))
    return _read("in this shell, for no hub was found that runs here", resource.getrlimit)


def _read(where: str, limit: Callable[[int], tuple[int, int]]) -> Limits:
    return Limits(where, *limit(resource.RLIMIT_NOFILE), limit(resource.RLIMIT_CORE)[0])


def _holder(lock: Path) -> int | None:
    """Return the process that holds a lock; None where nobody does, or the system does not tell.

    The system's list names the file by a device that is not always the one that a file's state has. So it is only
    asked who holds any lock, and each of those whether it has this file open.
    """
    try:
        file, held = lock.stat(), _LOCKS.read_text()
    except OSError:
        return None
    pids = {int(words[4]) for words in map(str.split, held.splitlines()) if words[1] == "FLOCK"}
    return next((pid for pid in sorted(pids) if _has_open(pid, file)), None)


def _has_open(pid: int, file: os.stat_result) -> bool:
    with suppress(OSError):  # the process is gone, or another user's
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if os.path.samestat(each.stat(), file):
                    return True
    return False
