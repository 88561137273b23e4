"""Statements for the tests: a draft is a valid statement with whatever overrides a test wants, signed by whoever."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from exchange import codec
from exchange.domain.bodies import Audience, Body, SignalHeader
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.statement import HEADER_TYPE, Header, Signature, Statement, audience_id, signal_ids
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import statement_pb2 as pb
from exchange_client.records import Indicator, Record, VideoFrame

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Draft:
    """What somebody wants to say. ``ids`` are computed from the records unless given."""

    origin: str
    member: str
    kind: int
    body: Body | None
    records: tuple[bytes, ...] = ()
    audience_record: bytes = b""
    ids: tuple[bytes, ...] | None = None
    created_at_ms: int = field(default_factory=now_ms)
    nonce: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    resubmission: bool = False

    def payload(self) -> bytes:
        """Return the bytes to sign."""
        ids = tuple(signal_ids(self.origin, self.member, self.records)) if self.ids is None else self.ids
        return codec.encode_header(
            Header(self.origin, self.kind, self.member, self.created_at_ms, self.nonce, ids, self.body)
        )

    def sign(self, *keys: SigningKey, payload: bytes | None = None) -> pb.Statement:
        """Return the message, signed by these keys; a test may sign other bytes than the draft's own."""
        data = self.payload() if payload is None else payload
        signatures = tuple(Signature(key.key_id, key.sign(pae(HEADER_TYPE, data))) for key in keys)
        return codec.statement_to_wire(
            Statement(data, signatures, self.records, self.audience_record, self.resubmission)
        )

    def but(self, **changes: Any) -> Draft:
        """Return the draft with changes to it, or (for names it does not have) to the signal's header."""
        own = {name: value for name, value in changes.items() if name in self.__dataclass_fields__}
        inner = {name: value for name, value in changes.items() if name not in own}
        body = self.body
        if inner:
            assert isinstance(body, SignalHeader)
            own["body"] = replace(body, **inner)
        return replace(self, **own)


def record(
    value: bytes | None = None,
    type_: int = IndicatorType.PDQ,
    *,
    case_ref: str = "",
    quality: int = 90,
    salt: bytes | None = None,
    profile: int = 1,
) -> bytes:
    """Return one record with one indicator."""
    indicator = Indicator(type_, secrets.token_bytes(32) if value is None else value, profile)
    return codec.encode_record(
        Record(secrets.token_bytes(16) if salt is None else salt, (indicator,), case_ref, quality)
    )


def video(frames: int) -> bytes:
    """Return a record of a video with so many frames, about 40 bytes each."""
    made = tuple(VideoFrame(at * 1000, 80, secrets.token_bytes(32)) for at in range(frames))
    return codec.encode_record(Record(secrets.token_bytes(16), (Indicator(IndicatorType.VPDQ, frames=made),)))


def signal(member: str, origin: str, *, records: Sequence[bytes] | None = None, **changes: Any) -> Draft:
    """Return a good signal for everyone, with changes to draft or header."""
    body = SignalHeader(
        label=Label.HARASSMENT_TARGETED,
        confidence=2,
        severity=3,
        handling=3,
        audience=Audience.EVERYONE,
        expires_at_ms=now_ms() + DAY_MS,
        indicator_types=(IndicatorType.PDQ,),
    )
    taken = (record(),) if records is None else tuple(records)
    return Draft(origin, member, Kind.SIGNAL, body, taken).but(**changes)


def restricted(member: str, origin: str, readers: Sequence[str], **changes: Any) -> Draft:
    """Return a good signal whose records are for some members only."""
    audience = codec.encode_audience(secrets.token_bytes(16), readers)
    draft = signal(member, origin, audience=Audience.RESTRICTED, audience_record=audience)
    return draft.but(audience_id=audience_id(origin, member, audience)).but(**changes)
