"""Nothing lost, nothing twice, in order, and no silence that looks healthy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

import pytest

from exchange.domain.bodies import Retraction, RetractionReason
from exchange.domain.labels import Label
from exchange.errors import CursorAboveSize
from exchange.fanout.feed import Feed
from exchange.fanout.tail import Tail
from exchange.v1 import directory_pb2
from exchange.views.life import LifeView
from exchange_client import Delivery, Filter
from tests.conformance.place import Place, publish, read, refused, size_of, within
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, LocalHub, World, open_world
from tests.e2e.patience import patiently

#: A subscriber hears something every fifth of a second here, so this is silence.
SILENCE_S = 1.0
#: And by now it has gone elsewhere.
NOTICED_S = 5.0


async def equal_times_skip_nothing(place: Place) -> None:
    """Entries that were received in the same millisecond are all read, however the pages are cut."""
    alpha = place.world.party("alpha")
    async with place.client("beta") as b:
        start = await size_of(b)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("exchange.fanout.tail.MAX_PAGE_ITEMS", 8)
            patch.setattr("exchange.fanout.tail.MAX_PAGE_BYTES", 4_096)
            results = await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(60)])
            assert all(result.HasField("receipt") for result in results)
            found = await read(b, to=start + 60, cursor=start)
    assert len({each.received_at_ms for each in found}) < len(found) / 8, "the times differ, so this proves nothing"
    assert [each.index for each in found] == list(range(start, start + 60))
    assert all(each.state == "present" for each in found)


async def the_filter_holds_for_every_pull(place: Place) -> None:
    """The second time too, a subscriber with a filter gets no record outside of it."""
    wanted = Filter(labels=frozenset({Label.MISLEADING_SCAM}))
    async with place.client("alpha") as a:
        start: int | None = await size_of(a)
        for _ in range(3):
            await publish(a, label=Label.MISLEADING_SCAM)
            await publish(a, label=Label.MISLEADING_SPAM)
            async with place.client("beta") as b:
                found = (
                    await read(b, cursor=start, wanted=wanted) if start is not None else await read(b, wanted=wanted)
                )
            labels = [each.signal.label for each in found if each.signal is not None and each.state == "present"]
            assert labels, "what was asked for did not come"
            assert set(labels) == {Label.MISLEADING_SCAM}
            start = None  # from now on from where it was


@contextmanager
def a_short_memory(world: World) -> Iterator[None]:
    """Let the hub hold few entries in memory, so that whoever is behind reads from disk first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.app._logs[UK].tail, "_ring_limit", 16 * 1024)
        patch.setattr("exchange.fanout.tail.MAX_PAGE_ITEMS", 16)
        yield


async def catching_up_meets_live(place: Place) -> None:
    """A subscriber that catches up while others publish gets each entry once and in order."""
    alpha = place.world.party("alpha")
    async with place.client("beta") as b:
        start = await size_of(b)
        end = start + 200

        async def write(count: int) -> None:
            for _ in range(0, count, 10):
                await alpha.stream([signal("alpha", UK).sign(alpha.key) for _ in range(10)])

        with a_short_memory(place.world):
            await write(120)
            writing = asyncio.create_task(write(80))
            try:
                found = await read(b, to=end, cursor=start)
            finally:
                await writing
    assert [each.index for each in found] == list(range(start, end))
    assert all(each.state == "present" for each in found)


async def a_stream_never_goes_back(place: Place) -> None:
    """Where a connection ends, the stream goes on behind the last entry that was handed over."""
    async with place.client("alpha") as a, place.client("beta") as b:
        start = await size_of(b)
        for _ in range(6):
            await publish(a)
        found: list[int] = []
        async with within(TIMEOUT_S, "the last entry"), aclosing(b.subscribe(UK, cursor=start)) as stream:
            async for delivery in stream:
                found.append(delivery.index)
                if len(found) in (2, 4):
                    await b._transport.renew()
                    await publish(a)
                if delivery.index == start + 7 or len(found) > 20:
                    break
    assert found == list(range(start, start + 8))


