"""Whether a statement is well formed: every rule about content, none about who says it.

Hub, SDK and CLI run the same checks, so a publisher learns of a mistake before it signs. All violations are looked
for and counted; the first twenty are reported. The order of checks is cheap to dear, and a statement whose header is
wrong is not looked into further. Who may say it is `exchange.domain.policy`; whether bytes are a header at all is
`exchange.codec`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from exchange.domain.bodies import (
    Audience,
    Confidence,
    Handling,
    LawfulBasis,
    Severity,
    SignalHeader,
    SourceAction,
    TargetClass,
)
from exchange.domain.identifiers import INDICATOR_TYPES, PDQ_BYTES, IndicatorRow, IndicatorType, is_name, key_epoch_of
from exchange.domain.kinds import KINDS
from exchange.domain.labels import ROUTED_ELSEWHERE, Label
from exchange.domain.plain_records import MAX_INDICATORS, MAX_QUALITY, Sifted, sift
from exchange.domain.statement import (
    ID_BYTES,
    NONCE_BYTES,
    RECORD_PREFIX,
    SALT_BYTES,
    Header,
    IndicatorView,
    RecordView,
    audience_id,
    signal_ids,
)
from exchange.errors import InvalidStatement, Reason, Violation

DAY_MS = 86_400_000
SKEW_MS = 5 * 60_000
MAX_REPORTED = 20
MAX_REFERENCES = 16
MAX_FRAMES = 2_000
MAX_AUDIENCE = 500
MAX_CASE_REF_BYTES = 128
MAX_CLAUSE_BYTES = 64
#: The leaf is permanent and read by many: nothing that could be an address, a handle or a telephone number goes in.
_CLAUSE = re.compile(r"(?!.*[0-9]{7})[A-Za-z0-9](?:[A-Za-z0-9 ._()-]{0,63})", re.ASCII)
MAX_RECORD_BYTES = 4 * 1024
MAX_VIDEO_RECORD_BYTES = 64 * 1024
MAX_STATEMENT_BYTES = 768 * 1024
MAX_LEAF_BYTES = 65_535
#: What a leaf holds besides the payload: at most this much, with sixteen signatures.
LEAF_OVERHEAD_BYTES = 2_048
_NONCE = f"must be {NONCE_BYTES} bytes"


#: Returns the values of records, one for each; raises `Rejected` for bytes that are no record.
ReadRecords = Callable[[Sequence[bytes]], Sequence[RecordView]]


def _numbers(words: type[IntEnum]) -> frozenset[int]:
    return frozenset(word.value for word in words)


#: Fields of a signal's header that hold a word, and the numbers of the words that are known.
_MANDATORY = (
    ("label", _numbers(Label)),
    ("confidence", _numbers(Confidence)),
    ("severity", _numbers(Severity)),
    ("handling", _numbers(Handling)),
    ("audience", _numbers(Audience)),
)
_OPTIONAL = (
    ("target_class", _numbers(TargetClass)),
    ("source_action", _numbers(SourceAction)),
    ("lawful_basis", _numbers(LawfulBasis)),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the log's own rules allow, and the time it is judged at (Unix milliseconds)."""

    now_ms: int
    max_expiry_days: int
    replay_window_days: int
    #: When each key epoch ends (Unix milliseconds) that a pseudonym may be of now: those that are live. None where
    #: they are not known, and the hub is the one to judge.
    key_epochs: Mapping[int, int] | None = None


@dataclass(slots=True)
class Findings:
    """Collects violations; counts all, keeps the first few."""

    violations: list[Violation] = field(default_factory=list)
    total: int = 0
    reason: Reason = Reason.INVALID
    hint: str = ""

    def add(self, where: str, what: str, *, reason: Reason = Reason.INVALID, hint: str = "") -> None:
        """Note one violation. The first that has a reason or hint of its own gives it to the whole."""
        self.total += 1
        if len(self.violations) < MAX_REPORTED:
            self.violations.append(Violation(where, what))
        if self.reason is Reason.INVALID:
            self.reason = reason
        self.hint = self.hint or hint

    def check(self, ok: bool, where: str, what: str) -> None:  # noqa: FBT001 - reads as an assertion
        """Note a violation unless ``ok``."""
        if not ok:
            self.add(where, what)

    def raise_if_any(self) -> None:
        """Raise `InvalidStatement` with what was found."""
        if self.total:
            raise InvalidStatement(tuple(self.violations), total=self.total, reason=self.reason, hint=self.hint)


