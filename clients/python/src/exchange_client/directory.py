"""Reading the directory whole, from the pinned genesis, and checking it as if nobody could be trusted.

A long directory is read once: what has been verified is remembered (`exchange_client.remembered`), and the next start
goes on from there.
"""

from __future__ import annotations

import asyncio

from exchange import codec
from exchange.codec import Delivered
from exchange.domain.bodies import Genesis
from exchange.domain.directory import Directory
from exchange.domain.directory_rules import validate_genesis
from exchange.domain.policy import Workload, may_publish
from exchange.domain.statement import Header, Leaf
from exchange.errors import CursorAboveSize, ExchangeError, Reason, Rejected, Unavailable, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.checkpoint import log_verifier, open_checkpoint
from exchange.ledger.dsse import pae
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange_client.cursors import Cursors, Position
from exchange_client.remembered import Remembered, RememberedDirectory
from exchange_client.transport import Transport

#: The reader's place is not a subscriber's: the two are kept under different names.
_READER = "reader:"
#: What is verified anew at a start is no more than so many entries, or an eighth of the directory.
LEAST_GROWTH = 256
_GROWTH = 8


class DirectoryChecker:
    """Folds a directory entry by entry, checking each as if nobody could be trusted. No I/O."""

    def __init__(self, origin: str, pin: bytes, seen: Remembered | None = None) -> None:
        """Check everything from this pin, the leaf hash of entry 0; or go on from what was checked before."""
        self._origin = origin
        self._pin = pin
        self._received_at_ms = seen.received_at_ms if seen else 0
        self.range = seen.range if seen else CompactRange()
        self.directory = seen.directory if seen else Directory()

    @property
    def seen(self) -> Remembered:
        """What has been checked so far."""
        return Remembered(self.directory, self.range, self._received_at_ms)

    def take(self, entry: Delivered) -> None:
        """Check and fold the next entry. Raises `VerificationFailed`, and then nothing has moved."""
        index = self.range.size
        try:
            leaf = codec.decode_leaf(entry.leaf)
            header = codec.decode_header(leaf.payload, strict=False)
            if leaf.index != index or header.origin != self._origin or leaf.received_at_ms < self._received_at_ms:
                raise VerificationFailed(Reason.BAD_PROOF, f"directory entry {index} is not what it says")
            if index == 0:
                self._check_genesis(entry.leaf, leaf, header)
            else:
                self._check_statement(leaf, header)
        except VerificationFailed:
            raise
        except ExchangeError as error:
            raise VerificationFailed(Reason.BAD_PROOF, f"directory entry {index}: {error.message}") from error
        self._received_at_ms = leaf.received_at_ms
        self.range = self.range.extend((leaf_hash(entry.leaf),))
        self.directory.apply(header, leaf.received_at_ms)

    def _check_genesis(self, leaf_bytes: bytes, leaf: Leaf, header: Header) -> None:
        if leaf_hash(leaf_bytes) != self._pin:
            raise VerificationFailed(
                Reason.BAD_PROOF,
                "this is not the exchange that the client's genesis pin names",
                hint="compare `genesis` in the client's file with the operator's",
            )
        validate_genesis(header)
        genesis = header.body
        keys = (
            {ed25519.key_id(k.public_key): k.public_key for k in genesis.keys} if isinstance(genesis, Genesis) else {}
        )
        if not leaf.signatures:
            raise VerificationFailed(Reason.BAD_SIGNATURE, "the genesis is not signed")
        for signature in leaf.signatures:
            if signature.key_id not in keys:
                raise VerificationFailed(Reason.WRONG_KEY, "the genesis is not signed by its own operator")
            ed25519.verify(keys[signature.key_id], signature.signature, pae(leaf.payload_type, leaf.payload))

    def _check_statement(self, leaf: Leaf, header: Header) -> None:
        keys = []
        for signature in leaf.signatures:
            key = self.directory.key(signature.key_id)
            if key is None:
                raise VerificationFailed(Reason.WRONG_KEY, "a directory statement is signed by an unknown key")
            ed25519.verify(key.public_key, signature.signature, pae(leaf.payload_type, leaf.payload))
            keys.append(key)
        if not keys:
            raise VerificationFailed(Reason.BAD_SIGNATURE, "a directory statement is not signed")
        try:
            may_publish(self.directory, Workload(header.publisher, keys[0].role), header, keys)
        except Rejected as error:
            if error.reason is not Reason.UNKNOWN_KIND:
                raise VerificationFailed(
                    Reason.WRONG_KEY, f"a directory statement was not permitted: {error}"
                ) from error


