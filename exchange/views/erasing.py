"""Takes records out of every store of this hub when their time is over, or when somebody entitled has said so.

The order: the store's frame is replaced and its old bytes are gone from the files; then the newest entries in memory
are replaced; only then is it noted as done. A crash in between repeats it. The leaf stays, and all proofs hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from exchange import codec
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import SignalHeader
from exchange.errors import CursorBelowFloor, Unavailable
from exchange.ports import Doomed, Facts, LogStore

_log = structlog.get_logger()

EVERY_S = 1.0
#: Entries erased in one go, where the store says nothing else.
BATCH = 64
#: What their new frames may take in memory.
BATCH_BYTES = 16 * 1024 * 1024


class Eraser:
    """Erases in one community."""

    def __init__(
        self,
        origin: str,
        store: LogStore,
        facts: Facts,
        erased: Callable[[Sequence[int]], Awaitable[None]],
        now_ms: Callable[[], int],
        *,
        ready: Callable[[], Awaitable[None]],
        moving: asyncio.Lock,
        at_once: int = BATCH,
    ) -> None:
        """``erased`` replaces these entries wherever else this hub holds them.

        ``ready`` returns once the fold is known to be of this log; ``moving`` is `LifeView.moving` of it. ``at_once``
        is how many entries go in one go: each pays for getting the old bytes out of the store's files.
        """
        self._ready = ready
        self._moving = moving
        self._at_once = at_once
        self._origin = origin
        self._store = store
        self._facts = facts
        self._erased = erased
        self._now_ms = now_ms

    async def run(self) -> None:
        """Erase what is due, every second, until cancelled."""
        await self._ready()
        while True:
            try:
                while await self.erase():
                    pass
            except Unavailable as error:
                _log.warning("not_erased_now", origin=self._origin, reason=error.message)
            await asyncio.sleep(EVERY_S)

    async def erase(self) -> int:
        """Erase one batch of what is due; return how many entries were in it."""
        async with self._moving:  # what comes back to one of these meanwhile would be noted as gone, for good
            return await self._erase()

    async def _erase(self) -> int:
        now_ms = self._now_ms()
        doomed = await self._facts.doomed(now_ms, self._at_once)
        if not doomed:
            return 0
        count, frames = await self._frames(doomed, now_ms)
        doomed = doomed[:count]
        # Another hub of the same store may have been quicker: then this one holds it in memory alone.
        if others := [each.index for each in doomed if each.index not in frames]:
            await self._erased(others)
        try:
            await self._store.erase(frames)
        finally:
            # Also where the old bytes cannot be cut out of the file yet: nobody is served them any more.
            if frames:
                await self._erased(tuple(frames))
        await self._facts.gone(doomed)
        _log.info("erased", origin=self._origin, entries=len(frames))
        return count

    async def _frames(self, doomed: Sequence[Doomed], now_ms: int) -> tuple[int, dict[int, bytes]]:
        """Return how many of these go now, and the frames of those that hold something that has to go, without it."""
        frames: dict[int, bytes] = {}
        size = 0
        for count, each in enumerate(doomed):
            if size > BATCH_BYTES:
                return count, frames
            frame = frames.get(each.index) or await self._frame(each.index)
            if frame is not None and (without := _without(frame, each, now_ms)) != frame:
                size += len(without)
                frames[each.index] = without
        return len(doomed), frames

    async def _frame(self, index: int) -> bytes | None:
        """Return an entry's frame; None below the floor, where there are leaves only."""
        try:
            found = await self._store.read(index, 1)
        except CursorBelowFloor:
            return None
        if not found:
            raise Unavailable(f"entry {index} is not sealed yet")
        return found[0].frame


def _without(frame: bytes, doomed: Doomed, now_ms: int) -> bytes:
    """Return the frame without what has to go. The entry itself is asked, too: it must hold that, or be over."""
    header = codec.decode_header(codec.decode_leaf(codec.frame_leaf(frame)).payload, strict=False)
    ids, body = header.signal_ids, header.body
    if not isinstance(body, SignalHeader | Addressed) or codec.decode_frame(frame).erased:
        return frame
    wanted = doomed.signal_ids
    if wanted is None:
        over = isinstance(body, SignalHeader) and body.expires_at_ms <= now_ms
        wanted = frozenset(ids) if over else frozenset()
    gone = frozenset(place for place, id_ in enumerate(ids) if id_ in wanted)
    return codec.frame_without(frame, gone) if gone else frame
