"""What a pipeline says, and how it becomes statements: grouped by header, salted, hashed, checked, signed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from exchange import codec
from exchange.codec_addressed import encode_addressed
from exchange.domain.addressed import (
    Addressed,
    AddressedRecord,
    Note,
    NoteRecord,
    Referral,
    ReferralRecord,
    ReferralUpdate,
    UpdateRecord,
)
from exchange.domain.bodies import (
    AboutSignals,
    Audience,
    Body,
    Confidence,
    Handling,
    Severity,
    SignalHeader,
)
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.life import validate_words
from exchange.domain.referrals import check_record
from exchange.domain.statement import NONCE_BYTES, SALT_BYTES, Header, IndicatorView, Statement, audience_id, signal_ids
from exchange.domain.validation import MAX_STATEMENT_BYTES, Findings, Rules, validate
from exchange.errors import InvalidStatement, Rejected, Violation
from exchange.signatures.signed import Signer, signed
from exchange_client.records import Indicator, Record, VideoFrame

MAX_RECORDS = 1_000
_ADDRESSED: dict[type[AddressedRecord], type[Addressed]] = {
    ReferralRecord: Referral,
    UpdateRecord: ReferralUpdate,
    NoteRecord: Note,
}
#: What records may take: the rest is for a header with a thousand ids and the longest audience.
_ROOM_BYTES = MAX_STATEMENT_BYTES - 96 * 1024


@dataclass(frozen=True, slots=True)
class Signal:
    """One piece of content (or one account) that breached the publisher's terms, by one or more indicators.

    ``audience`` None means everyone in the community; a tuple names the members that may read it, and an empty one is
    an error. ``case_ref`` is yours: opaque to others, and the handle for taking the signal back.
    """

    label: Label
    indicators: tuple[Indicator, ...]
    expires_at_ms: int
    confidence: Confidence = Confidence.HIGH
    severity: Severity = Severity.SEVERE
    handling: Handling = Handling.AMBER
    audience: tuple[str, ...] | None = None
    election: bytes = b""
    target_class: int = 0
    observed_at_ms: int = 0
    actioned_at_ms: int = 0
    source_action: int = 0
    guidance_clause: str = ""
    lawful_basis: int = 0
    backfill: bool = False
    replaces: tuple[bytes, ...] = ()
    derived_from: tuple[bytes, ...] = ()
    case_ref: str = ""
    quality: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A signed statement, with the places (in the list that was given) of the signals in it, and their ids."""

    statement: Statement
    places: tuple[int, ...]
    ids: tuple[bytes, ...]


