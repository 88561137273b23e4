"""An exchange whose logs lie in a store that hubs share, and what is in that store."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from exchange.codec import frame_leaf
from exchange.stores.redis_place import parse_place
from exchange.stores.redis_reader import RedisLog
from exchange.stores.sealed_mark import read_mark
from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import UK, Exchange
from tests.e2e.warm_command_line import on_the_command_line
from tests.faults.load import Load, Tally


async def founded(folder: Path, store: str) -> Exchange:
    """Return an exchange with its members, in a store; its first hub has ended."""
    exchange = await Exchange.found(folder / "first", store=store)
    hub = await ChildHub.start(exchange)
    await hub.populate()
    await stopped(hub)
    return exchange


async def stopped(hub: ChildHub) -> None:
    hub.send(signal.SIGTERM)
    assert await hub.ended() == 0
    await hub.aclose()


async def verified(exchange: Exchange) -> None:
    """Run `exchange verify` on the store."""
    pin = exchange.pin.hex()
    code, said = await on_the_command_line("verify", "--config", exchange.folder / "hub.toml", "--genesis", pin)
    assert code == 0, said


def stored_leaves(exchange: Exchange) -> list[bytes]:
    """Return every leaf in the store. Blocks: it runs a loop of its own."""
    log = RedisLog(parse_place(exchange.store, exchange.folder), exchange.folders.bundle_files("uk"), UK)
    try:
        return [each.leaf or frame_leaf(each.frame) for each in log.entries(log.state().durable_size)]
    finally:
        log.close()


async def tallied(load: Load, *hubs: Exchange) -> Tally:
    """Hold what a load was told against what the store holds, and what each hub's machine remembers."""
    leaves = await asyncio.to_thread(stored_leaves, hubs[0])
    marks = [read_mark(each.folders.mark("uk")) for each in hubs]
    return load.tally(leaves, [mark for mark in marks if mark], hubs[0].verifier(UK))
