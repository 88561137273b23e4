"""Keeps one fold's snapshot: checks the one that a start relied on, and writes newer ones.

The check is the whole replay that the start left out: from leaf 0, in small turns between the hub's other work, up to
the snapshot's size. Its rows must be the snapshot's, byte for byte. If they are not, the hub has been judging by a
state that its ledger does not say: the snapshot is thrown away and the error ends the hub, whose next start reads
everything from leaf 0.

New snapshots are made of a fold of the keeper's own, never of the one that is in use, so that nothing waits for them.
A new one is due when the log has grown by an eighth: their cost by the entry stays the same however long the log is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import structlog

from exchange.errors import Fatal, Reason, Rejected, Unavailable
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import CompactRange
from exchange.ledger.snapshot import Snapshot
from exchange.ports import SnapshotFile, TreeHead
from exchange.proving import compact_range
from exchange.views.replay import F, Leaves, Pace, Recipe, Replay
from exchange.views.snapshots import about, restore, take

_log = structlog.get_logger()

#: A start reads no more than so many leaves beyond the last snapshot, or an eighth of the log where that is more.
LEAST_GROWTH = 1_024
_GROWTH = 8


class SnapshotDiffers(Fatal):
    """A snapshot was signed by the log's own key and is not what the log's leaves say."""


class Keeper(Generic[F]):
    """The snapshots of one fold of one log."""

    def __init__(
        self,
        recipe: Recipe[F],
        origin: str,
        leaves: Leaves,
        file: SnapshotFile,
        key: SigningKey,
        clock_s: Callable[[], float],
        *,
        least_growth: int = LEAST_GROWTH,
    ) -> None:
        """``key`` is the log's; ``clock_s`` counts the seconds that the loop's thread has worked, for pacing."""
        self._recipe = recipe
        self._origin = origin
        self._leaves = leaves
        self._file = file
        self._key = key
        self._clock = clock_s
        self._least_growth = least_growth
        #: What the start relied on, until it has been checked.
        self.relied_on: Snapshot | None = None
        #: Size of the log at its last snapshot.
        self.size = 0

    async def load(self) -> Replay[F]:
        """Return the fold to start with: that of the snapshot where it can be used, else an empty one."""
        replay, self.relied_on = await self._last(None)
        self.size = replay.range.size
        return replay

    async def _last(self, pace: Pace | None) -> tuple[Replay[F], Snapshot | None]:
        data = await self._file.load()
        if data is not None:
            try:
                return await self._open(data, pace)
            except Rejected as error:
                _log.warning("snapshot_ignored", origin=self._origin, fold=self._recipe.name, reason=error.message)
        return self._replay(self._recipe.empty()), None

    async def _open(self, data: bytes, pace: Pace | None) -> tuple[Replay[F], Snapshot]:
        snapshot = Snapshot.opened(data, self._key.public_key)
        if snapshot.about != about(self._recipe, self._origin):
            raise Rejected(Reason.INVALID, "it is of another fold, log or release")
        if snapshot.size > (await self._leaves.store.head()).sealed.size:
            raise Rejected(Reason.CURSOR_ABOVE_SIZE, "it is newer than the log")
        range_ = await compact_range(self._leaves.history, snapshot.size)
        if range_.root() != snapshot.root:
            raise Rejected(Reason.BAD_PROOF, "it is of another tree than the log's")
        return self._replay(await restore(self._recipe, snapshot, pace), range_), snapshot

    def _replay(self, fold: F, range_: CompactRange | None = None) -> Replay[F]:
        return Replay(self._leaves, fold, range_)

    async def run(self) -> None:
        """Check, then renew whenever it is due, until cancelled. Raises `SnapshotDiffers`, and what reading raises."""
        if self.relied_on is not None:
            await self._check(self.relied_on)
            self.relied_on = None
        while True:
            due = self.size + max(self._least_growth, self.size // _GROWTH)
            while (await self._leaves.store.head()).sealed.size < due:
                await self._leaves.store.wait(due - 1)
            await self._renew()

    async def _check(self, snapshot: Snapshot) -> None:
        pace = Pace(self._clock)
        replay = self._replay(self._recipe.empty())
        await replay.read_to(snapshot.size, pace)
        head = TreeHead(snapshot.size, snapshot.root)
        replay.require(head)
        made = await take(self._recipe, self._origin, replay.fold, head, pace)
        if made.rows != snapshot.rows:
            await self._file.discard()
            raise SnapshotDiffers(
                f"{self._origin}: the snapshot of the {self._recipe.name} is not what the log's first"
                f" {snapshot.size} leaves say",
                hint="it is thrown away; start the hub again, and look at what was published since the last start",
            )
        _log.info("snapshot_checked", origin=self._origin, fold=self._recipe.name, size=snapshot.size)

    async def _renew(self) -> None:
        pace = Pace(self._clock)
        replay, _ = await self._last(pace)
        head = (await self._leaves.store.head()).sealed
        await replay.read_to(head.size, pace)
        replay.require(head)
        snapshot = await take(self._recipe, self._origin, replay.fold, head, pace)
        try:
            await self._file.save(snapshot.sealed(self._key))
        except Unavailable as error:  # the next one will do; nothing rests on it
            _log.warning("snapshot_not_written", origin=self._origin, fold=self._recipe.name, reason=error.message)
        self.size = head.size
