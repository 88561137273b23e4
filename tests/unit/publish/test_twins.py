"""The same statement more than once: beside itself in a group, after itself, or signed otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange.errors import Denied, Reason, VerificationFailed
from exchange.publish.intake import Candidate
from tests.unit.builders import ALPHA, OPERATOR, signal_statement
from tests.unit.publish.fakes import Rig, error_of, publish, run, soon, verify


async def test_twins_in_one_group_share_one_place() -> None:
    rig = Rig()
    said, other = signal_statement(), signal_statement(seed="other")
    async with rig.running() as sequencer:
        first, twin, between, third = await publish(sequencer, rig, said, said, other, said)
        mixed = [signal_statement(seed="mixed"), signal_statement(seed="mixed").signed_by(ALPHA, OPERATOR)]
        answers = [sequencer.offer(rig.candidate(each)) for each in mixed]
        verify(await soon(answers[0]), mixed[0])
        assert (await error_of(answers[1])).reason is Reason.REPLAY_MISMATCH
    assert [r.index for r in (first, twin, between, third)] == [0, 0, 1, 0]
    assert [r.repeated for r in (first, twin, third)] == [False, True, True]
    assert len(rig.payloads()) == 3


async def test_twins_of_a_repeat() -> None:
    rig = Rig()
    said = signal_statement()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, said)
        receipts = await publish(sequencer, rig, said, said)
        answers = [sequencer.offer(rig.candidate(each)) for each in (said, said.signed_by(ALPHA, OPERATOR))]
        verify(await soon(answers[0]), said)
        assert (await error_of(answers[1])).reason is Reason.REPLAY_MISMATCH
    assert [(r.index, r.repeated) for r in receipts] == [(0, True)] * 2


async def test_a_twin_with_other_signatures_that_comes_first_does_not_spoil_the_honest_one() -> None:
    rig = Rig()
    said = signal_statement()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, said)
        answers = [sequencer.offer(rig.candidate(each)) for each in (said.signed_by(ALPHA, OPERATOR), said)]
        assert (await error_of(answers[0])).reason is Reason.REPLAY_MISMATCH
        verify(await soon(answers[1]), said)


async def test_refused_twins_are_each_judged_once() -> None:
    rig = Rig()
    said, honest = signal_statement(), signal_statement().signed_by(ALPHA, OPERATOR)
    judged = 0

    def judge(candidate: Candidate) -> int:
        nonlocal judged
        judged += 1
        if len(candidate.statement.signatures) == 1:
            raise Denied("suspended a moment ago")
        return rig.directory.size

    rig.judge = judge
    sequencer = await rig.open()
    answers = [sequencer.offer(rig.candidate(said)) for _ in range(500)]
    last = sequencer.offer(rig.candidate(honest))
    behind = sequencer.offer(rig.candidate(said))
    async with run(sequencer):
        verify(await soon(last), honest)
        for answer in answers:
            assert isinstance(await error_of(answer), Denied)
        assert (await error_of(behind)).reason is Reason.REPLAY_MISMATCH
    assert judged == 501


async def test_a_repeat_with_records_without_number_is_refused_before_they_are_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    said = signal_statement()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, said)
        monkeypatch.setattr("exchange.publish.sequencer.signal_ids", lambda *_: pytest.fail("hashed"))
        many = replace(said.statement, records=(b"",) * 500_000)
        with pytest.raises(VerificationFailed) as caught:
            await sequencer.repeated(many, said.header)
    assert caught.value.reason is Reason.REPLAY_MISMATCH
