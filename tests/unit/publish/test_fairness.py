"""Whoever asks for much queues behind itself: in front of the checks, in the sequencer's groups, and in memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.kinds import Kind
from exchange.errors import Unavailable
from exchange.publish import waiting
from exchange.publish.turns import LIGHT_WORK, REST_S, TURN_WORK, FairQueue, Turns
from exchange.publish.waiting import ALONE, MAX_WAITING, MAX_WAITING_BYTES, SHARE, WaitingRoom
from tests.unit.builders import ALPHA, BETA, signal_statement
from tests.unit.publish.fakes import Rig, publish, run, soon

HEAVY = LIGHT_WORK // 4


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_members_take_turns_and_each_keeps_its_order(arrivals: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, member in enumerate(arrivals):
        queue.push(member, (member, number))
    taken = []
    while queue:
        waiting = queue.members
        first = queue.first()
        taken.append(queue.pop())
        assert taken[-1] is first
        # As many as waited take one each before anybody takes a second.
        assert len({member for member, _ in taken[-waiting:]}) == min(waiting, len(taken))
    for member in "abc":
        own = [item for item in taken if item[0] == member]
        assert own == sorted(own, key=lambda item: item[1])
    assert len(taken) == len(arrivals)


async def test_one_statement_of_another_is_in_the_next_group_whatever_a_flooder_has_waiting() -> None:
    rig = Rig()
    sequencer = await rig.open()
    flood = [rig.candidate(signal_statement(ALPHA, seed=str(n))) for n in range(10 * SHARE)]
    answers = [sequencer.offer(candidate) for candidate in flood]
    quiet = sequencer.offer(rig.candidate(signal_statement(BETA, seed="quiet")))
    async with run(sequencer):
        receipt = await soon(quiet)
        assert receipt.index < 2 * SHARE
        assert sum(answer.done() for answer in answers) < 2 * SHARE
        indices = [(await soon(answer)).index for answer in answers]
    assert indices == sorted(indices)


async def test_a_member_alone_has_more_room_in_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, room = Rig(), WaitingRoom()
    monkeypatch.setattr(waiting, "ABOUT_S", 0.2)

    def flood(count: int) -> None:
        for n in range(count):
            _ = room.offer(rig.candidate(signal_statement(ALPHA, seed=str(n))))

    flood(2 * ALONE)
    assert len(room.take()) == ALONE
    _ = room.offer(rig.candidate(signal_statement(BETA)))
    # Beside another it has its share, also once that one no longer waits, for a while.
    assert [len(room.take()) for _ in range(2)] == [2 * SHARE, SHARE]
    await asyncio.sleep(0.3)
    flood(2 * ALONE)
    assert len(room.take()) == ALONE


@pytest.mark.parametrize("kind", [Kind.ACKNOWLEDGEMENT, Kind.DISPOSITION])
async def test_a_member_is_alone_beside_those_that_only_tell_what_they_did(kind: Kind) -> None:
    rig, room = Rig(), WaitingRoom()
    told = rig.candidate(signal_statement(BETA))
    _ = room.offer(replace(told, header=replace(told.header, kind=kind)))
    for n in range(3 * ALONE):
        _ = room.offer(rig.candidate(signal_statement(ALPHA, seed=str(n))))
    # What is told has its own share, and makes nobody else's larger.
    assert [len(room.take()) for _ in range(2)] == [SHARE + ALONE, ALONE]


async def test_a_member_that_fills_its_room_locks_nobody_out() -> None:
    rig = Rig()
    sequencer = await rig.open()
    candidate = rig.candidate(signal_statement(ALPHA))
    for _ in range(MAX_WAITING):
        _ = sequencer.offer(candidate)
    with pytest.raises(Unavailable):
        _ = sequencer.offer(candidate)
    async with run(sequencer):
        await publish(sequencer, rig, signal_statement(BETA, seed="not locked out"))


async def test_a_members_room_is_bounded_in_bytes_too() -> None:
    rig = Rig()
    sequencer = await rig.open()
    said = [rig.candidate(signal_statement(ALPHA, seed=str(n))) for n in range(5)]
    fat = [replace(each, statement=replace(each.statement, records=(bytes(MAX_WAITING_BYTES // 4),))) for each in said]
    answers = [sequencer.offer(candidate) for candidate in fat[:3]]
    with pytest.raises(Unavailable):
        _ = sequencer.offer(fat[3])
    _ = sequencer.offer(rig.candidate(signal_statement(BETA)))
    async with run(sequencer):
        for answer in answers:
            await soon(answer)
        await soon(sequencer.offer(fat[4]))


async def test_one_piece_a_round_of_the_loop_and_members_take_turns() -> None:
    turns = Turns(asyncio.get_running_loop().time)
    done: list[str] = []
    rounds: list[int] = []
    count = 0

    async def work(member: str, pieces: int) -> None:
        for _ in range(pieces):
            await turns.take(member, 1)
            done.append(member)
            rounds.append(count)

    async def counting() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(counting())
    await asyncio.gather(*(work("flooder", 5) for _ in range(4)), work("quiet", 1))
    counter.cancel()
    assert "quiet" in done[:3]
    assert len(set(rounds)) == len(rounds) == 21


async def test_whoever_gave_up_waiting_holds_nobody_up() -> None:
    turns = Turns(asyncio.get_running_loop().time)
    await turns.take("a", 1)
    tasks = [asyncio.create_task(turns.take("a", 1)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    for task in tasks[1:]:
        await soon(task)


async def said(turns: Turns, member: str, work: int = 40) -> None:
    """Say something that is waited for."""
    await turns.take(member, work)
    turns.said(member)


async def made_heavy(turns: Turns, member: str) -> None:
    for _ in range(8):
        await soon(turns.take(member, HEAVY))


async def test_the_heavy_rest_only_while_a_light_member_is_about() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    loop = asyncio.get_running_loop()
    await made_heavy(turns, "flooder")
    assert turns._rests_until == 0.0
    await soon(said(turns, "quiet"))
    await asyncio.sleep(0)
    now += REST_S  # what the last piece before it may have begun
    # A heavy piece that takes a second of the fake clock: the rest begins when it has ended.
    await soon(turns.take("flooder", HEAVY))
    now += 1.0
    await asyncio.sleep(0)
    assert turns._rests_until == now + REST_S
    waiting = loop.create_task(turns.take("flooder", HEAVY))
    await asyncio.sleep(0)
    await soon(said(turns, "quiet"))
    assert not waiting.done()
    now += 1.0
    await soon(said(turns, "quiet"))
    await soon(waiting)


async def test_who_does_little_at_a_time_rests_as_much_less() -> None:
    """Else a member of some hundred single statements a second fell behind whenever another said something."""
    now = 0.0
    turns = Turns(lambda: now)
    await made_heavy(turns, "busy")
    await soon(said(turns, "quiet"))
    await asyncio.sleep(0)
    for works, rest in (((40,), 1 / 3), ((20, 10), 1 / 4), ((20, 100), 1.0), ((2 * TURN_WORK,), 1.0)):
        now += REST_S
        before = turns._rests_until
        for work in works:
            assert turns._rests_until == before
            await soon(turns.take("busy", work))
            await asyncio.sleep(0)
        assert turns._rests_until == pytest.approx(now + rest * REST_S)


async def test_whoever_comes_as_a_rest_ends_is_served_after_those_that_rested() -> None:
    turns = Turns(asyncio.get_running_loop().time)
    for member in ("busy", "late"):
        await made_heavy(turns, member)
    await soon(said(turns, "quiet"))
    await soon(turns.take("busy", HEAVY))
    rested = asyncio.create_task(turns.take("busy", HEAVY))
    await asyncio.sleep(0)
    time.sleep(2 * REST_S)  # noqa: ASYNC251 - it is over, and the loop has heard no timer
    late = asyncio.create_task(turns.take("late", HEAVY))
    done, _ = await asyncio.wait({rested, late}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert done == {rested}
    await soon(late)


async def test_a_flooder_alone_does_not_hold_itself_up() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    for _ in range(100):
        await soon(turns.take("flooder", HEAVY))
        now += 0.001
    assert turns._rests_until == 0.0


async def test_nobody_rests_because_of_what_is_read() -> None:
    """Else each feed that begins, and each signal that is looked at, would hold publishers up for two seconds."""
    now = 0.0
    turns = Turns(lambda: now)
    for _ in range(8):
        await soon(turns.take("busy", HEAVY))
        # Waits behind the busy one, and is next.
        await soon(turns.take("reader", 40))
        await asyncio.sleep(0)
    assert turns._rests_until == 0.0
    await soon(said(turns, "reader"))
    await asyncio.sleep(0)
    await soon(turns.take("busy", HEAVY))
    await asyncio.sleep(0)
    assert turns._rests_until == REST_S


async def test_light_and_heavy_take_turns_whichever_wants_more() -> None:
    turns = Turns(asyncio.get_running_loop().time)
    served: list[str] = []

    async def reading(member: str, work: int) -> None:
        while len(served) < 200:
            await turns.take(member, work)
            served.append(member)

    # One of many readers is heavy, or all but one of them are.
    for heavy, light in ((1, 30), (30, 1)):
        served.clear()
        tasks = [asyncio.create_task(reading(f"heavy {n}", 2 * LIGHT_WORK)) for n in range(heavy)]
        tasks += [asyncio.create_task(reading(f"light {n}", 1)) for n in range(light)]
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
        assert 80 <= sum(member.startswith("heavy") for member in served[:200]) <= 120


async def test_a_light_member_is_about_also_when_the_last_light_one_turns_heavy() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    await made_heavy(turns, "busy")
    for member, work in (("quiet", 40), ("other", 40), ("other", 2 * LIGHT_WORK)):
        await soon(said(turns, member, work))
        await asyncio.sleep(0)
        now += REST_S
    before = turns._rests_until
    await soon(turns.take("busy", HEAVY))
    await asyncio.sleep(0)
    assert turns._rests_until > before


async def test_who_reads_much_rests_beside_a_light_member_too() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    await made_heavy(turns, "reader")
    await soon(said(turns, "quiet"))
    await asyncio.sleep(0)
    now += REST_S
    await soon(turns.take("reader", HEAVY))
    await asyncio.sleep(0)
    assert turns._rests_until == now + REST_S


async def test_a_light_member_is_served_also_when_the_last_light_one_turns_heavy() -> None:
    turns = Turns(asyncio.get_running_loop().time)
    served = 0

    async def flood() -> None:
        nonlocal served
        while True:
            await turns.take("flooder", HEAVY)
            served += 1

    flooding = [asyncio.create_task(flood()) for _ in range(16)]
    while served < 100:
        await asyncio.sleep(0)
    before = served
    light = asyncio.create_task(turns.take("light", 40))
    others = [asyncio.create_task(turns.take("other", work)) for work in (40, 2 * LIGHT_WORK)]
    async with asyncio.timeout(5):
        await light
    assert served - before < 100
    for task in (*flooding, *others):
        task.cancel()
