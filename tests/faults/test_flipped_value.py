"""One flipped byte in the file of a shared store's server, which loads and serves it as if nothing were.

The hub does not start on it, or does not hand it out, and `exchange verify` finds it. With the byte flipped back,
everything goes on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.stores.redis_rows import FRAME_CHECKSUM_AT
from exchange.stores.redis_scripts import Keys
from tests.contract.redis_server import RedisServer, running
from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import UK
from tests.e2e.shared_store import stopped, stored_leaves
from tests.e2e.warm_command_line import on_the_command_line
from tests.faults.append_only import Word, commands, flip, last_of, named
from tests.faults.hubs import Hubs, Report, loaded
from tests.faults.plain import PlainWriter
from tests.faults.scene import GROWN, MODULE
from tests.faults.serving import served_by

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

KEYS = Keys(UK)
#: An entry whose tile is whole.
PLACE = 300
ROW = KEYS.entries(PLACE // 256), str(PLACE).encode()
TILE = str(PLACE // 256).encode()
#: Where in an entry's row each part of it begins; behind them lie leaf and records.
PARTS = {"id": 0, "leaf hash": 32, "time": 71, "checksum": 72, "frame's checksum": FRAME_CHECKSUM_AT}
PARTS |= {"leaf": 120, "record": -4}
#: Of the head: all that a hub goes on from.
FIELDS = (
    "format",
    "origin",
    "bundles",
    "durable_size",
    "durable_root",
    "sealed_size",
    "sealed_root",
    "checkpoint",
    "floor",
    "last_received_at_ms",
    "last_directory_size",
)

Place = Callable[[Path], int]


def inside(key: bytes, field: bytes, at: int = 8) -> Place:
    """Return what finds a byte of a field's value; counted from its end where negative."""

    def find(file: Path) -> int:
        word = last_of(file, key, field)
        return word.at + (at if at >= 0 else len(word.data) + at)

    return find


PLACES: dict[str, dict[str, Place]] = {
    "an entry": {name: inside(*ROW, at) for name, at in PARTS.items()},
    "the head": {name: inside(KEYS.head, name.encode(), -1) for name in FIELDS},
    "a tile": {
        "hashes": inside(KEYS.tiles(0), TILE),
        "root": inside(KEYS.roots(0), TILE),
        "root's checksum": inside(KEYS.roots(0), TILE, -1),
    },
    "the index": {
        "id": lambda file: named(file, KEYS.ids, str(PLACE).encode()).at,
        "place": lambda file: last_of(file, KEYS.ids, named(file, KEYS.ids, str(PLACE).encode()).data).at,
    },
}
#: What no hub reads an entry by: finding it takes reading the whole log.
BY_VERIFY_ALONE = {"the index"}


async def damaged(hub: ChildHub, leaves: list[bytes]) -> str:
    """Start a hub on a damaged store; return how it was noticed."""
    again = await ChildHub.launch(hub.exchange, module=MODULE, port=hub.port)
    try:
        line = await again._line()
        if line.startswith("error "):
            assert await again.ended() == 1
            return f"refused to start ({line.split()[1]})"
        again.port = int(line.removeprefix("port "))
        refused = await served_by(again, leaves, start=0, place=PLACE)
        return f"not served: {refused[0].partition(':')[0]}" if refused else ""
    finally:
        await again.aclose()


async def flipped(server: RedisServer, at: int) -> None:
    """Flip a byte of a server's file while it is down."""
    await server.stop(signal.SIGKILL)
    flip(server.append_only_file(), at)
    await server.start()


async def all_noticed(hubs: Hubs, server: RedisServer, what: str) -> None:
    """Flip one byte after the other; each must be noticed."""
    exchange = hubs.exchanges[0]
    leaves = await asyncio.to_thread(stored_leaves, exchange)
    how = set()
    for name, find in PLACES[what].items():
        at = find(server.append_only_file())
        await flipped(server, at)
        pin = exchange.pin.hex()
        code, said = await on_the_command_line("verify", "--config", exchange.folder / "hub.toml", "--genesis", pin)
        assert code, f"{name}: verify found nothing: {said}"
        noticed = await damaged(hubs.running[0], leaves)
        assert bool(noticed) == (what not in BY_VERIFY_ALONE), f"{name}: {noticed}"
        how.add(noticed or "found by verify")
        await flipped(server, at)
    assert await damaged(hubs.running[0], leaves) == ""
    hubs.notes.append(f"{len(PLACES[what])} bytes: {', '.join(sorted(how))}")


@pytest.mark.parametrize("what", PLACES)
async def test_a_flipped_byte_of(what: str, tmp_path: Path, report: Report) -> None:
    async with (
        running(tmp_path / "server") as server,
        loaded(tmp_path, server.url, report, entries=GROWN) as hubs,
    ):
        for hub in hubs.running:
            await stopped(hub)
        await all_noticed(hubs, server, what)
        if what == "an entry":
            await flipped(server, _plain_content(server.append_only_file(), hubs.plain).at)
            hubs.notes.append("a changed XADD is served as if nothing were")
        for number in (0, 1):
            await hubs.again(number)


def _plain_content(file: Path, plain: PlainWriter) -> Word:
    """Return what the plain writer's first entry holds."""
    written = (each for each in commands(file) if each.words[0].data == b"XADD")
    return next(each.words[-1] for each in written if each.words[1].data == plain.key.encode())
