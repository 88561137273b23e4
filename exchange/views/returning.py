"""Puts records back that this hub has lost, when their publisher sends its statement again.

After a rollback a log's leaves come back from anybody's copy; its records are in their publishers' outboxes. Only what
nothing took comes back: no erasure names it, and its time is not over. What was lost was in the fold as such before
anybody sent anything (`exchange.views.lost`), so nobody brings back an entry that was erased in the ordinary way.

The order: the store's frame is replaced, durably; then the fold knows who may read it, and looks again for what has to
go; then the newest entries in memory are replaced; only then there is a receipt. After a crash in between the fold
finds by itself what has come back, and the publisher, who got no receipt, sends again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from exchange import codec
from exchange.codec_addressed import decode_addressed
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import SignalHeader
from exchange.domain.life import may_come_back
from exchange.domain.referral_facts import target_of
from exchange.domain.statement import Header, Statement
from exchange.errors import Conflict, CursorBelowFloor, Unavailable
from exchange.ports import LogStore
from exchange.views.life import LifeView
from exchange.views.lost import Lost, Recovering

_log = structlog.get_logger()


class Store(LogStore, Recovering, Protocol):
    """What is read here, and written."""


class Returning:
    """Puts back in one community's log."""

    def __init__(
        self,
        origin: str,
        store: Store,
        replaced: Callable[[Sequence[int]], Awaitable[None]],
        now_ms: Callable[[], int],
    ) -> None:
        """``replaced`` replaces these entries wherever else this hub holds them. Nothing comes back before `follow`."""
        self._origin = origin
        self._store = store
        self._fold: tuple[LifeView, Lost] | None = None
        self._replaced = replaced
        self._now_ms = now_ms
        self._under_way: set[asyncio.Task[None]] = set()

    def follow(self, life: LifeView, lost: Lost) -> None:
        """From now on put back what this fold says is lost."""
        self._fold = (life, lost)

    async def sent_again(self, index: int, statement: Statement, header: Header) -> None:
        """Put the records of an entry back, where they are lost. They hash to its ids: whoever calls has looked.

        Raises `Unavailable` where it cannot be told now whether they may come back, or nothing can be written.
        """
        if self._fold is None or not header.signal_ids:
            return
        life, lost = self._fold
        frame = await self._frame(index)
        if frame is None or not (codec.is_erased(frame) or lost.is_bare(index)):
            return
        # Done to its end, whoever stops waiting for it: else memory would go on without what is in the store.
        task = asyncio.ensure_future(self._put_back(life, lost, index, frame, statement, header))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        await asyncio.shield(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: its caller may have gone

    async def returned_to(self, indices: Sequence[int]) -> None:
        """Take what came back to these entries, in their order, wherever this hub holds something of them.

        Raises `Unavailable` while the fold has not read so far.
        """
        if self._fold is not None and indices:
            await self._fold[0].reached(indices[-1] + 1)
            await self._fold[0].look_again(indices)
        await self._replaced(indices)

    async def _frame(self, index: int) -> bytes | None:
        """Return an entry's frame; None below the floor."""
        try:
            (entry,) = await self._store.read(index, 1)
        except CursorBelowFloor:
            return None
        return entry.frame

    async def _put_back(
        self, life: LifeView, lost: Lost, index: int, frame: bytes, statement: Statement, header: Header
    ) -> None:
        returned: bytes | None = frame
        if codec.is_erased(frame):
            if life.current().size > index and not lost.is_bare(index):
                return  # it was taken
            await life.reached((await self._store.head()).sealed.size)
            returned = _returned(life, lost, index, frame, statement, header, now_ms=self._now_ms())
        if returned is None:
            return
        try:
            # Also where it is there already: whoever wrote it may not have seen it safe.
            await self._store.put_back(index, frame, returned)
        except Conflict as error:
            raise Unavailable(f"entry {index} has just changed", retry_after_ms=100) from error
        await self.returned_to((index,))
        _log.info("records_returned", origin=self._origin, index=index)


def _returned(
    life: LifeView, lost: Lost, index: int, frame: bytes, statement: Statement, header: Header, *, now_ms: int
) -> bytes | None:
    """Return an erased frame with what may come back to it; None where that is nothing."""
    if not lost.is_bare(index):
        return None
    ids, body = header.signal_ids, header.body
    if isinstance(body, Addressed):
        record = decode_addressed(header.kind, statement.records, strict=False)
        taken = [0] if lost.is_erased((ids[0], target_of(ids[0], record))) else []
    elif isinstance(body, SignalHeader):
        known = life.current().signals(ids)
        taken = [at for at, id_ in enumerate(ids) if not may_come_back(body, known.get(id_), now_ms=now_ms)]
    else:
        return None
    whole = codec.full_frame(codec.frame_leaf(frame), statement.records, statement.audience_record)
    returned = codec.frame_without(whole, taken) if taken else whole
    return None if codec.is_erased(returned) else returned
