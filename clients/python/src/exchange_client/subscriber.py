"""Following a log: verified, resumable, reconnecting; stops with evidence when anything does not hold.

The consumer acknowledges a delivery by asking for the next one. The position that is stored never passes what was
acknowledged, and trails it by a second at most: a crash repeats a little, nothing is ever missed.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path

from exchange import codec
from exchange.codec import Delivered
from exchange.errors import Denied, Reason, Rejected, Unauthenticated, Unavailable, VerificationFailed
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.note import Verifier
from exchange_client.backoff import Backoff
from exchange_client.breath import Breath
from exchange_client.connections import Moved
from exchange_client.cursors import Position, Positions
from exchange_client.delivery import Delivery, delivery_of
from exchange_client.directory import DirectoryReader
from exchange_client.evidence import keep_evidence
from exchange_client.signature_pool import Known, SignaturePool, alone
from exchange_client.transport import Transport
from exchange_client.verify import BadEntry, Distrusted, FeedVerifier, VerifiedEntry
from exchange_client.wire import FeedMessage, Filter

STORE_EVERY_S = 1.0
#: So many streams in a row that are cut right after their hello are no accident.
MAX_CUTS = 3


class Subscriber:
    """One subscription to one log."""

    def __init__(
        self,
        origin: str,
        transport: Transport,
        directory: DirectoryReader,
        cursors: Positions,
        verifier: Verifier,
        *,
        wanted: Filter,
        skip: Collection[int],
        now_ms: Callable[[], int],
        evidence: Path,
        pool: SignaturePool | None = None,
        processed: Callable[[Delivery], None] = lambda delivery: None,
    ) -> None:
        """Use `ExchangeClient.subscribe`. ``processed`` hears of what the consumer is done with."""
        self._pool = pool
        self._processed = processed
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
        #: The delivery that the consumer has in hand, and the place after it.
        self._in_hand: tuple[Delivery, Position] | None = None
        #: Where to jump to with the first hello, where that is not the position's own end.
        self._jump: int | None = None
        #: Messages of the present stream.
        self._heard = 0
        self._verifier: FeedVerifier

    async def deliveries(self, cursor: int | None, *, from_now: bool) -> AsyncGenerator[Delivery, None]:
        """Yield verified entries for ever. Raises `ExchangeError` when the hub refuses or cannot be trusted."""
        position = await self._start(cursor, from_now=from_now)
        self._verifier = FeedVerifier(self._origin, self._log_verifier, position)
        backoff = Backoff(f"the feed of {self._origin}")
        cut = 0
        try:
            while True:
                try:
                    async with contextlib.aclosing(self._stream(backoff)) as stream:
                        async for delivery in stream:
                            yield delivery
                except Moved:
                    continue  # from here on over the new connection
                except Unavailable as error:
                    await backoff.after(error, "broke off")
                except (Denied, Unauthenticated) as error:
                    # A live stream is cut when the directory takes something from us, or our certificate has ended;
                    # what is left, a new one tells.
                    cut = cut + 1 if self._heard < 2 else 1
                    if not self._heard or cut > MAX_CUTS:
                        raise
                    await backoff.after(error, "was cut")
        finally:
            await self.store()

    async def _start(self, cursor: int | None, *, from_now: bool) -> Position:
        """Return the position to start from; the cursor to jump to from it is noted."""
        stored = await self._cursors.load(self._origin)
        if from_now:
            cursor = open_checkpoint(await self._transport.checkpoint(self._origin), self._log_verifier).size
        if cursor is None or (stored is not None and stored.range.size == cursor):
            return stored or Position()
        self._stores = stored is None
        self._jump = cursor or None
        return Position(checkpoint=stored.checkpoint if stored else b"")

    async def _stream(self, backoff: Backoff) -> AsyncGenerator[Delivery, None]:
        """Yield the deliveries of one stream until it breaks off, which is an error."""
        cursor = self._verifier.index if self._jump is None else self._jump
        last = self._verifier.position.checkpoint
        self._heard = 0
        async with (
            contextlib.aclosing(self._transport.subscribe(self._origin, cursor, last, self._filter)) as messages,
            contextlib.aclosing(self._with_signatures(messages)) as read,
        ):
            async for message, known in read:
                self._hello(message)
                self._heard += 1
                backoff.reset()
                breath = Breath()
                found = await self._read(message, known, breath)
                now_ms = self._now_ms()
                for verified, wire, position in found:
                    delivery = self._delivery(verified, wire, position, now_ms)
                    if delivery is not None:
                        self._in_hand = (delivery, position)
                        yield delivery
                        self._processed(delivery)
                    self._acknowledged = position
                    await breath.taken()
                self._check_beat(message)
                await self._store_now_and_then()

    def acknowledge(self, delivery: Delivery) -> None:
        """Count a delivery as processed, without asking for the next one, if it is the one in the consumer's hand."""
        if self._in_hand is not None and self._in_hand[0] is delivery:
            self._processed(delivery)
            self._acknowledged = self._in_hand[1]

    def _hello(self, message: FeedMessage) -> None:
        """Check that the first message of a stream, and no other, is a hello, and that it holds."""
        hello = message.hello
        try:
            if (hello is None) != bool(self._heard):
                raise VerificationFailed(Reason.BAD_PROOF, "a stream begins with one hello, and this one does not")
            if hello is None:
                return
            if self._jump is not None:
                self._verifier.start_at(self._jump, hello)
            self._verifier.hello(hello)
        except VerificationFailed as error:
            raise self._stop(error, message) from error
        self._jump = None

    def _check_beat(self, message: FeedMessage) -> None:
        """Leave a stream that says how the log grows, and does not bring what it grows by. Raises `Unavailable`.

        A hub beats where it has sent all that there is: so what it tells is our own place.
        """
        if message.heartbeat_size is not None and message.heartbeat_size > self._verifier.index:
            raise Unavailable("the feed holds entries back: it says that there are more, and brings none")

    def _with_signatures(
        self, messages: AsyncGenerator[FeedMessage, None]
    ) -> AsyncGenerator[tuple[FeedMessage, Known], None]:
        if self._pool is None:
            return alone(messages)
        return self._pool.ahead(messages, lambda: self._directory.directory)

    async def _read(
        self, message: FeedMessage, known: Known, breath: Breath
    ) -> list[tuple[VerifiedEntry | None, Delivered, Position]]:
        """Verify a whole message, with the checkpoint at its end; return what holds of each, and the place after it."""
        found: list[tuple[VerifiedEntry | None, Delivered, Position]] = []
        try:
            await self._read_directory_for(message)
            directory = self._directory.directory
            for position, entry in enumerate(message.entries):
                skip = self._verifier.index in self._skip
                verified = self._verifier.entry(directory, entry, skip=skip, known=known.get(position))
                found.append((verified, entry, self._verifier.position))
                await breath.taken()
            if message.checkpoint:
                self._verifier.checkpoint(message.checkpoint)
        except VerificationFailed as error:
            raise self._stop(error, message) from error
        return found

    def _delivery(
        self, verified: VerifiedEntry | None, wire: Delivered, position: Position, now_ms: int
    ) -> Delivery | None:
        if verified is None:
            return None
        covered = position.range.size <= self._verifier.covered_size
        return delivery_of(self._origin, verified, wire, delivered_at_ms=now_ms, covered=covered)

    async def _read_directory_for(self, message: FeedMessage) -> None:
        """Read the directory on when a leaf was judged at a size that we have not read yet."""
        if not message.entries:
            return
        try:
            needed = codec.decode_leaf(message.entries[-1].leaf).directory_size
        except Rejected:
            return  # the verifier says what is wrong with it, unless it is skipped
        await self._directory.reach(needed)

    async def _store_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._stored_at >= STORE_EVERY_S:
            self._stored_at = now
            await self.store()

    async def store(self) -> None:
        """Store the position up to which everything was acknowledged."""
        acknowledged = self._acknowledged
        if self._stores and acknowledged is not None and acknowledged.range.size and not self._cursors.closed:
            await self._cursors.store(self._origin, acknowledged)

    def _stop(self, error: VerificationFailed, message: FeedMessage) -> Distrusted:
        """Write down what does not hold, and return the error that says where."""
        shown: dict[str, object] = {
            "origin": self._origin,
            "index": self._verifier.index,
            "what": error.message,
            "compact_range": [_text(hash_) for hash_ in self._verifier.position.range.hashes],
            "our_checkpoint": self._verifier.position.checkpoint.decode(errors="replace"),
            "their_checkpoint": (message.hello or message).checkpoint.decode(errors="replace"),
        }
        if message.hello is not None:
            shown["hello"] = {
                "compact_range": [_text(hash_) for hash_ in message.hello.compact_range],
                "consistency_proof": [_text(hash_) for hash_ in message.hello.consistency_proof],
            }
        records: dict[str, object] = {}
        if isinstance(error, BadEntry):
            shown["leaf"] = _text(error.entry.leaf)
            if error.entry.records or error.entry.audience_record:
                records["records"] = [_text(record) for record in error.entry.records]
                records["audience_record"] = _text(error.entry.audience_record)
        path = self._evidence / f"{self._origin.replace('/', '_')}-{self._now_ms()}.json"
        written, where = keep_evidence(path, shown, records)
        return Distrusted(
            error.reason,
            f"{error.message}; {where}",
            hint=error.hint,
            index=self._verifier.index,
            evidence=written,
        )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
