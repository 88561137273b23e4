"""The sequencer when the store, the mark or another hub gets in the way: what fails is retried, never guessed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from exchange import codec
from exchange.errors import ExchangeError, Fatal, Reason, Rejected, Unavailable
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ports import Head, TreeHead
from exchange.publish.waiting import Receipt
from tests.contract.builders import naive_root
from tests.contract.memory_store import Disk, MemoryStore
from tests.unit.builders import UK, Said, signal_statement
from tests.unit.publish.fakes import LOG_KEY, Faults, Mark, Rig, opened, publish, run, soon, verify

FATAL = Fatal("the disk is on fire")
LATER = Unavailable("the disk is full")


def statements(count: int, *, seed: str = "") -> list[Said]:
    return [signal_statement(seed=f"{seed}{n}") for n in range(count)]


async def outcome(answer: asyncio.Future[Receipt]) -> Receipt | ExchangeError:
    try:
        return await soon(answer)
    except ExchangeError as error:
        return error


async def start_anew_and_send_again(rig: Rig, said: list[Said]) -> list[Receipt]:
    """What an outbox does after a crash; then check that nothing is there twice."""
    async with rig.running() as sequencer:
        receipts = await publish(sequencer, rig, *said)
    payloads = rig.payloads()
    assert len(set(payloads)) == len(payloads)
    assert rig.disk.head.sealed == rig.disk.head.durable
    assert rig.mark.note == rig.disk.head.checkpoint
    return receipts


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("call", ["append", "record", "seal"])
async def test_a_fatal_failure_stops_the_log_and_a_restart_mends_it(call: str, applied: bool) -> None:
    rig = Rig()
    before, hit, queued = statements(2, seed="a"), statements(2, seed="b"), statements(1, seed="c")
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *before)
        rig.faults.next(call, (applied, FATAL))
        answers = [sequencer.offer(rig.candidate(each)) for each in [*hit, hit[0]]]
        waiting: list[asyncio.Future[Receipt]] = []

        async def ready(size: int) -> None:
            waiting.extend(sequencer.offer(rig.candidate(each)) for each in queued)

        rig.ready = ready
        for answer in answers:
            assert isinstance(await outcome(answer), Unavailable)
        rig.ready = None
        for answer in waiting:
            assert isinstance(await outcome(answer), Unavailable), "the outbox keeps it and comes again"
        assert waiting
        assert sequencer.failure is FATAL
        with pytest.raises(Unavailable):
            _ = sequencer.offer(rig.candidate(signal_statement(seed="after")))
    durable = rig.disk.head.durable.size
    assert durable == (2 if (call, applied) == ("append", False) else 4)
    assert rig.disk.head.sealed.size == (4 if (call, applied) == ("seal", True) else 2)
    receipts = await start_anew_and_send_again(rig, [*before, *hit, *queued])
    assert [receipt.index for receipt in receipts] == [0, 1, 2, 3, 4]
    assert [receipt.repeated for receipt in receipts] == [index < durable for index in range(5)]


@pytest.mark.parametrize("call", ["append", "record", "seal"])
async def test_recovery_seals_the_very_same_bytes(call: str) -> None:
    """Compare with a log on which nothing failed: same size, same root, same note."""
    smooth, rough = Rig(), Rig()
    said = statements(3)
    async with smooth.running() as sequencer:
        await publish(sequencer, smooth, *said)
    async with rough.running() as sequencer:
        rough.faults.next(call, (True, FATAL))
        for answer in [sequencer.offer(rough.candidate(each)) for each in said]:
            assert isinstance(await outcome(answer), Unavailable)
    await rough.open()
    assert rough.disk.head == smooth.disk.head
    assert rough.mark.notes == smooth.mark.notes


async def test_a_clean_failure_is_told_to_all_and_the_log_goes_on() -> None:
    rig = Rig()
    said = statements(3)
    async with rig.running() as sequencer:
        rig.faults.next("append", (False, LATER), (False, LATER))
        for _ in range(2):
            answers = [sequencer.offer(rig.candidate(each)) for each in [*said, said[0]]]
            assert [await outcome(answer) for answer in answers] == [LATER] * 4
        assert sequencer.failure is None
        receipts = await publish(sequencer, rig, *said)
    assert [(receipt.index, receipt.repeated) for receipt in receipts] == [(0, False), (1, False), (2, False)]


@pytest.mark.parametrize("call", ["head", "append"])
async def test_it_does_not_matter_where_a_clean_failure_happens(call: str) -> None:
    rig = Rig()
    async with rig.running() as sequencer:
        rig.faults.next(call, (False, LATER))
        assert await outcome(sequencer.offer(rig.candidate(signal_statement()))) is LATER
        await publish(sequencer, rig, signal_statement())


@pytest.mark.parametrize("call", ["read", "tiles"])
async def test_a_repeat_that_cannot_be_read_now_stops_nobody(call: str) -> None:
    rig = Rig()
    said = statements(3)
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *said)
        rig.faults.next(call, (False, LATER))
        assert isinstance(await outcome(sequencer.offer(rig.candidate(said[0]))), Unavailable)
        await publish(sequencer, rig, signal_statement(seed="goes on"))


async def test_corruption_met_while_answering_a_repeat_stops_the_log() -> None:
    rig = Rig()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, signal_statement())
        rig.faults.next("read", (False, FATAL))
        assert isinstance(await outcome(sequencer.offer(rig.candidate(signal_statement()))), Unavailable)
        await asyncio.sleep(0)
        assert sequencer.failure is FATAL


async def test_two_hubs_on_one_log_rebase_on_each_other() -> None:
    rig = Rig(max_group=3)
    store = MemoryStore(rig.disk)
    judged: list[bytes] = []

    def judge(candidate: object) -> int:
        judged.append(candidate.statement.payload)  # type: ignore[attr-defined]
        return 7

    rig.judge = judge
    hubs = [rig.sequencer(store, Mark(Faults())) for _ in range(2)]
    for hub in hubs:
        await hub.open()
    said = statements(40)
    async with run(hubs[0]), run(hubs[1]):
        answers = [(each, hubs[n % 2].offer(rig.candidate(each))) for n, each in enumerate(said)]
        receipts = []
        for each, answer in answers:
            receipts.append(await soon(answer))
            verify(receipts[-1], each)
    assert sorted(receipt.index for receipt in receipts) == list(range(40))
    assert sorted(rig.payloads()) == sorted(each.statement.payload for each in said)
    assert len(judged) > 40, "whoever lost the race judged again"
    hashes = [entry.leaf_hash for entry in rig.disk.entries]
    for receipt in receipts:
        seen = opened(receipt.checkpoint)
        assert seen.root == naive_root(hashes[: seen.size]), "one tree"


class Overtaken:
    """A log as a hub sees it that others overtake whenever it looks where the log stands."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def head(self) -> Head:
        if self.meanwhile:
            await self.meanwhile.pop()()
        return await self._store.head()


