"""A hub that flags by itself, and refuses what may not be signalled: canaries, bursts, disputes, protected values."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from exchange.config import Automation, Ops, Protected, Tiles
from exchange.domain.bodies import (
    Key,
    Member,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    State,
)
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind, MemberClass, Role
from exchange.errors import InvalidStatement
from exchange.ledger.ed25519 import SigningKey
from exchange_client import Delivery, ExchangeClient, Indicator
from tests.e2e.exchange_fixture import OPERATOR, TIMEOUT_S, UK, World, open_world
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

CANARY, PROTECTED = secrets.token_bytes(32), secrets.token_bytes(32)


async def flagging_world(folder: Path, **limits: int) -> World:
    """Return an exchange whose hub speaks for the operator in the role automation."""
    key = folder / "automation.seed"
    seed = secrets.token_bytes(32)
    key.write_text(seed.hex())
    key.chmod(0o600)
    canaries, protected = folder / "canaries.txt", folder / "protected.txt"
    canaries.write_text(f"# nobody has seen these\n\nimage_sha256 {CANARY.hex()}\n")
    protected.write_text(f"image_sha256 {PROTECTED.hex()}\n")
    automation = Automation(member=OPERATOR, key=key, canaries=canaries, **limits)
    world = await open_world(
        folder, ops=Ops(listen=""), tiles=Tiles(), automation=automation, protected=Protected(values=protected)
    )
    roles = (int(Role.OPERATOR), int(Role.AUTOMATION))
    await world.registrar.say(Member(OPERATOR, "The operator", MemberClass.OPERATOR, roles))
    await world.registrar.say(Key(OPERATOR, Role.AUTOMATION, SigningKey(seed).public_key, State.ACTIVE))
    await world.registrar.join(OPERATOR, UK)
    return world


async def quarantine(client: ExchangeClient, cursor: int = 0) -> Delivery:
    """Return the next quarantine on the feed."""
    async with asyncio.timeout(TIMEOUT_S):
        async for delivery in client.subscribe(UK, cursor=cursor):
            if delivery.kind == Kind.QUARANTINE:
                return delivery
    raise AssertionError("the feed ended")


def about(value: bytes) -> dict[str, object]:
    return {"indicators": (Indicator(IndicatorType.IMAGE_SHA256, value),)}


async def test_whoever_signals_a_canary_is_flagged_until_released(tmp_path: Path) -> None:
    world = await flagging_world(tmp_path)
    alpha, beta, operator = (
        client_config(world.exchange, world.app.port, name, tmp_path / name, role)
        for name, role in (("alpha", Role.PIPELINE), ("beta", Role.PIPELINE), (OPERATOR, Role.OPERATOR))
    )
    try:
        async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b, ExchangeClient(operator) as o:
            async with a.publisher(UK) as publisher:
                await publisher.publish([a_signal()], timeout_s=TIMEOUT_S)
                (outcome,) = await publisher.publish([a_signal(**about(CANARY))], timeout_s=TIMEOUT_S)
            assert outcome.receipt is not None
            found = await quarantine(b)
            assert found.publisher == OPERATOR
            assert found.header.body == Quarantine("alpha", outcome.receipt.index, QuarantineReason.CANARY)
            with pytest.raises(InvalidStatement, match="does not lie below"):
                await o.say(UK, Quarantine("alpha", outcome.receipt.index, QuarantineReason.OPERATOR))
            await o.say(UK, Quarantine("alpha", 0, QuarantineReason.OPERATOR))  # wider
            await o.say(UK, Release("alpha"))
            with pytest.raises(InvalidStatement, match="is not in quarantine"):
                await o.say(UK, Release("alpha"))
    finally:
        await world.aclose()


async def test_what_is_protected_cannot_be_signalled(tmp_path: Path) -> None:
    world = await flagging_world(tmp_path)
    try:
        alpha = client_config(world.exchange, world.app.port, "alpha", tmp_path / "alpha")
        async with ExchangeClient(alpha) as a, a.publisher(UK) as publisher:
            async with world.unchanged():
                (outcome,) = await publisher.publish([a_signal(**about(PROTECTED))], timeout_s=TIMEOUT_S)
            assert isinstance(outcome.error, InvalidStatement)
            assert "may not be signalled" in outcome.error.message
            (fine,) = await publisher.publish([a_signal()], timeout_s=TIMEOUT_S)
            assert fine.error is None
    finally:
        await world.aclose()


async def test_a_burst_is_flagged_once(tmp_path: Path) -> None:
    world = await flagging_world(tmp_path, burst_signals=50, burst_factor=1)
    try:
        alpha, beta = (
            client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta")
        )
        async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b:
            async with a.publisher(UK) as publisher:
                for _ in range(4):
                    await publisher.publish([a_signal() for _ in range(30)], timeout_s=TIMEOUT_S)
            found = await quarantine(b)
            assert found.header.body == Quarantine("alpha", 0, QuarantineReason.BURST)
            size = (await b.checkpoint(UK)).size
            kinds = []
            async for delivery in b.subscribe(UK, cursor=0):
                kinds.append(delivery.kind)
                if delivery.index == size - 1:
                    break
            assert kinds.count(Kind.QUARANTINE) == 1
    finally:
        await world.aclose()


async def test_who_is_called_wrong_by_two_others_too_often_is_flagged(tmp_path: Path) -> None:
    world = await flagging_world(tmp_path, disputed_percent=50, disputed_least=2, disputed_by=2)
    try:
        alpha, beta, gamma = (
            client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta", "gamma")
        )
        async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b, ExchangeClient(gamma) as g:
            async with a.publisher(UK) as publisher:
                outcomes = await publisher.publish([a_signal(), a_signal(), a_signal()], timeout_s=TIMEOUT_S)
            ids = tuple(outcome.signal_id for outcome in outcomes[:2] if outcome.signal_id is not None)
            wrong = Opinion(ids, OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE)
            await b.say(UK, wrong)
            receipt = await g.say(UK, wrong)
            found = await quarantine(b)
            assert found.header.body == Quarantine("alpha", receipt.index, QuarantineReason.DISPUTED)
    finally:
        await world.aclose()
