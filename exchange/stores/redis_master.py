"""The master of one log: who it is now, a connection to write to it, one to read from it, and safe writing.

`write` runs a script and returns when what it wrote is on every server that could be the master next, counted on the
connection that wrote. A connection that breaks is never used again; the next call finds out anew who the master is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from redis import exceptions

from exchange.errors import Fatal, Unavailable
from exchange.stores import redis_checks
from exchange.stores.redis_finding import Finder, Found
from exchange.stores.redis_link import Command, Elsewhere, Link, Lost, answer
from exchange.stores.redis_place import RedisPlace, Server
from exchange.stores.redis_replicas import Replication, Unsafe, missing, read_replication
from exchange.stores.redis_scripts import ALL, Script

_log = structlog.get_logger()
T = TypeVar("T")

#: How long a write waits for its replicas in one go, and in all.
WAIT_ONCE_S = 0.5
WAIT_S = 2.0
#: How long is between two attempts while there is no master.
AGAIN_S = 0.1
#: And between two attempts to reach a replica.
REACH_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """A script with what it is given."""

    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[str | bytes | int] = ()

    @property
    def command(self) -> Command:
        """Return it as a command."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments)


class Master:
    """Where one log is written and read."""

    def __init__(self, place: RedisPlace, key: bytes, *, wait_s: float = WAIT_S) -> None:
        """``key`` is any of the log's; ``wait_s`` is how long a write may wait for its replicas."""
        self._place = place
        self._finder = Finder(place, key)
        self._wait_s = wait_s
        self._found: Found | None = None
        self._writer: Link | None = None
        self._reader: Link | None = None
        self._writing = asyncio.Lock()
        self._opening = asyncio.Lock()
        #: Replicas that have been looked at and will do.
        self._fit: set[Server] = set()
        #: When to try again to reach one that could not be.
        self._look_at: dict[Server, float] = {}
        self._closed = False

    async def found(self) -> Found:
        """Return who the servers are. Raises `Unavailable` and `Fatal`."""
        if self._found is None:
            self._found = await self._finder.find()
        return self._found

    async def look_again(self) -> None:
        """Ask again who the servers are, without leaving the master where it is still the same."""
        before, now = self._found, await self._finder.find()
        self._found = now
        if before is not None and before.master != now.master:
            _log.warning("store_has_another_master", before=str(before.master), now=str(now.master))
            await self.leave()

    async def leave(self) -> None:
        """Forget the master, and close what is open to it."""
        self._found = None
        links = (self._writer, self._reader)
        self._writer = self._reader = None
        for link in links:
            if link is not None:
                await link.aclose()

    async def connect(self) -> Link:
        """Return a new connection to the master, checked and with the scripts loaded."""
        if self._closed:
            raise Unavailable("the store is closed")
        server = (await self.found()).master
        try:
            link = await Link.connect(self._place, server, self._place.login)
        except Lost:
            self._found = None
            raise
        try:
            await redis_checks.require(link)
            loaded = await link.call(*(("SCRIPT", "LOAD", each.text) for each in ALL), ("INFO", "replication"))
            for each in loaded:
                answer(server, each)
            if not read_replication(loaded[-1]).is_master:
                self._found = None
                raise Elsewhere(f"{server}: is not the master of this log now")
        except BaseException:
            await link.aclose()
            raise
        return link

    async def read(self, *commands: Command) -> list[Any]:
        """Ask the master; an error among the answers is raised. Once more where the connection was found broken."""
        try:
            return await self._ask(commands)
        except Lost:
            return await self._ask(commands)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        async with self._opening:
            if self._reader is None or self._reader.lost:
                self._reader = await self.connect()
            link = self._reader
        return [await self._answer(link, each) for each in await link.call(*commands)]

    async def write(self, call: Call, *, changes: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - the script's answer
        """Run a script; return its answer once what it wrote is safe. ``changes`` tells whether it wrote anything.

        Raises `Elsewhere` when nothing was done, `Unsafe` when it may be lost with a server, `Lost` when nobody knows.
        """
        async with self._writing:
            link, found = await self._to_write()
            wait = ("WAIT", len(found.promotable) or found.least, round(WAIT_ONCE_S * 1000))
            reply, *counted = await link.call(call.command, wait, ("INFO", "replication"), wait_s=WAIT_ONCE_S)
            reply = await self._answer(link, reply)
            if changes(reply):
                await self._until_safe(link, found, counted)
            return reply

    async def tell(self, call: Call) -> Any:  # noqa: ANN401 - as `write`
        """Run a script whose effect may be lost with a server: somebody makes it again. Raises as `write`."""
        async with self._writing:
            link, _ = await self._to_write()
            (reply,) = await link.call(call.command)
            return await self._answer(link, reply)

    async def _to_write(self) -> tuple[Link, Found]:
        found = await self.found()
        if self._writer is not None and self._writer.server != found.master:
            await self.leave()
            found = await self.found()
        if self._writer is None or self._writer.lost:
            self._writer = await self.connect()
        await self._check_replicas(found)
        if self._writer.server != found.master:
            raise Elsewhere(f"{self._writer.server}: the master was replaced just now")
        return self._writer, found

    async def _until_safe(self, link: Link, found: Found, counted: list[Any]) -> None:
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while True:
            acknowledged, said = [await self._answer(link, each) for each in counted]
            now: Replication = read_replication(said)
            if not now.is_master:
                await self.leave()
                raise Unsafe("the store's master was replaced while something was written", retry_after_ms=500)
            found = self._finder.seen(found, now.connected)
            self._fit &= now.connected  # one that went away may come back otherwise configured
            if self._found is not None and self._found.master == found.master:  # else there is another one meanwhile
                self._found = found
            why = missing(found, int(acknowledged), now)
            if not why:
                return
            if asyncio.get_running_loop().time() >= deadline:
                _log.warning("store_is_not_safe_to_write", master=str(link.server), why=why)
                self._found = None  # there may be another master
                raise Unsafe(
                    f"what was written is not safe yet: {why}",
                    retry_after_ms=1_000,
                    hint="bring the replica back, or make it one that is never promoted",
                )
            wanted = max(len(now.connected), len(found.promotable), found.least)
            wait = ("WAIT", wanted, round(WAIT_ONCE_S * 1000))
            counted = await link.call(wait, ("INFO", "replication"), wait_s=WAIT_ONCE_S)

    async def _answer(self, link: Link, reply: Any) -> Any:  # noqa: ANN401 - as `Link.call`
        if isinstance(reply, exceptions.NoScriptError):
            await link.aclose()  # the next connection loads them again
            raise Elsewhere(f"{link.server}: the scripts are gone")
        try:
            return answer(link.server, reply)
        except Elsewhere:
            await self.leave()
            raise

    async def _check_replicas(self, found: Found) -> None:
        """Look at each replica that could be the master next. Raises `Unavailable` when one is not fit.

        One that cannot be reached keeps writes unsafe anyway, where the master cannot reach it either.
        """
        loop = asyncio.get_running_loop()
        for server in sorted(found.promotable - self._fit):
            if loop.time() < self._look_at.get(server, 0.0):
                continue
            try:
                await self._check(server)
            except Unavailable:
                self._look_at[server] = loop.time() + REACH_EVERY_S
            except Fatal as error:
                raise Unavailable(
                    f"a replica that could be promoted is not fit: {error.message}",
                    retry_after_ms=5_000,
                    hint="configure it as docs/redis.md says, or make it one that is never promoted",
                ) from error
            else:
                self._fit.add(server)

    async def _check(self, server: Server) -> None:
        link = await Link.connect(self._place, server, self._place.login)
        try:
            await redis_checks.require(link)
        finally:
            await link.aclose()

    async def follow(
        self,
        channel: bytes,
        news: Callable[[int | None], Awaitable[None]],
        look_every_s: float,
        find_every_s: float,
    ) -> None:
        """Tell what is heard on a channel, a number, and None ever so often, until the connection or the master goes.

        Raises `Unavailable`.
        """
        link = await self.connect()
        loop = asyncio.get_running_loop()
        find_at = loop.time() + find_every_s
        try:
            (said,) = await link.call(("SUBSCRIBE", channel))
            answer(link.server, said)
            await news(None)
            while (await self.found()).master == link.server:
                heard = await link.heard(look_every_s)
                await news(int(heard[2]) if heard is not None and heard[0] == b"message" else None)
                if loop.time() >= find_at:
                    find_at = loop.time() + find_every_s
                    await self.look_again()
        finally:
            await link.aclose()

    async def replicas(self) -> list[Server]:
        """Return every replica that holds the log now."""
        (said,) = await self.read(("INFO", "replication"))
        return sorted(read_replication(said).connected)

    async def aside(self, server: Server) -> Link:
        """Return a connection of its own to a server of this log."""
        return await Link.connect(self._place, server, self._place.login)

    async def aclose(self) -> None:
        """Close what is open. Idempotent."""
        self._closed = True
        async with self._writing:
            await self.leave()


async def patiently(attempt: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """Return what an attempt returns; while there is no master, try again for so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while True:
        try:
            return await attempt()
        except (Lost, Elsewhere):
            if loop.time() >= deadline:
                raise
        await asyncio.sleep(AGAIN_S)
