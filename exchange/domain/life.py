"""What may be said about signals once they are in the ledger: the rules for all that follows a signal. Pure.

A retraction, an opinion, a disposition and an erasure name signals by their ids; an acknowledgement, a quarantine and
a release name places in the log and members. What there is to know of a signal is a fold over the log's leaves
(`SignalFacts`), which whoever asks gives to these rules. A signal that the speaker could not see looks like one that
does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from exchange.domain.bodies import (
    AboutSignals,
    Acknowledgement,
    Disposition,
    DispositionReason,
    DispositionState,
    Election,
    Erasure,
    ErasureReason,
    LagCell,
    Life,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
    SignalHeader,
    SourceAction,
)
from exchange.domain.directory import Directory, MemberEntry
from exchange.domain.elections import ElectionFacts, check_election
from exchange.domain.kinds import KINDS, MemberClass, Role
from exchange.domain.labels import Label
from exchange.domain.lag import BUCKETS
from exchange.domain.referral_facts import AddressedFacts
from exchange.domain.statement import ID_BYTES, Header
from exchange.domain.validation import SKEW_MS, Findings, check_envelope
from exchange.errors import OverQuota

#: Signals that one statement may name: what is looked up of them is looked up between two turns of the hub's loop.
MAX_TARGETS = 100
#: A member acknowledges at most so often.
ACKNOWLEDGE_EVERY_MS = 60_000
MAX_CELLS = 1_000
MAX_CELLS_BYTES = 60_000
_MAX_COUNT = 0xFFFF_FFFF
_LABELS = frozenset(label.value for label in Label)
_CELL_OVERHEAD = 16
_COUNT_BYTES = 5


@dataclass(frozen=True, slots=True)
class SignalFacts:
    """What a log's leaves say of one signal."""

    signal_id: bytes
    #: Of the statement that it came with.
    index: int
    publisher: str
    label: int
    expires_at_ms: int
    received_at_ms: int
    #: Directory size that its statement was judged at.
    directory_size: int
    election: bytes = b""
    actioned_at_ms: int = 0
    #: None for everyone. A restricted signal whose audience record is gone has an empty one.
    audience: frozenset[str] | None = None
    #: Index of the first statement that took it back, erased it, replaced it; None where none did.
    retracted_at: int | None = None
    erased_at: int | None = None
    replaced_at: int | None = None
    #: When the hub had that retraction.
    retracted_ms: int | None = None
    #: Whether its statement came at once and was no backfill: the others tell nothing of lag.
    in_lag: bool = True

    @property
    def live(self) -> bool:
        """Whether nobody has ended it; its time may still be over."""
        return self.retracted_at is None and self.erased_at is None and self.replaced_at is None


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What a log's leaves say of one member's part in it."""

    #: The last index that it has acknowledged, and when the hub received that; None and 0 where it never has.
    processed_through: int | None = None
    acknowledged_at_ms: int = 0
    clock_offset_ms: int = 0
    clock_error_ms: int = 0
    #: From which of its entries on it is flagged; None where it is not.
    quarantined_from: int | None = None
    #: Index of its last release; 0 where there was none.
    released_at: int = 0


@dataclass(frozen=True, slots=True)
class LifeFacts:
    """What these rules ask a log's fold for."""

    #: All entries below this index are in it, and the log is known to be so long.
    size: int
    signals: Callable[[Sequence[bytes]], Mapping[bytes, SignalFacts]]
    member: Callable[[str], MemberFacts]
    elections: Mapping[bytes, ElectionFacts]
    addressed: AddressedFacts = field(default_factory=AddressedFacts)


def could_see(
    directory: Directory, origin: str, member: str, facts: SignalFacts, *, until_size: int | None = None
) -> bool:
    """Whether a member was given this signal's record: a platform in its audience, in the community then or later.

    Who joins gets what the feed still holds. ``until_size`` is the directory's when the record was no more to be used.
    """
    entry = directory.members.get(member)
    if entry is None or entry.member_class is not MemberClass.PLATFORM:
        return False
    if not entry.in_between(origin, facts.directory_size, until_size):
        return False
    return facts.audience is None or member in facts.audience


def may_come_back(header: SignalHeader, facts: SignalFacts | None, *, now_ms: int) -> bool:
    """Whether a record that a hub has lost may be in its store again: not what was erased, is over, or is not known.

    A signal that was said before goes when the first one does.
    """
    if facts is None or facts.erased_at is not None:
        return False
    return now_ms < min(header.expires_at_ms, facts.expires_at_ms)