async def it_goes_on_from_the_last_entry(place: Place) -> None:
    """What was published while a subscriber was away comes first when it is back."""
    async with place.client("alpha") as a:
        before = await publish(a)
        async with place.client("beta") as b:
            await read(b, cursor=before.index)
        away = await publish(a)
        async with place.client("beta") as b, aclosing(b.subscribe(UK)) as stream:
            first = asyncio.ensure_future(anext(stream))
            async with within(TIMEOUT_S, "the stream"):
                while not await b.probe(UK, b"") and not first.done():
                    await asyncio.sleep(0.01)
            after = await publish(a)
            found = [(await first).index]
            async with within(TIMEOUT_S, "the newest entry"):
                while found[-1] < after.index:
                    found.append((await anext(stream)).index)
    assert away.index in found


async def nothing_falls_between_two_kinds_of_ready(place: Place) -> None:
    """What is accepted before a hub that starts has begun to deliver and to judge is delivered, and known to it."""
    first = await open_world(place.folder / "hub")
    gate = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        for part in (Tail, LifeView):
            patch.setattr(part, "run", _behind(gate, part.run))
        await first.hub.stop()
        hub = await LocalHub().start(first.exchange.config())
        world = World(first.exchange, hub, 0, 0)
        here = Place(world, place.folder)
        try:
            async with here.client("alpha") as a, here.client("beta") as b:
                said = await publish(a)
                async with aclosing(b.subscribe(UK, cursor=said.index)) as stream:
                    coming = asyncio.ensure_future(anext(stream))
                    gate.set()
                    async with within(TIMEOUT_S, "the entry"):
                        delivery: Delivery = await coming
                assert (delivery.index, delivery.state) == (said.index, "present")
                await patiently(lambda: a.say(UK, Retraction((said.id,), RetractionReason.ERROR)))
                asked = directory_pb2.GetSignalRequest(origin=UK, signal_id=said.id)
                told = await world.party("beta").directory.GetSignal(asked, timeout=TIMEOUT_S)
                assert told.HasField("retracted_at")
        finally:
            gate.set()
            await world.aclose()
            for party in first._parties.values():
                await party.channel.close()


def _behind(gate: asyncio.Event, run: object) -> object:
    """Return a follower that begins when the gate opens."""

    async def later(self: object) -> None:
        await gate.wait()
        await run(self)  # type: ignore[operator]

    return later


@contextmanager
def one_bad_feed(world: World, *, beats: bool) -> Iterator[list[Feed]]:
    """Let the next feed of the hub's tell nothing but, if wanted, that it lives."""
    bad: list[Feed] = []
    messages = Feed.messages

    async def perhaps(self: Feed) -> AsyncIterator[bytes]:
        if not bad:
            bad.append(self)
        if bad[0] is not self:
            async for message in messages(self):
                yield message
            return
        while True:
            await asyncio.sleep(0.1)
            if beats:
                yield self._wire.heartbeat(self._tail.sealed.size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Feed, "messages", perhaps)
        patch.setattr("exchange_client.transport.SILENCE_S", SILENCE_S)
        yield bad


async def _noticed(place: Place, *, beats: bool) -> None:
    async with place.client("alpha") as a, place.client("beta") as b:
        start = await size_of(b)
        with one_bad_feed(place.world, beats=beats) as bad:
            async with aclosing(b.subscribe(UK, cursor=start)) as stream:
                coming = asyncio.ensure_future(anext(stream))
                async with within(TIMEOUT_S, "the stream"):
                    while not bad:
                        await asyncio.sleep(0.01)
                said = await publish(a)
                async with within(NOTICED_S, "the entry, over another stream,"):
                    assert (await coming).index == said.index


async def silence_is_noticed(place: Place) -> None:
    """A subscriber leaves a stream on which nothing comes any more, and goes on over another one."""
    await _noticed(place, beats=False)


async def a_beating_stream_without_entries_is_noticed(place: Place) -> None:
    """A subscriber leaves a stream that says it lives and that the ledger grows, and brings no entries."""
    await _noticed(place, beats=True)


async def a_cursor_in_the_future_is_refused(place: Place) -> None:
    """A cursor beyond the ledger is an error that tells the size; it is never taken for "from now on"."""
    async with place.client("beta") as b:
        size = await size_of(b)
        with refused(CursorAboveSize):
            async with within(TIMEOUT_S, "an answer"):
                async for delivery in b.subscribe(UK, cursor=size + 5):
                    raise AssertionError(f"entry {delivery.index} came")
