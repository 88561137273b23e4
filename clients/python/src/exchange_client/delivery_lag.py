"""How long signals and retractions were under way to us: counted once each, also over restarts.

Counted is what a consumer has processed, in parts: each goes into one acknowledgement, and is closed where it would no
longer fit. The counts lie in the client's file; what is counted is there before the subscription's position moves past
it, so what is delivered again after a crash is not counted again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import apsw

from exchange.domain.bodies import Acknowledgement, LagCell, Retraction, SignalHeader
from exchange.domain.kinds import Kind
from exchange.domain.lag import Histogram, added, bucket_of
from exchange.domain.life import MAX_CELLS, MAX_CELLS_BYTES, cell_bytes
from exchange.errors import Reason, Rejected
from exchange.ops.transactions import first_row
from exchange_client.delivery import Delivery
from exchange_client.state import StateFile, checked

#: Publisher, label, election, whether it is a retraction.
_Key = tuple[str, int, bytes, bool]


@dataclass(slots=True)
class Part:
    """What one acknowledgement will hold."""

    #: The last index in it.
    through: int
    #: Whether it holds more than acknowledgements: those alone are not worth another.
    due: bool = False
    counts: dict[_Key, Histogram] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def cells(self) -> tuple[LagCell, ...]:
        """Its counts, as an acknowledgement has them."""
        return tuple([_cell(key, histogram) for key, histogram in sorted(self.counts.items())])

    def note(self, key: _Key, lag_ms: int) -> bool:
        """Count one, if it still fits; whether it did."""
        before = self.counts.get(key)
        if before is not None and before.counts[bucket_of(lag_ms)]:
            before.note(lag_ms)  # its cell grows no more
            return True
        histogram = added([before.counts] if before else [])
        histogram.note(lag_ms)
        return self._put(key, histogram)

    def _put(self, key: _Key, histogram: Histogram) -> bool:
        before = self.counts.get(key)
        taken = self._bytes + cell_bytes(_cell(key, histogram)) - (cell_bytes(_cell(key, before)) if before else 0)
        if taken > MAX_CELLS_BYTES or len(self.counts) + (before is None) > MAX_CELLS:
            return False
        self._bytes = taken
        self.counts[key] = histogram
        return True

    def add(self, other: Part) -> None:
        """Count what another part has, as far as that fits, and what it reaches to."""
        self.through = max(self.through, other.through)
        for key, histogram in other.counts.items():
            before = self.counts.get(key)
            self._put(key, added([histogram.counts, *([before.counts] if before else [])]))

    @classmethod
    def of(cls, said: Acknowledgement) -> Part:
        """Return what an acknowledgement holds."""
        part = cls(said.processed_through)
        for cell in said.cells:
            part._put((cell.publisher, cell.label, cell.election, cell.retraction), added([cell.counts]))
        return part

    def to_json(self) -> list[object]:
        """Return it as plain values."""
        counts = [[who, label, id_.hex(), back, each.trimmed] for (who, label, id_, back), each in self.counts.items()]
        return [self.through, self.due, counts]

    @classmethod
    def of_json(cls, data: list[object]) -> Part:
        """Return what `to_json` gave. Raises ValueError, TypeError."""
        through, due, counts = data
        if not isinstance(through, int) or not isinstance(due, bool) or not isinstance(counts, list):
            raise TypeError("not a part")
        part = cls(through, due)
        for publisher, label, election, retraction, values in counts:
            part._put((publisher, label, bytes.fromhex(election), retraction), added([values]))
        return part


class DeliveryLag:
    """One log's."""

    def __init__(self, state: StateFile, origin: str, member: str) -> None:
        """Keep it in this file. What ``member`` itself says is not under way to it."""
        self._state = state
        self._origin = origin
        self._member = member
        #: All entries below have been counted.
        self._counted = 0
        #: The oldest first; the last one is open.
        self._parts: list[Part] = []

    @property
    def closed(self) -> bool:
        """Whether nothing can be stored any more."""
        return self._state.closed

    async def load(self) -> None:
        """Go on with what an earlier run has counted. Raises `Rejected` (MALFORMED) when it is damaged."""

        def job(connection: apsw.Connection) -> tuple[object, ...] | None:
            return first_row(connection, "SELECT through, counts FROM lag WHERE origin = ?", (self._origin,))

        row = await self._state.run(job)
        if row is None:
            return
        counted, text = checked(row, int, str)
        try:
            parts = [Part.of_json(each) for each in json.loads(text)]
        except (ValueError, TypeError, AttributeError) as error:
            raise Rejected(Reason.MALFORMED, "the client's own file holds a damaged row") from error
        self._counted, self._parts = counted, parts

    def note(self, delivery: Delivery) -> None:
        """Count what has been processed, in the order of the log; what was counted already is passed over."""
        if delivery.index < self._counted:
            return
        self._counted = delivery.index + 1
        key = self._key(delivery)
        if not self._parts or (key is not None and not self._parts[-1].note(key, delivery.lag_ms)):
            self._parts.append(Part(delivery.index))
            if key is not None:
                self._parts[-1].note(key, delivery.lag_ms)
        last = self._parts[-1]
        last.through = delivery.index
        last.due = last.due or delivery.kind != Kind.ACKNOWLEDGEMENT

    def _key(self, delivery: Delivery) -> _Key | None:
        """Return what a delivery's lag is counted by; None where it is not."""
        if delivery.late or delivery.publisher == self._member:
            return None
        match delivery.header.body:
            case SignalHeader(backfill=False, label=label, election=election) if delivery.signals:
                return delivery.publisher, label, election, False
            case Retraction():
                return delivery.publisher, 0, b"", True
            case _:
                return None

    @property
    def due(self) -> Part | None:
        """The part to be acknowledged next; None where nothing is worth it."""
        return self._parts[0] if self._parts and self._parts[0].due else None

    async def store(self) -> None:
        """Store what was counted."""
        await self._state.run(self.storing())

    def storing(self) -> Callable[[apsw.Connection], None]:
        """Return the job that stores what was counted up to now."""
        row = (self._origin, self._counted, json.dumps([part.to_json() for part in self._parts]))

        def job(connection: apsw.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO lag VALUES (?, ?, ?)", row)

        return job

    def take(self) -> Part:
        """Take the part that is due out."""
        return self._parts.pop(0)

    def give_back(self, part: Part) -> None:
        """Count a part that was not acknowledged with what comes next, as far as that fits."""
        if not self._parts:
            self._parts.append(Part(part.through))
        self._parts[0].add(part)


def _cell(key: _Key, histogram: Histogram) -> LagCell:
    return LagCell(*key, histogram.trimmed)
