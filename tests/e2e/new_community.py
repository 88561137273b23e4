"""A community that comes while the hub serves."""

from __future__ import annotations

from tests.e2e.exchange_fixture import World
from tests.waits import until


async def new_community(world: World, origin: str, *, public_entries: bool = False) -> None:
    """Register a community with a log of its own; return once the hub, which opens it by itself, has done so."""
    await world.exchange.new_log(origin)
    await world.registrar.community(origin, public_entries=public_entries)
    await until(lambda: origin in world.app._logs)