async def test_a_hub_that_is_overtaken_while_it_catches_up_catches_up_again() -> None:
    rig = Rig()
    store = MemoryStore(rig.disk)
    slow_store = Overtaken(store)
    slow = rig.sequencer(cast("Any", slow_store), Mark(Faults()))
    quick = rig.sequencer(store, Mark(Faults()))
    for hub in (slow, quick):
        await hub.open()
    one, *others = statements(5)
    async with run(slow), run(quick):
        slow_store.meanwhile = [partial(quick.offer, rig.candidate(each)) for each in others]
        receipt = await soon(slow.offer(rig.candidate(one)))
    verify(receipt, one)
    assert receipt.index == 4
    assert opened(receipt.checkpoint).root == naive_root([entry.leaf_hash for entry in rig.disk.entries])


async def test_one_statement_through_two_hubs_has_one_place() -> None:
    rig = Rig()
    store = MemoryStore(rig.disk)
    hubs = [rig.sequencer(store, Mark(Faults())) for _ in range(2)]
    for hub in hubs:
        await hub.open()
    said = [*statements(3), *statements(3, seed="other")]
    async with run(hubs[0]), run(hubs[1]):
        answers = [(each, hub.offer(rig.candidate(each))) for each in said for hub in hubs]
        found: dict[bytes, set[int]] = {}
        for each, answer in answers:
            receipt = await soon(answer)
            verify(receipt, each)
            found.setdefault(each.statement.payload, set()).add(receipt.index)
    assert all(len(places) == 1 for places in found.values())
    assert len(rig.payloads()) == 6


