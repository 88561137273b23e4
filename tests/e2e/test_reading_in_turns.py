"""Whoever reads the ledger takes turns with whoever publishes, and a member's own readings wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from exchange.codec import erased_frame, frame_leaf
from exchange.domain.bodies import Acknowledgement
from exchange.domain.kinds import Kind, Role
from exchange.domain.statement import signal_ids
from exchange.errors import Reason
from exchange.publish.turns import Turns
from exchange.v1 import (
    directory_pb2,
    directory_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
    report_pb2,
    report_pb2_grpc,
)
from tests.e2e.answers import refusal
from tests.e2e.drafts import Draft, signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, Party, World
from tests.e2e.follower import Follower
from tests.e2e.test_hardening import hub_with

pytestmark = pytest.mark.e2e

ENTRIES = 60
ID = bytes(32)
Page = Callable[[str], Coroutine[Any, Any, int]]
Took = list[tuple[str, asyncio.Task[object] | None]]


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> Took:
    """Whose turns were taken, and in which call."""
    taken: Took = []
    take = Turns.take

    async def noted(turns: Turns, member: str, work: int) -> None:
        await take(turns, member, work)
        taken.append((member, asyncio.current_task()))

    monkeypatch.setattr(Turns, "take", noted)
    return taken


async def filled(world: World) -> Page:
    """Publish so many entries; return what reads so many as a member."""
    alpha = world.party("alpha")
    await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(ENTRIES)])

    async def read(member: str) -> int:
        asked = ledger_pb2.ListEntriesRequest(origin=UK, limit=ENTRIES)
        answer = await world.party(member).ledger.ListEntries(asked, timeout=TIMEOUT_S)
        return len(answer.entries)

    return read


@pytest.fixture
async def page(world: World) -> Page:
    """Reads so many entries as this member."""
    return await filled(world)


async def prove(party: Party) -> None:
    one = ledger_pb2.GetInclusionProofRequest(origin=UK, index=3)
    assert (await party.ledger.GetInclusionProof(one, timeout=TIMEOUT_S)).proof
    two = ledger_pb2.GetConsistencyProofRequest(origin=UK, old_size=5)
    assert (await party.ledger.GetConsistencyProof(two, timeout=TIMEOUT_S)).proof


async def test_a_page_is_made_in_small_pieces_and_a_proof_in_one(world: World, page: Page, took: Took) -> None:
    assert await page("beta") == ENTRIES
    assert [member for member, _ in took] == ["beta"] * 3
    took.clear()
    await prove(world.party("beta"))
    assert [member for member, _ in took] == ["beta"] * 2


@pytest.mark.parametrize("again", [False, True])
async def test_what_a_feed_begins_with_is_made_in_turns(world: World, page: Page, took: Took, again: bool) -> None:
    """Its place is the caller's to choose, and so is the checkpoint that it goes on from."""
    beta, verifier = world.party("beta"), world.exchange.verifier(UK)
    last = await beta.checkpoint(UK) if again else b""
    await (await Follower.start(beta, verifier, cursor=ENTRIES // 2, last_checkpoint=last)).stop()
    assert [member for member, _ in took] == ["beta"] * (2 if again else 1)


async def test_a_signal_is_looked_at_in_a_turn(world: World, took: Took) -> None:
    alpha = world.party("alpha")
    statement = signal("alpha", UK).sign(alpha.key)
    await alpha.publish(statement)
    took.clear()
    (id_,) = signal_ids(UK, "alpha", statement.records)
    request = directory_pb2.GetSignalRequest(origin=UK, signal_id=id_)
    assert (await alpha.directory.GetSignal(request, timeout=TIMEOUT_S)).publisher == "alpha"
    assert [member for member, _ in took] == ["alpha"]


@pytest.mark.parametrize(
    ("stub", "call", "request_"),
    [
        (report_pb2_grpc.ReportServiceStub, "GetLagReport", report_pb2.GetLagReportRequest(origin=UK)),
        (report_pb2_grpc.ReportServiceStub, "GetActivity", report_pb2.GetActivityRequest(origin=UK)),
        (report_pb2_grpc.ReportServiceStub, "ListDebts", report_pb2.ListDebtsRequest(origin=UK)),
        (referral_pb2_grpc.ReferralServiceStub, "ListReferrals", referral_pb2.ListReferralsRequest(origin=UK)),
        (referral_pb2_grpc.ReferralServiceStub, "ListNotes", referral_pb2.ListNotesRequest(origin=UK, signal_id=ID)),
        (directory_pb2_grpc.DirectoryServiceStub, "GetGuidance", directory_pb2.GetGuidanceRequest(origin=UK)),
        (ledger_pb2_grpc.LedgerServiceStub, "ListLostRecords", ledger_pb2.ListLostRecordsRequest(origin=UK)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_asked_of_the_folds_is_told_in_turns(
    world: World, took: Took, stub: Callable[[grpc.aio.Channel], Any], call: str, request_: Message
) -> None:
    police = world.party("police", Role.AUTHORITY)
    await getattr(stub(police.channel), call)(request_, timeout=TIMEOUT_S)
    assert {member for member, _ in took} == {"police"}


async def test_a_feed_waits_for_its_turn_behind_its_own_member_alone(
    world: World, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = world.exchange.verifier(UK)
    hold = Hold("beta")
    hold.install(monkeypatch)
    last = await world.party("beta").checkpoint(UK)
    beta = asyncio.create_task(Follower.start(world.party("beta"), verifier, cursor=1, last_checkpoint=last))
    async with asyncio.timeout(TIMEOUT_S):
        await hold.begun.wait()
    await (await Follower.start(world.party("gamma"), verifier, cursor=1, last_checkpoint=last)).stop()
    assert (await world.party("alpha").publish(signal("alpha", UK))).leaf
    assert not beta.done()
    hold.may.set()
    await (await beta).stop()


async def test_a_members_pages_are_made_one_after_the_other(page: Page, took: Took) -> None:
    assert await asyncio.gather(*(page("beta") for _ in range(8))) == [ENTRIES] * 8
    calls = [call for _, call in took]
    assert len(calls) == 8 * 3
    assert all(len(set(calls[at : at + 3])) == 1 for at in range(0, len(calls), 3))


@dataclass
class Hold:
    """Holds one member up in the middle of its page."""

    member: str
    pieces: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may: asyncio.Event = field(default_factory=asyncio.Event)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        take = Turns.take

        async def held(turns: Turns, member: str, work: int) -> None:
            await take(turns, member, work)
            if member == self.member:
                self.pieces += 1
                if self.pieces == 2:
                    self.begun.set()
                    await self.may.wait()

        monkeypatch.setattr(Turns, "take", held)


async def test_half_a_page_of_one_member_holds_nobody_else_up(
    world: World, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold("beta")
    hold.install(monkeypatch)
    beta = asyncio.create_task(page("beta"))
    async with asyncio.timeout(TIMEOUT_S):
        await hold.begun.wait()
    waiting = asyncio.create_task(prove(world.party("beta")))
    assert (await world.party("alpha").publish(signal("alpha", UK))).leaf
    assert await page("gamma") == ENTRIES
    await prove(world.party("gamma"))
    assert not beta.done()
    assert not waiting.done()
    hold.may.set()
    assert await beta == ENTRIES
    await waiting


async def test_a_member_that_is_suspended_meanwhile_does_not_get_its_page(
    world: World, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.registrar.enrol("reader")
    hold = Hold("reader")
    hold.install(monkeypatch)
    reader = asyncio.create_task(refusal(page("reader")))
    async with asyncio.timeout(TIMEOUT_S):
        await hold.begun.wait()
    await world.registrar.suspend("reader")
    hold.may.set()
    refused = await reader
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE.value)
    # Again, it gets the leaves alone.
    assert await page("reader") == ENTRIES


async def test_what_is_erased_meanwhile_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with hub_with(tmp_path) as world:
        page, log = await filled(world), world.app._logs[UK]
        hold = Hold("beta")
        hold.install(monkeypatch)
        beta = asyncio.create_task(refusal(page("beta")))
        async with asyncio.timeout(TIMEOUT_S):
            await hold.begun.wait()
        (entry,) = await log.store.read(3, 1)
        await log.store.erase({3: erased_frame(frame_leaf(entry.frame))})
        await log.tail.erased([3])
        hold.may.set()
        refused = await beta
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE.value)
        assert await page("beta") == ENTRIES


async def test_only_what_is_waited_for_lets_the_heavy_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else receivers, which each acknowledge once a minute, would hold busy publishers down for good."""
    alpha, said = world.party("alpha"), list[str]()
    monkeypatch.setattr(Turns, "said", lambda _, member: said.append(member))

    async def says(*drafts: Draft) -> tuple[bool, list[bool]]:
        said.clear()
        results = await alpha.stream([draft.sign(alpha.key) for draft in drafts])
        return said == ["alpha"], [result.HasField("receipt") for result in results]

    good = signal("alpha", UK)
    acknowledged = Draft(UK, "alpha", Kind.ACKNOWLEDGEMENT, Acknowledgement(0))
    assert await says(good) == (True, [True])
    assert await says(acknowledged) == (False, [True])
    assert await says(signal("alpha", "another.exchange/uk")) == (False, [False])
    assert await says(acknowledged, signal("alpha", UK)) == (True, [True, True])
