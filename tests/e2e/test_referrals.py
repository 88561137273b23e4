"""A referral from the platform's liaison to the police and back, over a real hub; notes; what goes when it is erased."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from exchange.domain.addressed import NoteRecord, ReferralOutcome, ReferralRecord, ReferralState, ReferralUrgency
from exchange.domain.bodies import Erasure, ErasureReason, OpinionCategory, OpinionReason
from exchange.domain.kinds import Kind, Role
from exchange.domain.labels import Label
from exchange.errors import InvalidStatement, Rejected
from exchange.ops.clocks import wall_ms
from exchange_client import Delivery, ExchangeClient, Publisher, Signals
from tests.e2e.drafts import DAY_MS
from tests.e2e.exchange_fixture import OPERATOR, TIMEOUT_S, UK, World
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

DESK = "mailto:referrals@alpha.example"


class Desk:
    """A member's workload, with its client and its publisher."""

    def __init__(self, client: ExchangeClient, publisher: Publisher) -> None:
        self.client = client
        self.publisher = publisher

    async def refer(self, case: str, **changes: Any) -> bytes:
        settings: dict[str, Any] = {
            "label": Label.VIOLENCE_THREATS,
            "urgency": ReferralUrgency.PRIORITY,
            "respond_by_ms": wall_ms() + DAY_MS,
            "case_ref": case,
            "contact": DESK,
        }
        said = await self.publisher.refer("police", **(settings | changes))
        assert said.id is not None
        return said.id

    async def feed(self, size: int) -> list[Delivery]:
        """Return the whole stream, verified."""
        found: list[Delivery] = []
        async with aclosing(self.client.subscribe(UK, cursor=0)) as deliveries:
            async for delivery in deliveries:
                found.append(delivery)
                if len(found) >= size:
                    return found
        raise AssertionError("the stream ended")


class Desks:
    """Whoever is asked for."""

    def __init__(self, world: World, folder: Path, closing: AsyncExitStack) -> None:
        self._world, self._folder, self._closing = world, folder, closing
        self._open: dict[tuple[str, Role], Desk] = {}

    async def of(self, member: str, role: Role = Role.LIAISON) -> Desk:
        if (member, role) not in self._open:
            folder = self._folder / f"{member}-{role.word}"
            config = client_config(self._world.exchange, self._world.hub.port, member, folder, role)
            client = await self._closing.enter_async_context(ExchangeClient(config))
            publisher = await self._closing.enter_async_context(client.publisher(UK))
            self._open[member, role] = Desk(client, publisher)
        return self._open[member, role]


@pytest.fixture(scope="module")
async def desks(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desks]:
    async with AsyncExitStack() as closing:
        yield Desks(world, tmp_path_factory.mktemp("referrals"), closing)


@pytest.fixture
async def alpha(desks: Desks) -> Desk:
    return await desks.of("alpha")


@pytest.fixture
async def police(desks: Desks) -> Desk:
    return await desks.of("police", Role.AUTHORITY)


async def test_a_referral_there_and_back(alpha: Desk, police: Desk) -> None:
    id_ = await alpha.refer("T-1", handover="https://alpha.example/requests")
    (referral,) = [each async for each in police.client.referrals.list(UK, unanswered_only=True) if each.id == id_]
    assert (referral.publisher, referral.record.case_ref, referral.record.contact) == ("alpha", "T-1", DESK)
    assert (referral.state, referral.waits_for, referral.overdue) == (0, "police", False)
    await police.publisher.acknowledge_referral(referral, at_ms=wall_ms(), reference="PS/1")
    with pytest.raises(InvalidStatement, match="acknowledged already"):
        await police.publisher.acknowledge_referral(referral, at_ms=wall_ms())
    await police.publisher.note(id_, "Which time zone are your times in?", referral.parties)
    await police.publisher.ask(referral, at_ms=wall_ms(), respond_by_ms=wall_ms() + DAY_MS)
    (asked,) = [each async for each in alpha.client.referrals.list(UK, state=ReferralState.ASKED)]
    assert (asked.id, asked.waits_for, asked.notes[0].text) == (id_, "alpha", "Which time zone are your times in?")
    await alpha.publisher.note(id_, "UTC.", asked.parties)
    await alpha.publisher.answer(asked, at_ms=wall_ms())
    await police.publisher.close_referral(asked, ReferralOutcome.TAKEN_UP, at_ms=wall_ms(), reference="PS/1")
    closed = await alpha.client.referrals.get(UK, id_)
    assert (closed.state, closed.outcome, closed.waits_for) == (ReferralState.CLOSED, ReferralOutcome.TAKEN_UP, "")
    assert [step.record.state for step in closed.steps] == [1, 2, 3, 4]
    assert [(note.publisher, note.text) for note in closed.notes][1] == ("alpha", "UTC.")
    with pytest.raises(InvalidStatement, match="closed already"):
        await alpha.publisher.answer(closed, at_ms=wall_ms())
    stream = await police.feed(closed.steps[-1].index + 1)
    (seen,) = [each for each in stream if each.index == closed.index]
    assert isinstance(seen.addressed, ReferralRecord)
    assert seen.addressed.case_ref == "T-1"