def validate_life(
    header: Header, body: Life, role: Role, facts: LifeFacts, directory: Directory, *, now_ms: int
) -> None:
    """Check a statement about signals, or about a member's part in a log.

    Raises `InvalidStatement`, and `OverQuota` for an acknowledgement that comes too soon after the last one.
    """
    findings = Findings()
    check_envelope(findings, header)
    findings.check(not header.signal_ids, "signal_ids", f"have no place in a {KINDS[header.kind].name}")
    match body:
        case Acknowledgement():
            _check_acknowledgement(findings, header, body, facts, directory, now_ms)
        case Quarantine() | Release():
            _check_quarantine(findings, header, body, facts, directory)
        case Election():
            check_election(findings, body, facts.elections.values(), now_ms=now_ms)
        case _:
            _check_words(findings, body, now_ms)
            _check_targets(findings, header, body, role, facts, directory)
    findings.raise_if_any()


def validate_words(header: Header, body: AboutSignals, *, now_ms: int) -> None:
    """Check what needs no facts of the log: what a publisher can tell before it signs. Raises `InvalidStatement`."""
    findings = Findings()
    _check_words(findings, body, now_ms)
    _check_form(findings, f"{KINDS[header.kind].name}.targets", body.targets)
    findings.raise_if_any()


def _word(findings: Findings, where: str, value: int, words: type[IntEnum], *, mandatory: bool = True) -> None:
    if value in frozenset(words) or not (value or mandatory):
        return
    findings.add(where, f"{value} is not known" if value else "is mandatory")


def _check_words(findings: Findings, body: AboutSignals, now_ms: int) -> None:
    match body:
        case Retraction():
            _word(findings, "retraction.reason", body.reason, RetractionReason)
            _check_time(findings, "retraction.decided_at_ms", body.decided_at_ms, now_ms)
        case Erasure():
            _word(findings, "erasure.reason", body.reason, ErasureReason)
        case Opinion():
            _word(findings, "opinion.category", body.category, OpinionCategory)
            _word(findings, "opinion.reason", body.reason, OpinionReason)
        case Disposition():
            _check_disposition(findings, body, now_ms)


def _check_time(findings: Findings, where: str, at_ms: int, now_ms: int) -> None:
    findings.check(0 <= at_ms <= now_ms + SKEW_MS, where, "lies in the future")


def _check_disposition(findings: Findings, body: Disposition, now_ms: int) -> None:
    _word(findings, "disposition.state", body.state, DispositionState)
    acted = body.state in (DispositionState.ACTIONED, DispositionState.UPHELD)
    if acted:
        _word(findings, "disposition.action", body.action, SourceAction)
    else:
        findings.check(not body.action, "disposition.action", "has a place only with actioned and upheld")
    explained = body.state in (DispositionState.NOT_ACTIONED, DispositionState.UPHELD)
    _word(findings, "disposition.reason", body.reason, DispositionReason, mandatory=explained)
    if body.state == DispositionState.UPHELD:
        own = body.reason not in (DispositionReason.RETRACTED, DispositionReason.NO_MATCH, DispositionReason.NO_BREACH)
        findings.check(own, "disposition.reason", "is no ground of one's own to uphold an action")
    _check_time(findings, "disposition.matched_at_ms", body.matched_at_ms, now_ms)
    _check_time(findings, "disposition.actioned_at_ms", body.actioned_at_ms, now_ms)
    undone_or_done = acted or body.state == DispositionState.REVERSED
    findings.check(
        undone_or_done or not body.actioned_at_ms, "disposition.actioned_at_ms", "has no place where nothing was done"
    )
    if body.matched_at_ms and body.actioned_at_ms:
        in_order = body.matched_at_ms <= body.actioned_at_ms
        findings.check(in_order, "disposition.actioned_at_ms", "lies before matched_at_ms")


def _check_targets(
    findings: Findings, header: Header, body: AboutSignals, role: Role, facts: LifeFacts, directory: Directory
) -> None:
    where, targets = f"{KINDS[header.kind].name}.targets", body.targets
    if not _check_form(findings, where, targets):
        return
    known = facts.signals(targets)
    # Records for named members can be erased like those of signals, and nothing else is said of them here.
    others = facts.addressed.said(targets) if isinstance(body, Erasure) else {}
    for position, target in enumerate(targets):
        other = others.get(target)
        if other is not None and other.may_be_erased_by(other.publisher if role is Role.OPERATOR else header.publisher):
            continue
        problem = _problem(header, body, role, known.get(target), directory)
        findings.check(not problem, f"{where}[{position}]", problem)


def _check_form(findings: Findings, where: str, targets: Sequence[bytes]) -> bool:
    """Whether these can be looked up; what keeps them from it is noted."""
    if not 0 < len(targets) <= MAX_TARGETS:
        findings.add(where, f"must be 1 to {MAX_TARGETS}, not {len(targets)}")
        return False
    if any(len(target) != ID_BYTES for target in targets) or len(set(targets)) != len(targets):
        findings.add(where, "must be signal ids of 32 bytes, without repeats")
        return False
    return True