class DirectoryReader:
    """The verified fold of one exchange's directory, read in further when asked."""

    def __init__(
        self, origin: str, pin: bytes, transport: Transport, cursors: Cursors, remembered: RememberedDirectory
    ) -> None:
        """Check everything from this pin: the leaf hash of entry 0."""
        self.origin = origin
        self.pin = pin
        self._transport = transport
        self._cursors = cursors
        self._remembered = remembered
        #: Size of what was remembered last, and of what this reader started with.
        self._kept_size = self._start_size = 0
        self._checker = DirectoryChecker(origin, pin)
        self._seen: Position | None = None
        self._loaded = False
        self._held_size = 0
        #: Subscriptions and calls of one client share this reader.
        self._lock = asyncio.Lock()

    async def refresh(self) -> Directory:
        """Read what is new; return the fold. Raises `VerificationFailed` when anything does not hold."""
        async with self._lock:
            if not self._loaded:
                await self._load()
            await self._read_to(await self._read_page())
            if self._held_size != self._checker.range.size or not self._held_size:
                await self._hold_against_checkpoint()
            return self.directory

    async def _load(self) -> None:
        self._seen = await self._cursors.load(_READER + self.origin)
        kept = await self._remembered.load()
        if kept is not None:
            self._checker = DirectoryChecker(self.origin, self.pin, kept)
            self._kept_size = self._start_size = kept.range.size
        self._loaded = True

    async def _keep(self) -> None:
        """Remember what has just been held against a signed root, when it is enough to be worth it."""
        if self._checker.range.size >= self._kept_size + max(LEAST_GROWTH, self._kept_size // _GROWTH):
            await self._remembered.store(self._checker.seen)
            self._kept_size = self._checker.range.size

    async def _read_page(self) -> int:
        """Read one page on; return the sealed size."""
        start = self._checker.range.size
        try:
            entries, size = await self._transport.entries(self.origin, start)
        except CursorAboveSize as error:
            raise self._shrunk(start) from error
        for entry in entries:
            self._take(entry)
        if not entries and start < size:
            raise Unavailable("the hub shows no more of the directory than a part", retry_after_ms=0)
        return size

    async def _read_to(self, size: int) -> None:
        while self._checker.range.size < size:
            await self._read_page()

    async def _hold_against_checkpoint(self) -> None:
        genesis = self.directory.genesis
        if genesis is None:
            raise VerificationFailed(Reason.BAD_PROOF, "the directory has no genesis")
        verifier = log_verifier(self.origin, genesis.log_public_key)
        note = await self._transport.checkpoint(self.origin)
        checkpoint = open_checkpoint(note, verifier)
        await self._read_to(checkpoint.size)
        before = max(self._start_size, self._seen.range.size if self._seen is not None else 0)
        if before > checkpoint.size:
            raise self._shrunk(before)
        if checkpoint.size != self._checker.range.size or checkpoint.root != self._checker.range.root():
            if self._start_size:
                raise _fork()
            raise VerificationFailed(Reason.BAD_CHECKPOINT, "the directory's signed root is not that of its entries")
        await self._cursors.store(_READER + self.origin, Position(self._checker.range, note))
        self._held_size = checkpoint.size
        await self._keep()

    async def reach(self, size: int) -> None:
        """Read on where a leaf names a size that has not been read. Raises `VerificationFailed` where there is none."""
        if size > self.held_size:
            await self.refresh()
            if size > self.held_size:
                raise VerificationFailed(Reason.BAD_PROOF, "a leaf names a size that the directory does not have")

    @staticmethod
    def _shrunk(before: int) -> VerificationFailed:
        return VerificationFailed(Reason.ROLLED_BACK, f"the directory has shrunk: {before} entries were seen before")

    @property
    def held_size(self) -> int:
        """How much of the fold has been held against a signed root: all of it, unless something was found wrong."""
        return self._held_size

    @property
    def directory(self) -> Directory:
        """The fold as far as it has been read."""
        return self._checker.directory

    def _take(self, entry: Delivered) -> None:
        self._checker.take(entry)
        seen = self._seen
        if seen is not None and self._checker.range.size == seen.range.size and self._checker.range != seen.range:
            raise _fork()


def _fork() -> VerificationFailed:
    return VerificationFailed(Reason.BAD_PROOF, "the directory is not the one that was read before: a fork")