class Drafter:
    """Makes statements for one log, in one member's name."""

    def __init__(self, origin: str, member: str, key: Signer, now_ms: Callable[[], int]) -> None:
        """Sign with this key."""
        self._origin = origin
        self._member = member
        self._key = key
        self._now_ms = now_ms

    @property
    def origin(self) -> str:
        """The log that we speak in."""
        return self._origin

    @property
    def member(self) -> str:
        """Whose statements they are."""
        return self._member

    def draft(
        self, signals: Sequence[Signal], rules: Callable[[], Rules]
    ) -> tuple[list[Draft], list[tuple[int, Rejected]]]:
        """Return statements for the signals, and the places of refused ones, each with what is wrong with it."""
        drafts: list[Draft] = []
        refused: list[tuple[int, Rejected]] = []
        waiting = list(_groups(signals))
        while waiting:
            group = waiting.pop(0)
            try:
                drafts.append(self._statement(group, [signals[place] for place in group], rules()))
            except Rejected as error:
                if len(group) == 1:
                    refused.append((group[0], error))
                    continue
                bad = self._sift(group, signals, rules())
                good = [place for place in group if place not in bad]
                refused += bad.items()
                # Where each would do alone and all together will not, they go alone.
                waiting[:0] = ([good] if good else []) if bad else [[place] for place in group]
        return drafts, refused

    def _sift(self, group: Sequence[int], signals: Sequence[Signal], rules: Rules) -> dict[int, Rejected]:
        bad: dict[int, Rejected] = {}
        for place in group:
            try:
                self._prepare([signals[place]], rules)
            except Rejected as error:
                bad[place] = error
        return bad

    def _statement(self, places: Sequence[int], signals: Sequence[Signal], rules: Rules) -> Draft:
        header, raw, audience_record = self._prepare(signals, rules)
        statement = self.sign(header, records=tuple(raw), audience_record=audience_record)
        return Draft(statement, tuple(places), header.signal_ids)

    def _prepare(self, signals: Sequence[Signal], rules: Rules) -> tuple[Header, list[bytes], bytes]:
        """Return header, records and audience record, all checked and not signed. Raises `Rejected`."""
        records = [Record(secrets.token_bytes(SALT_BYTES), s.indicators, s.case_ref, s.quality) for s in signals]
        first = signals[0]
        members = first.audience
        audience_record = committed = b""
        try:
            raw = [codec.encode_record(record) for record in records]
            if members is not None:
                audience_record = codec.encode_audience(secrets.token_bytes(SALT_BYTES), sorted(set(members)))
                committed = audience_id(self._origin, self._member, audience_record)
            body = _body(first, records, committed)
            header = self.header(body, Kind.SIGNAL, signal_ids(self._origin, self._member, raw))
            codec.encode_header(header)
        except (AttributeError, TypeError, ValueError) as error:
            raise _not_encoded("signal", error) from error
        audience = codec.decode_audience(audience_record, strict=True)
        validate(header, raw, codec.decode_strict_records, audience_record, audience, rules)
        return header, raw, audience_record

    def header(self, body: Body, kind: Kind, ids: Sequence[bytes] = ()) -> Header:
        """Return a header of ours, made now."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Header(self._origin, kind, self._member, self._now_ms(), nonce, tuple(ids), body)

    def said(self, body: Body) -> Statement:
        """Return a signed statement without records, checked as far as it can be here. Raises `Rejected`."""
        header = self.header(body, codec.kind_of(body))
        try:
            codec.encode_header(header)
        except (AttributeError, TypeError, ValueError) as error:
            raise _not_encoded("body", error) from error
        if isinstance(body, AboutSignals):
            validate_words(header, body, now_ms=self._now_ms())
        return self.sign(header)

    def addressed(self, record: AddressedRecord, audience: Collection[str]) -> Statement:
        """Return a signed statement for named members, its record checked as far as it can be here.

        Raises `Rejected`. The record's salt is put in here.
        """
        record = replace(record, salt=secrets.token_bytes(SALT_BYTES))
        try:
            raw = encode_addressed(record)
            audience_record = codec.encode_audience(secrets.token_bytes(SALT_BYTES), sorted(set(audience)))
        except (AttributeError, TypeError, ValueError) as error:
            raise _not_encoded("record", error) from error
        findings = Findings()
        check_record(findings, record, now_ms=self._now_ms())
        findings.check(bool(audience), "audience_record", "must name its members: an empty audience is an error")
        findings.raise_if_any()
        body = _ADDRESSED[type(record)](audience_id(self._origin, self._member, audience_record))
        header = self.header(body, codec.kind_of(body), signal_ids(self._origin, self._member, [raw]))
        return self.sign(header, records=(raw,), audience_record=audience_record)

    def sign(self, header: Header, *, records: tuple[bytes, ...] = (), audience_record: bytes = b"") -> Statement:
        """Return the statement with this header, signed."""
        return signed(header, self._key, records=records, audience_record=audience_record)


def _not_encoded(what: str, error: Exception) -> InvalidStatement:
    """Return what is wrong with what no protobuf field can hold: a number out of range, a text that is no Unicode."""
    return InvalidStatement((Violation(what, f"cannot be encoded: {error}"[:200]),))


def signals_of(statement: Statement) -> list[tuple[bytes, Signal]]:
    """Return the signals that a statement was made from, each behind its id; none for what says no signals.

    Raises `Rejected` (MALFORMED).
    """
    header = codec.decode_header(statement.payload, strict=False)
    body = header.body
    if not isinstance(body, SignalHeader):
        return []
    everyone = body.audience == Audience.EVERYONE
    try:
        common = Signal(
            label=Label(body.label),
            indicators=(),
            expires_at_ms=body.expires_at_ms,
            confidence=Confidence(body.confidence),
            severity=Severity(body.severity),
            handling=Handling(body.handling),
            audience=None if everyone else codec.decode_audience(statement.audience_record, strict=False),
            election=body.election,
            target_class=body.target_class,
            observed_at_ms=body.observed_at_ms,
            actioned_at_ms=body.actioned_at_ms,
            source_action=body.source_action,
            guidance_clause=body.guidance_clause,
            lawful_basis=body.lawful_basis,
            backfill=body.backfill,
            replaces=body.replaces,
            derived_from=body.derived_from,
        )
    except ValueError as error:
        raise codec.malformed(f"a signal of no form that this release knows: {error}") from error
    return [
        (
            id_,
            replace(
                common, indicators=indicators_of(record.indicators), case_ref=record.case_ref, quality=record.quality
            ),
        )
        for id_, record in zip(header.signal_ids, codec.decode_records(statement.records, strict=False), strict=False)
    ]


def indicators_of(views: Sequence[IndicatorView]) -> tuple[Indicator, ...]:
    """Return a record's indicators as values."""
    return tuple([_indicator(view) for view in views[:]])


