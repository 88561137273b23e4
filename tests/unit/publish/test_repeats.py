"""What comes again: told to whoever may have to put its records back, where it is its own, and answered then."""

from __future__ import annotations

from dataclasses import replace

from exchange import codec
from exchange.domain.statement import statement_id
from exchange.errors import Reason, Unavailable
from exchange.publish.intake import Candidate
from tests.contract.test_referral_facts import a_referral
from tests.unit.builders import ALPHA, ALPHA_LIAISON, OPERATOR, signal_statement
from tests.unit.publish.fakes import Rig, error_of, publish, soon


async def test_what_comes_again_is_told_before_it_is_answered() -> None:
    rig = Rig()
    said = [signal_statement(seed=str(n)) for n in range(2)]
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *said)
        assert rig.repeated == []
        await publish(sequencer, rig, said[1])
        assert await sequencer.repeated(said[0].statement, said[0].header) is not None
        assert rig.repeated == [(at, said[at].statement, said[at].header) for at in (1, 0)]
        rig.repeat_fault = Unavailable("later")
        assert isinstance(await error_of(sequencer.offer(rig.candidate(said[1]))), Unavailable)
        assert isinstance(await error_of(sequencer.repeated(said[0].statement, said[0].header)), Unavailable)
        rig.repeat_fault = None
        await publish(sequencer, rig, *said, signal_statement(seed="goes on"))


async def test_of_what_is_not_its_own_nothing_is_told() -> None:
    rig = Rig()
    said, other = signal_statement(audience=["beta"]), signal_statement(seed="other", audience=["gamma"])
    async with rig.running() as sequencer:
        await publish(sequencer, rig, said)
        for changes in (
            {"records": other.statement.records},
            {"records": ()},
            {"records": (*said.statement.records, b"")},
            {"audience_record": other.statement.audience_record},
            {"audience_record": b""},
            {"signatures": said.signed_by(ALPHA, OPERATOR).statement.signatures},
        ):
            wrong = replace(said.statement, **changes)
            error = await error_of(sequencer.repeated(wrong, said.header))
            assert error.reason is Reason.REPLAY_MISMATCH
        await error_of(sequencer.offer(rig.candidate(said.signed_by(ALPHA, OPERATOR))))
    assert rig.repeated == []


async def test_what_is_for_named_members_comes_again_too() -> None:
    rig = Rig()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, signal_statement())
        referral = a_referral("T-1")
        header = codec.decode_header(referral.payload, strict=True)
        candidate = Candidate(statement_id(referral.payload), referral, header, ALPHA_LIAISON.workload, (), late=False)
        first = await soon(sequencer.offer(candidate))
        again = await sequencer.repeated(referral, header)
    assert again is not None
    assert (again.index, again.leaf, again.repeated) == (first.index, first.leaf, True)