def check_created(header: Header, rules: Rules, *, resubmission: bool) -> bool:
    """Judge created_at against the hub's clock; return whether the statement is late.

    Raises `InvalidStatement` with CLOCK_SKEW. A resubmission may be as old as the replay window, never from the
    future; anything else must lie within five minutes.
    """
    findings = Findings()
    behind_ms = rules.now_ms - header.created_at_ms
    late = behind_ms > SKEW_MS
    if behind_ms < -SKEW_MS:
        findings.add("created_at_ms", "lies in the future of the hub's clock", reason=Reason.CLOCK_SKEW)
    elif late and not resubmission:
        findings.add(
            "created_at_ms",
            "is more than five minutes old",
            reason=Reason.CLOCK_SKEW,
            hint="an outbox that sends a statement again marks it as a resubmission",
        )
    elif behind_ms > rules.replay_window_days * DAY_MS:
        findings.add("created_at_ms", "is older than the replay window", reason=Reason.CLOCK_SKEW)
    findings.raise_if_any()
    return late


def validate(
    header: Header,
    raw_records: Sequence[bytes],
    read: ReadRecords,
    audience_record: bytes,
    audience: Sequence[str],
    rules: Rules,
) -> None:
    """Check a signal statement whole: header, records against the header, audience. Raises `InvalidStatement`.

    ``read`` returns the values of those records that are not plain (`exchange.domain.plain_records`), strictly read;
    ``audience`` is the member list of ``audience_record`` (both empty when the audience is everyone).
    """
    body = header.body
    findings = Findings()
    check_envelope(findings, header)
    if not isinstance(body, SignalHeader):
        findings.add(KINDS[header.kind].name, "is missing")
        findings.raise_if_any()
        return
    _check_signal_header(findings, body, rules)
    _check_counts(findings, header, body, raw_records)
    findings.raise_if_any()
    sifted = _check_records(findings, body, raw_records, read)
    _check_key_epochs(findings, body, sifted.key_epochs, rules)
    _check_ids(findings, header, raw_records)
    _check_audience(findings, header, body, audience_record, audience)
    findings.raise_if_any()


def check_envelope(findings: Findings, header: Header) -> None:
    """Check what every header has, whatever its kind."""
    findings.check(is_name(header.publisher), "publisher", "is not a member id")
    findings.check(len(header.nonce) == NONCE_BYTES, "nonce", _NONCE)
    findings.check(header.created_at_ms > 0, "created_at_ms", "is missing")


def _check_signal_header(findings: Findings, body: SignalHeader, rules: Rules) -> None:
    if body.label in ROUTED_ELSEWHERE:
        pointer = ROUTED_ELSEWHERE[Label(body.label)]
        findings.add("signal.label", "is routed elsewhere", reason=Reason.ROUTED_ELSEWHERE, hint=pointer)
    for name, words in _MANDATORY:
        value = getattr(body, name)
        if value not in words:
            findings.add(f"signal.{name}", f"{value} is not known" if value else "is mandatory")
    for name, words in _OPTIONAL:
        value = getattr(body, name)
        if value and value not in words:
            findings.add(f"signal.{name}", f"{value} is not known")
    findings.check(len(body.election) in (0, ID_BYTES), "signal.election", "is no id of an election")
    if body.guidance_clause and _CLAUSE.fullmatch(body.guidance_clause) is None:
        findings.add(
            "signal.guidance_clause",
            f"must be a clause's number or short name: at most {MAX_CLAUSE_BYTES} letters, digits and . ( ) - _, no "
            "more than six digits in a row",
        )
    _check_times(findings, body, rules)
    if body.replaces or body.derived_from:
        _check_references(findings, body)
    types = body.indicator_types
    findings.check(
        bool(types) and list(types) == sorted(set(types)), "signal.indicator_types", "must be a sorted set, not empty"
    )