def _indicator(view: IndicatorView) -> Indicator:
    value = view.value
    if value:
        return Indicator(view.type, value, view.profile)
    frames = tuple([VideoFrame(frame.frame_ms, frame.quality, frame.pdq) for frame in view.frames])
    return Indicator(view.type, value, view.profile, frames)


def _body(signal: Signal, records: Sequence[Record], committed: bytes) -> SignalHeader:
    return SignalHeader(
        label=signal.label,
        confidence=signal.confidence,
        severity=signal.severity,
        handling=signal.handling,
        audience=Audience.EVERYONE if signal.audience is None else Audience.RESTRICTED,
        expires_at_ms=signal.expires_at_ms,
        indicator_types=tuple(sorted({int(i.type) for record in records for i in record.indicators})),
        audience_id=committed,
        election=signal.election,
        target_class=signal.target_class,
        observed_at_ms=signal.observed_at_ms,
        actioned_at_ms=signal.actioned_at_ms,
        source_action=signal.source_action,
        guidance_clause=signal.guidance_clause,
        lawful_basis=signal.lawful_basis,
        backfill=signal.backfill,
        replaces=signal.replaces,
        derived_from=signal.derived_from,
    )


def _groups(signals: Sequence[Signal]) -> Iterator[list[int]]:
    """Yield the places of signals that can share a header, in order, each group within a statement's bounds."""
    open_groups: dict[Signal, list[int]] = {}
    sizes: dict[Signal, int] = {}
    for place, signal in enumerate(signals):
        if signal.replaces or signal.derived_from:
            yield [place]
            continue
        key = replace(signal, indicators=(), case_ref="", quality=0)
        try:
            size = _size(signal)
            group = open_groups.setdefault(key, [])
        except (AttributeError, TypeError):  # it holds something of another type: refused alone
            yield [place]
            continue
        if len(group) >= MAX_RECORDS or (group and sizes[key] + size > _ROOM_BYTES):
            yield group
            group = open_groups[key] = []
            sizes[key] = 0
        group.append(place)
        sizes[key] = sizes.get(key, 0) + size
    yield from open_groups.values()


def _size(signal: Signal) -> int:
    """Return how many bytes a signal's record takes at most."""
    fixed = 32 + len(signal.case_ref) * 4
    return fixed + sum(16 + len(indicator.value) + 48 * len(indicator.frames) for indicator in signal.indicators)
