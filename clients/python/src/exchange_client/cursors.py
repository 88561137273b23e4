"""Where we are in each log: next index, the compact range up to it, and the last checkpoint that we verified."""

from __future__ import annotations

from dataclasses import dataclass, field

import apsw

from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange_client.state import StateFile


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log that everything before has been checked up to."""

    range: CompactRange = field(default_factory=CompactRange)
    checkpoint: bytes = b""


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

        def job(connection: apsw.Connection) -> tuple[int, bytes, bytes] | None:
            row = connection.execute(
                "SELECT size, hashes, checkpoint FROM cursors WHERE origin = ?", (origin,)
            ).fetchone()
            return None if row is None else (int(row[0]), bytes(row[1]), bytes(row[2]))

        row = await self._state.run(job)
        if row is None:
            return None
        size, hashes, checkpoint = row
        parts = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        return Position(CompactRange.of(size, parts), checkpoint)

    async def store(self, origin: str, position: Position) -> None:
        """Store a position durably."""
        row = (origin, position.range.size, b"".join(position.range.hashes), position.checkpoint)
        await self._state.run(lambda c: c.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)", row))