async def test_what_another_hub_left_unsealed_is_sealed_first() -> None:
    rig = Rig()
    store = MemoryStore(rig.disk)
    dying, living = Rig(disk=rig.disk), rig.sequencer(store)
    other = dying.sequencer(store)
    await other.open()
    await living.open()
    async with run(other):
        dying.faults.next("record", (False, FATAL))
        assert isinstance(await outcome(other.offer(rig.candidate(signal_statement()))), Unavailable)
    assert (rig.disk.head.durable.size, rig.disk.head.sealed.size) == (1, 0)
    async with run(living):
        new, repeat = await publish(living, rig, signal_statement(seed="new"), signal_statement())
    assert (new.index, repeat.index, repeat.repeated) == (1, 0, True)


async def grown(rig: Rig, *seeds: str) -> Rig:
    """Publish one statement each, one after the other."""
    async with rig.running() as sequencer:
        for seed in seeds:
            await publish(sequencer, rig, signal_statement(seed=seed))
    assert rig.store is not None
    await rig.store.aclose()
    return rig


async def refused_at_open(rig: Rig, *, adopt: bool = False) -> Fatal:
    sealed = rig.disk.head.sealed
    with pytest.raises(Fatal) as caught:
        await rig.open(adopt=adopt)
    assert rig.disk.head.sealed == sealed, "nothing was signed"
    return caught.value


@pytest.mark.parametrize("adopt", [True, False])
async def test_an_old_copy_of_the_store_is_noticed(adopt: bool) -> None:
    rig = await grown(Rig(), "1", "2")
    old = deepcopy(rig.disk)
    await grown(rig, "3")
    rig.disk = old
    error = await refused_at_open(rig, adopt=adopt)
    assert error.reason is Reason.ROLLED_BACK
    assert error.hint


@pytest.mark.parametrize("extra", [[], ["5"], ["5", "6", "7"]])
async def test_another_tree_is_noticed(extra: list[str]) -> None:
    """As long as the one that was released, or longer: an old copy that went on by itself."""
    rig = await grown(Rig(), "1", "2", "3")
    other = await grown(Rig(), "1", "2", "another", *extra)
    rig.disk = other.disk
    assert (await refused_at_open(rig)).reason is Reason.ROLLED_BACK


async def test_an_unsealed_fork_is_noticed() -> None:
    rig = await grown(Rig(), "1", "2")
    other = await grown(Rig(), "1")
    async with other.running() as sequencer:
        other.faults.next("record", (False, FATAL))
        await outcome(sequencer.offer(other.candidate(signal_statement(seed="another"))))
    assert other.store is not None
    await other.store.aclose()
    rig.disk = other.disk
    assert (rig.disk.head.sealed.size, rig.disk.head.durable.size) == (1, 2)
    assert (await refused_at_open(rig)).reason is Reason.ROLLED_BACK


async def test_a_mark_inside_the_unsealed_group_is_a_fork() -> None:
    """No one history has it: while a group is unsealed no other is signed. So this is another tree."""
    rig = await grown(Rig(), "1", "2")
    other = await grown(Rig(), "1")
    async with other.running() as sequencer:
        other.faults.next("record", (False, FATAL))
        answers = [sequencer.offer(other.candidate(each)) for each in statements(2, seed="another")]
        for answer in answers:
            await outcome(answer)
    assert other.store is not None
    await other.store.aclose()
    rig.disk = other.disk
    assert (rig.disk.head.sealed.size, rig.disk.head.durable.size) == (1, 3)
    assert (await refused_at_open(rig)).reason is Reason.ROLLED_BACK


