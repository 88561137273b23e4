"""Reading a log's leaves into a fold, together with the tree of what was read.

A fold is a state that is a function of the leaves so far. Here it is kept beside the compact range of the same leaves,
so that at every sealed size it is known to have been made of exactly the tree that was signed: a leaf that was altered
in the store's rows cannot get into a fold unnoticed. Leaves below the floor come from their bundles, the others from
their frames; a fold sees no record either way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from exchange import codec
from exchange.domain.directory_rows import Row
from exchange.domain.statement import Header
from exchange.errors import CursorBelowFloor, Fatal
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.tiles import TILE_WIDTH, decode_bundle
from exchange.ports import History, LogStore, TreeHead

PAGE = 256
#: Background work holds the loop no longer than this at a time; where others want the loop, a fifth of it at most.
_LONGEST_TURN_S = 0.002
_PAUSE = 4.0
#: A loop that comes back sooner has nothing else to do.
_IDLE_S = 0.000_2


class Fold(Protocol):
    """A state made of a log's leaves, in order."""

    size: int

    def apply(self, header: Header, received_at_ms: int) -> None:
        """Take the next leaf."""
        ...


F = TypeVar("F", bound=Fold)
F_co = TypeVar("F_co", bound=Fold, covariant=True)


class Restore(Protocol[F_co]):
    """Makes a fold of its rows."""

    def put(self, row: Row) -> None:
        """Take the next row. Raises `Rejected`."""
        ...

    def done(self) -> F_co:
        """Return the fold."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe(Generic[F]):
    """How one kind of fold begins, and how its state is written down and read back."""

    name: str
    #: Raised with every change of what the fold holds or how it reads a leaf.
    format: int
    empty: Callable[[], F]
    rows: Callable[[F], Iterator[Row]]
    restore: Callable[[], Restore[F]]


class Pace:
    """Lets the loop run between small pieces of background work."""

    def __init__(self, clock_s: Callable[[], float], hurried: Callable[[], bool] = lambda: False) -> None:
        """``clock_s`` counts the seconds that the loop's thread has worked: one that only waits has nothing to do.

        While ``hurried`` somebody waits, and pauses are short.
        """
        self._clock = clock_s
        self._hurried = hurried
        self._since = clock_s()

    async def breathe(self) -> None:
        """Let others go first, once the work since the last pause was long enough.

        Where there are others, pause for a few times as long as that work took.
        """
        ended = self._clock()
        spent = ended - self._since
        if spent >= _LONGEST_TURN_S:
            await asyncio.sleep(0)
            if self._clock() - ended > _IDLE_S and not self._hurried():
                await asyncio.sleep(_PAUSE * spent)
            self._since = self._clock()


class Leaves:
    """One log's leaves, wherever they lie."""

    def __init__(self, store: LogStore, history: History) -> None:
        """Read this log."""
        self.store = store
        self.history = history

    async def read(self, start: int, limit: int) -> Sequence[bytes]:
        """Return up to ``limit`` consecutive sealed leaves from ``start``, at least one where one exists."""
        return [leaf for leaf, _ in await self.with_frames(start, limit)]

    async def with_frames(self, start: int, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Return leaves as `read` does, each with its frame, which is empty below the floor."""
        try:
            return [(codec.frame_leaf(entry.frame), entry.frame) for entry in await self.store.read(start, limit)]
        except CursorBelowFloor:
            bundle, skipped = divmod(start, TILE_WIDTH)
            leaves = decode_bundle(await self.history.bundle(bundle))[skipped : skipped + limit]
            return [(leaf, b"") for leaf in leaves]


class Replay(Generic[F]):
    """A fold, and the tree of exactly the leaves that it has taken."""

    def __init__(self, leaves: Leaves, fold: F, range_: CompactRange | None = None) -> None:
        """Go on from this fold, made of the leaves under this range; from leaf 0 without one."""
        self._leaves = leaves
        self.fold = fold
        self.range = range_ or CompactRange()

    async def read_to(self, size: int, pace: Pace | None = None) -> None:
        """Take all leaves below ``size``, which is sealed; hold them against its root with `require`, afterwards."""
        while self.range.size < size:
            page = await self._leaves.read(self.range.size, min(PAGE, size - self.range.size))
            for data in page:
                self.fold.apply(*_read(data))
                self.range = self.range.extend((leaf_hash(data),))
                if pace is not None:
                    await pace.breathe()

    async def follow_to(self, head: TreeHead, pace: Pace | None = None) -> None:
        """Take all leaves of this tree at once, or none where they are not its leaves. Raises `Fatal`.

        For a fold that is in use meanwhile. The new leaves are held in memory until they have been judged.
        """
        new: list[tuple[Header, int]] = []
        range_ = self.range
        while range_.size < head.size:
            page = await self._leaves.read(range_.size, min(PAGE, head.size - range_.size))
            for data in page:
                new.append(_read(data))
                range_ = range_.extend((leaf_hash(data),))
                if pace is not None:
                    await pace.breathe()
        _require(range_, head)
        for header, received_at_ms in new:
            self.fold.apply(header, received_at_ms)
        self.range = range_

    def require(self, head: TreeHead) -> None:
        """Return if what was taken is the tree of this head. Raises `Fatal`."""
        _require(self.range, head)


def _read(data: bytes) -> tuple[Header, int]:
    said = codec.decode_sequenced(data)
    return said.header, said.received_at_ms


def _require(range_: CompactRange, head: TreeHead) -> None:
    if (range_.size, range_.root()) != (head.size, head.root):
        raise Fatal(
            f"the {range_.size} leaves that were read are not those of the tree of {head.size}",
            hint="`exchange verify` tells which entry does not hold; bring back another copy of the log",
        )
