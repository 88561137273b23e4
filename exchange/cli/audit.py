"""One log's files held against themselves: all that is stored beside the leaves follows from the leaves.

Rows, hash tiles, head and mark are what the hub goes on from after a start. Whatever of it the entries do not make
again is damaged, or was never this log's.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchange import codec
from exchange.domain.statement import Leaf, statement_id
from exchange.errors import Reason, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint
from exchange.ledger.merkle import EMPTY_ROOT, leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.tiles import TILE_WIDTH
from exchange.ledger.tree import Tree
from exchange.stores.reading import Reading
from exchange.stores.sqlite_reader import LogState, RawEntry
from exchange.stores.sqlite_schema import checksum


class Audit:
    """Takes every entry of a log in order, then judges what its files say of the whole."""

    def __init__(
        self, files: Reading, state: LogState, key: Verifier, mark: bytes | None, sizes: Iterable[int] = ()
    ) -> None:
        """``mark`` is this machine's memory of the last checkpoint; it must have been read before ``state``.

        ``sizes`` are further ones whose roots are asked for (`root`).
        """
        self._files = files
        self._state = state
        self._key = key
        self._mark = None if mark is None else open_checkpoint(mark, key)
        #: The sizes whose roots are asked for at the end.
        self._roots = {0: EMPTY_ROOT}
        self._wanted = {state.sealed_size, state.durable_size, 0 if self._mark is None else self._mark.size, *sizes}
        self._tree = Tree()
        self._hashes: list[bytes] = []
        self._last = Leaf(0, 0, late=False, directory_size=0, payload=b"", signatures=())

    def take(self, entry: RawEntry) -> None:
        """Hold the next entry's row against its leaf. Raises `ExchangeError`."""
        leaf = entry.leaf or codec.frame_leaf(entry.frame)
        self._last = codec.decode_leaf(leaf)
        hash_ = leaf_hash(leaf)
        if entry.frame:
            stored = (entry.statement_id, entry.leaf_hash, entry.received_at_ms, entry.checksum)
            id_, received = statement_id(self._last.payload), self._last.received_at_ms
            if stored != (id_, hash_, received, checksum(id_, received, entry.frame)):
                raise _broken(f"the row of entry {entry.index} is not what its leaf makes of it")
        self._hashes.append(hash_)
        size = self._tree.size + len(self._hashes)
        if size % TILE_WIDTH == 0 or size in self._wanted:
            self._grow()

    def _grow(self) -> None:
        extension = self._tree.extend(self._hashes)
        self._tree, self._hashes = extension.tree, []
        for tile in extension.full_tiles:
            if self._files.tile(tile.level, tile.index) != (tile.hashes, tile.root()):
                raise _broken(f"hash tile {tile.level}/{tile.index} is missing, or is not that of its entries")
        if self._tree.size in self._wanted:
            self._roots[self._tree.size] = self._tree.root()

    def root(self, size: int) -> bytes | None:
        """Return the root of a size that was asked for; None where the log ends before it."""
        return self._roots.get(size)

    def finish(self) -> None:
        """Judge head, mark and file. Raises `ExchangeError`."""
        state = self._state
        if self._roots.get(state.durable_size) != state.durable_root:
            raise _broken("the recomputed root is not the one on record")
        if self._roots.get(state.sealed_size) != state.sealed_root or state.sealed_size > state.durable_size:
            raise _broken("the sealed root on record is not that of its entries")
        self._check_checkpoint()
        if (self._last.received_at_ms, self._last.directory_size) != (
            state.last_received_at_ms,
            state.last_directory_size,
        ):
            raise _broken("the head's time is not that of the last entry")
        if state.floor % TILE_WIDTH or not 0 <= state.floor <= state.sealed_size:
            raise _broken(f"the floor, {state.floor}, cannot be one")
        self._check_mark()
        damage = self._files.damage()
        if damage:
            raise _broken(f"the store is damaged beside its entries: {damage}")

    def _check_checkpoint(self) -> None:
        state = self._state
        if not state.checkpoint and not state.sealed_size:
            return
        stated = Checkpoint(state.origin, state.sealed_size, state.sealed_root)
        if open_checkpoint(state.checkpoint, self._key) != stated:
            raise VerificationFailed(Reason.BAD_CHECKPOINT, "the signed checkpoint is not of this tree")

    def _check_mark(self) -> None:
        if self._mark is None:
            return
        if self._mark.size > self._state.durable_size:
            raise VerificationFailed(
                Reason.ROLLED_BACK,
                f"the store ends at {self._state.durable_size}, but {self._mark.size} was released: an old copy",
            )
        if self._roots.get(self._mark.size) != self._mark.root:
            raise VerificationFailed(Reason.ROLLED_BACK, "the checkpoint that was released is not of this tree")


def _broken(what: str) -> VerificationFailed:
    return VerificationFailed(Reason.BAD_PROOF, what)