async def test_a_second_tree_of_a_size_that_was_signed_is_not_released() -> None:
    rig = await grown(Rig(), "1")
    async with rig.running() as sequencer:
        await publish(sequencer, rig, signal_statement(seed="2"))
        before = rig.mark.note
        other = TreeHead(2, bytes(32))
        with pytest.raises(Fatal) as stopped:
            await sequencer.saw(other, sign_checkpoint(Checkpoint(UK, other.size, other.root), LOG_KEY))
        assert stopped.value.reason is Reason.ROLLED_BACK
        assert rig.mark.note == before


async def test_a_machine_without_a_mark_must_adopt() -> None:
    rig = await grown(Rig(), "1", "2")
    rig.mark = Mark(rig.faults)
    assert (await refused_at_open(rig)).reason is Reason.ROLLED_BACK
    assert rig.store is not None
    await rig.store.aclose()
    async with rig.running(adopt=True) as sequencer:
        assert rig.mark.note is not None, "adopted once is adopted"
        assert opened(rig.mark.note).size == 2
        await publish(sequencer, rig, signal_statement(seed="3"))
    await rig.open()


async def test_a_new_log_needs_no_mark_and_seals_its_emptiness() -> None:
    rig = Rig()
    await rig.open()
    assert opened(rig.disk.head.checkpoint).size == 0
    assert rig.mark.note == rig.disk.head.checkpoint
    await rig.open()


async def test_a_mark_by_another_key_is_not_believed() -> None:
    rig = await grown(Rig(), "1")
    stranger = type(LOG_KEY)(bytes(32))
    rig.mark.note = sign_checkpoint(Checkpoint(UK, 1, rig.disk.head.sealed.root), stranger)
    with pytest.raises((Fatal, Rejected)):
        await rig.open()


async def test_hashes_that_do_not_make_the_root_are_noticed() -> None:
    rig = await grown(Rig(), "1", "2")
    wrong = TreeHead(2, bytes(32))
    checkpoint = sign_checkpoint(Checkpoint(UK, 2, wrong.root), LOG_KEY)
    rig.disk.head = replace(rig.disk.head, durable=wrong, sealed=wrong, checkpoint=checkpoint)
    rig.mark = Mark(rig.faults)
    with pytest.raises(Fatal) as caught:
        await rig.open(adopt=True)
    assert caught.value.reason is Reason.CORRUPT


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_fails_each_statement_ends_up_in_the_log_once(seed: int) -> None:
    """An outbox against a hub whose every step may fail, applied or not; the end is compared with a naive tree."""
    chance = random.Random(seed)
    rig = Rig(disk=Disk(), max_group=chance.choice([1, 3, 512]))
    outbox = {each.statement.payload: each for each in statements(30)}
    receipts: list[Receipt] = []
    while outbox:
        for call in ("append", "record", "seal"):
            rig.faults.plan[call] = [
                (chance.random() < 0.5, FATAL) if chance.random() < 0.1 else (True, None) for _ in range(20)
            ]
        rig.faults.plan["append"] += [(False, LATER)] * chance.randrange(3)
        try:
            sequencer = await rig.open()
        except Fatal:
            continue
        async with run(sequencer):
            while outbox and sequencer.failure is None:
                sent = chance.sample(list(outbox.values()), min(len(outbox), chance.randint(1, 8)))
                answers = [(each, sequencer.offer(rig.candidate(each))) for each in sent]
                for each, answer in answers:
                    result = await outcome(answer)
                    if isinstance(result, Receipt):
                        verify(result, each)
                        receipts.append(result)
                        del outbox[each.statement.payload]
                    else:
                        assert isinstance(result, Unavailable)
    rig.faults.plan.clear()
    await rig.open()
    payloads = rig.payloads()
    assert sorted(payloads) == sorted(each.statement.payload for each in statements(30))
    hashes = [entry.leaf_hash for entry in rig.disk.entries]
    for receipt in receipts:
        seen = opened(receipt.checkpoint)
        assert seen.root == naive_root(hashes[: seen.size])
        assert payloads[receipt.index] == codec.decode_leaf(receipt.leaf).payload