def _problem(header: Header, body: AboutSignals, role: Role, facts: SignalFacts | None, directory: Directory) -> str:
    """Return what is wrong with saying this of one signal; empty where nothing is."""
    own = facts is not None and facts.publisher == header.publisher
    operator, entry = role is Role.OPERATOR, directory.members.get(header.publisher)
    if facts is None or not (own or operator or could_see(directory, header.origin, header.publisher, facts)):
        return "is no signal that is known to you"
    match body:
        case Retraction() | Erasure() if not (own or operator):
            return "is another member's signal; say what you think of it with an opinion"
        case Retraction() if facts.retracted_at is not None:
            return "has been taken back already"
        case Erasure() if facts.erased_at is not None:
            return "has been erased already"
        case Opinion() | Disposition() if own:
            return "is your own signal"
        case Disposition() if facts.live and not _takes_part(entry, header.origin):
            return "stands: who is suspended or has left says only what became of what was taken back"
    return ""


def _takes_part(entry: MemberEntry | None, origin: str) -> bool:
    return entry is not None and not entry.suspended and origin in entry.communities


def _check_acknowledgement(
    findings: Findings, header: Header, body: Acknowledgement, facts: LifeFacts, directory: Directory, now_ms: int
) -> None:
    last = facts.member(header.publisher)
    through = body.processed_through
    findings.check(
        through < facts.size,
        "acknowledgement.processed_through",
        f"lies beyond the log of {facts.size} entries",
    )
    moved = last.processed_through is None or through > last.processed_through
    findings.check(moved, "acknowledgement.processed_through", "must lie above the last one that you acknowledged")
    findings.check(
        bool(body.clock_error_ms) or not body.clock_offset_ms,
        "acknowledgement.clock_error_ms",
        "is mandatory with an offset",
    )
    _check_cells(findings, body.cells, directory, facts.elections)
    early_ms = last.acknowledged_at_ms + ACKNOWLEDGE_EVERY_MS - now_ms
    if not findings.total and last.processed_through is not None and early_ms > 0:
        raise OverQuota("a member acknowledges at most once a minute", retry_after_ms=early_ms)


def cell_bytes(cell: LagCell) -> int:
    """Return how many bytes a cell takes at most: all of an acknowledgement together `MAX_CELLS_BYTES`."""
    return len(cell.publisher) + len(cell.election) + _COUNT_BYTES * len(cell.counts) + _CELL_OVERHEAD


def _may_signal_or_retract(directory: Directory, member: str) -> bool:
    entry = directory.members.get(member)
    return entry is not None and entry.member_class in (MemberClass.PLATFORM, MemberClass.OPERATOR)


def _check_cells(
    findings: Findings, cells: Sequence[LagCell], directory: Directory, elections: Mapping[bytes, ElectionFacts]
) -> None:
    where = "acknowledgement.cells"
    places = [(cell.publisher, cell.label, cell.election, cell.retraction) for cell in cells]
    findings.check(places == sorted(set(places)), where, "must be sorted, without repeats")
    findings.check(all(_may_signal_or_retract(directory, cell.publisher) for cell in cells), where, "name no publisher")
    named = {cell.election for cell in cells} - {b""}
    findings.check(named <= elections.keys(), where, "name no election of this community")
    labelled = all(cell.label in _LABELS or (cell.retraction and not cell.label) for cell in cells)
    findings.check(labelled, where, "hold a label that is not known")
    right = all(0 < len(cell.counts) <= BUCKETS and cell.counts[-1] for cell in cells)
    findings.check(right, where, f"have 1 to {BUCKETS} counts each, the last not 0")
    in_range = all(0 <= count <= _MAX_COUNT for cell in cells for count in cell.counts)
    findings.check(in_range, where, "hold a count out of range")
    fits = len(cells) <= MAX_CELLS and sum(map(cell_bytes, cells)) <= MAX_CELLS_BYTES
    findings.check(fits, where, "are too many for one acknowledgement: acknowledge a lower index first")


def _check_quarantine(
    findings: Findings, header: Header, body: Quarantine | Release, facts: LifeFacts, directory: Directory
) -> None:
    name = KINDS[header.kind].name
    entry = directory.members.get(body.member)
    here = entry is not None and entry.ever_in(header.origin)
    findings.check(here, f"{name}.member", "is no member of this community")
    since = facts.member(body.member).quarantined_from if here else None
    flagged = since is not None
    if isinstance(body, Release):
        findings.check(flagged or not here, f"{name}.member", "is not in quarantine")
        return
    wider = since is None or body.from_index < since
    findings.check(wider, f"{name}.from_index", "does not lie below that of the quarantine that it is in")
    _word(findings, f"{name}.reason", body.reason, QuarantineReason)
    findings.check(body.from_index <= facts.size, f"{name}.from_index", "lies beyond the log")
