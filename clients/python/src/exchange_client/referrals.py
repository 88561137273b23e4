"""Referrals, notes and desks, as a hub tells them to those who are in their audience.

Each step has the index of its entry: a feed of ours delivers the same records, verified.
"""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.addressed import ReferralRecord, ReferralState, UpdateRecord
from exchange.domain.contacts import Contact
from exchange.domain.referral_facts import ReferralFacts, problem_of
from exchange.domain.validation import DAY_MS

_SOON_MS = 7 * DAY_MS


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
    #: When the community's retention ends it, open or not: then nothing is left but its leaf.
    ends_at_ms: int
    steps: tuple[ReferralStep, ...]
    notes: tuple[NoteReport, ...]

    @property
    def authority(self) -> str:
        """The member that it was referred to."""
        return self.record.authority

    def problem_of(self, member: str, state: int) -> str:
        """Return what keeps a party from saying this of it, as it stands; empty where nothing does."""
        said = [step.record.state for step in self.steps]
        times = self.received_at_ms, self.due_ms
        facts = ReferralFacts(
            self.id,
            self.index,
            self.publisher,
            self.authority,
            *times,
            self.state,
            self.outcome,
            ReferralState.ACKNOWLEDGED in said,
            len(said),
        )
        return problem_of(facts, member, state)

    def ends_soon(self, now_ms: int) -> bool:
        """Whether it will be gone in a week, or in a quarter of its time where that is less, without being closed."""
        left_ms, whole_ms = self.ends_at_ms - now_ms, self.ends_at_ms - self.received_at_ms
        return bool(self.waits_for) and left_ms < min(_SOON_MS, whole_ms // 4)

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
