"""The tail: what it keeps, how long, and that a subscriber cannot tell where its entries come from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from exchange.codec import decode_frame, erased_frame, frame_leaf
from exchange.domain.labels import Label
from exchange.domain.policy import Sight
from exchange.fanout.feed import Filter
from exchange.fanout.tail import LONGEST_PAUSE_S, PACE, Tail
from exchange.ports import StoredEntry
from tests.contract.memory_store import Disk, MemoryStore
from tests.unit.builders import ALPHA, BETA, Actor, signal_statement
from tests.unit.fanout.fakes import DEADLINE_S, NO_HEARTBEAT_S, Shelf, Subscriber, always, running

GAMMA = Actor("gamma", ALPHA.role)


def in_ring(tail: Tail) -> list[int]:
    return [item.index for item in tail._ring]


async def follow(tail: Tail, shelf: Shelf, count: int) -> None:
    """Add entries one by one, the tail taking each."""
    for _ in range(count):
        await shelf.add_plain(1)
        await tail.advance()
        tail.wake()


async def test_a_tail_starts_at_the_end_with_nothing_in_memory() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(3)
    tail = await shelf.tail()
    assert (tail.sealed.size, tail.sealed.checkpoint) == (3, shelf.notes[3])
    assert (in_ring(tail), tail.ring_start) == ([], 3)


async def test_the_newest_are_in_memory_and_the_older_in_the_store() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(2)
    tail = await shelf.tail(ring_bytes=5 * 700)
    await follow(tail, shelf, 20)
    assert in_ring(tail) == list(range(tail.ring_start, 22))
    assert 2 < tail.ring_start < 22
    for cursor in range(22):
        assert [item.index for item in await tail.items(cursor, 3)] == list(range(cursor, min(22, cursor + 3)))


async def test_what_is_in_memory_is_not_read_again() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail()
    await follow(tail, shelf, 5)
    await shelf.store.aclose()
    for cursor in range(5):
        assert [item.index for item in await tail.items(cursor, 9)] == list(range(cursor, 5))


async def test_a_ring_without_room_serves_from_the_store() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail(ring_bytes=0)
    await follow(tail, shelf, 5)
    assert in_ring(tail) == []
    reader = Subscriber(tail)
    assert [entry.leaf for entry in await reader.until(5)] == shelf.leaves


async def test_memory_is_bounded_whatever_is_read() -> None:
    shelf = Shelf.new()
    limit = 20_000
    tail = await shelf.tail(ring_bytes=limit)
    reader = Subscriber(tail, standing=always(Sight.LEAVES))
    for size in range(1, 201):
        await follow(tail, shelf, 1)
        await reader.until(size)
        assert sum(item.size for item in tail._ring) <= 2 * limit


async def test_one_message_is_made_once_for_all_who_see_the_same() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail()
    await shelf.add_plain(4)
    await tail.advance()
    first, second = Subscriber(tail), Subscriber(tail, GAMMA)
    leaves, filtered = Subscriber(tail, standing=always(Sight.LEAVES)), Subscriber(tail, wanted=Filter(frozenset({1})))
    for each in (first, second, leaves, filtered):
        await each.next()
    assert first.raw[0] is second.raw[0]
    page = await tail.page(0, Sight.RECORDS)
    assert page is await tail.page(0, Sight.RECORDS)
    assert first.raw[0].startswith(b"".join(item.full for item in page.items))
    bare = b"".join(item.bare for item in page.items)
    assert leaves.raw[0].startswith(bare)
    assert filtered.raw[0].startswith(bare)
    assert len(page.messages) == 2


async def test_what_is_for_some_members_only_is_made_for_each_of_them() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail()
    await shelf.append(signal_statement(), signal_statement(audience=["gamma"]))
    await shelf.seal()
    await tail.advance()
    beta, gamma = Subscriber(tail), Subscriber(tail, GAMMA)
    for each in (beta, gamma):
        await each.next()
    assert [entry.present for entry in beta.entries] == [True, False]
    assert [entry.present for entry in gamma.entries] == [True, True]
    assert not (await tail.page(0, Sight.RECORDS)).messages


async def test_what_is_kept_for_others_is_bounded_whatever_they_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20_000
    monkeypatch.setattr("exchange.fanout.tail.CACHED_BYTES", limit)
    shelf = Shelf.new()
    tail = await shelf.tail()
    await shelf.add_plain(12)
    await tail.advance()
    for number in range(200):
        reader = Subscriber(tail, cursor=number % 12, wanted=Filter(frozenset({number})))
        await reader.next()
        kept = sum(len(message) for page in tail._pages.values() for message in page.messages.values())
        assert kept <= tail._kept_bytes <= limit


TOTAL = 120


def some_subscriber(tail: Tail, chance: random.Random) -> Subscriber:
    """Of any sort: who, from where, with what sight and filter."""
    labels = frozenset({chance.choice([Label.HARASSMENT_TARGETED, Label.MISLEADING_BOT])})
    return Subscriber(
        tail,
        chance.choice([ALPHA, BETA, GAMMA]),
        cursor=chance.randint(0, tail.sealed.size),
        wanted=chance.choice([None, Filter(labels=labels)]),
        standing=always(chance.choice(list(Sight))),
    )


async def turns(count: int) -> None:
    """Let others have so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def read_all(reader: Subscriber, chance: random.Random) -> Subscriber:
    while reader.start + len(reader.entries) < TOTAL:
        await reader.next()
        await turns(chance.randrange(4))
    return reader


