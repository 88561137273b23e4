"""What the SDK reads of a hub: feed messages, receipts, refusals, directory entries, and where it was in a log."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from random import Random
from unittest import mock

import grpc

from clients.python.tests.fake_hub import DIRECTORY, NOT_FOR_YOU, OPERATOR, PRESENT, UK, FakeHub
from clients.python.tests.speech import header_body, statement
from exchange import codec
from exchange.api.status import rejection, status_of
from exchange.codec import Delivered
from exchange.domain.bodies import Key, State
from exchange.domain.kinds import Kind, Role
from exchange.domain.statement import (
    HEADER_TYPE,
    Header,
    Leaf,
    Signature,
    Statement,
    audience_id,
    signal_ids,
)
from exchange.errors import (
    CursorBelowFloor,
    ExchangeError,
    Fatal,
    InvalidStatement,
    OverQuota,
    Reason,
    Rejected,
    Unavailable,
    VerificationFailed,
    Violation,
)
from exchange.ledger.checkpoint import log_verifier
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import feed_pb2, publish_pb2
from exchange.v1 import statement_pb2 as pb
from exchange_client import FeedVerifier, Matcher
from exchange_client.delivery import Delivery, delivery_of
from exchange_client.directory import DirectoryChecker
from exchange_client.jsonl import delivery_to_json
from exchange_client.receipt import verify_receipt
from exchange_client.status import from_rpc
from exchange_client.transport import _feed_message, _result
from tests.fuzz.target import Target
from tests.fuzz.wire_targets import VIDEO

HUB = FakeHub()
# The same in every process: an input that was kept must mean tomorrow what it means today.
with mock.patch.object(secrets, "token_bytes", Random(1).randbytes):
    SAID = [statement(HUB), statement(HUB, "beta", count=3), statement(HUB)]
for each in SAID:
    HUB.commit(each)
CHECKER = DirectoryChecker(DIRECTORY, HUB.pin)
for entry in HUB.directory.entries:
    CHECKER.take(entry)
VERIFIER = log_verifier(UK, HUB.uk.key.public_key)
ERRORS: tuple[ExchangeError, ...] = (
    Rejected(Reason.NOT_FOUND, "no such thing", hint="look elsewhere"),
    InvalidStatement((Violation("records[0].salt", "is missing"), Violation("nonce", "is short")), total=40),
    CursorBelowFloor(2**63 - 1),
    OverQuota("too much", retry_after_ms=1_500),
    Unavailable("later", reason=Reason.DRAINING),
    Fatal("an old copy", reason=Reason.ROLLED_BACK),
    VerificationFailed(Reason.BAD_SIGNATURE, "it does not verify"),
)


def _take(verifier: FeedVerifier, entries: tuple[Delivered, ...]) -> None:
    """Take entries as a subscriber does, and use what holds."""
    deliveries = []
    for entry in entries:
        found = verifier.entry(CHECKER.directory, entry)
        assert found is not None
        deliveries.append(delivery_of(UK, found, entry, delivered_at_ms=HUB.now, covered=True))
    try:
        _use(deliveries)
    except ExchangeError as error:
        raise AssertionError("a verified entry cannot be used") from error


def _use(deliveries: list[Delivery]) -> None:
    """Print deliveries as JSON lines and match with them: nothing is left to be refused."""
    matcher = Matcher()
    for delivery in deliveries:
        assert json.loads(json.dumps(delivery_to_json(delivery)))
        matcher.add(delivery)
        for signal in delivery.signals:
            matcher.match(signal.indicators, now_ms=HUB.now)
    matcher.expire(now_ms=2**63)
    assert len(matcher) == 0


def read_feed_message(data: bytes) -> object:
    """Nothing that a feed brings is handed on unless it is what the hub has signed and members have said."""
    message = _feed_message(codec.parse(feed_pb2.SubscribeResponse(), data, "feed message"))
    verifier = FeedVerifier.from_start(UK, VERIFIER)
    if message.hello is not None:
        verifier.hello(message.hello)
    _take(verifier, message.entries)
    if message.checkpoint:
        verifier.checkpoint(message.checkpoint)
    if message.entries and verifier.covered_size == len(message.entries):
        assert [entry.leaf for entry in message.entries] == [e.leaf for e in HUB.uk.entries[: len(message.entries)]]
    return message


def _signed_again(payload: bytes, key: SigningKey) -> tuple[Signature, ...]:
    return (Signature(key.key_id, key.sign(pae(HEADER_TYPE, payload))),)


def take_hostile_entry(data: bytes) -> object:
    """A member may sign whatever it likes, and a hub that helps it may commit it: receivers stay on their feet.

    Ids, place and signature are made to fit, so that everything else in header and records is the member's own.
    """
    sent = codec.decode_statement(data)
    header = codec.parse(pb.Header(), sent.payload, "header")
    header.origin, header.publisher = UK, "alpha"
    header.signal_ids = b"".join(signal_ids(UK, "alpha", sent.records))
    if header.HasField("signal") and header.signal.audience_id:
        header.signal.audience_id = audience_id(UK, "alpha", sent.audience_record)
    payload = header.SerializeToString()
    leaf = Leaf(0, HUB.now, False, CHECKER.directory.size, payload, _signed_again(payload, HUB.keys["alpha"]))
    wire = Delivered(codec.encode_leaf(leaf), PRESENT, sent.records, sent.audience_record)
    for each in (wire, replace(wire, state=NOT_FOR_YOU, records=(), audience_record=b"")):
        _take(FeedVerifier.from_start(UK, VERIFIER), (each,))
    return wire


def read_result(data: bytes) -> object:
    """A receipt is believed only for the statement that was sent; a refusal becomes an error of ours."""
    result = _result(codec.parse(publish_pb2.PublishResult(), data, "result"))
    if result.receipt is None:
        assert isinstance(result.error, ExchangeError)
        assert result.error.diagnostics() is not None
        return result
    receipt = verify_receipt(result.receipt, SAID[1], VERIFIER)
    assert (receipt.index, receipt.leaf) == (1, HUB.uk.entries[1].leaf)
    return receipt


def read_status(data: bytes) -> object:
    """Whatever a hub's status says, the caller gets one of our errors, and a wait within reason."""
    code = list(grpc.StatusCode)[data[0] % len(grpc.StatusCode)] if data else grpc.StatusCode.UNKNOWN
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", data[1:]))
    failed = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, details="details of the hub's own")
    found: object = from_rpc(failed)
    assert isinstance(found, ExchangeError)
    if isinstance(found, Unavailable):
        assert isinstance(found.retry_after_ms, int)
    return found


