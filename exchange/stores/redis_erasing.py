"""Getting what was erased out of the servers' files.

A server appends every change to its file; what a change replaced stays in there until the file is rewritten. So an
erasure is done only when a rewrite that began after it has ended, on the master and on every replica that holds the
log. Rewrites that others began count, if they began late enough; and what another hub saw through is not done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from redis import exceptions

from exchange.errors import CursorAboveSize, Fatal, Unavailable
from exchange.stores import redis_calls as calls
from exchange.stores import redis_scripts as scripts
from exchange.stores.recent import RecentEntries
from exchange.stores.redis_finding import text_of
from exchange.stores.redis_link import Link, answer
from exchange.stores.redis_master import Call, Master

_LOOK_EVERY_S = 0.05
#: Files of many gigabytes take minutes; one that takes longer is looked at by a person.
PATIENCE_S = 1_800.0
#: One rewrite follows on another no sooner: each writes all that a server holds.
EVERY_S = 60.0


async def _nobody(_indices: Sequence[int]) -> None:
    """Tell nobody."""


class Erasing:
    """What leaves one log, and its files."""

    def __init__(self, master: Master, keys: scripts.Keys, recent: RecentEntries, *, every_s: float = EVERY_S) -> None:
        """Nothing has been rewritten yet. ``recent`` holds entries in memory."""
        self._master = master
        self._keys = keys
        self._recent = recent
        #: How often something was erased: what was read before that is not kept.
        self.count = 0
        #: Hears which entries were replaced, before they are out of the files.
        self.told: Callable[[Sequence[int]], Awaitable[None]] = _nobody
        self._every_s = every_s
        self._turn = asyncio.Lock()
        self._not_before = 0.0
        self._rewritten = 0

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """See `LogStore.erase`."""
        counts = (0, 0)
        for call, part in calls.erase(self._keys, frames):
            said, *more = await self._master.write(call, changes=calls.wrote)
            match said:
                case b"ok":
                    counts = int(more[0]), int(more[1])
                    self.count += 1
                    self._recent.replace_frames(part)
                case b"above":
                    raise CursorAboveSize(int(more[0]))
                case b"leaf":
                    raise Fatal(f"the frame to replace that of entry {int(more[0])} holds another leaf")
                case _:
                    raise calls.refused(self._keys, (said, *more))
        await self.told(tuple(frames))
        await self._until(*counts)

    async def _until(self, erasures: int, done: int) -> None:
        """Return when so many erasures are in no file any more, of which ``done`` are known not to be.

        Raises `Unavailable` when a replica goes away meanwhile, or a file cannot be rewritten.
        """
        if erasures <= max(done, self._rewritten):
            return
        async with self._turn:
            if erasures <= self._rewritten:
                return
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._not_before - loop.time())
            # All erasures so far leave the files with this one.
            now, done = await self._counts()
            if erasures > done:  # another hub may have seen to it meanwhile
                await self._rewrite()
                self._not_before = loop.time() + self._every_s
                await self._master.tell(Call(scripts.REWRITTEN, [self._keys.head], (now,)))
                done = now
            self._rewritten = done

    async def _rewrite(self) -> None:
        servers = [(await self._master.found()).master, *await self._master.replicas()]
        links = [await self._master.aside(server) for server in servers]
        try:
            await asyncio.gather(*map(rewritten, links))
        finally:
            for link in links:
                await link.aclose()

    async def _counts(self) -> tuple[int, int]:
        """Return how many erasures there were, and how many of them are in no file any more."""
        (told,) = await self._master.read(("HMGET", self._keys.head, "erasures", "rewritten"))
        return int(told[0] or 0), int(told[1] or 0)


async def rewritten(link: Link, *, patience_s: float = PATIENCE_S) -> None:
    """Return when the server's file holds nothing that was replaced before this call. Raises `Unavailable`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    before, _, _ = await _state(link)
    while True:
        begun, running, well = await _state(link)
        # Of those that began since, all but the one that still runs have ended.
        if begun - running > before and well:
            return
        if loop.time() > deadline:
            raise Unavailable(f"{link.server}: erased bytes are still in its file", retry_after_ms=5_000)
        if not running:
            (said,) = await link.call(("BGREWRITEAOF",))
            if not isinstance(said, exceptions.ResponseError) or "in progress" not in str(said):
                answer(link.server, said)
        await asyncio.sleep(_LOOK_EVERY_S)


async def _state(link: Link) -> tuple[int, int, bool]:
    """Return how many rewrites have begun, whether one runs, and whether the last one that ended went well."""
    (said,) = await link.call(("INFO", "persistence"))
    found = dict(line.partition(":")[::2] for line in text_of(answer(link.server, said)).splitlines())
    running = int(found["aof_rewrite_in_progress"])
    return int(found["aof_rewrites"]), running, found["aof_last_bgrewrite_status"] == "ok"
