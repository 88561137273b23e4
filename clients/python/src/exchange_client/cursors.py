"""Where we are in each log: next index, the compact range up to it, and the last checkpoint that we verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import apsw

from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange.ops.transactions import first_row
from exchange_client.state import StateFile, checked


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log that everything before has been checked up to."""

    range: CompactRange = field(default_factory=CompactRange)
    checkpoint: bytes = b""
    #: Of the last entry read: neither falls again, or a revoked key could be brought back by an old date.
    received_at_ms: int = 0
    directory_size: int = 0


class Positions(Protocol):
    """Where a subscriber's positions are kept: the client's own file, or that of whoever keeps what it has read."""

    @property
    def closed(self) -> bool:
        """Whether nothing can be stored any more."""
        ...

    async def load(self, origin: str) -> Position | None:
        """Return the stored position, or None."""
        ...

    async def store(self, origin: str, position: Position) -> None:
        """Store a position durably, never before what was read up to it."""
        ...


#: The columns of a table that holds positions, as `position_row` writes them and `position_of` reads them.
POSITION_COLUMNS = "size, hashes, checkpoint, received_at_ms, directory_size"


def position_row(position: Position) -> tuple[int, bytes, bytes, int, int]:
    """Return a position as a row of plain values."""
    tree = position.range
    last = (position.received_at_ms, position.directory_size)
    return (tree.size, b"".join(tree.hashes), position.checkpoint, *last)


def position_of(row: tuple[Any, ...]) -> Position:
    """Return the position that a row holds. Raises `Rejected` (MALFORMED) when it is damaged."""
    size, hashes, checkpoint, received_at_ms, directory_size = checked(row, int, bytes, bytes, int, int)
    parts = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    return Position(CompactRange.of(size, parts), checkpoint, received_at_ms, directory_size)


class Cursors:
    """Positions, by origin."""

    def __init__(self, state: StateFile) -> None:
        """Keep them in this file."""
        self._state = state

    @property
    def closed(self) -> bool:
        """Whether nothing can be stored any more."""
        return self._state.closed

    async def load(self, origin: str) -> Position | None:
        """Return the stored position, or None. Raises `Rejected` (MALFORMED) when the row is damaged."""

        def job(connection: apsw.Connection) -> tuple[Any, ...] | None:
            query = f"SELECT {POSITION_COLUMNS} FROM cursors WHERE origin = ?"  # noqa: S608 - our own
            return first_row(connection, query, (origin,))

        row = await self._state.run(job)
        return None if row is None else position_of(row)

    async def store(self, origin: str, position: Position) -> None:
        """Store a position durably."""
        row = (origin, *position_row(position))
        await self._state.run(lambda c: c.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?)", row))
