"""What a pipeline says, and how it becomes statements: grouped by header, salted, hashed, checked, signed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from exchange import codec
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.statement import (
    HEADER_TYPE,
    NONCE_BYTES,
    SALT_BYTES,
    Audience,
    Body,
    Confidence,
    Handling,
    Header,
    Indicator,
    Record,
    Severity,
    SignalHeader,
    Signature,
    Statement,
    audience_id,
    signal_ids,
)
from exchange.domain.validation import MAX_STATEMENT_BYTES, Rules, validate
from exchange.errors import ExchangeError, InvalidStatement
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey

MAX_RECORDS = 1_000
_ROOM_BYTES = MAX_STATEMENT_BYTES - 64 * 1024


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
    """A signed statement, with the signals that it says and their ids, in order."""

    statement: Statement
    signals: tuple[Signal, ...]
    ids: tuple[bytes, ...]


class Drafter:
    """Makes statements for one log, in one member's name."""

    def __init__(self, origin: str, member: str, key: SigningKey, now_ms: Callable[[], int]) -> None:
        """Sign with this key."""
        self._origin = origin
        self._member = member
        self._key = key
        self._now_ms = now_ms

    def draft(
        self, signals: Sequence[Signal], rules: Callable[[], Rules]
    ) -> tuple[list[Draft], list[tuple[Signal, ExchangeError]]]:
        """Return statements for the signals, and the signals that are refused, each with what is wrong with it."""
        drafts: list[Draft] = []
        refused: list[tuple[Signal, ExchangeError]] = []
        for group in _groups(signals):
            try:
                drafts.append(self._statement(group, rules()))
            except InvalidStatement as error:
                good, bad = self._sift(group, error, rules())
                refused += bad
                if good:
                    drafts.append(self._statement(good, rules()))
        return drafts, refused

    def _sift(
        self, group: Sequence[Signal], error: ExchangeError, rules: Rules
    ) -> tuple[list[Signal], list[tuple[Signal, ExchangeError]]]:
        if len(group) == 1:
            return [], [(group[0], error)]
        good: list[Signal] = []
        bad: list[tuple[Signal, ExchangeError]] = []
        for signal in group:
            try:
                self._statement([signal], rules)
                good.append(signal)
            except InvalidStatement as own:
                bad.append((signal, own))
        return good, bad

    def _statement(self, signals: Sequence[Signal], rules: Rules) -> Draft:
        records = [Record(secrets.token_bytes(SALT_BYTES), s.indicators, s.case_ref, s.quality) for s in signals]
        raw = [codec.encode_record(record) for record in records]
        ids = signal_ids(self._origin, self._member, raw)
        first = signals[0]
        members = first.audience
        audience_record = b""
        if members is not None:
            audience_record = codec.encode_audience(secrets.token_bytes(SALT_BYTES), sorted(set(members)))
        body = _body(first, records, audience_id(self._origin, self._member, audience_record) if members else b"")
        header = self.header(body, Kind.SIGNAL, ids)
        validate(header, raw, records, audience_record, codec.decode_audience(audience_record, strict=True), rules)
        statement = self.sign(header, records=tuple(raw), audience_record=audience_record)
        return Draft(statement, tuple(signals), tuple(ids))

    def header(self, body: Body, kind: Kind, ids: Sequence[bytes] = ()) -> Header:
        """Return a header of ours, made now."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Header(self._origin, kind, self._member, self._now_ms(), nonce, tuple(ids), body)

    def sign(self, header: Header, *, records: tuple[bytes, ...] = (), audience_record: bytes = b"") -> Statement:
        """Return the statement with this header, signed."""
        payload = codec.encode_header(header)
        signature = Signature(self._key.key_id, self._key.sign(pae(HEADER_TYPE, payload)))
        return Statement(payload, (signature,), records, audience_record)


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


def _groups(signals: Sequence[Signal]) -> Iterator[list[Signal]]:
    """Yield signals that can share a header, in order, each group within a statement's bounds."""
    open_groups: dict[Signal, list[Signal]] = {}
    sizes: dict[Signal, int] = {}
    for signal in signals:
        if signal.replaces or signal.derived_from:
            yield [signal]
            continue
        key = replace(signal, indicators=(), case_ref="", quality=0)
        size = _size(signal)
        group = open_groups.setdefault(key, [])
        if len(group) >= MAX_RECORDS or (group and sizes[key] + size > _ROOM_BYTES):
            yield group
            group = open_groups[key] = []
            sizes[key] = 0
        group.append(signal)
        sizes[key] = sizes.get(key, 0) + size
    yield from open_groups.values()


def _size(signal: Signal) -> int:
    """Return about how many bytes a signal's record takes."""
    fixed = 32 + len(signal.case_ref) * 4
    return fixed + sum(16 + len(indicator.value) + 48 * len(indicator.frames) for indicator in signal.indicators)
