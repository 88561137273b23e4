"""Filling a log with what another store holds of it, from where it stands: byte for byte, and no record that is gone.

The log is withheld from hubs meanwhile, and the other one has been checked (`exchange.cli.audit`). What a run that was
cut off has left is of the same tree; but what the other store has erased since may still be in it, and is erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from exchange import codec
from exchange.errors import Fatal
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.publish.recovery import load_tree
from exchange.stores.backup.frames import bare_frame
from exchange.stores.opened import Store
from exchange.stores.reading import Reading
from exchange.stores.refilling import refill
from exchange.stores.sqlite_reader import RawEntry
from exchange.stores.worker import Worker

_PAGE_ENTRIES = 2_048
_PAGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What a log is filled with."""

    #: Opens it.
    read: Callable[[], Reading]
    size: int
    #: Below it there are leaves alone.
    floor: int
    #: Passes its entries on, of which there are so many.
    watch: Callable[[Iterator[RawEntry]], Iterator[RawEntry]]


@dataclass(frozen=True, slots=True)
class Filled:
    """What was done."""

    written: int
    #: Entries that were there already, and of which something was erased now.
    erased: int


def frame_of(entry: RawEntry) -> bytes:
    """Return an entry's frame; below the floor, that of an entry of which there is nothing but its leaf."""
    return entry.frame or bare_frame(entry.leaf)


def page(entries: Iterator[RawEntry]) -> list[RawEntry]:
    """Take some entries: as many as are held in memory at once. None at the end."""
    found: list[RawEntry] = []
    held = 0
    for entry in entries:
        found.append(entry)
        held += len(entry.frame) + len(entry.leaf)
        if len(found) >= _PAGE_ENTRIES or held > _PAGE_BYTES:
            break
    return found


async def fill(store: Store, source: Source, origin: str, key: SigningKey, erase_at_once: int) -> Filled:
    """Make a store hold what the source does. Raises `ExchangeError`; then it can be gone on with."""
    head = await store.head()
    if head.sealed != head.durable:
        now = head.durable
        await store.seal(now, sign_checkpoint(Checkpoint(origin, now.size, now.root), key))
    before = (await store.head()).durable.size
    tree = await load_tree(origin, await store.head(), store)
    there = _There(store, head.floor, erase_at_once)
    # Read on a thread of its own: what is read blocks, and the store has to hear of its servers meanwhile.
    worker = Worker(f"moving {origin}")
    log = await worker.call(source.read)
    try:
        entries = source.watch(log.entries(source.size))
        while taken := await worker.call(partial(page, entries)):
            await there.align([each for each in taken if each.index < before])
            tree = await refill(store, tree, (frame_of(each) for each in taken if each.index >= before), origin, key)
            await store.archive(min(source.floor, taken[-1].index + 1))
        await there.finish()
    finally:
        await worker.call(log.close)
        await worker.aclose()
    return Filled(tree.size - before, there.erased)


class _There:
    """What lies in the store already, brought up to what the source still has."""

    def __init__(self, store: Store, floor: int, erase_at_once: int) -> None:
        self._store = store
        self._floor = floor
        self._at_once = erase_at_once
        self._waiting: dict[int, bytes] = {}
        self.erased = 0

    async def align(self, entries: Sequence[RawEntry]) -> None:
        """Erase of these entries what the source has erased. Raises `Fatal` where it has something else instead."""
        hot = [each for each in entries if each.index >= self._floor]
        if not hot:
            return
        here = await self._store.durable_entries(hot[0].index, hot[-1].index + 1)
        for entry, stored in zip(hot, here, strict=True):
            frame = frame_of(entry)
            if frame != stored.frame:
                if not is_less(frame, stored.frame):
                    raise Fatal(f"entry {entry.index} has other records in the store that is filled")
                self._waiting[entry.index] = frame
        # What goes below the floor must be out of the files before its rows are dropped.
        if len(self._waiting) >= self._at_once or any(not each.frame for each in hot):
            await self.finish()

    async def finish(self) -> None:
        """Erase what is left to erase."""
        waiting, self._waiting = sorted(self._waiting.items()), {}
        for at in range(0, len(waiting), self._at_once):
            part = dict(waiting[at : at + self._at_once])
            await self._store.erase(part)
            self.erased += len(part)


def is_less(frame: bytes, than: bytes) -> bool:
    """Whether a frame is another one of which something has been erased."""
    one, other = codec.decode_frame(frame), codec.decode_frame(than)
    if one.leaf != other.leaf or one.audience_record not in (b"", other.audience_record):
        return False
    if not one.present:
        return True
    if not other.present or len(one.records) != len(other.records):
        return False
    return all(record in (b"", was) for record, was in zip(one.records, other.records, strict=True))
