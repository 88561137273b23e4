"""Following a log: nothing missed, nothing twice that was acknowledged, and no lie handed on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import statement
from exchange.domain.bodies import Key, State
from exchange.domain.kinds import Role
from exchange.errors import CursorAboveSize, CursorBelowFloor, Denied, Unavailable, VerificationFailed
from exchange.ledger.ed25519 import SigningKey
from exchange_client import Delivery, Distrusted, ExchangeClient, backoff
from exchange_client.wire import FeedMessage


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)


@pytest.fixture
def hub() -> FakeHub:
    made = FakeHub()
    for _ in range(7):
        made.commit(statement(made))
    return made


async def take(client: ExchangeClient, count: int, **options: Any) -> list[Delivery]:
    """Take so many deliveries and stop without asking for another: the last one is not acknowledged."""
    found: list[Delivery] = []
    async with asyncio.timeout(5), contextlib.aclosing(client.subscribe(UK, **options)) as deliveries:
        async for delivery in deliveries:
            found.append(delivery)
            if len(found) == count:
                break
    return found


async def test_everything_arrives_in_order_verified_and_covered(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        found = await take(client, 7)
    assert [d.index for d in found] == list(range(7))
    assert all(d.state == "present" and d.publisher == "alpha" and d.lag_ms == 0 for d in found)
    assert all(len(d.signals) == 1 and d.signals[0].signal_id == d.header.signal_ids[0] for d in found)
    assert [d.covered for d in found] == [False] * 6 + [True]


async def test_live_entries_are_covered(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.per_message = 100
    async with client, contextlib.aclosing(client.subscribe(UK)) as deliveries:
        for _ in range(7):
            assert (await anext(deliveries)).covered
        hub.commit(statement(hub, "beta"))
        assert (await anext(deliveries)).covered


@pytest.mark.parametrize("taken", range(1, 8))
@pytest.mark.parametrize("per_message", [1, 3, 100])
async def test_a_restart_goes_on_exactly_after_what_was_acknowledged(
    hub: FakeHub, tmp_path: Path, taken: int, per_message: int
) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.per_message = per_message
    async with client:
        first = await take(client, taken)
    assert first[-1].index == taken - 1
    again, transport = client_of(hub, tmp_path)
    transport.per_message = per_message
    async with again:
        # The last delivery was handed over and never acknowledged, so it comes again; nothing else does.
        found = await take(again, 1)
    assert found[0].index == taken - 1


async def test_a_generator_that_was_only_dropped_keeps_its_place(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        async for delivery in client.subscribe(UK):
            if delivery.index == 3:
                break
    again, _ = client_of(hub, tmp_path)
    async with again:
        assert (await take(again, 1))[0].index == 3


async def test_the_feed_goes_on_over_broken_streams(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.per_message = 1
    transport.feed_faults.extend(
        [(0, Unavailable("down", retry_after_ms=0)), (3, Unavailable("", retry_after_ms=0))] * 3
    )
    async with client:
        found = await take(client, 7)
    assert [d.index for d in found] == list(range(7))
    assert [cursor for cursor, _ in transport.subscriptions] == [0, 0, 2, 2, 4, 4, 6]


async def test_a_start_from_now_survives_a_first_stream_that_fails(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.feed_faults.append((0, Unavailable("down", retry_after_ms=0)))
    async with client, contextlib.aclosing(client.subscribe(UK, from_now=True)) as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))
        while len(transport.subscriptions) < 2:
            await asyncio.sleep(0.001)
        hub.commit(statement(hub))
        assert (await waiting).index == 7
    assert [cursor for cursor, _ in transport.subscriptions] == [7, 7]


async def test_a_jump_is_made_once_and_a_broken_stream_goes_on_after_it(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.per_message = 1
    transport.feed_faults.append((3, Unavailable("broke", retry_after_ms=0)))
    async with client:
        assert [d.index for d in await take(client, 4, cursor=3)] == [3, 4, 5, 6]
    assert [cursor for cursor, _ in transport.subscriptions] == [3, 5]


async def test_a_cursor_of_ones_own_starts_there(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        assert [d.index for d in await take(client, 3, cursor=4)] == [4, 5, 6]


async def test_errors_of_the_cursor_and_of_standing_are_raised(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client:
        with pytest.raises(CursorAboveSize) as above:
            await take(client, 1, cursor=99)
        assert above.value.sealed_size == 7
        transport.feed_faults.append((0, CursorBelowFloor(5)))
        with pytest.raises(CursorBelowFloor):
            await take(client, 1)
        transport.feed_faults.append((0, Denied("not yours")))
        with pytest.raises(Denied):
            await take(client, 1)


async def test_a_stream_that_is_cut_is_opened_again_and_a_refused_one_is_not(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.feed_faults.extend([(3, Denied("cut")), (2, Denied("cut"))])
    async with client:
        assert [d.index for d in await take(client, 7)] == list(range(7))
        assert len(transport.subscriptions) == 3
        transport.feed_faults.extend([(1, Denied("cut"))] * 9)
        with pytest.raises(Denied):
            await take(client, 1)


async def test_a_lie_stops_the_reader_with_evidence(hub: FakeHub, tmp_path: Path) -> None:
    entry = hub.uk.entries[4]
    hub.uk.entries[4] = replace(entry, records=(entry.records[0][:-1] + b"x",))
    client, transport = client_of(hub, tmp_path)
    transport.per_message = 3
    found: list[int] = []
    async with client:
        with pytest.raises(Distrusted) as caught:
            async for delivery in client.subscribe(UK):
                found.append(delivery.index)  # noqa: PERF401 - kept when the feed raises
        assert isinstance(caught.value, VerificationFailed)
        assert found == [0, 1, 2]
        assert caught.value.index == 4
        assert caught.value.evidence is not None
        evidence = json.loads(caught.value.evidence.read_text())
        assert evidence["index"] == 4
        assert evidence["origin"] == UK
        assert evidence["leaf"]
        assert caught.value.evidence.stat().st_mode & 0o077 == 0
        (beside,) = caught.value.evidence.parent.glob("*.not-to-be-shared.json")
        assert f"not to be shared, in {beside}" in caught.value.message
        assert "records" not in evidence
        assert "audience_record" not in evidence
        private = json.loads(beside.read_text())
        assert base64.b64decode(private["records"][0]) == hub.uk.entries[4].records[0]
        assert beside.stat().st_mode & 0o077 == 0
        # On purpose, and only then, the reader goes past it.
        rest = await take(client, 3, skip=frozenset({4}))
    assert [d.index for d in rest] == [3, 5, 6]


@pytest.mark.parametrize("records", [False, True])
async def test_a_lie_is_one_also_where_its_evidence_cannot_be_written(
    hub: FakeHub, tmp_path: Path, records: bool
) -> None:
    entry = hub.uk.entries[4]
    hub.uk.entries[4] = replace(entry, records=(entry.records[0][:-1] + b"x",))
    folder = tmp_path / "state" / "evidence"
    stem = f"{UK.replace('/', '_')}-{hub.now}"
    # Something else stands where it should go.
    (folder / f"{stem}.not-to-be-shared.json" if records else folder / f"{stem}.json").mkdir(parents=True)
    client, _ = client_of(hub, tmp_path)
    async with client:
        with pytest.raises(Distrusted, match=r"entry 4 does not hold.* could not be written: .*directory") as caught:
            await take(client, 7)
    assert caught.value.index == 4
    assert caught.value.evidence == (folder / f"{stem}.json" if records else None)


@pytest.mark.parametrize("fault", ["no hello", "two hellos", "another log's checkpoint", "malformed leaf"])
async def test_a_stream_out_of_shape_is_a_lie(hub: FakeHub, tmp_path: Path, fault: str) -> None:
    client, transport = client_of(hub, tmp_path)

    def spoil(message: FeedMessage) -> FeedMessage | None:
        if fault == "no hello":
            return None if message.hello else message
        if fault == "two hellos":
            return replace(message, hello=hub.uk.hello(0))
        if fault == "malformed leaf" and message.entries:
            return replace(message, entries=(replace(message.entries[0], leaf=b"\xff"),))
        if message.checkpoint:
            return replace(message, checkpoint=hub.directory.checkpoint())
        return message

    transport.spoil_feed = spoil
    async with client:
        with pytest.raises(Distrusted) as caught:
            await take(client, 7)
    assert caught.value.evidence is not None


async def test_a_hub_that_forgets_is_found_out(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        await take(client, 7)
    del hub.uk.entries[2:]
    again, _ = client_of(hub, tmp_path)
    async with again:
        with pytest.raises(CursorAboveSize):
            await take(again, 1)


async def test_a_hub_that_rewrites_is_found_out(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        await take(client, 7)
    hub.uk.entries.clear()
    for _ in range(8):
        hub.commit(statement(hub))
    again, _ = client_of(hub, tmp_path)
    async with again:
        with pytest.raises(Distrusted):
            await take(again, 1)


async def test_the_directory_is_read_on_when_a_leaf_needs_it(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client, contextlib.aclosing(client.subscribe(UK)) as deliveries:
        for _ in range(7):
            await anext(deliveries)
        key = SigningKey(b"n" * 32)
        hub.keys["beta"] = key
        hub.say(Key("beta", Role.PIPELINE, key.public_key, State.ACTIVE))
        hub.commit(statement(hub, "beta"))
        assert (await anext(deliveries)).publisher == "beta"


async def test_a_leaf_that_names_a_directory_that_is_not_there_is_a_lie(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit(statement(hub), directory_size=10**9)
    client, _ = client_of(hub, tmp_path)
    async with client:
        with pytest.raises(Distrusted):
            await take(client, 8)


async def test_two_subscriptions_share_one_directory(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        both = await asyncio.gather(take(client, 7), take(client, 7), client.directory(), client.directory())
    assert [d.index for d in both[0]] == [d.index for d in both[1]] == list(range(7))


async def test_a_stream_that_beats_and_holds_entries_back_is_left(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)

    def hold(message: FeedMessage) -> FeedMessage:
        first = len(transport.subscriptions) == 1
        return FeedMessage(heartbeat_size=7) if first and message.entries else message

    transport.spoil_feed = hold
    async with client:
        assert [d.index for d in await take(client, 7)] == list(range(7))
    assert [cursor for cursor, _ in transport.subscriptions] == [0, 0]


async def test_a_beat_at_our_own_place_is_a_quiet_log(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.per_message = 100
    transport.spoil_feed = lambda message: replace(message, heartbeat_size=7) if message.checkpoint else message
    async with client, contextlib.aclosing(client.subscribe(UK)) as deliveries:
        for _ in range(7):
            await anext(deliveries)
        hub.commit(statement(hub))
        transport.spoil_feed = lambda message: message
        assert (await anext(deliveries)).index == 7
    assert len(transport.subscriptions) == 1
