"""The hub's view of a community's life: what its leaves say of each signal and member, a moment behind the log.

The fold lies on disk (`Facts`) with its place in the log, so a start reads only what came since. It costs those who
publish next to nothing: it is read in small turns beside the hub's other work, and written on a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress

from exchange import codec
from exchange.domain.life import LifeFacts
from exchange.domain.referral_facts import AddressedFacts, target_of
from exchange.errors import Fatal, Unavailable, VerificationFailed
from exchange.ledger.merkle import CompactRange
from exchange.ports import Facts, History, LogStore, ToldEntry, TreeHead
from exchange.proving import compact_range
from exchange.views.ahead import one_ahead
from exchange.views.just_said import JustSaid
from exchange.views.lost import Lost
from exchange.views.making import Making
from exchange.views.replay import Leaves, Pace
from exchange.views.small_folds import SmallFolds
from exchange.views.telling import PAGE, Telling

#: How far behind the log at most, once it has caught up: a burst of statements is taken in one transaction.
BEHIND_S = 0.25
#: How many entries are worth a process of their own.
FAR = 20_000
#: What is committed at once there, in bytes of frames: tens of megabytes in memory as well.
COMMITTED_BYTES = 16 * 1024 * 1024
#: How long somebody waits who names what may be among the newest entries, and how long after a start whoever asks.
_PATIENCE_S = 2.0


class LifeView:
    """Follows one community's log."""

    def __init__(
        self,
        store: LogStore,
        history: History,
        facts: Facts,
        clock_s: Callable[[], float],
        *,
        canaries: frozenset[tuple[int, bytes]] = frozenset(),
        addressed: AddressedFacts | None = None,
        just_said: JustSaid | None = None,
        lost: Lost | None = None,
        making: Callable[[], AbstractAsyncContextManager[Making]] | None = None,
    ) -> None:
        """``clock_s`` counts the seconds that the loop's thread has worked, for pacing.

        ``canaries`` are indicators, as type and value. ``just_said`` is filled by whoever writes to this log here.
        ``lost`` is of the same facts; without it nothing comes back.
        ``making`` is for a fold that has far to go.
        """
        self._lost = lost
        self._addressed = addressed or AddressedFacts()
        self._store = store
        self._leaves = Leaves(store, history)
        self._telling = Telling(self._leaves, just_said or JustSaid(), canaries)
        self.facts = facts
        self._making = making
        self._folds = SmallFolds()
        self._clock = clock_s
        #: They hear of new entries once these are taken, not of those that the log held at the start.
        self.listeners: list[Callable[[Sequence[ToldEntry]], None]] = []
        self._caught_up = False
        #: Until when, by the loop's time, it is waited for after the start. That does not begin again where `run` does.
        self._patient_until = 0.0
        self._moved = asyncio.Event()
        self._placed = asyncio.Event()
        #: Somebody waits: the next entries are taken at once.
        self._hurry = asyncio.Event()
        #: Held while records are taken out of the store, until that is noted, and while it is noted that some have come
        #: back: the one must not fall into the other. Who holds it never calls `look_again`.
        self.moving = asyncio.Lock()

    def current(self) -> LifeFacts:
        """Return what to judge by. Raises `Unavailable` until what the log held at the start has been read."""
        elections, facts = self.folds().elections.entries, self.facts
        return LifeFacts(facts.place().size, facts.signals, facts.member, elections, self._addressed)

    def folds(self) -> SmallFolds:
        """Return the folds in memory. Raises `Unavailable` as `current`."""
        if not self._caught_up:
            raise Unavailable("the hub is still reading this log", retry_after_ms=1_000)
        return self._folds

    async def caught_up(self) -> None:
        """Return once it has read what the log held at the start. Raises `Unavailable` where that takes long."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._patience_ends()):
                while not self._caught_up:
                    await self._moved.wait()
        self.folds()

    def _patience_ends(self) -> float:
        if not self._patient_until:
            self._patient_until = asyncio.get_running_loop().time() + _PATIENCE_S
        return self._patient_until

    async def reached(self, size: int) -> None:
        """Return once all entries below this index are in it. Raises `Unavailable` when that takes long."""
        if self.facts.place().size >= size:
            return
        self.folds()
        self._hurry.set()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while self.facts.place().size < size:
                    await self._moved.wait()
        except TimeoutError as error:
            raise Unavailable("the hub has not read this log's newest entries", retry_after_ms=500) from error

    async def run(self) -> None:
        """Follow the log until cancelled. Raises `Fatal` when its leaves are not those that were sealed."""
        self._patience_ends()
        try:
            await self._check_place()
            await self._load()
            self._placed.set()
            before = None if self._lost is None else (await self._lost.newest_whole(), await self._lost.bare())
            while True:
                if self.facts.damaged:
                    raise Unavailable("the fold of this log's life is made again")
                head = (await self._store.head()).sealed
                if self.facts.place().size < head.size:
                    await self._take(head)
                if self._lost is not None and before is not None:
                    await self._compare(self._lost, *before)
                    await self._lost.bare()  # what has just been taken, and was over long ago, is forgotten
                    before = None
                self._caught_up = True
                self._tell()
                await self._store.wait(head.size)
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEHIND_S):
                        await self._hurry.wait()
                self._hurry.clear()
        finally:
            self._caught_up = False

    async def placed(self) -> None:
        """Return once the fold is known to be of this log."""
        await self._placed.wait()

    async def _check_place(self) -> None:
        """Begin again at leaf 0 where the fold is not of this log: of another copy, or of a longer one."""
        place = self.facts.place()
        size = (await self._store.head()).sealed.size
        if self.facts.damaged or place.size > size or place != await compact_range(self._leaves.history, place.size):
            await self.facts.forget(None)

    async def _compare(self, lost: Lost, whole: int | None, bare: Sequence[int]) -> None:
        """Hold what the fold had of records against the store: some may have been lost, or have come back, unseen.

        ``whole`` is the newest entry that had its records when the fold was last at work. Of what was lost since, the
        newest went first: entries that come back from somebody's leaves are the last ones of a log.
        """
        if whole is not None and lost.is_whole(whole) and (await self._entry(whole)).bare:
            await self.facts.forget(None)
            raise Unavailable("records were lost: the fold of this log's life is made again")
        await self.look_again(bare)

    async def look_again(self, indices: Sequence[int]) -> None:
        """Take what has come back to these entries, in their order, which the fold has. Raises `Unavailable`."""
        at, pace = 0, Pace(self._clock)
        while self._lost is not None and at < len(indices):
            start = indices[at]
            page = await self._leaves.with_frames(start, min(PAGE, indices[-1] - start + 1))
            for index, (leaf, frame) in enumerate(page, start=start):
                if at == len(indices) or index != indices[at]:
                    continue
                at += 1
                if frame and not codec.is_erased(frame):
                    async with self.moving:
                        await self._take_back(self._lost, self._telling.told(index, leaf, frame))
                await pace.breathe()

    async def _take_back(self, lost: Lost, entry: ToldEntry) -> None:
        if entry.record is None:
            await lost.take_back(entry)
            return
        target = target_of(entry.header.signal_ids[0], entry.record)
        while True:
            others = [each for each in await lost.said_of(target) if each != entry.index]
            if await lost.take_again(target, [entry, *[await self._entry(index) for index in others]]):
                return

    async def _entry(self, index: int) -> ToldEntry:
        ((leaf, frame),) = await self._leaves.with_frames(index, 1)
        return self._telling.told(index, leaf, frame)

    async def _load(self) -> None:
        """Make the folds in memory; begin again at leaf 0 where the places of their leaves are not right."""
        try:
            self._folds = await SmallFolds.load(self._leaves, self.facts.few(), self.facts.place())
        except VerificationFailed:
            await self.facts.forget(None)
            self._folds = SmallFolds()

    async def _take(self, head: TreeHead) -> None:
        """Take all entries of this tree. What does not belong to it is taken back by beginning again."""
        pace = Pace(self._clock, self._hurry.is_set)
        if self._making is not None and not self._caught_up and head.size - self.facts.place().size >= FAR:
            await self._have_made(self._making, head, pace)
            await self._load()
        parts = self._telling.parts(self.facts.place(), head.size, pace, small=self._caught_up)
        async with aclosing(one_ahead(parts)) as ahead:
            async for entries, place in ahead:
                if not await self._is_of(head, place):
                    await self.facts.forget(None)
                    raise Fatal(
                        f"the {head.size} leaves that were read are not those of the log's tree",
                        hint="`exchange verify` tells which entry does not hold; bring back another copy of the log",
                    )
                await self.facts.take(entries, place)
                self._folds.take(entries)
                await pace.breathe()
                for listener in self.listeners if self._caught_up else ():
                    listener(entries)
                self._tell()

    def _tell(self) -> None:
        """Wake those who wait for it to move."""
        self._moved.set()
        self._moved.clear()

    async def _have_made(
        self, making: Callable[[], AbstractAsyncContextManager[Making]], head: TreeHead, pace: Pace
    ) -> None:
        """Have entries of this tree taken by something faster: all of them, or as many as it can.

        What is not of this tree is left, for the slower way to find.
        """
        held = 0
        pages = self._telling.pages(self.facts.place(), head.size, pace)
        async with making() as made, aclosing(one_ahead(pages)) as ahead:
            async for page, place in ahead:
                held += sum(len(frame) or len(leaf) for leaf, frame in page)
                due = held >= COMMITTED_BYTES or place.size == head.size
                if due and not await self._is_of(head, place):
                    return
                if not await made.take(page, place if due else None):
                    return
                held = 0 if due else held

    async def _is_of(self, head: TreeHead, place: CompactRange) -> bool:
        if place.size == head.size:
            return place.root() == head.root
        return place == await compact_range(self._leaves.history, place.size)
