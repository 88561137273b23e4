"""What a delivery does to signals that are known already: ends them, holds their matches back, or lets them go.

Whoever keeps signals follows it. A receiver judges for itself who may take a signal back: its own publisher, or an
operator; as many operators signed as it takes, or the delivery would not be one.
"""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.bodies import Erasure, Quarantine, Release, Retraction, SignalHeader
from exchange_client.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Ended:
    """Signals are taken back, erased or replaced, for good."""

    origin: str
    signal_ids: tuple[bytes, ...]
    #: Whose signals it can end; empty for everybody's: an operator said it.
    publisher: str

    def ends(self, publisher: str) -> bool:
        """Whether it ends this publisher's signals, of those that it names."""
        return self.publisher in ("", publisher)


@dataclass(frozen=True, slots=True)
class Flagged:
    """A member's signals are quarantined from an index on."""

    origin: str
    member: str
    from_index: int


@dataclass(frozen=True, slots=True)
class Released:
    """A member's quarantine has ended."""

    origin: str
    member: str


Effect = Ended | Flagged | Released


def effect_of(delivery: Delivery) -> Effect | None:
    """Return what a delivery does to signals that came before it; None where it does nothing."""
    origin, publisher = delivery.origin, delivery.publisher
    match delivery.header.body:
        case SignalHeader(replaces=replaced) if replaced:
            return Ended(origin, replaced, publisher)
        case Retraction(targets=targets) | Erasure(targets=targets):
            return Ended(origin, targets, "" if delivery.by_operators else publisher)
        case Quarantine(member=member, from_index=from_index):
            return Flagged(origin, member, from_index)
        case Release(member=member):
            return Released(origin, member)
        case _:
            return None
