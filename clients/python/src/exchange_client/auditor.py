"""Reading one community's ledger whole, up to a signed checkpoint, for whoever adds it up and vouches for the sum.

Leaves alone: no record is asked for. What is handed on counts only when reading has ended without an error, for only
then is it known to be all of the tree that was signed, or of its beginning up to a moment.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from exchange import codec
from exchange.codec import Delivered
from exchange.domain.directory import Directory
from exchange.errors import Reason, Rejected, Unavailable, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_consistency
from exchange_client.cursors import Position
from exchange_client.directory import DirectoryChecker, DirectoryReader
from exchange_client.signature_pool import SignaturePool, alone
from exchange_client.signing import SigningKeys
from exchange_client.transport import Transport
from exchange_client.verify import FeedVerifier, VerifiedEntry
from exchange_client.wire import FeedMessage


@dataclass(frozen=True, slots=True)
class Tree:
    """A log's tree as it was signed."""

    note: bytes
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self.checkpoint.size


class Auditor:
    """Use `ExchangeClient.auditor`."""

    def __init__(
        self, origin: str, transport: Transport, directory: DirectoryReader, verifier: Verifier, keys: SigningKeys
    ) -> None:
        """``keys`` are ours, to vouch with."""
        self.origin = origin
        self.keys = keys
        self._transport = transport
        self._directory = directory
        self._verifier = verifier
        #: Behind the last entry that was handed on.
        self.position = Position()

    @property
    def directory(self) -> Directory:
        """The exchange's directory as far as it has been read."""
        return self._directory.directory

    def opened(self, note: bytes) -> Tree:
        """Return the tree of a note that this log's key must have signed. Raises `VerificationFailed`."""
        return Tree(note, open_checkpoint(note, self._verifier))

    async def tree(self) -> Tree:
        """Return the log's tree as it is now."""
        return self.opened(await self._transport.checkpoint(self.origin))

    async def check_grown(self, old: Tree) -> Tree:
        """Return the log's present tree if it extends an older one. Raises `VerificationFailed`."""
        now = await self.tree()
        await self.check_extends(now, old.size, old.checkpoint.root)
        return now

    async def entries(
        self, tree: Tree, *, start: Position | None = None, until_ms: int | None = None, processes: int = 0
    ) -> AsyncGenerator[list[VerifiedEntry], None]:
        """Yield the entries of a tree from ``start``, in pages; only those received before ``until_ms`` (Unix ms).

        ``processes`` further ones check signatures. Raises `VerificationFailed` when anything does not hold.
        """
        self.position = start or Position()
        following = FeedVerifier(self.origin, self._verifier, self.position)
        if following.index > tree.size:
            raise Rejected(Reason.INVALID, f"the tree of {tree.size} leaves ends before what was read already")
        pool = SignaturePool(processes) if processes else None
        try:
            pages = self._pages(following.index, tree.size)
            known = alone(pages) if pool is None else pool.ahead(pages, lambda: self.directory)
            async with aclosing(pages), aclosing(known):
                async for message, held in known:
                    await self._directory.reach(codec.decode_leaf(message.entries[-1].leaf).directory_size)
                    page = list[VerifiedEntry]()
                    for number, entry in enumerate(message.entries):
                        verified = following.entry(self.directory, entry, known=held.get(number))
                        assert verified is not None
                        if until_ms is not None and verified.leaf.received_at_ms >= until_ms:
                            break
                        page.append(verified)
                        self.position = following.position
                    yield page
                    if len(page) < len(message.entries):
                        break
        finally:
            if pool is not None:
                await pool.aclose()
        range_ = following.position.range
        await self.check_extends(tree, range_.size, range_.root())

    async def _pages(self, start: int, end: int) -> AsyncGenerator[FeedMessage, None]:
        while start < end:
            leaves, size = await self._transport.leaves(self.origin, start)
            if size < end:
                raise _shorter(size, end)
            if not leaves:
                raise Unavailable(f"the hub shows no leaf {start} of {size}", retry_after_ms=0)
            yield FeedMessage(entries=tuple(map(Delivered.bare, leaves[: end - start])))
            start += len(leaves)

    async def check_extends(self, tree: Tree, size: int, root: bytes) -> None:
        """Return if a tree extends the one of this size and root. Raises `VerificationFailed`."""
        if size > tree.size:
            raise _shorter(tree.size, size)
        whole = size in (0, tree.size)
        proof = () if whole else await self._transport.consistency_proof(self.origin, size, tree.size)
        verify_consistency(old_size=size, new_size=tree.size, old_root=root, new_root=tree.checkpoint.root, proof=proof)

    async def directory_at(self, note: bytes = b"", *, until_ms: int | None = None) -> tuple[Directory, bytes]:
        """Return the directory as it was at a moment, and the signed checkpoint that it was read up to.

        That is the one in ``note``, or the present one. Read from the pinned genesis, everything checked.
        """
        origin, pin = self._directory.origin, self._directory.pin
        note = note or await self._transport.checkpoint(origin)
        checker, cut = DirectoryChecker(origin, pin), Directory()
        tree: Checkpoint | None = None
        while tree is None or checker.range.size < tree.size:
            entries, size = await self._transport.entries(origin, checker.range.size)
            if not entries:
                raise VerificationFailed(Reason.ROLLED_BACK, f"the directory ends at {size}, and more was signed")
            for entry in entries:
                if tree is not None and checker.range.size == tree.size:
                    break
                checker.take(entry)
                said = codec.decode_sequenced(entry.leaf)
                if until_ms is None or said.received_at_ms < until_ms:
                    cut.apply(said.header, said.received_at_ms)
                tree = tree or _opened(note, origin, checker.directory)
        if (tree.size, tree.root) != (checker.range.size, checker.range.root()):
            raise VerificationFailed(Reason.BAD_CHECKPOINT, "the directory's signed root is not that of its entries")
        return cut, note


def _shorter(size: int, before: int) -> VerificationFailed:
    return VerificationFailed(
        Reason.ROLLED_BACK, f"the log ends at {size}, and {before} entries of it were signed before"
    )


def _opened(note: bytes, origin: str, directory: Directory) -> Checkpoint:
    genesis = directory.genesis
    if genesis is None:
        raise VerificationFailed(Reason.BAD_PROOF, "the directory has no genesis")
    return open_checkpoint(note, log_verifier(origin, genesis.log_public_key))
