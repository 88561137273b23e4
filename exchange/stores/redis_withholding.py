"""Whether hubs may serve a log in Redis, asked and changed without opening it."""

from __future__ import annotations

from functools import partial

from exchange.errors import Fatal, Reason
from exchange.ports import TreeHead
from exchange.stores import redis_calls as calls
from exchange.stores.redis import PATIENCE_S
from exchange.stores.redis_master import Master, patiently
from exchange.stores.redis_place import RedisPlace
from exchange.stores.redis_scripts import Keys


async def withheld(place: RedisPlace, origin: str) -> bytes:
    """Return why hubs may not serve a log; nothing where they may, or there is none."""
    keys = Keys(origin)
    master = Master(place, keys.head)
    try:
        (found,) = await patiently(lambda: master.read(("HGET", keys.head, "withheld")), PATIENCE_S)
    finally:
        await master.aclose()
    return bytes(found or b"")


async def withhold(place: RedisPlace, origin: str, was: bytes, now: bytes, head: TreeHead) -> None:
    """Change that, on every server that could be the master, of a log with this durable head.

    Raises `Fatal` (CONFLICT), with nothing changed, where the store says otherwise; but not where it is so already.
    """
    keys = Keys(origin)
    master = Master(place, keys.head)
    try:
        call = calls.withhold(keys, was, now, head)
        said, *more = await patiently(partial(master.write, call, changes=calls.wrote), PATIENCE_S)
    finally:
        await master.aclose()
    match said:
        case b"ok":
            return
        case b"conflict":
            raise Fatal(
                f"{origin}: ends at {int(more[0])}, not at {head.size}: a hub goes on writing to it",
                reason=Reason.CONFLICT,
                hint="stop every hub of this store",
            )
        case _:
            raise calls.refused(keys, (said, *more))
