"""A hub in memory: real statements, leaves, trees and signed checkpoints, and whatever fault a test wants.

It knows nothing of the SDK's verification. Its trees are the textbook recursion of RFC 6962, not the project's code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from clients.python.tests.losses import Losses
from exchange import codec
from exchange.codec import Delivered
from exchange.domain.bodies import (
    Body,
    Community,
    Genesis,
    GenesisKey,
    Key,
    Member,
    Membership,
    State,
)
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.statement import (
    HEADER_TYPE,
    Header,
    Leaf,
    Signature,
    Statement,
    statement_id,
)
from exchange.errors import CursorAboveSize, ExchangeError, Reason, Rejected, Unavailable
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import statement_pb2 as pb
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.connections import Moved
from exchange_client.reports import SignalReport
from exchange_client.wire import FeedMessage, Filter, Hello, Probed, WireReceipt, WireResult
from tests.authorities import make

NAME = "test.exchange"
DIRECTORY = f"{NAME}/directory"
UK = f"{NAME}/uk"
START_MS = 1_800_000_000_000
DAY_MS = 86_400_000
OPERATOR = SigningKey(b"o" * 32)
#: A certificate that nobody shows to anybody.
CERTIFICATE = make("nobody")
PRESENT, NOT_FOR_YOU = pb.RECORD_STATE_PRESENT, pb.RECORD_STATE_NOT_FOR_YOU


def _split(count: int) -> int:
    return 1 << ((count - 1).bit_length() - 1)


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    at = _split(len(hashes))
    return sha256(b"\x01" + tree_root(hashes[:at]) + tree_root(hashes[at:])).digest()


def tree_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(hashes) < 2:
        return []
    at = _split(len(hashes))
    if index < at:
        return [*tree_path(index, hashes[:at]), tree_root(hashes[at:])]
    return [*tree_path(index - at, hashes[at:]), tree_root(hashes[:at])]


def tree_consistency(old: int, hashes: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF of RFC 6962, section 2.1.2."""
    if old in (0, len(hashes)):
        return [] if whole else [tree_root(hashes)]
    at = _split(len(hashes))
    if old <= at:
        return [*tree_consistency(old, hashes[:at], whole=whole), tree_root(hashes[at:])]
    return [*tree_consistency(old - at, hashes[at:], whole=False), tree_root(hashes[:at])]


