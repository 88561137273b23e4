"""What a log's records say of its referrals, and what becomes of one by the next update. Pure.

The hub judges an update by `after`, and its fold takes one by it: two that contradict each other may both be in the
ledger, and everywhere the first one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from exchange.domain.addressed import AddressedRecord, NoteRecord, ReferralRecord, ReferralState, UpdateRecord
from exchange.domain.kinds import Kind
from exchange.domain.validation import DAY_MS

#: Updates of one referral, before the one that closes it; notes on one referral or dispute.
MAX_UPDATES = 50
MAX_NOTES = 100


@dataclass(frozen=True, slots=True)
class ReferralFacts:
    """What is known of one referral."""

    id: bytes
    #: Of the entry that it came with.
    index: int
    publisher: str
    authority: str
    received_at_ms: int
    #: By when whose turn it is should have said something; 0 where nothing is waited for by a time.
    due_ms: int
    #: Number of a `ReferralState`; 0 while nothing has become of it.
    state: int = 0
    outcome: int = 0
    acknowledged: bool = False
    updates: int = 0

    @property
    def parties(self) -> frozenset[str]:
        """Who may read what is said of it."""
        return frozenset({self.publisher, self.authority})

    @property
    def waits_for(self) -> str:
        """Whose turn it is; empty when it is closed."""
        if self.state == ReferralState.CLOSED:
            return ""
        return self.publisher if self.state == ReferralState.ASKED else self.authority

    def overdue(self, now_ms: int) -> bool:
        """Whether somebody should have said something by now."""
        return 0 < self.due_ms < now_ms


def ends_at_ms(received_at_ms: int, retention_days: int) -> int:
    """Return when nothing is left of a referral but its leaf, open or not."""
    return received_at_ms + retention_days * DAY_MS


#: Who may say what: the authority, but for answers.
_BY_PUBLISHER = frozenset({ReferralState.ANSWERED})


def problem_of(facts: ReferralFacts, speaker: str, state: int) -> str:
    """Return what keeps a party from saying this of a referral; empty where nothing does."""
    if facts.state == ReferralState.CLOSED:
        return "has been closed already"
    if facts.updates >= MAX_UPDATES and state != ReferralState.CLOSED:
        return f"has {MAX_UPDATES} updates, the most it may have: it can only be closed"
    if (speaker == facts.publisher) is not (state in _BY_PUBLISHER):
        return "is not yours to say this of: its publisher answers, the authority says all else"
    if state == ReferralState.ACKNOWLEDGED and facts.acknowledged:
        return "has been acknowledged already"
    if state == ReferralState.ACKNOWLEDGED and facts.state:
        # It would take the question back, and nobody could answer it.
        return "has been asked about already, which says that you have it"
    if state == ReferralState.ANSWERED and facts.state != ReferralState.ASKED:
        return "has no question that waits for an answer"
    return ""


def after(facts: ReferralFacts, speaker: str, record: UpdateRecord) -> ReferralFacts | None:
    """Return what is known of a referral after an update; None where it changes nothing."""
    if speaker not in facts.parties or problem_of(facts, speaker, record.state):
        return None
    return replace(
        facts,
        # What the authority has taken note of waits for no first answer any more; a question has a time of its own.
        due_ms=record.respond_by_ms if record.state == ReferralState.ASKED else 0,
        state=record.state,
        outcome=record.outcome,
        acknowledged=facts.acknowledged or record.state == ReferralState.ACKNOWLEDGED,
        updates=facts.updates + 1,
    )


def target_of(id_: bytes, record: AddressedRecord) -> bytes:
    """Return the id of what a record is about; a referral is about itself."""
    match record:
        case UpdateRecord():
            return record.referral
        case NoteRecord():
            return record.target
        case ReferralRecord():
            return id_


@dataclass(frozen=True, slots=True)
class SaidBy:
    """Who has said what kind of thing."""

    publisher: str
    kind: int

    def may_be_erased_by(self, member: str) -> bool:
        """Whether a member may have it erased alone. What became of a referral goes with the referral only."""
        return self.publisher == member and self.kind != Kind.REFERRAL_UPDATE


def _nothing(_: Sequence[bytes]) -> Mapping[bytes, SaidBy]:
    return {}


@dataclass(frozen=True, slots=True)
class AddressedFacts:
    """What the rules of referrals and notes ask a log's fold for."""

    #: Of records that are for named members, by id.
    said: Callable[[Sequence[bytes]], Mapping[bytes, SaidBy]] = _nothing
    referral: Callable[[bytes], ReferralFacts | None] = lambda _: None
    #: Who thinks what of a signal: the number of an `OpinionCategory` for each member.
    opinions: Callable[[bytes], Mapping[str, int]] = lambda _: {}
    #: How many notes there are on a referral, or a signal.
    notes: Callable[[bytes], int] = lambda _: 0
    #: Whether an erasure names any of these that is no signal.
    erased: Callable[[Sequence[bytes]], bool] = lambda _: False
