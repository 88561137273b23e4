"""The life of a signal over a real hub: taken back, thought of, acted on, owed for, expired, erased."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import pytest

from exchange.domain.bodies import (
    Acknowledgement,
    Disposition,
    DispositionReason,
    DispositionState,
    Election,
    Erasure,
    ErasureReason,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Retraction,
    RetractionReason,
    SourceAction,
    State,
    TargetClass,
)
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind, Role
from exchange.domain.labels import Label
from exchange.errors import InvalidStatement
from exchange.ops.clocks import wall_ms
from exchange.v1 import directory_pb2, report_pb2, report_pb2_grpc
from exchange.v1 import statement_pb2 as pb
from exchange_client import ExchangeClient, Filter, Indicator, Signals
from tests.e2e.exchange_fixture import OPERATOR, TIMEOUT_S, UK, Party, World
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], right: Callable[[T], bool]) -> T:
    """Ask again until the answer is right: what is over leaves the files a moment later."""
    async with asyncio.timeout(TIMEOUT_S):
        while not right(answer := await ask()):
            await asyncio.sleep(0.05)
    return answer


async def published(client: ExchangeClient, **changes: object) -> bytes:
    """Publish one signal; return its id."""
    async with client.publisher(UK) as publisher:
        (outcome,) = await publisher.publish([a_signal(**changes)], timeout_s=TIMEOUT_S)
    assert outcome.error is None
    assert outcome.signal_id is not None
    return outcome.signal_id


async def debts(party: Party, **wanted: object) -> list[report_pb2.Debt]:
    stub = report_pb2_grpc.ReportServiceStub(party.channel)
    answer = await stub.ListDebts(report_pb2.ListDebtsRequest(origin=UK, **wanted), timeout=TIMEOUT_S)  # type: ignore[arg-type]
    return list(answer.debts)


async def signal(party: Party, id_: bytes) -> directory_pb2.GetSignalResponse:
    return await party.directory.GetSignal(directory_pb2.GetSignalRequest(origin=UK, signal_id=id_), timeout=TIMEOUT_S)


async def test_a_signal_is_taken_back_and_whoever_acted_on_it_says_what_it_undid(world: World, tmp_path: Path) -> None:
    alpha, beta = (client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta"))
    liaison = world.party("beta", Role.LIAISON)
    async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b:
        id_ = await published(a)
        acted = Disposition((id_,), DispositionState.ACTIONED, SourceAction.REMOVED, actioned_at_ms=wall_ms())
        receipt = await b.say(UK, acted)
        opinion = Opinion((id_,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE)
        await b.say(UK, opinion)
        with pytest.raises(InvalidStatement, match="another member's signal"):
            await b.say(UK, Retraction((id_,), RetractionReason.ERROR))
        await a.say(UK, Retraction((id_,), RetractionReason.OVERTURNED_ON_APPEAL, wall_ms()))
        known = await signal(liaison, id_)
        assert known.HasField("retracted_at")
        assert known.disputed
        (thought,) = known.opinions
        assert (thought.member, thought.category) == ("beta", pb.OPINION_CATEGORY_NEGATIVE_CLASS)
        with pytest.raises(InvalidStatement, match="taken back already"):
            await a.say(UK, Retraction((id_,), RetractionReason.ERROR))
        (owed,) = await debts(liaison, open_only=True)
        assert (owed.member, owed.owes) == ("beta", True)
        assert owed.said == pb.DISPOSITION_STATE_ACTIONED
        assert owed.reason == pb.RETRACTION_REASON_OVERTURNED_ON_APPEAL
        await b.say(UK, Disposition((id_,), DispositionState.REVERSED, actioned_at_ms=wall_ms()))
        assert await debts(liaison, open_only=True) == []
        closed = {debt.member: debt for debt in await debts(liaison)}
        assert closed["beta"].closed_at > receipt.index
        assert not closed["gamma"].owes


async def test_a_retraction_reaches_who_was_away_and_who_was_suspended_since(world: World, tmp_path: Path) -> None:
    alpha, beta, gamma = (
        client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta", "gamma")
    )
    hateful = Filter(labels=frozenset({Label.HARASSMENT_HATE_SPEECH}))  # and so not the signal's
    async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b, ExchangeClient(gamma) as g:
        id_ = await published(a)
        size = (await a.checkpoint(UK)).size
        await world.registrar.suspend("beta")
        try:
            await a.say(UK, Retraction((id_,), RetractionReason.WITHDRAWN_BY_VICTIM))
            for client in (b, g):
                async with asyncio.timeout(TIMEOUT_S), aclosing(client.subscribe(UK, cursor=size, wanted=hateful)) as s:
                    got = await anext(s)
                assert isinstance(got.header.body, Retraction)
                assert got.header.body.targets == (id_,)
        finally:
            await world.registrar.suspend("beta", state=State.ENDED)


async def test_lag_is_told_by_stage_and_pair(world: World, tmp_path: Path) -> None:
    alpha, beta = (client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta"))
    stub = report_pb2_grpc.ReportServiceStub(world.party("gamma", Role.PIPELINE).channel)
    async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b:
        now_ms = wall_ms()
        id_ = await published(a, actioned_at_ms=now_ms - 5_000)
        size = (await a.checkpoint(UK)).size
        acted = Disposition(
            (id_,), DispositionState.ACTIONED, SourceAction.REMOVED, matched_at_ms=now_ms, actioned_at_ms=now_ms + 1
        )
        await b.say(UK, acted)
        await b.say(UK, Acknowledgement(size - 1, clock_offset_ms=-3, clock_error_ms=2))

        async def report() -> report_pb2.GetLagReportResponse:
            return await stub.GetLagReport(report_pb2.GetLagReportRequest(origin=UK), timeout=TIMEOUT_S)

        found = await report()
    pairs = {(row.stage, row.publisher, row.receiver) for row in found.rows}
    assert (report_pb2.LAG_STAGE_MIGRATION, "alpha", "beta") in pairs
    assert (report_pb2.LAG_STAGE_REPORTED, "alpha", "") in pairs
    assert [(row.offset_ms, row.error_ms) for row in found.clocks if row.member == "beta"] == [(-3, 2)]
    (migration,) = [row for row in found.rows if row.stage == report_pb2.LAG_STAGE_MIGRATION]
    assert list(migration.counts) == [0] * 13 + [1]  # from 4,096 to below 8,192 ms


async def test_what_expires_or_is_erased_leaves_every_file(world: World, tmp_path: Path) -> None:
    alpha, beta = (client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta"))
    short, asked, stays = (secrets.token_bytes(32) for _ in range(3))

    def about(value: bytes) -> dict[str, object]:
        return {"indicators": (Indicator(IndicatorType.IMAGE_SHA256, value),)}

    async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b:
        await published(a, expires_at_ms=wall_ms() + 2_000, **about(short))
        expires_at_ms = wall_ms() + 86_400_000
        async with a.publisher(UK) as publisher:
            both = [a_signal(expires_at_ms=expires_at_ms, **about(value)) for value in (asked, stays)]
            one, _ = await publisher.publish(both, timeout_s=TIMEOUT_S)
        assert one.receipt is not None
        assert one.signal_id is not None
        assert in_files(world, short, asked, stays) == {short, asked, stays}
        await a.say(UK, Erasure((one.signal_id,), ErasureReason.ON_REQUEST))

        async def remaining() -> set[bytes]:
            return in_files(world, short, asked, stays)

        assert await until(remaining, lambda found: len(found) == 1) == {stays}
        async with asyncio.timeout(TIMEOUT_S):
            async for delivery in b.subscribe(UK, cursor=0):
                if delivery.index == one.receipt.index:
                    assert [each.indicators[0].value for each in delivery.signals] == [stays]
                if delivery.kind == Kind.ERASURE:
                    break
                if delivery.index == one.receipt.index - 1 and delivery.kind == Kind.SIGNAL:
                    assert (delivery.state, delivery.signals) == ("erased", Signals())
        (owed,) = [
            debt for debt in await debts(world.party("alpha", Role.LIAISON)) if debt.erasure and debt.member == "beta"
        ]
        assert not owed.owes
        with pytest.raises(InvalidStatement, match="erased already"):
            await a.say(UK, Erasure((one.signal_id,), ErasureReason.ON_REQUEST))
        unknown = Disposition((bytes(32),), DispositionState.NOT_ACTIONED, reason=DispositionReason.NO_MATCH)
        with pytest.raises(InvalidStatement, match="no signal that is known to you"):
            await b.say(UK, unknown)


def in_files(world: World, *values: bytes) -> set[bytes]:
    """Return which of these values are in any file of the hub's."""
    held = b"".join(path.read_bytes() for path in (world.exchange.folder / "data").rglob("*") if path.is_file())
    return {value for value in values if value in held}


