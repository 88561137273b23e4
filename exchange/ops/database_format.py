"""Which format a SQLite file is in, looked up without changing anything: before the file is opened for good.

Opening a file for writing, and closing it again, moves its write-ahead log into it. What another release has written
must stay as it is, so the number is read first: from the file's head or, where such a log lies beside it, through a
connection that only reads.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

_MAGIC = b"SQLite format 3\0"
#: Where `user_version` stands in a file's head, in four bytes.
_AT = 60


def format_in(path: Path) -> int:
    """Return the number that a file carries; 0 where there is none. Raises apsw.Error, OSError."""
    if not path.exists():
        return 0
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.set_busy_timeout(5_000)
            # Closing would try to move the log into the file, which needs a lock that a reader cannot have.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            found = connection.pragma("user_version")
            return found if isinstance(found, int) else 0
    with path.open("rb") as file:
        head = file.read(_AT + 4)
    return int.from_bytes(head[_AT:], "big", signed=True) if head.startswith(_MAGIC) and len(head) == _AT + 4 else 0