async def test_notes_on_a_dispute_reach_those_who_are_named(desks: Desks, alpha: Desk) -> None:
    pipeline, beta = await desks.of("alpha", Role.PIPELINE), await desks.of("beta")
    gamma, operator = await desks.of("gamma"), await desks.of(OPERATOR, Role.OPERATOR)
    (outcome,) = await pipeline.publisher.publish([a_signal()])
    assert outcome.signal_id is not None
    id_ = outcome.signal_id
    with pytest.raises(InvalidStatement, match="no dispute that is known to you"):
        await alpha.publisher.note(id_, "Is it?", ("beta",))
    await beta.publisher.opine([id_], OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE)
    await beta.publisher.note(id_, "We read this as satire.", ("alpha",))
    said = await alpha.publisher.note(id_, "It was posted without context.", ("beta", OPERATOR))
    with pytest.raises(InvalidStatement, match="no dispute that is known to you"):
        await gamma.publisher.note(id_, "We too.", ("alpha",))
    texts = {
        name: [note.text for note in await desk.client.referrals.notes(UK, id_)]
        for name, desk in {"alpha": alpha, "beta": beta, "gamma": gamma, "operator": operator}.items()
    }
    assert texts["alpha"] == texts["beta"] == ["We read this as satire.", "It was posted without context."]
    assert texts["gamma"] == []
    assert texts["operator"] == ["It was posted without context."]
    assert said.receipt is not None
    seen = (await beta.feed(said.receipt.index + 1))[said.receipt.index]
    assert isinstance(seen.addressed, NoteRecord)
    hidden = (await gamma.feed(said.receipt.index + 1))[said.receipt.index]
    assert (hidden.addressed, hidden.state, hidden.signals) == (None, "not_for_you", Signals())


async def test_an_erased_referral_is_nowhere(desks: Desks, alpha: Desk, police: Desk, world: World) -> None:
    id_ = await alpha.refer("T-erased-later")
    referral = await police.client.referrals.get(UK, id_)
    await police.publisher.note(id_, "Words that go with it.", referral.parties)
    body = Erasure((id_,), ErasureReason.ON_REQUEST)
    with pytest.raises(InvalidStatement, match="is no signal that is known to you"):
        await (await desks.of("beta")).publisher.say(body)
    before = world.app._logs[UK].tail.erasures
    await alpha.publisher.say(body)
    for desk in (alpha, police):
        with pytest.raises(Rejected, match="no such referral"):
            await desk.client.referrals.get(UK, id_)
    store = world.app._logs[UK].store
    async with asyncio.timeout(TIMEOUT_S):
        while any(b"T-erased-later" in each.frame for each in await store.read(referral.index, 1)):
            await asyncio.sleep(0.05)
        # What the hub holds in memory follows the store.
        while world.app._logs[UK].tail.erasures == before:
            await asyncio.sleep(0.05)
    size = (await store.head()).sealed.size
    (gone,) = [each for each in await police.feed(size) if each.index == referral.index]
    assert (gone.state, gone.addressed) == ("erased", None)
    assert Kind(gone.kind) is Kind.REFERRAL
