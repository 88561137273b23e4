"""The sequencer while all goes well, and while callers do not: places, receipts, repeats, refusals."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import fields, replace

import pytest

from exchange import codec
from exchange.domain.bodies import Audience, SignalHeader
from exchange.errors import Denied, Reason, Unavailable, VerificationFailed
from exchange.ledger.ed25519 import SigningKey
from exchange.publish.intake import Candidate
from exchange.publish.sequencer import Sequencer
from exchange.publish.waiting import MAX_WAITING, SHARE_BYTES, Receipt
from tests.unit.builders import ALPHA, BETA, NOW_MS, OPERATOR, Said, pdq_record, signal_statement
from tests.unit.publish.fakes import Rig, error_of, opened, publish, run, soon, verify


def statements(count: int, *, first: int = 0) -> list[Said]:
    return [signal_statement((ALPHA, BETA)[n % 2], seed=str(n)) for n in range(first, first + count)]


async def test_what_is_offered_at_once_is_one_group() -> None:
    rig = Rig()
    said = [*statements(4), signal_statement(seed="two records", records=[pdq_record("1"), pdq_record("2")])]
    async with rig.running() as sequencer:
        receipts = await publish(sequencer, rig, *said)
    assert [receipt.index for receipt in receipts] == [0, 1, 2, 3, 4]
    assert {opened(receipt.checkpoint).size for receipt in receipts} == {5}
    assert not any(receipt.repeated for receipt in receipts)
    assert rig.committed == [(5, 6)]
    assert rig.payloads() == [each.statement.payload for each in said]


async def test_what_is_told_of_a_group_is_what_its_leaves_say() -> None:
    rig = Rig(max_group=2)
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *statements(3))
    async with rig.running() as sequencer:
        await sequencer.offer(rig.candidate(statements(1, first=3)[0], late=True))
    leaves = [codec.frame_leaf(entry.frame) for entry in rig.disk.entries]
    assert rig.told == dict(enumerate(map(codec.decode_sequenced, leaves)))


async def test_what_is_stored_is_the_leaf_and_the_records() -> None:
    rig = Rig()
    said = signal_statement(audience=["beta"])
    async with rig.running() as sequencer:
        (receipt,) = await publish(sequencer, rig, said)
    found = codec.decode_frame(rig.disk.entries[0].frame)
    assert (found.leaf, found.records, found.audience_record) == (
        receipt.leaf,
        said.statement.records,
        said.statement.audience_record,
    )
    leaf = codec.decode_leaf(receipt.leaf)
    assert (leaf.received_at_ms, leaf.late, leaf.directory_size) == (NOW_MS, False, rig.directory.size)
    body = codec.decode_header(leaf.payload, strict=True).body
    assert isinstance(body, SignalHeader)
    assert body.audience == Audience.RESTRICTED


async def test_a_group_has_its_bounds() -> None:
    rig = Rig(max_group=2)
    async with rig.running() as sequencer:
        receipts = await publish(sequencer, rig, *statements(5))
    assert [opened(receipt.checkpoint).size for receipt in receipts] == [2, 2, 4, 4, 5]
    assert rig.committed == [(2, 2), (2, 2), (1, 1)]


async def test_a_group_has_a_bound_in_bytes() -> None:
    rig = Rig()
    fat = [
        replace(rig.candidate(each), statement=replace(each.statement, records=(bytes(SHARE_BYTES // 3),)))
        for each in (signal_statement(ALPHA, seed=str(n)) for n in range(5))
    ]
    async with rig.running() as sequencer:
        answers = [sequencer.offer(candidate) for candidate in fat]
        sizes = [opened((await soon(answer)).checkpoint).size for answer in answers]
    assert sizes == [3, 3, 3, 5, 5]


async def test_the_order_of_effects() -> None:
    """Durable, then remembered on this machine, then visible, then answered."""
    rig = Rig()
    async with rig.running() as sequencer:
        rig.faults.calls.clear()
        answer = sequencer.offer(rig.candidate(signal_statement()))
        seen: list[tuple[str, bool, int, int, int]] = []
        inner = rig.faults.calls

        class Watch(list[str]):
            def append(self, name: str) -> None:
                mark = opened(rig.mark.note).size if rig.mark.note else 0
                head = rig.disk.head
                seen.append((name, answer.done(), head.durable.size, mark, head.sealed.size))
                inner.append(name)

        rig.faults.calls = Watch()
        await soon(answer)
    assert [step for step in seen if step[0] in {"append", "record", "seal"}] == [
        ("append", False, 0, 0, 0),
        ("record", False, 1, 0, 0),
        ("seal", False, 1, 1, 0),
    ]
    assert rig.disk.head.sealed.size == 1


async def test_many_groups_and_full_tiles() -> None:
    rig = Rig(max_group=100)
    said = statements(600)
    async with rig.running() as sequencer:
        receipts = await publish(sequencer, rig, *said)
    assert [receipt.index for receipt in receipts] == list(range(600))
    async with rig.running() as sequencer:
        again = await publish(sequencer, rig, *said[::97], *statements(3, first=600))
    # Of new ones said at once, the members take turns; what each says stays in its order.
    assert [receipt.index for receipt in again[:7]] == list(range(0, 600, 97))
    assert sorted(receipt.index for receipt in again[7:]) == [600, 601, 602]
    assert again[7].index < again[9].index


async def test_a_repeat_gets_the_same_index_and_leaf_with_a_fresh_proof() -> None:
    rig = Rig()
    said = statements(3)
    async with rig.running() as sequencer:
        first = await publish(sequencer, rig, *said)
        (repeat, new) = await publish(sequencer, rig, said[1], signal_statement(seed="new"))
        (later,) = await publish(sequencer, rig, said[1])
    assert (repeat.index, repeat.leaf, repeat.repeated) == (1, first[1].leaf, True)
    assert (new.index, new.repeated) == (3, False)
    assert opened(later.checkpoint).size == 4
    assert len(rig.payloads()) == 4


async def test_a_repeat_with_other_signatures_is_refused() -> None:
    rig = Rig()
    said = signal_statement()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, said)
        error = await error_of(sequencer.offer(rig.candidate(said.signed_by(ALPHA, OPERATOR))))
        assert isinstance(error, VerificationFailed)
        assert error.reason is Reason.REPLAY_MISMATCH
        await publish(sequencer, rig, said, signal_statement(seed="goes on"))
    assert len(rig.payloads()) == 2


async def test_who_is_refused_when_the_group_is_built_leaves_no_gap() -> None:
    rig = Rig()
    said = statements(5)
    refused = {said[0].statement.payload, said[3].statement.payload}

    def judge(candidate: Candidate) -> int:
        if candidate.statement.payload in refused:
            raise Denied("suspended a moment ago")
        return rig.directory.size

    rig.judge = judge
    async with rig.running() as sequencer:
        answers = [sequencer.offer(rig.candidate(each)) for each in [*said, said[0]]]
        for at in (0, 3, 5):
            assert isinstance(await error_of(answers[at]), Denied)
        receipts = [await soon(answers[at]) for at in (1, 2, 4)]
        for receipt, at in zip(receipts, (1, 2, 4), strict=True):
            verify(receipt, said[at])
        assert [receipt.index for receipt in receipts] == [0, 1, 2]
        assert isinstance(await error_of(sequencer.offer(rig.candidate(said[0]))), Denied)
        (last,) = await publish(sequencer, rig, signal_statement(seed="last"))
    assert last.index == 3
    assert rig.disk.head.durable.size == 4


class Watched(Candidate):
    """A candidate whose end can be seen."""

    __slots__ = ("__weakref__",)


def watched(rig: Rig, said: Said) -> Watched:
    candidate = rig.candidate(said)
    return Watched(*(getattr(candidate, each.name) for each in fields(candidate)))


async def test_what_has_been_answered_is_not_held() -> None:
    """Neither by the answer, which is kept until those before it are there, nor until the next group."""

    def judge(candidate: Candidate) -> int:
        if candidate.workload.member == "beta":
            try:
                raise KeyError("beta")
            except KeyError as error:
                raise Denied("suspended a moment ago") from error
        return rig.directory.size

    rig = Rig(judge=judge)
    async with rig.running() as sequencer:
        answers, seen = [], []
        for each in statements(4):
            candidate = watched(rig, each)
            seen.append(weakref.ref(candidate))
            answers.append(sequencer.offer(candidate))
            del candidate
        await soon(asyncio.wait(answers))
        assert [answer.exception() is None for answer in answers] == [True, False, True, False]
        assert [ref() for ref in seen] == [None] * 4


async def test_a_waiter_that_went_away_holds_nobody_up() -> None:
    rig = Rig()
    said = statements(4)
    async with rig.running() as sequencer:
        answers = [sequencer.offer(rig.candidate(each)) for each in [*said, said[1]]]
        answers[1].cancel()
        receipts = [await soon(answers[at]) for at in (0, 2, 3, 4)]
    assert [receipt.index for receipt in receipts] == [0, 2, 3, 1]
    assert rig.disk.head.sealed.size == 4, "it was said, so it is in the log"


async def test_received_at_never_falls() -> None:
    rig = Rig()
    async with rig.running() as sequencer:
        times = []
        for n, step in enumerate((0, 10, -4_000, 1)):
            rig.clock.wall += step
            (receipt,) = await publish(sequencer, rig, signal_statement(seed=str(n)))
            times.append(codec.decode_leaf(receipt.leaf).received_at_ms - NOW_MS)
    assert times == [0, 10, 10, 10]


async def test_a_clock_that_jumps_stops_the_sequencing_and_changes_nothing() -> None:
    rig = Rig()
    async with rig.running() as sequencer:
        rig.clock.wall += 3_600_000
        answers = [sequencer.offer(rig.candidate(each)) for each in statements(3)]
        for answer in answers:
            assert isinstance(await error_of(answer), Unavailable)
        rig.clock.wall -= 3_600_000
        assert isinstance(await error_of(sequencer.offer(rig.candidate(signal_statement()))), Unavailable)
        assert sequencer.failure is None
    assert rig.payloads() == []


async def test_the_directory_size_in_a_leaf_never_falls() -> None:
    sizes = iter([7, 5, 9, 8])
    rig = Rig(judge=lambda candidate: next(sizes))
    async with rig.running() as sequencer:
        receipts = await publish(sequencer, rig, *statements(3)) + await publish(sequencer, rig, signal_statement())
    assert [codec.decode_leaf(receipt.leaf).directory_size for receipt in receipts] == [7, 7, 9, 9]


async def test_a_group_waits_until_it_may_be_judged() -> None:
    may = asyncio.Event()
    asked: list[int] = []

    async def ready(size: int) -> None:
        asked.append(size)
        await may.wait()

    rig = Rig(ready=ready)
    async with rig.running() as sequencer:
        answer = sequencer.offer(rig.candidate(signal_statement()))
        while not asked:
            await soon(asyncio.sleep(0))
        assert not answer.done()
        assert rig.disk.head.durable.size == 0
        may.set()
        verify(await soon(answer), signal_statement())
    assert asked == [0]


async def test_what_arrives_while_a_group_commits_is_the_next_group() -> None:
    rig = Rig()
    said = statements(10)
    answers: list[asyncio.Future[Receipt]] = []
    async with rig.running() as sequencer:

        async def ready(size: int) -> None:
            if size == 0:
                answers.extend(sequencer.offer(rig.candidate(each)) for each in said[1:])

        rig.ready = ready
        await publish(sequencer, rig, said[0])
        for answer in answers:
            await soon(answer)
    assert rig.committed == [(1, 1), (9, 9)]


async def test_too_many_waiting_are_turned_away() -> None:
    rig = Rig()
    sequencer = await rig.open()
    candidate = rig.candidate(signal_statement())
    waiting = [sequencer.offer(candidate) for _ in range(MAX_WAITING)]
    with pytest.raises(Unavailable):
        _ = sequencer.offer(candidate)
    async with run(sequencer):
        receipts = [await soon(answer) for answer in waiting]
        await publish(sequencer, rig, signal_statement())
    assert [receipt.repeated for receipt in receipts] == [False] + [True] * (MAX_WAITING - 1)
    assert len(rig.payloads()) == 1


async def test_whoever_waits_when_the_hub_stops_is_told_to_come_again() -> None:
    async def never(size: int) -> None:
        await asyncio.Event().wait()

    rig = Rig(ready=never)
    sequencer = await rig.open()
    async with run(sequencer):
        answers = [sequencer.offer(rig.candidate(each)) for each in statements(2)]
        await asyncio.sleep(0)
        answers.append(sequencer.offer(rig.candidate(signal_statement(seed="queued"))))
    for answer in answers:
        assert isinstance(await error_of(answer), Unavailable)


async def test_a_sequencer_that_has_ended_takes_nothing_more() -> None:
    rig = Rig()
    sequencer = await rig.open()
    async with run(sequencer):
        await publish(sequencer, rig, signal_statement())
    with pytest.raises(Unavailable):
        _ = sequencer.offer(rig.candidate(signal_statement(seed="too late")))


async def test_a_bug_in_judging_is_not_silence() -> None:
    def judge(candidate: Candidate) -> int:
        raise KeyError("a bug of ours")

    rig = Rig(judge=judge)
    sequencer = await rig.open()
    task = asyncio.create_task(sequencer.run())
    assert isinstance(await error_of(sequencer.offer(rig.candidate(signal_statement()))), Unavailable)
    await asyncio.wait([task])
    assert isinstance(task.exception(), KeyError)
    assert sequencer.failure is not None
    with pytest.raises(Unavailable):
        _ = sequencer.offer(rig.candidate(signal_statement(seed="next")))


async def repeated(sequencer: Sequencer, said: Said) -> object:
    return await soon(sequencer.repeated(said.statement, said.header))


async def test_asking_for_an_earlier_receipt() -> None:
    rig = Rig()
    said = signal_statement()
    async with rig.running() as sequencer:
        assert await repeated(sequencer, said) is None
        (first,) = await publish(sequencer, rig, said)
        await publish(sequencer, rig, signal_statement(seed="later"))
        receipt = await soon(sequencer.repeated(said.statement, said.header))
        assert receipt is not None
        verify(receipt, said)
        assert (receipt.index, receipt.leaf, receipt.repeated) == (first.index, first.leaf, True)
        assert opened(receipt.checkpoint).size == 2
        other_records = replace(said, statement=replace(said.statement, records=(b"\x0a\x10" + bytes(16),)))
        for other in (said.signed_by(ALPHA, OPERATOR), other_records):
            with pytest.raises(VerificationFailed) as caught:
                await repeated(sequencer, other)
            assert caught.value.reason is Reason.REPLAY_MISMATCH


async def test_signing_is_deterministic() -> None:
    rigs = [Rig(), Rig(max_group=1)]
    for rig in rigs:
        async with rig.running() as sequencer:
            await publish(sequencer, rig, *statements(4))
    assert rigs[0].disk.head.checkpoint == rigs[1].disk.head.checkpoint
    assert SigningKey(bytes(32)).sign(b"m") == SigningKey(bytes(32)).sign(b"m")
