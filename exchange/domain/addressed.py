"""What is said to named members only: referrals, what becomes of them, and notes. Values and words.

The leaf of each tells that it exists, and nothing else: to whom, about what, and in which state stands in its one
record, which begins with a salt and can be erased. `exchange.domain.referrals` has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ReferralUrgency(IntEnum):
    """How soon a referral's publisher asks for an answer. Danger to life is no referral: that is a call to 999."""

    ROUTINE = 1
    PRIORITY = 2
    URGENT = 3


class ReferralState(IntEnum):
    """What has become of a referral."""

    ACKNOWLEDGED = 1
    ASKED = 2
    ANSWERED = 3
    CLOSED = 4


class ReferralOutcome(IntEnum):
    """How an authority closed a referral."""

    TAKEN_UP = 1
    NO_FURTHER_ACTION = 2
    PASSED_ON = 3
    OUT_OF_REMIT = 4


@dataclass(frozen=True, slots=True)
class Referral:
    """The header of a referral: a commitment to its audience record."""

    audience_id: bytes


@dataclass(frozen=True, slots=True)
class ReferralUpdate:
    """The header of what became of a referral."""

    audience_id: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """The header of a note."""

    audience_id: bytes


@dataclass(frozen=True, slots=True)
class ReferralRecord:
    """What a referral says, to the authority alone."""

    salt: bytes
    authority: str
    label: int
    urgency: int
    respond_by_ms: int
    case_ref: str
    election: bytes = b""
    target_class: int = 0
    signal_ids: tuple[bytes, ...] = ()
    contact: str = ""
    handover: str = ""


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """What has become of a referral. ``referral`` is its id."""

    salt: bytes
    referral: bytes
    state: int
    at_ms: int
    outcome: int = 0
    reference: str = ""
    respond_by_ms: int = 0


@dataclass(frozen=True, slots=True)
class NoteRecord:
    """A short note. ``target`` is the id of a referral, or of a signal that is disputed."""

    salt: bytes
    target: bytes
    text: str


#: The headers that say nothing but that there is a record.
Addressed = Referral | ReferralUpdate | Note
AddressedRecord = ReferralRecord | UpdateRecord | NoteRecord
