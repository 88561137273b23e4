"""A budget book in memory."""

from __future__ import annotations

from exchange.pseudonyms.budget import Reserved


class MemoryBook:
    """A book in memory."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], Reserved] = {}
        self.days: dict[int, dict[tuple[int, str], int]] = {}
        self.told: dict[str, int] = {}
        self.writes = 0

    async def read(self, epoch: int, member: str) -> Reserved | None:
        return self.rows.get((epoch, member))

    async def write(self, epoch: int, member: str, reserved: Reserved, *, day: int, count: int) -> None:
        self.writes += 1
        self.rows[epoch, member] = reserved
        totals = self.days.setdefault(day, {})
        totals[epoch, member] = totals.get((epoch, member), 0) + count

    async def totals(self, day: int) -> dict[tuple[int, str], int]:
        return dict(self.days.get(day, {}))

    async def told_through(self, origin: str) -> int | None:
        return self.told.get(origin)

    async def note_told(self, origin: str, day: int) -> None:
        self.told[origin] = day
