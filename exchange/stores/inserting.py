"""Many rows in one statement of SQLite, which runs without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import apsw

#: Rows of the largest statement, and of the next ones: as many as fit of the largest, then on.
AT_ONCE = (512, 64, 8, 1)


def insert(connection: apsw.Connection, into: str, row: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, many at a time."""
    done = 0
    for size in AT_ONCE:
        while len(rows) - done >= size:
            connection.execute(_inserting(into, row, size), tuple(chain.from_iterable(rows[done : done + size])))
            done += size


@cache
def _inserting(into: str, row: str, size: int) -> str:
    return f"{into} VALUES " + ", ".join([row] * size)