def _check_times(findings: Findings, body: SignalHeader, rules: Rules) -> None:
    if body.expires_at_ms <= 0:
        findings.add("signal.expires_at_ms", "is mandatory")
    elif body.expires_at_ms <= rules.now_ms:
        findings.add("signal.expires_at_ms", "lies in the past")
    elif body.expires_at_ms > rules.now_ms + rules.max_expiry_days * DAY_MS:
        findings.add("signal.expires_at_ms", f"is over {rules.max_expiry_days} days away, the longest life here")
    latest_ms = rules.now_ms + SKEW_MS
    findings.check(0 <= body.observed_at_ms <= latest_ms, "signal.observed_at_ms", "lies in the future")
    findings.check(0 <= body.actioned_at_ms <= latest_ms, "signal.actioned_at_ms", "lies in the future")
    if body.observed_at_ms and body.actioned_at_ms:
        findings.check(
            body.observed_at_ms <= body.actioned_at_ms, "signal.actioned_at_ms", "lies before observed_at_ms"
        )


def _check_references(findings: Findings, body: SignalHeader) -> None:
    for name, references in (("replaces", body.replaces), ("derived_from", body.derived_from)):
        findings.check(len(references) <= MAX_REFERENCES, f"signal.{name}", f"names more than {MAX_REFERENCES} signals")
        findings.check(all(len(id_) == ID_BYTES for id_ in references), f"signal.{name}", "holds something not an id")
        findings.check(len(set(references)) == len(references), f"signal.{name}", "names a signal twice")
    findings.check(
        not (body.replaces and body.derived_from), "signal.derived_from", "cannot stand together with replaces"
    )


def _check_counts(findings: Findings, header: Header, body: SignalHeader, raw_records: Sequence[bytes]) -> None:
    row = KINDS[header.kind]
    count, ids = len(raw_records), header.signal_ids
    if not row.min_records <= count <= row.max_records:
        findings.add(
            "records",
            f"must be {row.min_records} to {row.max_records}, not {count}",
            reason=Reason.TOO_LARGE if count > row.max_records else Reason.INVALID,
        )
    if len(ids) != count:
        findings.add("signal_ids", f"holds {len(ids)} ids for {count}")
    findings.check(len(set(ids)) == len(ids), "signal_ids", "holds an id twice")
    if body.replaces or body.derived_from:
        findings.check(count == 1, "records", "must be exactly one with replaces or derived_from")


def _check_records(findings: Findings, body: SignalHeader, raw_records: Sequence[bytes], read: ReadRecords) -> Sifted:
    seen = sift(raw_records)
    odd = [raw_records[position] for position in seen.others]
    for position, raw, record in zip(seen.others, odd, read(odd) if odd else (), strict=True):
        _check_record(findings, f"records[{position}]", raw, record, seen)
    if not findings.total and seen.types != set(body.indicator_types):
        findings.add("signal.indicator_types", "differs from the types in the records")
    return seen


def _check_key_epochs(findings: Findings, body: SignalHeader, named: Collection[int], rules: Rules) -> None:
    """A pseudonym says nothing outside of its epoch, so the signal may not outlive it."""
    if rules.key_epochs is None:
        return
    for number in sorted(named):
        ends_ms = rules.key_epochs.get(number)
        if ends_ms is None:
            findings.add("records", f"hold a pseudonym of key epoch {number}, which is not live here")
        elif body.expires_at_ms > ends_ms:
            findings.add("signal.expires_at_ms", f"lies behind the end of key epoch {number}")


