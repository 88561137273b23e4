"""Referrals, notes and desks, as a hub tells them to those who are in their audience.

Each step has the index of its entry: a feed of ours delivers the same records, verified.
"""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.addressed import ReferralRecord, UpdateRecord
from exchange.domain.contacts import Contact


@dataclass(frozen=True, slots=True)
class ReferralStep:
    """What became of a referral."""

    id: bytes
    index: int
    publisher: str
    received_at_ms: int
    #: Without its salt.
    record: UpdateRecord


@dataclass(frozen=True, slots=True)
class NoteReport:
    """One note."""

    id: bytes
    index: int
    publisher: str
    received_at_ms: int
    text: str
    #: Who may read it.
    audience: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReferralReport:
    """One referral, and what has become of it."""

    id: bytes
    #: Of the entry that it came with.
    index: int
    publisher: str
    received_at_ms: int
    #: Without its salt.
    record: ReferralRecord
    #: Number of a `ReferralState`; 0 while nothing has become of it.
    state: int
    #: Number of a `ReferralOutcome`; 0 while it is not closed.
    outcome: int
    #: Whose turn it is; empty when it is closed.
    waits_for: str
    #: By when it should be answered; 0 where nothing is waited for by a time.
    due_ms: int
    overdue: bool
    steps: tuple[ReferralStep, ...]
    notes: tuple[NoteReport, ...]

    @property
    def authority(self) -> str:
        """The member that it was referred to."""
        return self.record.authority

    @property
    def parties(self) -> tuple[str, ...]:
        """Who may read what is said of it."""
        return tuple(sorted((self.publisher, self.record.authority)))


@dataclass(frozen=True, slots=True)
class MemberContacts:
    """A member's desks."""

    member: str
    display_name: str
    #: Word of a `MemberClass`.
    member_class: str
    contacts: tuple[Contact, ...]
