"""A server that forgets what it had called written: no hub may go on with what it remembers of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from exchange.errors import ExchangeError, Fatal, Reason
from exchange.stores.redis import RedisStore
from exchange.stores.redis_place import parse_place
from exchange.stores.redis_scripts import Keys
from tests.contract.builders import ORIGIN, Chain, commit, read_all, seal
from tests.contract.redis_server import RedisServer

HEAD = Keys(ORIGIN).head


async def opened(server: RedisServer, folder: Path, *, create: bool = False) -> RedisStore:
    return await RedisStore.open(parse_place(server.url, folder), folder, origin=ORIGIN, create=create)


async def test_a_group_that_is_forgotten_before_its_seal_stops_the_hub_that_wrote_it(
    empty_redis: RedisServer, tmp_path: Path
) -> None:
    store = await opened(empty_redis, tmp_path / "news", create=True)
    chain = await commit(store, Chain(), 3)
    before = await empty_redis.ask("DUMP", HEAD)
    grown, group = chain.grow(2, seed="one")
    await store.append(chain.head, group)
    await empty_redis.ask("RESTORE", HEAD, 0, before, "REPLACE")
    with pytest.raises(Fatal) as stopped:
        await seal(store, grown.head)
    assert stopped.value.reason is Reason.ROLLED_BACK
    await store.aclose()


@pytest.mark.parametrize("more", [0, 2], ids=["of the same size", "further"])
@pytest.mark.parametrize("how", ["seals", "looks"])
async def test_another_group_in_the_place_of_a_forgotten_one_stops_the_hub_that_wrote_it(
    empty_redis: RedisServer, tmp_path: Path, more: int, how: str
) -> None:
    """It may have signed its own head: one more word of it, and there are two trees."""
    one = await opened(empty_redis, tmp_path / "news", create=True)
    two = await opened(empty_redis, tmp_path / "news")
    chain = await commit(one, Chain(), 3)
    before = await empty_redis.ask("DUMP", HEAD)
    grown, ours = chain.grow(2, seed="one")
    await one.append(chain.head, ours)
    await empty_redis.ask("RESTORE", HEAD, 0, before, "REPLACE")
    await two.head()
    theirs, group = chain.grow(2, seed="two")
    await two.append(chain.head, group)
    await seal(two, theirs.head)
    if more:
        theirs = await commit(two, theirs, more)
    with pytest.raises(Fatal) as stopped:
        await (seal(one, grown.head) if how == "seals" else one.head())
    assert stopped.value.reason is Reason.ROLLED_BACK
    with suppress(ExchangeError):  # until it is known to be broken, what was sealed before is still told
        assert await read_all(one) == list(chain.entries)
    assert await read_all(two) == list(theirs.entries)
    await one.aclose()
    await two.aclose()


async def test_a_group_that_another_hub_has_sealed_and_gone_past_is_ours(
    empty_redis: RedisServer, tmp_path: Path
) -> None:
    one = await opened(empty_redis, tmp_path / "news", create=True)
    two = await opened(empty_redis, tmp_path / "news")
    chain = await commit(one, Chain(), 3)
    grown, ours = chain.grow(2)
    await one.append(chain.head, ours)
    with pytest.raises(ExchangeError):  # it meets the group, and makes it safe
        await two.append(chain.head, chain.grow(1, seed="two")[1])
    await seal(two, grown.head)
    further = await commit(two, grown, 300)
    await seal(one, grown.head)
    assert (await one.head()).sealed == further.head
    assert await read_all(one) == list(further.entries)
    await one.aclose()
    await two.aclose()
