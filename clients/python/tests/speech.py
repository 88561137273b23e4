"""Things to say: signals, headers and indicators for the tests."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from clients.python.tests.fake_hub import DAY_MS, START_MS, UK, FakeHub, signed
from exchange import codec
from exchange.domain.bodies import Audience, Body, SignalHeader
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.statement import Header, Statement, signal_ids
from exchange_client import Delivery, ReceivedSignal, Signal, Signals
from exchange_client.records import Indicator, Record


def sha(value: bytes | None = None) -> Indicator:
    """An exact indicator."""
    return Indicator(IndicatorType.IMAGE_SHA256, secrets.token_bytes(32) if value is None else value)


def signal(case_ref: str = "", **changes: Any) -> Signal:
    """A good signal."""
    made = Signal(Label.HARASSMENT_TARGETED, (sha(),), START_MS + DAY_MS, case_ref=case_ref)
    return replace(made, **changes)


def header_body(**changes: Any) -> SignalHeader:
    """A good signal's header."""
    body = SignalHeader(
        Label.HARASSMENT_TARGETED, 3, 4, 3, Audience.EVERYONE, START_MS + DAY_MS, (IndicatorType.IMAGE_SHA256,)
    )
    return replace(body, **changes)


def statement(hub: FakeHub, member: str = "alpha", *, count: int = 1, by: str = "", **changes: Any) -> Statement:
    """A signed statement with so many signals."""
    records = tuple(codec.encode_record(Record(secrets.token_bytes(16), (sha(),), "T-1")) for _ in range(count))
    values: dict[str, Any] = {
        "origin": UK,
        "kind": Kind.SIGNAL,
        "publisher": member,
        "created_at_ms": hub.now,
        "nonce": secrets.token_bytes(16),
        "signal_ids": tuple(signal_ids(UK, member, records)),
        "body": header_body(),
    }
    return signed(Header(**(values | changes)), hub.keys[by or member], records=records)


def delivery(
    *signals: ReceivedSignal,
    publisher: str = "alpha",
    index: int = 0,
    origin: str = UK,
    created_at_ms: int = START_MS,
    received_at_ms: int = START_MS,
    **changes: Any,
) -> Delivery:
    """A delivery of signals, as a subscriber hands it on."""
    ids = tuple(s.signal_id for s in signals)
    header = Header(origin, Kind.SIGNAL, publisher, created_at_ms, bytes(16), ids, header_body(**changes))
    state = "present" if signals else "not_for_you"
    return Delivery(origin, index, b"", received_at_ms, False, header, state, Signals(ids, signals), START_MS, True)


def saying(body: Body, *, publisher: str = "alpha", index: int = 0, origin: str = UK) -> Delivery:
    """A delivery of a statement without records."""
    header = Header(origin, codec.kind_of(body), publisher, START_MS, bytes(16), (), body)
    return Delivery(origin, index, b"", START_MS, False, header, "present", Signals(), START_MS, True)


def received(*indicators: Indicator, id_: bytes | None = None) -> ReceivedSignal:
    """One received signal."""
    return ReceivedSignal(secrets.token_bytes(32) if id_ is None else id_, indicators, "", 0)
