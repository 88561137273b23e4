"""A member changes its signing key while it works: nothing is lost, and what was said under the old key stays said."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import grpc
import pytest

from exchange.domain.bodies import Key, State
from exchange.domain.kinds import Role
from exchange.errors import Reason
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import statement_pb2 as pb
from exchange_client import ClientConfig, ExchangeClient, client
from tests.e2e.answers import check_receipt, refusal
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import UK, World, free_port
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

DEADLINE_S = 20.0


async def say(world: World, member: str, key: SigningKey, state: State) -> None:
    await world.registrar.say(Key(member, Role.PIPELINE, key.public_key, state))


async def rekey(world: World, member: str, fill: bytes) -> SigningKey:
    """Register a second key and revoke the first."""
    new = SigningKey(fill * 32)
    await say(world, member, new, State.ACTIVE)
    await say(world, member, world.exchange.keys[member, Role.PIPELINE], State.ENDED)
    return new


def again(statement: pb.Statement) -> pb.Statement:
    repeat = pb.Statement()
    repeat.CopyFrom(statement)
    repeat.resubmission = True
    return repeat


async def test_a_repeat_under_a_revoked_key_gets_its_receipt_and_nothing_else_does(world: World) -> None:
    await world.registrar.enrol("rekey.raw")
    party = world.party("rekey.raw")
    said, unsaid = signal("rekey.raw", UK).sign(party.key), signal("rekey.raw", UK).sign(party.key)
    first = await party.publish(said)
    await rekey(world, "rekey.raw", b"\x11")
    async with world.unchanged():
        receipt = await party.publish(again(said))
        assert receipt.repeated_statement
        assert receipt.index == first.index
        check_receipt(receipt, said, world.exchange.verifier(UK))
        (streamed,) = await party.stream([again(said)])
        assert streamed.receipt.index == first.index
        for statement in (said, unsaid, again(unsaid)):
            assert (await refusal(party.publish(statement))).reason == Reason.WRONG_KEY
        # Nobody else gets it, and not in another role.
        for stranger in (world.party("alpha"), world.party("rekey.raw", Role.LIAISON)):
            assert (await refusal(stranger.publish(again(said)))).reason == Reason.WRONG_KEY
        changed = again(said)
        changed.signatures[0].signature = bytes(64)
        assert (await refusal(party.publish(changed))).code is grpc.StatusCode.INVALID_ARGUMENT
        changed = again(said)
        changed.records[0] += b"\x00"
        assert (await refusal(party.publish(changed))).reason == Reason.REPLAY_MISMATCH
    await world.registrar.suspend("rekey.raw")
    async with world.unchanged():
        assert (await refusal(party.publish(again(said)))).reason == Reason.NOT_PERMITTED


async def away(config: ClientConfig) -> int:
    """Sign one signal for a hub that nobody can reach; return how many statements wait in the outbox."""
    async with ExchangeClient(config) as own:
        await own.directory()
        publisher = await own.open_publisher(UK)
        nowhere = dataclasses.replace(config, addresses=(f"localhost:{free_port()}",))
        publisher._transport = type(own._transport)(nowhere, own._identity)
        async with publisher:
            with pytest.raises(TimeoutError):
                await publisher.publish([a_signal(case_ref="T-1")], timeout_s=0.3)
        waiting = len(await publisher.outbox.pending())
        await publisher._transport.aclose()
        return waiting


async def test_what_the_outbox_holds_is_signed_anew_when_its_key_was_revoked(world: World, tmp_path: Path) -> None:
    await world.registrar.enrol("rekey.outbox")
    config = client_config(world.exchange, world.app.port, "rekey.outbox", tmp_path)
    assert await away(config) == 1
    new = await rekey(world, "rekey.outbox", b"\x12")
    config.next_signing_key.write_text((b"\x12" * 32).hex())
    async with ExchangeClient(config) as own, own.publisher(UK) as publisher:
        async with asyncio.timeout(DEADLINE_S):
            await publisher.settled()
        assert await publisher.outbox.pending() == []
        (kept,) = await publisher.outbox.kept()
        assert [signature.key_id for signature in kept.signatures] == [new.key_id]
        # Its receipt is there for the asking, under the key that it was signed with at last.
        repeat = await publisher.submit(dataclasses.replace(kept, resubmission=True))
        assert repeat.repeated


async def test_a_working_client_changes_to_the_next_key(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(client, "ASK_DIRECTORY_EVERY_S", 0.05)
    await world.registrar.enrol("rekey.live")
    config = client_config(world.exchange, world.app.port, "rekey.live", tmp_path)
    old, new = world.exchange.keys["rekey.live", Role.PIPELINE], SigningKey(b"\x13" * 32)
    async with ExchangeClient(config) as own, own.publisher(UK) as publisher:

        async def signed_by() -> bytes:
            (outcome,) = await publisher.publish([a_signal()], timeout_s=DEADLINE_S)
            assert outcome.receipt is not None, outcome.error
            return signer_of(outcome.receipt.leaf)

        assert await signed_by() == old.key_id
        config.next_signing_key.write_text((b"\x13" * 32).hex())
        await say(world, "rekey.live", new, State.ACTIVE)
        async with asyncio.timeout(DEADLINE_S):
            while await signed_by() != new.key_id:
                await asyncio.sleep(0.05)
        await say(world, "rekey.live", old, State.ENDED)
        assert await signed_by() == new.key_id


def signer_of(leaf: bytes) -> bytes:
    """Return the id of the key that signed a leaf."""
    return bytes(pb.Leaf.FromString(leaf).signatures[0].key_id)
