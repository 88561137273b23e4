"""What a delivery does to signals that are known already: ends them, holds their matches back, or lets them go.

Whoever keeps signals follows it. A receiver judges for itself who may take a signal back: its own publisher, or an
operator; as many operators signed as it takes, or the delivery would not be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange.domain.bodies import Erasure, Opinion, Quarantine, Release, Retraction, SignalHeader
from exchange.domain.kinds import Role
from exchange_client.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Ended:
    """Signals are taken back, erased or replaced, for good."""

    origin: str
    signal_ids: tuple[bytes, ...]
    #: Whose signals it can end; empty for everybody's: an operator said it.
    publisher: str

    def ends(self, publisher: str) -> bool:
        """Whether it ends this publisher's signals."""
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


@dataclass(frozen=True, slots=True)
class Thought:
    """A member's opinion of signals."""

    origin: str
    signal_ids: tuple[bytes, ...]
    member: str
    #: Number of an `OpinionCategory`.
    category: int


Effect = Ended | Flagged | Released | Thought


def effect_of(delivery: Delivery) -> Effect | None:
    """Return what a delivery does to signals that came before it; None where it does nothing."""
    origin, publisher = delivery.origin, delivery.publisher
    operator = delivery.role == Role.OPERATOR
    match delivery.header.body:
        case SignalHeader(replaces=replaced) if replaced:
            return Ended(origin, replaced, publisher)
        case Retraction(targets=targets) | Erasure(targets=targets):
            return Ended(origin, targets, "" if operator else publisher)
        case Quarantine(member=member, from_index=from_index):
            return Flagged(origin, member, from_index)
        case Release(member=member):
            return Released(origin, member)
        case Opinion(targets=targets, category=category):
            return Thought(origin, targets, publisher, category)
        case _:
            return None


class Matching(Protocol):
    """What keeps signals, and is asked for matches."""

    def end(self, signal_ids: Sequence[bytes], *, origin: str, publisher: str) -> None:
        """Forget signals of this publisher (empty: of anybody) for good, also those that have not come yet."""

    def flag_publisher(self, origin: str, member: str, *, from_index: int = 0) -> None:
        """Hold matches of a member's signals back, from an entry on."""

    def release_publisher(self, origin: str, member: str) -> object:
        """End a member's flag."""

    def set_opinion(self, signal_id: bytes, member: str, opinion: int) -> None:
        """Note a member's last opinion."""


def follow(delivery: Delivery, matching: Matching) -> None:
    """Let what keeps signals do what a delivery does to those that came before it."""
    match effect_of(delivery):
        case Ended(origin, signal_ids, publisher):
            matching.end(signal_ids, origin=origin, publisher=publisher)
        case Flagged(origin, member, from_index):
            matching.flag_publisher(origin, member, from_index=from_index)
        case Released(origin, member):
            matching.release_publisher(origin, member)
        case Thought(_, signal_ids, member, category):
            for signal_id in signal_ids:
                matching.set_opinion(signal_id, member, category)
