"""Communities that do not open: tried again where that may help, told once, and each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from exchange import communities
from exchange.communities import Communities
from exchange.domain.identifiers import Origin
from exchange.errors import ExchangeError, Fatal, Reason, Unavailable
from exchange.ops.health import Health
from exchange.stores.folders import Folders, make_key
from tests.waits import until

NAME = "exchange.example"
UK, SIDE = f"{NAME}/uk", f"{NAME}/side"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(communities, "AGAIN_S", 0.01)


class Directory:
    """A view of a directory that names communities."""

    def __init__(self) -> None:
        self.directory = SimpleNamespace(size=1, communities={}, successors={})
        self._grown = asyncio.Event()

    def grow(self) -> None:
        """Have one more entry."""
        self.directory.size += 1
        self._grown.set()

    async def reached(self, size: int) -> None:
        while self.directory.size < size:
            self._grown.clear()
            await self._grown.wait()


class Hub:
    """What a hub has to do with its communities, and what is in the way of opening one."""

    def __init__(self, folder: Path, *, come_at_once: bool = True) -> None:
        self.folders = Folders(folder / "data", folder / "keys")
        self.view = Directory()
        self.health = Health(["store"])
        self.health.serving("store")
        self.opened: dict[str, int] = {}
        self.tries: dict[str, int] = {}
        self.in_the_way: dict[str, ExchangeError] = {}
        self.absent: set[str] = set()
        self.communities = Communities(
            self.folders,
            cast("Any", SimpleNamespace(here=self._here, come_at_once=come_at_once)),
            cast("Any", self.view),
            self.health,
            opened=self.opened.keys(),
            open_log=self._open,
        )

    def _here(self, origin: Origin) -> bool:
        return str(origin) not in self.absent

    async def _open(self, origin: Origin) -> None:
        name = str(origin)
        self.tries[name] = self.tries.get(name, 0) + 1
        if name in self.in_the_way:
            raise self.in_the_way[name]
        self.opened[name] = 1

    def name(self, *origins: str) -> None:
        """Have the directory name communities, with the keys that are here."""
        for text in origins:
            origin = Origin.parse(text)
            assert origin is not None
            key = make_key(self.folders.key(origin.log))
            self.view.directory.communities[text] = SimpleNamespace(log_public_key=key.public_key)
        self.view.grow()

    @property
    def waiting(self) -> str:
        """Why it is not ready."""
        return str(self.health.readyz().body.get("waiting", ""))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.communities.follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_one_that_fails_for_a_moment_is_tried_again_though_the_directory_stays_as_it_is(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    hub.in_the_way = {UK: Unavailable("the store's disk is full"), SIDE: Unavailable("the server is away")}
    with capture_logs() as logs:
        async with hub.serving():
            hub.name(UK, SIDE)
            await until(lambda: hub.tries.get(SIDE, 0) > 3)
            assert "disk is full" in hub.waiting
            assert "server is away" in hub.waiting
            del hub.in_the_way[UK]
            await until(lambda: UK in hub.opened)
            assert "server is away" in hub.waiting, "that one is open says nothing of the other"
            assert "disk is full" not in hub.waiting
            del hub.in_the_way[SIDE]
            await until(lambda: SIDE in hub.opened)
            assert hub.health.ready
    assert [each["event"] for each in logs] == ["community_not_opened"] * 2, "each is told once"


async def test_a_wrong_key_hurts_nobody_and_the_right_one_is_found(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    hub.name(UK)
    right = hub.folders.key("uk").read_bytes()
    hub.folders.key("uk").unlink()
    make_key(hub.folders.key("uk"))
    await hub.communities.open_all()
    assert hub.health.ready
    assert not hub.tries
    async with hub.serving():
        hub.folders.key("uk").unlink()
        await asyncio.sleep(0.03)
        hub.folders.key("uk").touch(mode=0o600)
        hub.folders.key("uk").write_bytes(right)
        await until(lambda: UK in hub.opened)


async def test_one_whose_key_comes_later_is_opened_where_stores_are_shared(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    hub.absent = {UK}
    hub.name(UK)
    with capture_logs() as logs:
        await hub.communities.open_all()
        async with hub.serving():
            await asyncio.sleep(0.05)
            assert hub.health.ready
            hub.absent.clear()
            await until(lambda: UK in hub.opened)
    assert [each["event"] for each in logs] == ["community_is_not_on_this_hub"]


async def test_files_that_come_are_left_alone_until_the_directory_changes(tmp_path: Path) -> None:
    """They take as long as they are copied; and opening a log writes to it."""
    hub = Hub(tmp_path, come_at_once=False)
    hub.absent = {UK}
    hub.name(UK)
    await hub.communities.open_all()
    async with hub.serving():
        await asyncio.sleep(0.03)
        hub.absent.clear()
        await asyncio.sleep(0.05)
        assert not hub.tries
        hub.view.grow()
        await until(lambda: UK in hub.opened)


@pytest.mark.parametrize("reason", [Reason.ROLLED_BACK, Reason.CORRUPT])
async def test_a_log_that_is_not_whole_is_left_alone_until_the_directory_changes(
    tmp_path: Path, reason: Reason
) -> None:
    hub = Hub(tmp_path)
    hub.in_the_way = {UK: Fatal("the store ends at 3, but 5 was released", reason=reason)}
    async with hub.serving():
        hub.name(UK, SIDE)
        await until(lambda: SIDE in hub.opened)
        await asyncio.sleep(0.05)
        assert hub.tries[UK] == 1
        assert "but 5 was released" in hub.waiting
        del hub.in_the_way[UK]
        hub.view.grow()
        await until(lambda: UK in hub.opened)
        assert hub.health.ready


async def test_one_that_is_closed_keeps_nobody_from_being_ready(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    hub.in_the_way = {UK: Fatal("an old copy", reason=Reason.ROLLED_BACK)}
    hub.name(UK)
    await hub.communities.open_all()
    assert not hub.health.ready
    async with hub.serving():
        hub.view.directory.successors[UK] = SIDE
        hub.name(SIDE)
        await until(lambda: SIDE in hub.opened)
        assert hub.health.ready


async def test_at_a_start_what_is_not_the_communitys_own_stops_the_hub(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    hub.in_the_way = {UK: Unavailable("the server is away")}
    hub.name(UK)
    with pytest.raises(Unavailable):
        await hub.communities.open_all()
