"""Following a log: verified, resumable, reconnecting; stops with evidence when anything does not hold.

The consumer acknowledges a delivery by asking for the next one. The position that is stored never passes what was
acknowledged, and trails it by a second at most: a crash repeats a little, nothing is ever missed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from pathlib import Path

from exchange import codec
from exchange.domain.directory import Directory
from exchange.errors import Reason, Unavailable, VerificationFailed
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.note import Verifier
from exchange_client.backoff import Backoff
from exchange_client.cursors import Cursors, Position
from exchange_client.delivery import Delivery, delivery_of
from exchange_client.directory import DirectoryReader
from exchange_client.transport import FeedMessage, Filter, Hello, Transport
from exchange_client.verify import BadEntry, FeedVerifier

SILENCE_S = 20.0
STORE_EVERY_S = 1.0


class Subscriber:
    """One subscription to one log."""

    def __init__(
        self,
        origin: str,
        transport: Transport,
        directory: DirectoryReader,
        cursors: Cursors,
        verifier: Verifier,
        *,
        wanted: Filter,
        skip: Collection[int],
        now_ms: Callable[[], int],
        evidence: Path,
    ) -> None:
        """Use `ExchangeClient.subscribe`."""
        self._origin = origin
        self._transport = transport
        self._directory = directory
        self._cursors = cursors
        self._log_verifier = verifier
        self._filter = wanted
        self._skip = skip
        self._now_ms = now_ms
        self._evidence = evidence
        self._stored_at = 0.0
        #: A start of one's own choosing never moves a position that is stored already.
        self._stores = True
        self._acknowledged: Position | None = None
        self._handed_over: Position | None = None
        self._verifier: FeedVerifier

    async def deliveries(self, cursor: int | None, *, from_now: bool) -> AsyncGenerator[Delivery, None]:
        """Yield verified entries for ever. Raises `ExchangeError` when the hub refuses or cannot be trusted."""
        position, cursor = await self._start(cursor, from_now=from_now)
        self._verifier = FeedVerifier(self._origin, self._log_verifier, position)
        backoff = Backoff()
        try:
            while True:
                try:
                    async with aclosing(self._stream(cursor, backoff)) as stream:
                        async for delivery in stream:
                            yield delivery
                    await backoff.wait()
                except Unavailable as error:
                    await backoff.wait(error.retry_after_ms / 1000)
                except TimeoutError:
                    await backoff.wait()
                cursor = None
                await self._transport.rotate()
        finally:
            await self._store(force=True)

    async def _start(self, cursor: int | None, *, from_now: bool) -> tuple[Position, int | None]:
        """Return the position to start from, and the cursor to jump to, if it is not that position's."""
        stored = await self._cursors.load(self._origin)
        if from_now:
            cursor = open_checkpoint(await self._transport.checkpoint(self._origin), self._log_verifier).size
        if cursor is None or (stored is not None and stored.range.size == cursor):
            return stored or Position(), None
        self._stores = stored is None
        return Position(), cursor or None

    async def _stream(self, jump: int | None, backoff: Backoff) -> AsyncGenerator[Delivery, None]:
        """Yield the deliveries of one stream until it ends."""
        cursor = self._verifier.index if jump is None else jump
        last = self._verifier.position.checkpoint
        async with aclosing(self._transport.subscribe(self._origin, cursor, last, self._filter)) as messages:
            while (message := await _next(messages)) is not None:
                backoff.reset()
                if message.hello is not None:
                    self._hello(message.hello, jump)
                for delivery, position in await self._verified(message):
                    self._handed_over = position
                    yield delivery
                    self._acknowledged = position
                self._acknowledged = self._verifier.position
                if message.draining:
                    return
                await self._store()

    def acknowledge(self) -> None:
        """Count the last delivery as processed, without asking for the next one."""
        self._acknowledged = self._handed_over or self._acknowledged

    def _hello(self, hello: Hello, jump: int | None) -> None:
        try:
            if jump is not None:
                self._verifier.start_at(jump, hello)
            self._verifier.hello(hello)
        except VerificationFailed as error:
            raise self._stop(error, checkpoint=hello.checkpoint) from error

    async def _verified(self, message: FeedMessage) -> list[tuple[Delivery, Position]]:
        """Verify a whole message, with the checkpoint at its end; return its deliveries and where each leaves us."""
        await self._read_directory_for(message)
        directory: Directory = self._directory.directory
        covered = bool(message.checkpoint)
        found: list[tuple[Delivery, Position]] = []
        now = self._now_ms()
        try:
            for entry in message.entries:
                skip = self._verifier.index in self._skip
                verified = self._verifier.entry(directory, entry, skip=skip)
                if verified is not None:
                    delivery = delivery_of(self._origin, verified, entry, delivered_at_ms=now, covered=covered)
                    found.append((delivery, self._verifier.position))
            if message.checkpoint:
                self._verifier.checkpoint(message.checkpoint)
        except VerificationFailed as error:
            raise self._stop(error, checkpoint=message.checkpoint) from error
        return found

    async def _read_directory_for(self, message: FeedMessage) -> None:
        """Read the directory on when a leaf was judged at a size that we have not read yet."""
        if not message.entries:
            return
        last = codec.decode_leaf(message.entries[-1].leaf)
        if last.directory_size > self._directory.directory.size:
            await self._directory.refresh()

    async def _store(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._stored_at >= STORE_EVERY_S:
            self._stored_at = now
            if self._stores and self._acknowledged is not None and self._acknowledged.range.size:
                await self._cursors.store(self._origin, self._acknowledged)

    def _stop(self, error: VerificationFailed, *, checkpoint: bytes) -> VerificationFailed:
        """Write down what does not hold, and return the error that says where."""
        self._evidence.mkdir(parents=True, exist_ok=True)
        data: dict[str, object] = {
            "origin": self._origin,
            "index": self._verifier.index,
            "what": error.message,
            "compact_range": [base64.b64encode(h).decode() for h in self._verifier.position.range.hashes],
            "our_checkpoint": self._verifier.position.checkpoint.decode(errors="replace"),
            "their_checkpoint": checkpoint.decode(errors="replace"),
        }
        if isinstance(error, BadEntry):
            data["leaf"] = base64.b64encode(error.entry.leaf).decode()
        path = self._evidence / f"{self._origin.replace('/', '_')}-{self._now_ms()}.json"
        path.write_text(json.dumps(data, indent=1))
        return VerificationFailed(error.reason, f"{error.message}; evidence is in {path}", hint=error.hint)


async def _next(messages: AsyncIterator[FeedMessage]) -> FeedMessage | None:
    """Return the next message, None at the end; raises `Unavailable` after too long a silence."""
    try:
        async with asyncio.timeout(SILENCE_S):
            return await anext(messages, None)
    except TimeoutError as error:
        raise Unavailable("the feed has gone silent", retry_after_ms=0, reason=Reason.UNAVAILABLE) from error