def full_subtrees(hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Roots of the full subtrees that cover these leaves."""
    found = []
    while hashes:
        width = 1 << (len(hashes).bit_length() - 1)
        found.append(tree_root(hashes[:width]))
        hashes = hashes[width:]
    return tuple(found)


@dataclass
class FakeLog:
    """One log."""

    origin: str
    key: SigningKey
    entries: list[Delivered] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def hashes(self) -> list[bytes]:
        """Leaf hashes."""
        return [sha256(b"\x00" + entry.leaf).digest() for entry in self.entries]

    def checkpoint(self, size: int | None = None) -> bytes:
        """Signed checkpoint of a size."""
        hashes = self.hashes[:size]
        return sign_checkpoint(Checkpoint(self.origin, len(hashes), tree_root(hashes)), self.key)

    def hello(self, cursor: int, last_size: int = 0, size: int | None = None) -> Hello:
        """An honest hello."""
        hashes = self.hashes[:size]
        proof = tree_consistency(last_size, hashes) if last_size else []
        return Hello(0, self.checkpoint(size), full_subtrees(hashes[:cursor]), tuple(proof))

    def append(self, leaf: bytes, records: tuple[bytes, ...] = (), audience: bytes = b"") -> int:
        """Add an entry as it is."""
        self.entries.append(Delivered(leaf, PRESENT, records, audience))
        self.grown.set()
        self.grown = asyncio.Event()
        return len(self.entries) - 1


def signed(header: Header, *keys: SigningKey, **parts: Any) -> Statement:
    """A statement with this header."""
    payload = codec.encode_header(header)
    message = pae(HEADER_TYPE, payload)
    return Statement(payload, tuple(Signature(key.key_id, key.sign(message)) for key in keys), **parts)


class FakeHub:
    """Directory and one community, with alpha and beta in it."""

    def __init__(self) -> None:
        self.now = START_MS
        self.logs = {DIRECTORY: FakeLog(DIRECTORY, SigningKey(b"d" * 32)), UK: FakeLog(UK, SigningKey(b"c" * 32))}
        self.keys = {name: SigningKey(name.encode().ljust(32, b".")) for name in ("alpha", "beta")}
        genesis = Genesis(
            NAME, self.directory.key.public_key, "op", "Operator", (GenesisKey(Role.OPERATOR, OPERATOR.public_key),), 1
        )
        self.say(genesis)
        self.pin = self.directory.hashes[0]
        self.say(Community(UK, "UK", self.uk.key.public_key, 0, 400, 365, 30, public_entries=False))
        for member, key in self.keys.items():
            self.say(Member(member, member.title(), MemberClass.PLATFORM, (Role.PIPELINE, Role.LIAISON)))
            self.say(Key(member, Role.PIPELINE, key.public_key, State.ACTIVE))
            self.say(Membership(member, UK, State.ACTIVE))

    @property
    def directory(self) -> FakeLog:
        """The directory's log."""
        return self.logs[DIRECTORY]

    @property
    def uk(self) -> FakeLog:
        """The community's log."""
        return self.logs[UK]

    def say(self, body: Body, *, key: SigningKey = OPERATOR, publisher: str = "op") -> int:
        """Put a statement into the directory."""
        nonce = len(self.directory.entries).to_bytes(16, "big")
        header = Header(DIRECTORY, codec.kind_of(body), publisher, self.now, nonce, (), body)
        return self.commit(signed(header, key))[0]

    def commit(self, statement: Statement, **changes: Any) -> tuple[int, bool]:
        """Sequence a statement without asking whether it is a good one; return its index, and if it is a repeat."""
        log = self.logs[codec.decode_header(statement.payload, strict=False).origin]
        id_ = statement_id(statement.payload)
        if id_ in log.places:
            return log.places[id_], True
        index = len(log.entries)
        size = index if log is self.directory else len(self.directory.entries)
        values: dict[str, Any] = {"index": index, "received_at_ms": self.now, "late": False, "directory_size": size}
        leaf = Leaf(**(values | {"payload": statement.payload, "signatures": statement.signatures} | changes))
        log.places[id_] = log.append(codec.encode_leaf(leaf), statement.records, statement.audience_record)
        return index, False

    def receipt(self, statement: Statement) -> WireReceipt:
        """Commit and return the receipt."""
        index, repeated = self.commit(statement)
        log = self.logs[codec.decode_header(statement.payload, strict=False).origin]
        path = tuple(tree_path(index, log.hashes))
        return WireReceipt(index, log.entries[index].leaf, path, log.checkpoint(), repeated)


class FakeStream:
    """A publish stream."""

    def __init__(self, transport: FakeTransport, wake: Callable[[], None]) -> None:
        self._transport = transport
        self._wake = wake
        self.leaving = False
        self._answers: asyncio.Queue[tuple[WireResult, ...] | ExchangeError] = asyncio.Queue()

    async def send(self, statements: Sequence[Statement]) -> None:
        """Take a message, or fail as the test has planned."""
        transport = self._transport
        transport.sent.append(list(statements))
        if transport.stream_faults:
            fault = transport.stream_faults.popleft()
            if transport.commits_before_failing:
                for statement in statements:
                    transport.hub.commit(statement)
            await self._answers.put(fault)
            return
        await self._answers.put(tuple(transport.answer(statement) for statement in statements))

    async def results(self) -> AsyncIterator[tuple[WireResult, ...]]:
        """Yield answers."""
        while True:
            answer = await self._answers.get()
            if isinstance(answer, ExchangeError):
                raise answer
            yield answer

    def leave(self) -> None:
        """Ask the sender to finish."""
        self.leaving = True
        self._wake()

    async def finish(self) -> None:
        """Answer what was taken, then end as a connection does that is left for another."""
        await self._answers.put(Moved())

    def cancel(self) -> None:
        """End the stream."""
        self._answers.put_nowait(Unavailable("cancelled", retry_after_ms=0))


class FakeReports:
    """What a hub tells of signals."""

    def __init__(self) -> None:
        #: By id: the entries that took it back and erased it.
        self.ended: dict[bytes, tuple[int | None, int | None]] = {}

    async def signal(self, origin: str, signal_id: bytes) -> SignalReport:
        """Tell of one that is in `ended`."""
        await asyncio.sleep(0)
        if signal_id not in self.ended:
            raise Rejected(Reason.NOT_FOUND, f"no such signal in {origin}")
        retracted_at, erased_at = self.ended[signal_id]
        ends = {"retracted_at": retracted_at, "erased_at": erased_at, "replaced_at": None}
        return SignalReport(
            signal_id, 0, "alpha", 1, START_MS, START_MS + DAY_MS, **ends,
            quarantined=False, opinions=(), disputed=False, dispositions={}, size=1,
        )  # fmt: skip


class FakeTransport(Losses):
    """What `Transport` does, without a wire."""

    def __init__(self, hub: FakeHub) -> None:
        super().__init__()
        self.hub = hub
        self.reports = FakeReports()
        self.sent: list[list[Statement]] = []
        self.streams: list[FakeStream] = []
        #: Errors that end the next publish streams at their first message.
        self.stream_faults: deque[ExchangeError] = deque()
        self.commits_before_failing = False
        self.renew_faults: deque[Exception] = deque()
        self.renewals = 0
        #: Errors for the next statements, in-band.
        self.refusals: deque[ExchangeError] = deque()
        self.spoil_receipt: Callable[[WireReceipt], WireReceipt] = lambda receipt: receipt
        #: What the next subscriptions end with: before their hello, or after so many messages.
        self.feed_faults: deque[tuple[int, ExchangeError]] = deque()
        self.spoil_feed: Callable[[FeedMessage], FeedMessage | None] = lambda message: message
        self.spoil_leaves: Callable[[list[bytes]], list[bytes]] = lambda leaves: leaves
        self.subscriptions: list[tuple[int, bytes]] = []
        self.per_message = 2
        #: How much of a log is sealed, where it is not all of it.
        self.sealed: dict[str, int] = {}
        #: How far the hub's clock is before the client's.
        self.clock_ahead_ms = 0

    def answer(self, statement: Statement) -> WireResult:
        """Commit or refuse."""
        id_ = statement_id(statement.payload)
        if self.refusals:
            return WireResult(id_, None, self.refusals.popleft())
        return WireResult(id_, self.spoil_receipt(self.hub.receipt(statement)), None)

    async def entries(self, origin: str, start: int) -> tuple[tuple[Delivered, ...], int]:
        """Return two entries at a time."""
        await asyncio.sleep(0)
        log = self.hub.logs[origin]
        return tuple(log.entries[start : start + 2]), len(log.entries)

    async def checkpoint(self, origin: str) -> bytes:
        """Return the signed checkpoint."""
        await asyncio.sleep(0)
        return self.hub.logs[origin].checkpoint()

    async def leaves(self, origin: str, start: int) -> tuple[tuple[bytes, ...], int]:
        """Return three leaves at a time."""
        await asyncio.sleep(0)
        leaves = [entry.leaf for entry in self.hub.logs[origin].entries]
        return tuple(self.spoil_leaves(leaves[start : start + 3])), len(leaves)

    async def consistency_proof(self, origin: str, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return what proves that one tree extends another."""
        return tuple(tree_consistency(old_size, self.hub.logs[origin].hashes[:new_size]))

    async def inclusion_proof(self, origin: str, index: int, size: int) -> tuple[bytes, tuple[bytes, ...]]:
        """Return leaf hash and path."""
        hashes = self.hub.logs[origin].hashes[: size or None]
        return hashes[index], tuple(tree_path(index, hashes))

    async def publish(self, statement: Statement) -> WireReceipt:
        """Publish one."""
        return self.spoil_receipt(self.hub.receipt(statement))

    @contextlib.asynccontextmanager
    async def publish_stream(self, wake: Callable[[], None]) -> AsyncIterator[FakeStream]:
        """Open a stream."""
        stream = FakeStream(self, wake)
        self.streams.append(stream)
        yield stream

    async def subscribe(
        self, origin: str, cursor: int, last_checkpoint: bytes, wanted: Filter
    ) -> AsyncGenerator[FeedMessage, None]:
        """Feed, a few entries a message, with a checkpoint where the log ends."""
        log = self.hub.logs[origin]
        self.subscriptions.append((cursor, last_checkpoint))
        left, fault = self.feed_faults.popleft() if self.feed_faults else (-1, None)
        async for message in self._messages(log, cursor, last_checkpoint):
            if left == 0 and fault is not None:
                raise fault
            left -= 1
            spoilt = self.spoil_feed(message)
            if spoilt is not None:
                yield spoilt

    async def _messages(self, log: FakeLog, cursor: int, last: bytes) -> AsyncIterator[FeedMessage]:
        if cursor > len(log.entries):
            raise CursorAboveSize(len(log.entries))
        last_size = int(last.split(b"\n")[1]) if last else 0
        yield FeedMessage(hello=log.hello(cursor, last_size))
        while True:
            grown = log.grown
            entries = tuple(log.entries[cursor : cursor + self.per_message])
            cursor += len(entries)
            if entries:
                at_end = cursor == len(log.entries)
                yield FeedMessage(entries=entries, checkpoint=log.checkpoint() if at_end else b"")
            else:
                await grown.wait()

    async def probe(self, origin: str, state: bytes) -> Probed:
        """Tell the hub's time."""
        await asyncio.sleep(0)
        return Probed(len(self.subscriptions), len(self.hub.logs[origin].entries), self.hub.now + self.clock_ahead_ms)

    async def renew(self) -> None:
        """Count, or fail as the test has planned."""
        if self.renew_faults:
            raise self.renew_faults.popleft()
        self.renewals += 1

    async def aclose(self) -> None:
        """Nothing to close."""


def client_of(hub: FakeHub, folder: Path, member: str = "alpha", *, pin: bytes = b"") -> tuple[ExchangeClient, Any]:
    """A client of a member, not entered yet, and its transport."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("certificate", "key", "authority"):
        (folder / name).write_bytes(CERTIFICATE.key_pem if name == "key" else CERTIFICATE.pem)
    seed = member.encode().ljust(32, b".") if member != "op" else b"o" * 32
    (folder / "seed").write_text(seed.hex())
    config = ClientConfig(
        ("localhost:1",), NAME, member, "pipeline", folder / "certificate", folder / "key", folder / "authority",
        folder / "seed", pin or hub.pin, folder / "state",
    )  # fmt: skip
    client = ExchangeClient(config, now_ms=lambda: hub.now)
    transport = FakeTransport(hub)
    client._transport = transport  # type: ignore[assignment]
    return client, transport
