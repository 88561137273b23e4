"""What a subscriber gets: one verified entry of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Protocol, overload

import msgspec

from exchange.codec import Delivered
from exchange.domain.addressed import AddressedRecord
from exchange.domain.bodies import SignalHeader
from exchange.domain.statement import Header, IndicatorView
from exchange_client.records import Indicator
from exchange_client.signals import indicators_of
from exchange_client.verify import VerifiedEntry


class ReceivedSignal(msgspec.Struct, frozen=True, gc=False):
    """One signal with its record."""

    signal_id: bytes
    indicators: tuple[Indicator, ...]
    case_ref: str
    quality: int


class _Said(Protocol):
    """What a record says, without its salt."""

    @property
    def indicators(self) -> Sequence[IndicatorView]: ...

    @property
    def case_ref(self) -> str: ...

    @property
    def quality(self) -> int: ...


class Signals(Sequence[ReceivedSignal]):
    """The signals of one entry, verified; each is taken apart when it is looked at, and again when it is again.

    A statement has up to a thousand of them: whoever goes through them holds one, and whoever wants their ids alone
    (`ids`) takes none apart.
    """

    __slots__ = ("_said", "ids")

    def __init__(self, ids: Sequence[bytes] = (), said: Sequence[_Said] = ()) -> None:
        """Take the ids, and what the record of each says: as many. Raises ValueError."""
        if len(ids) != len(said):
            raise ValueError(f"{len(ids)} ids of {len(said)} records")
        self.ids = tuple(ids)
        self._said = said

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[ReceivedSignal]:
        for id_, said in zip(self.ids, self._said, strict=True):
            yield ReceivedSignal(id_, indicators_of(said.indicators), said.case_ref, said.quality)

    @overload
    def __getitem__(self, at: int) -> ReceivedSignal: ...

    @overload
    def __getitem__(self, at: slice) -> Signals: ...

    def __getitem__(self, at: int | slice) -> ReceivedSignal | Signals:
        if isinstance(at, slice):
            return Signals(self.ids[at], self._said[at])
        (signal,) = Signals((self.ids[at],), (self._said[at],))
        return signal

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Signals | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Signals({list(self)!r})"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry. ``signals`` is empty unless the records came with it (``state`` "present")."""

    origin: str
    index: int
    leaf: bytes
    received_at_ms: int
    late: bool
    header: Header
    #: "present", "not_for_you" or "erased".
    state: str
    signals: Signals
    delivered_at_ms: int
    #: Whether a signed checkpoint already covers it. Live entries always are; while catching up, the check follows.
    covered: bool
    #: Whether operators signed it, as many as what it says needs.
    by_operators: bool = False
    #: What a referral, an update or a note says to us; None where it is not to us, or gone.
    addressed: AddressedRecord | None = None

    @property
    def erased_alone(self) -> tuple[bytes, ...]:
        """Ids of signals whose records are gone while others of the same statement are there: the hub's word for it."""
        if self.state != "present" or self.addressed is not None:
            return ()
        there = set(self.signals.ids)
        return tuple([signal_id for signal_id in self.header.signal_ids if signal_id not in there])

    @property
    def publisher(self) -> str:
        """The member that signed it."""
        return self.header.publisher

    @property
    def kind(self) -> int:
        """Number of its kind."""
        return self.header.kind

    @property
    def signal(self) -> SignalHeader | None:
        """What holds for all its signals; None for another kind."""
        return self.header.body if isinstance(self.header.body, SignalHeader) else None

    @property
    def lag_ms(self) -> int:
        """From the hub's receipt to our hands, by two clocks."""
        return self.delivered_at_ms - self.received_at_ms


def delivery_of(origin: str, entry: VerifiedEntry, wire: Delivered, *, delivered_at_ms: int, covered: bool) -> Delivery:
    """Return a verified entry as a delivery."""
    state = "present" if wire.present else "erased" if wire.erased else "not_for_you"
    return Delivery(
        origin,
        entry.leaf.index,
        entry.leaf_bytes,
        entry.leaf.received_at_ms,
        entry.leaf.late,
        entry.header,
        state,
        _signals(entry),
        delivered_at_ms,
        covered,
        entry.by_operators,
        entry.addressed,
    )


def _signals(entry: VerifiedEntry) -> Signals:
    """Return the signals whose records are there. One without a salt is none: it has been erased alone."""
    ids, records = entry.header.signal_ids, entry.records[:]
    there = [bool(record.salt) for record in records]
    if not all(there):
        ids, records = tuple(compress(ids, there)), list(compress(records, there))
    return Signals(ids[: len(records)], records)