def check_whole(reader: Subscriber, shelf: Shelf) -> None:
    assert [entry.leaf for entry in reader.entries] == shelf.leaves[reader.start :]
    at = reader.start
    for message in reader.messages:
        at += len(message.entries)
        assert message.checkpoint in {b"", shelf.notes.get(at)}, "a checkpoint covers what has come, no more"
    if reader.start < TOTAL:
        assert reader.messages[-1].checkpoint == shelf.notes[TOTAL]


@pytest.mark.parametrize("seed", range(12))
async def test_catching_up_turns_into_following_without_a_gap(seed: int) -> None:
    """Subscribers of every sort join while groups are appended; each ends with exactly the leaves of the log."""
    chance = random.Random(seed)
    shelf = Shelf.new(read_at_most=chance.choice([1, 7, 1000]))
    await shelf.add_plain(chance.randint(0, 30))
    tail = await shelf.tail(ring_bytes=chance.choice([0, 5_000, 50_000, 10**9]))
    async with running(tail), asyncio.timeout(20), asyncio.TaskGroup() as tasks:

        def join(count: int) -> list[asyncio.Task[Subscriber]]:
            return [tasks.create_task(read_all(some_subscriber(tail, chance), chance)) for _ in range(count)]

        joined = join(3)
        while shelf.chain.size < TOTAL:
            first, count = shelf.chain.size, min(chance.randint(1, 9), TOTAL - shelf.chain.size)
            audience = chance.choice([None, ["beta"]])
            await shelf.add(*(signal_statement(seed=str(first + n), audience=audience) for n in range(count)))
            joined += join(chance.choice([0, 0, 1]))
            await turns(chance.randrange(6))
        joined += join(2)
    for task in joined:
        check_whole(task.result(), shelf)


async def test_a_reader_that_stands_still_costs_nothing_and_misses_nothing() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail(ring_bytes=3_000)
    slow = Subscriber(tail)
    await follow(tail, shelf, 1)
    await slow.next()
    await follow(tail, shelf, 60)
    assert len(in_ring(tail)) < 10
    assert [entry.leaf for entry in await slow.until(61)] == shelf.leaves