async def test_what_a_member_was_not_given_it_cannot_ask_about(world: World, tmp_path: Path) -> None:
    alpha = client_config(world.exchange, world.app.port, "alpha", tmp_path / "alpha")
    async with ExchangeClient(alpha) as a:
        id_ = await published(a, audience=("beta",))
        assert (await signal(world.party("beta", Role.PIPELINE), id_)).publisher == "alpha"
        await a.say(UK, Retraction((id_,), RetractionReason.ERROR))
    with pytest.raises(Exception, match="no such signal"):
        await signal(world.party("gamma", Role.PIPELINE), id_)
    seen = {
        name: {debt.member for debt in await debts(world.party(name, Role.LIAISON)) if debt.signal_id == id_}
        for name in ("alpha", "beta", "gamma")
    }
    assert seen == {"alpha": {"beta"}, "beta": {"beta"}, "gamma": set()}


async def test_signals_name_an_election_and_reports_are_cut_by_it(world: World, tmp_path: Path) -> None:
    alpha, operator = (
        client_config(world.exchange, world.app.port, name, tmp_path / name, role)
        for name, role in (("alpha", Role.PIPELINE), (OPERATOR, Role.OPERATOR))
    )
    now_ms = wall_ms()
    vote = Election("a-vote", "A vote", now_ms - 1_000, now_ms + 86_400_000, (TargetClass.CANDIDATE,), 1_000, 9_000, 7)
    async with ExchangeClient(alpha) as a, ExchangeClient(operator) as o:
        async with a.publisher(UK) as publisher:
            (refused,) = await publisher.publish([a_signal(election=bytes(32))], timeout_s=TIMEOUT_S)
        assert refused.error is not None
        assert "names no election" in refused.error.message
        receipt = await o.say(UK, vote)
        listed = await world.party("beta").directory.ListElections(
            directory_pb2.ListElectionsRequest(origin=UK), timeout=TIMEOUT_S
        )
        (found,) = [each for each in listed.elections if each.election.name == "a-vote"]
        assert found.index == receipt.index
        id_ = await published(a, election=found.id, target_class=TargetClass.CANDIDATE, actioned_at_ms=now_ms)
        await a.say(UK, Retraction((id_,), RetractionReason.ERROR))
    party = world.party("beta", Role.LIAISON)
    assert {debt.signal_id for debt in await debts(party, election=found.id)} == {id_}
    stub = report_pb2_grpc.ReportServiceStub(party.channel)
    lag = await stub.GetLagReport(report_pb2.GetLagReportRequest(origin=UK, election=found.id), timeout=TIMEOUT_S)
    assert {(row.stage, sum(row.counts)) for row in lag.rows} == {
        (report_pb2.LAG_STAGE_REPORTED, 1),
        (report_pb2.LAG_STAGE_RECEIVED, 1),
    }
    activity = await stub.GetActivity(report_pb2.GetActivityRequest(origin=UK, election=found.id), timeout=TIMEOUT_S)
    assert [(row.member, row.signals) for row in activity.rows] == [("alpha", 1)]
