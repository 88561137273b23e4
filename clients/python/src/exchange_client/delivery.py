"""What a subscriber gets: one verified entry of the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.codec import Delivered
from exchange.domain.addressed import AddressedRecord
from exchange.domain.bodies import SignalHeader
from exchange.domain.statement import Header, Indicator, RecordView
from exchange_client.signals import indicators_of
from exchange_client.verify import VerifiedEntry


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """One signal with its record."""

    signal_id: bytes
    indicators: tuple[Indicator, ...]
    case_ref: str
    quality: int


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
    signals: tuple[ReceivedSignal, ...]
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
        there = {signal.signal_id for signal in self.signals}
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
    pairs = zip(entry.header.signal_ids, entry.records, strict=False)
    # A record without a salt is none: it has been erased alone.
    signals = tuple([_signal(signal_id, record) for signal_id, record in pairs if record.salt])
    return Delivery(
        origin,
        entry.leaf.index,
        entry.leaf_bytes,
        entry.leaf.received_at_ms,
        entry.leaf.late,
        entry.header,
        state,
        signals,
        delivered_at_ms,
        covered,
        entry.by_operators,
        entry.addressed,
    )


def _signal(signal_id: bytes, record: RecordView) -> ReceivedSignal:
    return ReceivedSignal(signal_id, indicators_of(record), record.case_ref, record.quality)