async def test_waiting_ends_with_news_or_with_time() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(1)
    tail = await shelf.tail()
    async with asyncio.timeout(5):
        await tail.wait(0, 60.0)
        await tail.wait(1, 0.001)
        waiting = asyncio.create_task(tail.wait(1, 60.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        tail.wake()
        await waiting
        assert not tail._waiters
        tail.drain()
        await tail.wait(1, 60.0)


async def test_no_wait_ends_before_its_time_and_each_ends() -> None:
    """One alarm serves them all: it must ring for the shortest, whoever came first, and again for the others."""
    tail, loop = await Shelf.new().tail(), asyncio.get_running_loop()

    async def wait(timeout_s: float) -> None:
        until = loop.time() + timeout_s
        await tail.wait(0, timeout_s)
        assert loop.time() >= until

    async with asyncio.timeout(DEADLINE_S):
        never = asyncio.create_task(wait(NO_HEARTBEAT_S))
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            for timeout_s in (0.2, 0.02, 0.3, 0.02):
                group.create_task(wait(timeout_s))
        await wait(0.01)  # sooner than what the alarm is set to by now
        assert list(tail._waiters.values()) == [pytest.approx(loop.time() + NO_HEARTBEAT_S, abs=DEADLINE_S)]
        never.cancel()
        await asyncio.gather(never, return_exceptions=True)
    assert not tail._waiters


@pytest.mark.parametrize(("round_s", "pause_s"), [(0.001, PACE * 0.001), (0.004, PACE * 0.004), (5.0, LONGEST_PAUSE_S)])
async def test_rounds_are_paced_by_what_they_cost(round_s: float, pause_s: float) -> None:
    now = 100.0
    shelf = Shelf.new()
    tail = await shelf.tail(clock_s=lambda: now)

    async def feed() -> None:
        nonlocal now
        await tail.wait(0, 60.0)
        now += round_s

    waiting = asyncio.create_task(feed())
    await asyncio.sleep(0)
    tail.wake()
    await waiting
    for _ in range(3):
        await asyncio.sleep(0)
    assert tail._not_before == pytest.approx(100.0 + round_s + pause_s)


async def test_an_idle_hub_delivers_at_once() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail()
    tail.wake()
    for _ in range(3):
        await asyncio.sleep(0)
    assert tail._not_before == 0.0


async def test_a_feed_that_is_woken_for_nothing_still_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.fanout.fakes.DEADLINE_S", 0.5)
    tail = await Shelf.new().tail()
    reader = Subscriber(tail, heartbeat_s=0.05)
    nosy = Subscriber(tail)

    async def probe() -> None:
        while True:
            nosy.feed.probe(b"?")
            await asyncio.sleep(0.01)

    probing = asyncio.create_task(probe())
    try:
        assert (await reader.next()).HasField("heartbeat")
    finally:
        probing.cancel()


async def erase(shelf: Shelf, index: int) -> None:
    (entry,) = await shelf.store.read(index, 1)
    await shelf.store.erase({index: erased_frame(frame_leaf(entry.frame))})


async def test_what_is_erased_is_gone_from_memory_too() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(2)
    tail = await shelf.tail()
    await follow(tail, shelf, 4)
    before = Subscriber(tail)
    await before.until(6)
    for index in (1, 3):
        await erase(shelf, index)
    await tail.erased([1, 3])
    assert tail._ring_bytes == sum(item.size for item in tail._ring)
    for sight in Sight:
        after = Subscriber(tail, standing=always(sight))
        await after.until(6)
        assert [entry.leaf for entry in after.entries] == shelf.leaves
        assert [entry.present for entry in after.entries] == [
            sight is Sight.RECORDS and index not in {1, 3} for index in range(6)
        ]


class SlowStore(MemoryStore):
    """Holds every `read` until it is let through."""

    def __init__(self) -> None:
        super().__init__(Disk())
        self.through = asyncio.Event()
        self.through.set()
        self.asked = asyncio.Event()

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        found = await super().read(start, limit)
        self.asked.set()
        await self.through.wait()
        return found


async def test_an_erasure_while_the_ring_moves_hits_its_own_entry() -> None:
    store = SlowStore()
    shelf = Shelf(store)
    tail = await shelf.tail(ring_bytes=4_000)
    await follow(tail, shelf, 30)
    index = tail.sealed.size - 1
    await erase(shelf, index)
    store.through.clear()
    store.asked.clear()
    erasing = asyncio.create_task(tail.erased([index]))
    await store.asked.wait()
    await shelf.add_plain(2)
    store.through.set()
    await tail.advance()
    await erasing
    assert in_ring(tail) == list(range(tail.ring_start, 32))
    assert decode_frame((await tail.items(index, 1))[0].full).erased


async def test_what_is_erased_while_the_ring_takes_it_up_is_erased_in_it() -> None:
    store = SlowStore()
    shelf = Shelf(store)
    tail = await shelf.tail()
    await shelf.add_plain(3)
    store.through.clear()
    taking = asyncio.create_task(tail.advance())
    await store.asked.wait()
    (entry,) = await MemoryStore.read(store, 1, 1)
    await store.erase({1: erased_frame(frame_leaf(entry.frame))})
    erasing = asyncio.create_task(tail.erased([1]))
    store.through.set()
    await asyncio.gather(taking, erasing)
    assert [decode_frame(item.full).erased for item in await tail.items(0, 3)] == [False, True, False]
