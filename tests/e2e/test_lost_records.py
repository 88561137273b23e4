"""What a serving hub has lost: told to its publishers, each its own, and served again when it has come back."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import apsw
import pytest

from exchange.codec import erased_frame, frame_leaf
from exchange.domain.kinds import Kind, Role
from exchange.errors import Denied, Reason, Rejected
from exchange.v1 import ledger_pb2
from exchange_client import Delivery, ExchangeClient
from exchange_client.transport import Transport
from tests.e2e.exchange_fixture import DIRECTORY, SIDE, UK, World
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e


async def lose(world: World, indices: list[int]) -> None:
    """Leave the hub with the leaves of these entries, as if it had started with no more of them."""
    log = world.app._logs[UK]
    await (await log.up_to_date()).life.reached(indices[-1] + 1)
    frames = {index: erased_frame(frame_leaf((await log.store.read(index, 1))[0].frame)) for index in indices}
    await log.store.erase(frames)
    await log.tail.erased(indices)

    def note(connection: apsw.Connection) -> None:
        for index in indices:
            connection.execute(
                "INSERT INTO bare SELECT idx, publisher, expires_at_ms, x'', ? FROM statements WHERE idx = ?",
                (Kind.SIGNAL, index),
            )

    await log.of_community.life.facts.writes(note)  # type: ignore[attr-defined]


def client(world: World, member: str, folder: Path, role: Role = Role.PIPELINE) -> ExchangeClient:
    return ExchangeClient(client_config(world.exchange, world.app.port, member, folder / member / role.word, role))


async def lost(asking: ExchangeClient, origin: str = UK) -> tuple[int, ...]:
    transport: Transport = asking._transport
    return await transport.lost_records(origin)


async def read(reading: ExchangeClient, indices: list[int]) -> dict[int, Delivery]:
    """Return these entries as a subscription gets them that begins there."""
    found: dict[int, Delivery] = {}
    async with aclosing(reading.subscribe(UK, cursor=indices[0])) as deliveries:
        async for delivery in deliveries:
            found[delivery.index] = delivery
            if delivery.index >= indices[-1]:
                break
    return {index: found[index] for index in indices}


async def test_each_is_told_its_own_in_parts_and_what_comes_back_is_served_at_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.api.ledger.MAX_LOST", 2)
    async with client(world, "alpha", tmp_path) as alpha, client(world, "beta", tmp_path) as beta:
        async with alpha.publisher(UK) as first, beta.publisher(UK) as second:
            said = [(await first.publish([a_signal(audience=audience)]))[0] for audience in (None, ("beta",), None)]
            (theirs,) = await second.publish([a_signal()])
        indices = [each.receipt.index for each in (*said, theirs) if each.receipt is not None]
        assert len(indices) == 4
        assert (await lost(alpha), await lost(beta)) == ((), ())
        await lose(world, indices)
        assert (await lost(alpha), await lost(beta)) == (tuple(indices[:3]), (indices[3],))
        beyond = ledger_pb2.ListLostRecordsRequest(origin=UK, start=2**64 - 1)
        assert not (await world.party("alpha").ledger.ListLostRecords(beyond)).indices
        assert [each.state for each in (await read(beta, indices)).values()] == [
            "erased",
            "not_for_you",
            "erased",
            "erased",
        ]
        async with client(world, "alpha", tmp_path, Role.LIAISON) as liaison, client(world, "gamma", tmp_path) as gamma:
            assert (await lost(liaison), await lost(gamma)) == (tuple(indices[:3]), ())
            with pytest.raises(Denied):
                await lost(alpha, SIDE)
            with pytest.raises(Rejected) as refused:
                await lost(alpha, DIRECTORY)
            assert refused.value.reason is Reason.WRONG_ORIGIN
        async with alpha.publisher(UK) as again:
            await again.giving_back.looked()
            assert again.giving_back.given == 3
        assert (await lost(alpha), await lost(beta)) == ((), (indices[3],))
        there = await read(beta, indices)
        assert [each.state for each in there.values()] == ["present", "present", "present", "erased"]
        assert [there[index].signals[0].signal_id for index in indices[:3]] == [each.signal_id for each in said]
        async with client(world, "gamma", tmp_path) as gamma:
            assert [each.state for each in (await read(gamma, indices)).values()] == [
                "present", "not_for_you", "present", "erased",
            ]  # fmt: skip