def take_directory_entry(data: bytes) -> object:
    """The directory's fold survives whatever an operator signs, and what it refuses has changed nothing."""
    checker = DirectoryChecker(DIRECTORY, HUB.pin)
    for entry in HUB.directory.entries[:5]:
        checker.take(entry)
    header = codec.parse(pb.Header(), data, "header")
    header.origin = DIRECTORY
    header.publisher = "op"
    payload = header.SerializeToString()
    leaf = Leaf(5, HUB.now, False, 5, payload, _signed_again(payload, OPERATOR))
    before = checker.range
    try:
        checker.take(Delivered(codec.encode_leaf(leaf), PRESENT, (), b""))
    except Rejected:
        assert (checker.range, checker.directory.size) == (before, 5)
        raise
    assert checker.directory.size == checker.range.size == 6
    return checker.directory


def read_genesis(data: bytes) -> object:
    """Whatever somebody calls the genesis: only the pinned bytes are it."""
    checker = DirectoryChecker(DIRECTORY, HUB.pin)
    checker.take(Delivered(data, PRESENT, (), b""))
    assert data == HUB.directory.entries[0].leaf
    return checker.directory


def _feed_seed(*parts: feed_pb2.SubscribeResponse) -> bytes:
    return b"".join(part.SerializeToString() for part in parts)


def _entries(start: int, end: int) -> feed_pb2.SubscribeResponse:
    wire = [
        pb.Entry(leaf=e.leaf, state=e.state, records=e.records, audience_record=e.audience_record)  # type: ignore[arg-type]
        for e in HUB.uk.entries[start:end]
    ]
    return feed_pb2.SubscribeResponse(entries=wire)


def _hello() -> feed_pb2.SubscribeResponse:
    hello = HUB.uk.hello(0)
    return feed_pb2.SubscribeResponse(
        hello=feed_pb2.Hello(floor=hello.floor, checkpoint=hello.checkpoint, compact_range=hello.compact_range)
    )


def _result_seed(index: int) -> bytes:
    receipt = HUB.receipt(SAID[index])
    return publish_pb2.PublishResult(
        statement_id=b"id",
        receipt=publish_pb2.Receipt(
            index=receipt.index, leaf=receipt.leaf, inclusion_proof=receipt.proof, checkpoint=receipt.checkpoint
        ),
    ).SerializeToString()


def _rejection_seed(error: ExchangeError) -> bytes:
    return publish_pb2.PublishResult(rejection=rejection(error)).SerializeToString()


def _status_seed(error: ExchangeError) -> bytes:
    status: bytes = status_of(error).SerializeToString()
    return b"\x03" + status


def _video() -> bytes:
    raw = codec.encode_record(VIDEO)
    header = Header(UK, Kind.SIGNAL, "alpha", HUB.now, bytes(16), (bytes(32),), header_body(indicator_types=(2,)))
    return codec.encode_statement(Statement(codec.encode_header(header), (), (raw,)))


_KEY = Key("alpha", Role.PIPELINE, SigningKey(b"n" * 32).public_key, State.ACTIVE)

TARGETS = (
    Target(
        "feed-message",
        read_feed_message,
        (
            _feed_seed(_hello()),
            _feed_seed(_hello(), _entries(0, 3), feed_pb2.SubscribeResponse(checkpoint=HUB.uk.checkpoint())),
            _feed_seed(_entries(0, 2)),
            _feed_seed(feed_pb2.SubscribeResponse(heartbeat=feed_pb2.Heartbeat(sealed_size=3))),
            _feed_seed(feed_pb2.SubscribeResponse(draining=feed_pb2.Draining(cursor=3))),
        ),
        message=True,
        examples=120,
    ),
    Target(
        "hostile-entry",
        take_hostile_entry,
        (*map(codec.encode_statement, SAID[:2]), _video()),
        message=True,
        examples=200,
    ),
    Target(
        "publish-result",
        read_result,
        (_result_seed(1), *map(_rejection_seed, ERRORS)),
        message=True,
    ),
    Target("status", read_status, tuple(map(_status_seed, ERRORS)), message=True),
    Target(
        "directory-entry",
        take_directory_entry,
        (
            *(codec.decode_leaf(e.leaf).payload for e in HUB.directory.entries[1:]),
            codec.encode_header(Header(DIRECTORY, Kind.KEY, "op", HUB.now, bytes(16), (), _KEY)),
        ),
        message=True,
        examples=120,
    ),
    Target("genesis", read_genesis, (HUB.directory.entries[0].leaf,), message=True),
)
