"""Where we are in each log: next index, the compact range up to it, and the last checkpoint that we verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apsw

from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange_client.state import StateFile, checked


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log that everything before has been checked up to."""

    range: CompactRange = field(default_factory=CompactRange)
    checkpoint: bytes = b""
    #: Of the last entry read: neither falls again, or a revoked key could be brought back by an old date.
    received_at_ms: int = 0
    directory_size: int = 0


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
            row = connection.execute(
                "SELECT size, hashes, checkpoint, received_at_ms, directory_size FROM cursors WHERE origin = ?",
                (origin,),
            ).fetchone()
            return None if row is None else checked(row, int, bytes, bytes, int, int)

        row = await self._state.run(job)
        if row is None:
            return None
        size, hashes, checkpoint, received_at_ms, directory_size = row
        parts = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        return Position(CompactRange.of(size, parts), checkpoint, received_at_ms, directory_size)

    async def store(self, origin: str, position: Position) -> None:
        """Store a position durably."""
        tree = position.range
        last = (position.received_at_ms, position.directory_size)
        row = (origin, tree.size, b"".join(tree.hashes), position.checkpoint, *last)
        await self._state.run(lambda c: c.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?)", row))
