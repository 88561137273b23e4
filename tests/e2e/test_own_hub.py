"""What would harm the shared hub: each test here has an exchange and a hub of its own in this process."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import grpc
import pytest

from exchange import codec
from exchange.codec_bodies import kind_of
from exchange.config import Ops, Tiles
from exchange.domain.bodies import (
    Community,
    Member,
    State,
    Suspension,
)
from exchange.domain.kinds import MemberClass
from exchange.errors import Fatal, Reason
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.note import Verifier
from exchange.ops import clocks
from exchange.v1 import directory_pb2
from tests.e2e.answers import get, refusal
from tests.e2e.drafts import Draft, signal
from tests.e2e.exchange_fixture import DIRECTORY, NAME, OPERATOR, TIMEOUT_S, UK, Exchange, LocalHub, open_world

pytestmark = pytest.mark.e2e


async def test_a_community_statement_with_a_wrong_key_does_not_stop_the_hub(tmp_path: Path) -> None:
    world = await open_world(tmp_path, ops=Ops(listen=""), tiles=Tiles())
    origin = f"{NAME}/wrong-key"
    await world.exchange.new_log(origin)
    await world.registrar.say(Community(origin, "x", b"\x09" * 32, 0, 400, 365, 30, False))
    try:
        await world.registrar.enrol("later")
        receipt = await world.party("alpha").publish(signal("alpha", UK))
        assert receipt.index == 0
        assert world.hub.alive
        await refusal(world.operator.checkpoint(origin))
    finally:
        await world.aclose()


async def test_a_new_log_key_in_the_directory_is_used_or_refused(tmp_path: Path) -> None:
    world = await open_world(tmp_path, ops=Ops(listen=""), tiles=Tiles())
    try:
        new = SigningKey(b"\x0a" * 32).public_key
        with contextlib.suppress(grpc.aio.AioRpcError):
            await world.registrar.say(Community(UK, "uk", new, 0, 400, 365, 30, True))
        request = directory_pb2.ListCommunitiesRequest()
        listed = await world.operator.directory.ListCommunities(request, timeout=TIMEOUT_S)
        (named,) = [row.verifier_key for row in listed.communities if row.origin == UK]
        receipt = await world.party("alpha").publish(signal("alpha", UK))
        open_checkpoint(receipt.checkpoint, Verifier.parse(named))
    finally:
        await world.aclose()


async def test_a_jumping_clock_stops_sequencing_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"ahead_ms": 0}
    real = clocks.wall_ms
    monkeypatch.setattr(clocks, "wall_ms", lambda: real() + clock["ahead_ms"])
    world = await open_world(tmp_path)
    alpha = world.party("alpha")
    await alpha.publish(signal("alpha", UK))
    for ahead_ms in (10_000, 0):
        clock["ahead_ms"] = ahead_ms
        async with world.unchanged():
            refused = await refusal(alpha.publish(signal("alpha", UK)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.UNAVAILABLE.value)
        assert refused.retry_ms
        (result,) = await alpha.stream([signal("alpha", UK).sign(alpha.key)])
        assert result.rejection.retry_after_ms > 0
    status, _ = await get(world.ops_port, "/livez")
    assert status == 200
    await world.aclose()


async def test_guarded_changes_need_two_operators(tmp_path: Path) -> None:
    world = await open_world(tmp_path, threshold=2)
    first, (second,) = world.operator.key, world.exchange.cosigners
    body = Member("newcomer", "Newcomer", MemberClass.PLATFORM, (1, 2))
    draft = Draft(DIRECTORY, OPERATOR, kind_of(body), body)
    async with world.unchanged():
        refused = await refusal(world.operator.publish(draft.sign(first)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.NOT_PERMITTED.value)
        assert "exchange sign" in refused.metadata["hint"]
        for keys in ((first, first), (second, first, second), (first, SigningKey(b"x" * 32))):
            assert (await refusal(world.operator.publish(draft.sign(*keys)))).reason == Reason.WRONG_KEY.value
    receipt = await world.operator.publish(draft.sign(first, second))
    assert [item.key_id for item in codec.decode_leaf(receipt.leaf).signatures] == [first.key_id, second.key_id]
    urgent = Suspension("newcomer", 0, State.ACTIVE, "one operator is enough to stop somebody")
    await world.operator.publish(Draft(DIRECTORY, OPERATOR, kind_of(urgent), urgent))
    await world.aclose()


@pytest.mark.parametrize("section", ["listen", "ops", "tiles"])
async def test_a_port_in_use_is_said_so(tmp_path: Path, section: str) -> None:
    exchange = await Exchange.found(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sections: dict[str, object] = {"listen": address, "ops": Ops(listen=address), "tiles": Tiles(listen=address)}
        with pytest.raises(ExceptionGroup) as caught:
            await LocalHub().start(exchange.config(**{section: sections[section]}))
    (error,) = caught.value.exceptions
    assert isinstance(error, Fatal)
    assert error.reason is Reason.CONFIG
    assert address in error.message
    hub = await LocalHub().start(exchange.config())
    await hub.stop()
