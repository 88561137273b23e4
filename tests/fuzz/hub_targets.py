"""Requests to a hub: who somebody is, subscriptions, proofs and pages, and paths of tiles, over a log that is sealed."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Coroutine
from typing import Any, cast
from urllib.parse import unquote

from exchange import codec
from exchange.api.feed import FeedServicer, _filter
from exchange.api.guard import _CALLER, identify
from exchange.api.ledger import LedgerServicer
from exchange.api.logs import Hub, Log
from exchange.api.ops import tiles_app
from exchange.domain.policy import Workload
from exchange.errors import CursorAboveSize, Rejected, Unauthenticated, Unavailable
from exchange.fanout.tail import Tail
from exchange.ledger.merkle import CompactRange
from exchange.ledger.note import ED25519, Verifier
from exchange.v1 import feed_pb2, ledger_pb2
from exchange_client import FeedVerifier
from exchange_client.transport import _feed_message
from tests.contract.builders import KEY, ORIGIN, checkpoint
from tests.fuzz.target import Target, bytes_of
from tests.unit import asgi
from tests.unit.builders import BETA, EXCHANGE, NOW_MS, UK, make_directory, signal_statement
from tests.unit.fanout.fakes import Shelf

SIZES = (1, 4, 300)
VERIFIER = Verifier(ORIGIN, ED25519, KEY.public_key)


class View:
    """What the servicers ask of the directory's view."""

    directory = make_directory()


async def _made() -> tuple[Shelf, FeedServicer, LedgerServicer, Any]:
    shelf = Shelf.new()
    for size in SIZES:
        await shelf.append(*(signal_statement(seed=str(n)) for n in range(shelf.chain.size, size)))
        await shelf.seal()
    log = Log(UK, VERIFIER, shelf.store, shelf.store, cast("Any", None), Tail(shelf.store, lambda: 0.0))
    hub = Hub(cast("Any", View()), cast("Any", None), cast("Any", None), {UK: log}, cast("Any", None))
    app = tiles_app({UK: log}, lambda _: True)
    return shelf, FeedServicer(hub, lambda: NOW_MS, cast("Any", None)), LedgerServicer(hub, lambda: NOW_MS), app


def _run(job: Coroutine[Any, Any, Any]) -> Any:
    _CALLER.set(BETA.workload)
    return LOOP.run_until_complete(job)


LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)
SHELF, FEED, LEDGER, TILES = _run(_made())


def read_identity(data: bytes) -> object:
    """Who is let in is named in one way."""
    found = identify({"ssl_tls_version": [b"TLSv1.3"], "peer_spiffe_id": [data]}, EXCHANGE)
    assert isinstance(found, Workload)
    assert data == f"spiffe://{EXCHANGE}/member/{found.member}/{found.role.word}".encode()
    return found


def subscribe(data: bytes) -> object:
    """A subscription that is let in begins with a hello that its subscriber can verify."""
    request = codec.parse(feed_pb2.SubscribeRequest(), data, "request")
    _filter(request.filter)
    log, _ = FEED._hub.log_to_read(BETA.workload, request.origin, NOW_MS)
    hello = _feed_message(feed_pb2.SubscribeResponse.FromString(_run(FEED._hello(log, request)))).hello
    assert hello is not None
    verifier = FeedVerifier.from_start(ORIGIN, VERIFIER)
    verifier.start_at(request.cursor, hello)
    assert verifier.hello(hello).size == SIZES[-1]
    assert CompactRange.of(request.cursor, hello.compact_range) == CompactRange().extend(
        SHELF.chain.leaf_hashes[: request.cursor]
    )
    return hello


def ask_ledger(data: bytes) -> object:
    """The first byte says which question; each is answered from the sealed log or refused."""
    method, request = QUESTIONS[data[:1]] if data[:1] in QUESTIONS else QUESTIONS[b"e"]
    asked = codec.parse(request(), data[1:], "request")
    answer = _run(getattr(LEDGER, method)(asked, None))
    assert answer.ByteSize() <= 1 << 20
    return answer


QUESTIONS: dict[bytes, tuple[str, type[Any]]] = {
    b"c": ("GetCheckpoint", ledger_pb2.GetCheckpointRequest),
    b"e": ("ListEntries", ledger_pb2.ListEntriesRequest),
    b"i": ("GetInclusionProof", ledger_pb2.GetInclusionProofRequest),
    b"o": ("GetConsistencyProof", ledger_pb2.GetConsistencyProofRequest),
}


def get_tile(data: bytes) -> object:
    """Any path that HTTP lets through is a tile, a bundle or a checkpoint, or is not found."""
    if not all(0x21 <= byte <= 0x7E for byte in data):
        raise Unavailable("the server itself refuses this path")
    status, body = _run(asgi.get(TILES, "/" + unquote(data.decode("ascii"))))
    assert status in {200, 307, 404}
    if status != 200:
        raise Unavailable("not found")
    assert body
    return body


def _subscription(**fields: Any) -> bytes:
    return feed_pb2.SubscribeRequest(origin=UK, **fields).SerializeToString()


def _note(size: int) -> bytes:
    return SHELF.notes[size] if size in SHELF.notes else checkpoint(SHELF.chain.head)


TARGETS = (
    Target(
        "identity",
        read_identity,
        (f"spiffe://{EXCHANGE}/member/beta/pipeline".encode(), f"spiffe://{EXCHANGE}/member/a/operator".encode()),
        refuses=(Unauthenticated,),
        max_bytes=256,
    ),
    Target(
        "subscription",
        subscribe,
        (
            _subscription(),
            _subscription(cursor=300, last_checkpoint=_note(4), filter=feed_pb2.Filter(elections=[bytes(32)])),
            _subscription(cursor=257, last_checkpoint=_note(300)),
        ),
        refuses=(Rejected, CursorAboveSize),
        message=True,
        counted=False,
    ),
    Target(
        "ledger-request",
        ask_ledger,
        (
            b"c" + ledger_pb2.GetCheckpointRequest(origin=UK).SerializeToString(),
            b"e" + ledger_pb2.ListEntriesRequest(origin=UK, start=290, limit=3).SerializeToString(),
            b"i" + ledger_pb2.GetInclusionProofRequest(origin=UK, index=3, size=255).SerializeToString(),
            b"o" + ledger_pb2.GetConsistencyProofRequest(origin=UK, old_size=3, new_size=255).SerializeToString(),
        ),
        counted=False,
    ),
    Target(
        "tile-request",
        get_tile,
        tuple(
            bytes_of(f"{UK}/{path}")
            for path in ("checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/entries/001.p/3", "tile/1/000.p/1")
        ),
        refuses=(Unavailable,),
        max_bytes=128,
        counted=False,
    ),
)
