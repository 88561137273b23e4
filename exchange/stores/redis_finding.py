"""Which server is the master of a log, and which replicas could be promoted in its place.

A write is safe when it is on every server that may ever be the master after this one, also on those that cannot be
reached now: they are exactly the ones that a partition promotes. So who they are is asked of those who promote (the
Sentinels, the Cluster), never counted from what is connected; and a replica once known is forgotten only when all of
them are asked, answer, and agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot

from exchange.errors import Fatal, Reason, Unavailable
from exchange.stores.redis_link import Command, Link, answer
from exchange.stores.redis_place import Form, Login, RedisPlace, Server


@dataclass(frozen=True, slots=True)
class Found:
    """The servers of a log."""

    master: Server
    #: Each of them must hold what is durable.
    promotable: frozenset[Server] = frozenset()
    #: Replicas that nobody promotes.
    others: frozenset[Server] = frozenset()
    #: How many replicas must hold it at least, where nobody tells which.
    least: int = 0


@dataclass(frozen=True, slots=True)
class _View:
    """What one of those who promote says."""

    #: The newer, the higher.
    epoch: int
    master: Server
    promotable: frozenset[Server]
    others: frozenset[Server]


class Finder:
    """Asks who the master is of the log that a key belongs to."""

    def __init__(self, place: RedisPlace, key: bytes) -> None:
        """Nobody is asked yet."""
        self._place = place
        self._slot = key_slot(key)
        self._known: frozenset[Server] = frozenset()
        #: Beside the addresses in the setting: whom a Cluster has named.
        self._others_to_ask: frozenset[Server] = frozenset()

    async def find(self) -> Found:
        """Ask. Raises `Unavailable` when nobody can say, `Fatal` (CONFIG) when there is no such master."""
        place = self._place
        if place.form is Form.SINGLE:
            return Found(place.addresses[0], least=place.replicas)
        askers = place.addresses
        if place.form is Form.CLUSTER:
            askers = tuple(dict.fromkeys((*place.addresses, *sorted(self._others_to_ask))))
        answers = await asyncio.gather(*(self._ask(each) for each in askers), return_exceptions=True)
        for each in answers:
            if isinstance(each, BaseException) and not isinstance(each, Unavailable):
                raise each
        views = [each for each in answers if isinstance(each, _View)]
        if not views or (place.form is Form.SENTINEL and len(views) * 2 <= len(askers)):
            said = "; ".join(str(each) for each in answers if isinstance(each, BaseException))
            raise Unavailable(f"nobody can say who is the store's master: {said}")
        return self._judge(views, whole=len(views) == len(askers))

    def _judge(self, views: Sequence[_View], *, whole: bool) -> Found:
        newest = max(views, key=lambda view: view.epoch)
        same = [view for view in views if view.master == newest.master]
        promotable = frozenset[Server]().union(*(view.promotable for view in same))
        if not whole or len(same) < len(views):
            promotable |= self._known
        promotable -= {newest.master}
        self._known = promotable
        others = frozenset[Server]().union(*(view.others for view in same)) - promotable
        self._others_to_ask = promotable | {newest.master}
        return Found(newest.master, promotable, others)

    def seen(self, found: Found, connected: Iterable[Server]) -> Found:
        """Return what was found with the replicas that the master has now: a new one may be promoted, too."""
        if self._place.form is Form.SINGLE:
            return found
        new = frozenset(connected) - found.others - {found.master}
        self._known |= new
        return Found(found.master, found.promotable | new, found.others)

    async def _ask(self, server: Server) -> _View:
        if self._place.form is Form.CLUSTER:
            (reply,) = await self._once(server, self._place.login, ("CLUSTER", "NODES"))
            return read_nodes(server, answer(server, reply), self._slot)
        name = self._place.master
        replies = await self._once(
            server, self._place.sentinel_login, ("SENTINEL", "MASTER", name), ("SENTINEL", "REPLICAS", name)
        )
        if str(replies[0]).startswith("No such master"):
            raise Fatal(f"{server}: this Sentinel knows no master called {name!r}", reason=Reason.CONFIG)
        return read_sentinel(pairs(answer(server, replies[0])), [pairs(each) for each in answer(server, replies[1])])

    async def _once(self, server: Server, login: Login, *commands: Command) -> list[Any]:
        link = await Link.connect(self._place, server, login)
        try:
            return await link.call(*commands)
        finally:
            await link.aclose()


def pairs(flat: Any) -> dict[str, str]:  # noqa: ANN401 - an answer of RESP 2
    """Return the dictionary in a flat list."""
    if isinstance(flat, dict):
        return {text_of(name): text_of(value) for name, value in flat.items()}
    words = [text_of(each) for each in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def text_of(data: Any) -> str:  # noqa: ANN401 - as above
    """Return what a server said as text."""
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data)


def read_sentinel(master: Mapping[str, str], replicas: Sequence[Mapping[str, str]]) -> _View:
    """Return what one Sentinel says. A replica with priority 0 is never promoted; one that is down may come back."""
    found = {Server(each["ip"], int(each["port"])): int(each.get("slave-priority", "100")) for each in replicas}
    return _View(
        int(master.get("config-epoch", "0")),
        Server(master["ip"], int(master["port"])),
        frozenset(server for server, priority in found.items() if priority),
        frozenset(server for server, priority in found.items() if not priority),
    )


def read_nodes(asked: Server, text: Any, slot: int) -> _View:  # noqa: ANN401 - as above
    """Return what one node of a Cluster says of a slot. Raises `Unavailable` while nobody has it."""
    lines = [line.split() for line in text_of(text).splitlines()]
    rows = {words[0]: words for words in lines if len(words) >= 8 and "handshake" not in words[2]}
    for id_, words in rows.items():
        if _owns(words[8:], slot) and "master" in words[2].split(",") and "fail" not in words[2].split(","):
            replicas = [each for each in rows.values() if each[3] == id_]
            never = [each for each in replicas if "nofailover" in each[2].split(",")]
            return _View(
                int(words[6]),
                _address(asked, words[1]),
                frozenset(_address(asked, each[1]) for each in replicas if each not in never),
                frozenset(_address(asked, each[1]) for each in never),
            )
    raise Unavailable(f"{asked}: no working master has the slot {slot} now")


def _owns(ranges: Sequence[str], slot: int) -> bool:
    for each in ranges:
        if each.startswith("["):
            continue  # on its way from or to another node
        first, _, last = each.partition("-")
        if int(first) <= slot <= int(last or first):
            return True
    return False


def _address(asked: Server, text: str) -> Server:
    """Return the address in "ip:port@bus,name"; a node may leave out its own."""
    host, _, port = text.partition("@")[0].partition(",")[0].rpartition(":")
    return Server(host or asked.host, int(port))