def _check_record(findings: Findings, where: str, raw: bytes, record: RecordView, seen: Sifted) -> None:
    if raw[:2] != RECORD_PREFIX or len(record.salt) != SALT_BYTES:
        findings.add(f"{where}.salt", f"must be the record's first field, {SALT_BYTES} bytes")
    has_video = any(indicator.type == IndicatorType.VPDQ for indicator in record.indicators)
    limit = MAX_VIDEO_RECORD_BYTES if has_video else MAX_RECORD_BYTES
    if len(raw) > limit:
        findings.add(where, f"is {len(raw)} bytes; at most {limit} are allowed", reason=Reason.TOO_LARGE)
    if len(record.case_ref.encode()) > MAX_CASE_REF_BYTES:
        findings.add(f"{where}.case_ref", f"is longer than {MAX_CASE_REF_BYTES} bytes")
    findings.check(record.quality <= MAX_QUALITY, f"{where}.quality", f"must be 0 to {MAX_QUALITY}")
    findings.check(
        0 < len(record.indicators) <= MAX_INDICATORS, f"{where}.indicators", f"must be 1 to {MAX_INDICATORS}"
    )
    for position, indicator in enumerate(record.indicators):
        check_indicator(findings, f"{where}.indicators[{position}]", indicator)
        seen.types.add(indicator.type)
        if indicator.type == IndicatorType.PSEUDONYM:
            seen.key_epochs.add(key_epoch_of(indicator.value))


def check_indicator(findings: Findings, where: str, indicator: IndicatorView) -> None:
    """Check one indicator against the registry."""
    row = INDICATOR_TYPES.get(indicator.type)
    if row is None:
        findings.add(f"{where}.type", f"{indicator.type} is not a known indicator type")
        return
    findings.check(
        indicator.profile in row.profiles, f"{where}.profile", f"{indicator.profile} is unknown for {row.type.word}"
    )
    if row.has_frames:
        _check_frames(findings, where, indicator)
    else:
        findings.check(not indicator.frames, f"{where}.frames", f"has no place in a {row.type.word}")
        _check_value(findings, where, indicator, row)


def _check_value(findings: Findings, where: str, indicator: IndicatorView, row: IndicatorRow) -> None:
    size = len(indicator.value)
    if size == row.value_bytes:
        return
    hint = "send the raw bytes of the hash, not its hexadecimal text" if size == 2 * row.value_bytes else ""
    findings.add(f"{where}.value", f"is {size} bytes; a {row.type.word} has exactly {row.value_bytes}", hint=hint)


def _check_frames(findings: Findings, where: str, indicator: IndicatorView) -> None:
    frames = indicator.frames
    findings.check(not indicator.value, f"{where}.value", "must be empty for a vpdq")
    findings.check(0 < len(frames) <= MAX_FRAMES, f"{where}.frames", f"must be 1 to {MAX_FRAMES}")
    findings.check(all(len(frame.pdq) == PDQ_BYTES for frame in frames), f"{where}.frames", "hold a PDQ hash each")
    findings.check(all(frame.quality <= MAX_QUALITY for frame in frames), f"{where}.frames", "quality is 0 to 100")
    times = [frame.frame_ms for frame in frames]
    findings.check(times == sorted(times), f"{where}.frames", "must be in order of time")


def _check_ids(findings: Findings, header: Header, raw_records: Sequence[bytes]) -> None:
    computed = signal_ids(header.origin, header.publisher, raw_records)
    if tuple(computed) == header.signal_ids:
        return
    for position, (ours, theirs) in enumerate(zip(computed, header.signal_ids, strict=False)):
        findings.check(ours == theirs, f"records[{position}]", "does not hash to its signal id")


def _check_audience(
    findings: Findings, header: Header, body: SignalHeader, audience_record: bytes, audience: Sequence[str]
) -> None:
    if body.audience == Audience.EVERYONE:
        findings.check(not body.audience_id, "signal.audience_id", "has no place when the audience is everyone")
        findings.check(not audience_record, "audience_record", "has no place when the audience is everyone")
        return
    findings.check(bool(audience), "audience_record", "must name at least one member: an empty audience is an error")
    findings.check(len(audience) <= MAX_AUDIENCE, "audience_record", f"names more than {MAX_AUDIENCE} members")
    findings.check(all(map(is_name, audience)), "audience_record", "names something that is not a member id")
    findings.check(list(audience) == sorted(set(audience)), "audience_record", "must be sorted, without repeats")
    findings.check(audience_record[:2] == RECORD_PREFIX, "audience_record.salt", f"must come first, {SALT_BYTES} bytes")
    committed = audience_id(header.origin, header.publisher, audience_record)
    findings.check(body.audience_id == committed, "signal.audience_id", "is not the id of the audience record")
