"""The contract of `LogStore`, sentence by sentence, on every adapter."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from exchange.codec import frame_leaf, full_frame
from exchange.errors import Conflict, CursorAboveSize, CursorBelowFloor, ExchangeError, Unavailable
from exchange.ledger.merkle import EMPTY_ROOT
from exchange.ports import AlreadyCommitted, Head, TreeHead
from tests.contract.builders import WIDTH, Chain, Store, checkpoint, commit, entry, erased, read_all, seal, tile
from tests.contract.memory_store import Misuse
from tests.contract.places import Place

_EMPTY = TreeHead(0, EMPTY_ROOT)


async def test_a_new_log_is_empty(store: Store) -> None:
    assert await store.head() == Head(_EMPTY, _EMPTY, b"", 0, 0, 0)
    assert list(await store.read(0, 10)) == []


async def test_the_empty_log_can_be_sealed(store: Store) -> None:
    await seal(store, _EMPTY)
    assert await store.head() == Head(_EMPTY, _EMPTY, checkpoint(_EMPTY), 0, 0, 0)


async def test_an_append_moves_the_durable_head_and_a_seal_the_sealed_one(store: Store) -> None:
    chain, group = Chain().grow(3)
    await store.append(_EMPTY, group)
    assert await store.head() == Head(chain.head, _EMPTY, b"", 0, 1_002, 1)
    await seal(store, chain.head)
    assert await store.head() == Head(chain.head, chain.head, checkpoint(chain.head), 0, 1_002, 1)
    assert await read_all(store) == list(chain.entries)


@pytest.mark.parametrize("wrong", ["older size", "other root", "size ahead"])
async def test_an_append_on_another_head_conflicts_and_changes_nothing(store: Store, wrong: str) -> None:
    chain = await commit(store, Chain(), 3)
    before = await store.head()
    expected = {
        "older size": _EMPTY,
        "other root": TreeHead(3, b"\x07" * 32),
        "size ahead": TreeHead(4, chain.head.root),
    }[wrong]
    _, group = chain.grow(2)
    with pytest.raises(Conflict) as caught:
        await store.append(expected, group)
    assert not isinstance(caught.value, AlreadyCommitted)
    assert await store.head() == before
    assert await store.find(group.entries[0].statement_id) is None
    await commit(store, chain, 2)


async def test_of_two_appends_on_one_head_one_wins(store: Store) -> None:
    chains = [Chain().grow(2, seed=seed) for seed in ("one", "two", "three")]
    results = await asyncio.gather(*(store.append(_EMPTY, group) for _, group in chains), return_exceptions=True)
    assert [type(result) for result in results].count(Conflict) == 2
    ((won, _),) = [chain for chain, result in zip(chains, results, strict=True) if result is None]
    assert (await store.head()).durable == won.head
    await seal(store, won.head)
    assert await read_all(store) == list(won.entries)


async def test_a_second_group_waits_for_the_first_to_be_sealed(store: Store) -> None:
    chain, group = Chain().grow(2)
    await store.append(_EMPTY, group)
    grown, second = chain.grow(2)
    with pytest.raises(Conflict):
        await store.append(chain.head, second)
    assert (await store.head()).durable == chain.head
    await seal(store, chain.head)
    await store.append(chain.head, second)
    assert (await store.head()).durable == grown.head


async def test_repeated_statements_are_named_and_nothing_is_appended(store: Store) -> None:
    chain = await commit(store, Chain(), 5)
    before = await store.head()
    again = (
        entry(5, seed="new"),
        structs.replace(entry(6), statement_id=entry(1).statement_id),
        structs.replace(entry(7), statement_id=entry(4).statement_id),
    )
    _, group = chain.grow_by(again)
    with pytest.raises(AlreadyCommitted) as caught:
        await store.append(chain.head, group)
    assert caught.value.indices == {entry(1).statement_id: 1, entry(4).statement_id: 4}
    assert await store.head() == before
    assert await store.find(again[0].statement_id) is None
    assert await read_all(store) == list(chain.entries)
    await commit(store, chain, 2)


async def test_an_append_whose_caller_gave_up_is_either_whole_or_absent(store: Store) -> None:
    chain, group = Chain().grow(200)
    task = asyncio.create_task(store.append(_EMPTY, group))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.find(b"")  # a store that had begun has finished by now
    for _ in range(100):
        if (await store.head()).durable != _EMPTY:
            break
        await asyncio.sleep(0.001)
    head = await store.head()
    assert head.durable in {_EMPTY, chain.head}
    if head.durable == chain.head:
        await seal(store, chain.head)
        assert await read_all(store) == list(chain.entries)


async def test_a_seal_of_another_head_conflicts(store: Store) -> None:
    chain, group = Chain().grow(2)
    await store.append(_EMPTY, group)
    for head in (TreeHead(3, chain.head.root), TreeHead(2, b"\x07" * 32), TreeHead(1, chain.head.root)):
        with pytest.raises(Conflict):
            await seal(store, head)
    assert (await store.head()).sealed == _EMPTY


async def test_sealing_again_or_an_older_size_changes_nothing(store: Store) -> None:
    first = await commit(store, Chain(), 2)
    second = await commit(store, first, 2)
    before = await store.head()
    await seal(store, second.head)
    await seal(store, first.head)
    assert await store.head() == before


async def test_a_seal_wakes_everyone_who_waits(store: Store) -> None:
    async def wait() -> int:
        while (size := await store.wait(0)) <= 0:
            pass
        return size

    waiters = [asyncio.create_task(wait()) for _ in range(5)]
    await asyncio.sleep(0)
    chain, group = Chain().grow(3)
    await store.append(_EMPTY, group)
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in waiters)
    await seal(store, chain.head)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiters) == [3] * 5


async def test_waiting_for_what_is_there_returns_at_once(store: Store) -> None:
    await commit(store, Chain(), 3)
    async with asyncio.timeout(5):
        assert await store.wait(2) == 3
        assert await store.wait(-1) == 3


async def test_a_waiter_that_gives_up_disturbs_no_one(store: Store) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.wait(0)
    chain = await commit(store, Chain(), 1)
    assert await store.wait(0) == chain.size


@pytest.mark.parametrize(("start", "limit"), [(0, 1), (0, 5), (2, 2), (3, 100), (5, 1), (4, 1)])
async def test_a_read_returns_consecutive_entries_within_its_limit(store: Store, start: int, limit: int) -> None:
    chain = await commit(store, Chain(), 5)
    found = list(await store.read(start, limit))
    assert found == list(chain.entries[start : start + len(found)])
    assert len(found) <= limit
    assert bool(found) == (start < 5)


async def test_nothing_is_read_beyond_the_sealed_size(store: Store) -> None:
    chain = await commit(store, Chain(), 2)
    _, group = chain.grow(2)
    await store.append(chain.head, group)
    assert await read_all(store) == list(chain.entries)
    assert list(await store.read(2, 10)) == []
    with pytest.raises(CursorAboveSize) as caught:
        await store.read(3, 10)
    assert caught.value.sealed_size == 2


async def test_a_read_with_no_room_returns_nothing(store: Store) -> None:
    await commit(store, Chain(), 2)
    assert list(await store.read(0, 0)) == []
    with pytest.raises(CursorBelowFloor):
        await store.read(-1, 5)


async def test_find_knows_durable_statements_and_no_others(store: Store) -> None:
    chain, group = Chain().grow(3)
    assert await store.find(entry(1).statement_id) is None
    await store.append(_EMPTY, group)
    assert await store.find(entry(1).statement_id) == 1
    await seal(store, chain.head)
    assert await store.find(entry(2).statement_id) == 2
    assert await store.find(entry(3).statement_id) is None


async def test_an_erasure_replaces_frames_and_nothing_else(store: Store) -> None:
    chain = await commit(store, Chain(), 4)
    before = await store.head()
    assert await read_all(store) == list(chain.entries)
    await store.erase({1: erased(entry(1)), 3: erased(entry(3))})
    expected = [structs.replace(e, frame=erased(e)) if e.index in {1, 3} else e for e in chain.entries]
    assert await read_all(store) == expected
    assert await store.head() == before
    await store.erase({1: erased(entry(1))})
    assert await read_all(store) == expected


async def test_an_unsealed_entry_can_be_erased(store: Store) -> None:
    chain, group = Chain().grow(2)
    await store.append(_EMPTY, group)
    await store.erase({0: erased(entry(0))})
    await seal(store, chain.head)
    assert [e.frame for e in await read_all(store)] == [erased(entry(0)), entry(1).frame]


async def test_erasing_what_is_not_durable_changes_nothing(store: Store) -> None:
    chain = await commit(store, Chain(), 2)
    with pytest.raises(CursorAboveSize):
        await store.erase({0: erased(entry(0)), 2: erased(entry(2))})
    assert await read_all(store) == list(chain.entries)
    await store.erase({})


async def test_an_erasure_may_not_change_the_leaf(store: Store) -> None:
    chain = await commit(store, Chain(), 3)
    with pytest.raises((ExchangeError, Misuse)):
        await store.erase({0: erased(entry(0)), 1: erased(entry(2))})
    assert await read_all(store) == list(chain.entries)
    await commit(store, chain, 1)


async def test_what_is_put_back_replaces_the_frame_and_nothing_else(store: Store) -> None:
    chain = await commit(store, Chain(), 4)
    before = await store.head()
    await store.erase({1: erased(entry(1)), 3: erased(entry(3))})
    await store.put_back(1, erased(entry(1)), entry(1).frame)
    expected = [structs.replace(e, frame=erased(e)) if e.index == 3 else e for e in chain.entries]
    assert await read_all(store) == expected
    assert await store.head() == before
    await store.put_back(1, erased(entry(1)), entry(1).frame)  # by another who has not heard of it yet
    assert await read_all(store) == expected


@pytest.mark.parametrize("index", [1, 3, 4])
async def test_nothing_is_put_back_over_what_is_not_as_it_was(store: Store, index: int) -> None:
    chain = await commit(store, Chain(), 4)
    await store.erase({3: full_frame(frame_leaf(entry(3).frame), [b"another"], b"")})
    before = await read_all(store)
    with pytest.raises(Conflict):
        await store.put_back(index, erased(entry(index)), full_frame(frame_leaf(entry(index).frame), [b"mine"], b""))
    assert await read_all(store) == before
    await commit(store, chain, 1)


async def test_what_is_put_back_may_not_change_the_leaf(store: Store) -> None:
    chain = await commit(store, Chain(), 2)
    await store.erase({0: erased(entry(0))})
    before = await read_all(store)
    with pytest.raises((ExchangeError, Misuse)):
        await store.put_back(0, erased(entry(0)), entry(1).frame)
    assert await read_all(store) == before
    await commit(store, chain, 1)


async def test_what_was_put_back_is_there_when_the_log_is_opened_again(place: Place) -> None:
    store = await place.open()
    chain = await commit(store, Chain(), 3)
    await store.erase({index: erased(entry(index)) for index in range(3)})
    await store.put_back(1, erased(entry(1)), entry(1).frame)
    store = await place.open()
    assert await read_all(store) == [e if e.index == 1 else structs.replace(e, frame=erased(e)) for e in chain.entries]
    assert await store.find(entry(1).statement_id) == 1


async def test_below_the_floor_nothing_is_put_back(store: Store) -> None:
    await commit(store, Chain(), WIDTH + 1)
    await store.archive(WIDTH)
    with pytest.raises(Conflict):
        await store.put_back(0, erased(entry(0)), entry(0).frame)


async def test_everything_is_there_when_the_log_is_opened_again(place: Place) -> None:
    store = await place.open()
    chain = await commit(store, await commit(store, Chain(), 3), 300)
    await store.erase({2: erased(entry(2))})
    before = await store.head()
    store = await place.open()
    assert await store.head() == before
    assert await read_all(store) == [structs.replace(e, frame=erased(e)) if e.index == 2 else e for e in chain.entries]
    assert await store.find(entry(200).statement_id) == 200
    chain = await commit(store, chain, 5)
    assert (await store.head()).sealed == chain.head


async def test_a_group_left_unsealed_shows_as_such_and_is_sealed_with_the_same_bytes(place: Place) -> None:
    store = await place.open()
    first = await commit(store, Chain(), 2)
    second, group = first.grow(2)
    await store.append(first.head, group)
    store = await place.open()
    head = await store.head()
    assert (head.durable, head.sealed, head.checkpoint) == (second.head, first.head, checkpoint(first.head))
    with pytest.raises(Conflict):
        await store.append(second.head, second.grow(1)[1])
    await seal(store, head.durable)
    assert await read_all(store) == list(second.entries)
    await commit(store, second, 1)


async def test_many_read_while_one_appends(store: Store) -> None:
    groups, size = 60, 7

    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < groups * size:
            await store.wait(len(seen))
            part = await store.read(len(seen), 11)
            assert all(each == entry(each.index) for each in part)
            seen += [each.index for each in part]
        return seen

    async def write() -> None:
        chain = Chain()
        for _ in range(groups):
            chain = await commit(store, chain, size)

    async with asyncio.timeout(30):
        *seen, _ = await asyncio.gather(*(follow() for _ in range(20)), write())
    assert seen == [list(range(groups * size))] * 20


async def test_closing_twice_is_closing_once_and_then_nothing_works(store: Store) -> None:
    chain = await commit(store, Chain(), 2)
    waiter = asyncio.create_task(store.wait(2))
    await asyncio.sleep(0)
    await asyncio.gather(store.aclose(), store.aclose())
    await store.aclose()
    async with asyncio.timeout(5):
        await asyncio.gather(waiter, return_exceptions=True)
        for call in (
            store.append(chain.head, chain.grow(1)[1]),
            store.read(0, 1),
            store.find(entry(0).statement_id),
            store.erase({0: erased(entry(0))}),
            store.put_back(0, erased(entry(0)), entry(0).frame),
            store.wait(2),
            tile(store, 0, 0, 1),
            store.bundle(0),
            store.archive(0),
        ):
            with pytest.raises(Unavailable):
                await call


async def test_closing_in_the_middle_leaves_no_one_hanging(store: Store) -> None:
    chain = await commit(store, Chain(), 600)
    calls = [
        store.append(chain.head, chain.grow(1)[1]),
        store.erase({index: erased(entry(index)) for index in range(300)}),
        store.archive(512),
        store.wait(600),
        *(store.read(at, 50) for at in range(0, 600, 50)),
    ]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0.002)
    async with asyncio.timeout(10):
        await store.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [each for each in results if isinstance(each, Exception) and not isinstance(each, ExchangeError)]
