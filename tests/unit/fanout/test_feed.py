"""What a subscriber gets: in order, without gaps, no more than it may see, and told apart from nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange.domain.labels import Label
from exchange.domain.policy import Sight, visible_to
from exchange.domain.validation import MAX_STATEMENT_BYTES
from exchange.errors import CursorAboveSize, CursorBelowFloor, Denied
from exchange.fanout.feed import Filter
from exchange.fanout.item import item_of
from exchange.v1 import statement_pb2 as pb
from exchange_client.records import Record
from tests.unit.builders import (
    ALPHA,
    ALPHA_LIAISON,
    BETA,
    BETA_LIAISON,
    POLICE,
    WITNESS,
    Actor,
    Said,
    digest,
    pdq_record,
    signal_body,
    signal_statement,
)
from tests.unit.fanout.fakes import Ended, Shelf, Subscriber, always, entry_of, running

GAMMA = Actor("gamma", ALPHA.role)
PRESENT, NOT_FOR_YOU, ERASED = pb.RECORD_STATE_PRESENT, pb.RECORD_STATE_NOT_FOR_YOU, pb.RECORD_STATE_ERASED
MIB = 1024 * 1024


def fat(kib: int, seed: str) -> Said:
    """A statement with so many kB of records; a feed does not look into them."""
    return signal_statement(seed=seed, raw=[bytes(1024)] * kib)


async def test_every_entry_comes_in_order_and_then_the_checkpoint() -> None:
    shelf = Shelf.new()
    for count in (1, 5, 2, 9):
        await shelf.add_plain(count)
    tail = await shelf.tail()
    reader = Subscriber(tail)
    message = await reader.next()
    assert [entry.leaf for entry in reader.entries] == shelf.leaves
    assert {entry.state for entry in reader.entries} == {PRESENT}
    assert message.checkpoint == shelf.notes[17]
    assert reader.feed.cursor == reader.feed.sent_entries == 17


@pytest.mark.parametrize("cursor", [0, 1, 16])
async def test_a_cursor_is_the_next_index_wanted(cursor: int) -> None:
    shelf = Shelf.new(read_at_most=3)
    await shelf.add_plain(17)
    reader = Subscriber(await shelf.tail(), cursor=cursor)
    assert [entry.leaf for entry in await reader.until(17)] == shelf.leaves[cursor:]


async def test_a_checkpoint_stands_only_behind_the_last_entry_it_covers() -> None:
    shelf = Shelf.new(read_at_most=4)
    await shelf.add_plain(10)
    reader = Subscriber(await shelf.tail())
    await reader.until(10)
    assert [len(message.entries) for message in reader.messages] == [4, 4, 2]
    assert [message.checkpoint for message in reader.messages] == [b"", b"", shelf.notes[10]]


async def test_nothing_unsealed_is_delivered() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail()
    reader = Subscriber(tail)
    async with running(tail):
        await shelf.append(signal_statement())
        assert await reader.silent()
        await tail.advance()
        tail.wake()
        assert await reader.silent()
        await shelf.seal()
        assert [entry.leaf for entry in await reader.until(1)] == shelf.leaves


async def test_filtered_and_restricted_look_the_same() -> None:
    shelf = Shelf.new()
    await shelf.add(signal_statement(audience=["alpha", "beta"]))
    tail = await shelf.tail()
    other_labels = Filter(labels=frozenset({Label.CIVIC_DISCLOSURE}))
    readers = {
        "not in the audience": Subscriber(tail, GAMMA),
        "filtered": Subscriber(tail, BETA, wanted=other_labels),
        "filtered, its own": Subscriber(tail, ALPHA, wanted=other_labels),
        "by type": Subscriber(tail, BETA, wanted=Filter(indicator_types=frozenset({5}))),
        "by election": Subscriber(tail, BETA, wanted=Filter(elections=frozenset({digest("e")}))),
        "a liaison": Subscriber(tail, BETA_LIAISON),
        "the publisher's liaison": Subscriber(tail, ALPHA_LIAISON),
        "an authority": Subscriber(tail, POLICE),
        "a witness": Subscriber(tail, WITNESS),
        "leaves only": Subscriber(tail, BETA, standing=always(Sight.LEAVES)),
    }
    for reader in readers.values():
        await reader.next()
    assert {name: reader.entries[0].state for name, reader in readers.items()} == dict.fromkeys(readers, NOT_FOR_YOU)
    assert len({reader.raw[0] for reader in readers.values()}) == 1
    for who in (ALPHA, BETA):
        reader = Subscriber(tail, who)
        await reader.next()
        assert reader.entries[0].present


@pytest.mark.parametrize("who", [ALPHA_LIAISON, BETA_LIAISON, POLICE, WITNESS], ids=lambda who: str(who.workload))
async def test_signals_for_everyone_are_for_every_pipeline_and_nobody_else(who: Actor) -> None:
    """Even were the directory to grant such a role the sight of records, as it will for notes and referrals."""
    shelf = Shelf.new()
    await shelf.add_plain(3)
    reader = Subscriber(await shelf.tail(), who, standing=always(Sight.RECORDS))
    assert {entry.state for entry in await reader.until(3)} == {NOT_FOR_YOU}


async def test_what_is_mixed_comes_apart_right() -> None:
    shelf = Shelf.new()
    said = [
        signal_statement(ALPHA, seed="for all"),
        signal_statement(ALPHA, seed="for beta", audience=["beta"]),
        signal_statement(BETA, seed="for gamma", audience=["gamma"]),
        signal_statement(BETA, seed="civic", label=Label.CIVIC_DISCLOSURE),
    ]
    await shelf.add(*said)
    tail = await shelf.tail()
    civic = Filter(labels=frozenset({Label.CIVIC_DISCLOSURE}))
    seen = {}
    for name, who, wanted in (
        ("alpha", ALPHA, None),
        ("beta", BETA, None),
        ("gamma", GAMMA, None),
        ("alpha civic", ALPHA, civic),
    ):
        reader = Subscriber(tail, who, wanted=wanted)
        await reader.until(4)
        seen[name] = "".join("P" if entry.present else "-" for entry in reader.entries)
        for entry, each in zip(reader.entries, said, strict=True):
            assert entry.records == (each.statement.records if entry.present else ())
            assert entry.audience_record == (each.statement.audience_record if entry.present else b"")
    assert seen == {"alpha": "PP-P", "beta": "PPPP", "gamma": "P-PP", "alpha civic": "---P"}


async def test_filters_are_judged_on_headers() -> None:
    shelf = Shelf.new()
    await shelf.add(signal_statement())
    tail = await shelf.tail()
    label, other = Label.HARASSMENT_TARGETED, Label.MISLEADING_BOT
    for wanted, passes in (
        (Filter(), True),
        (Filter(labels=frozenset({label, other})), True),
        (Filter(labels=frozenset({other})), False),
        (Filter(indicator_types=frozenset({1, 5})), True),
        (Filter(indicator_types=frozenset({5})), False),
        (Filter(labels=frozenset({label}), indicator_types=frozenset({5})), False),
        (Filter(elections=frozenset({b""})), True),
    ):
        reader = Subscriber(tail, wanted=wanted)
        await reader.next()
        assert reader.entries[0].present is passes, wanted


async def test_messages_stay_below_one_mib() -> None:
    shelf = Shelf.new()
    sizes = [700, 1, 300, 300, 300, 300, 99, 760, 760, 1]
    for n, kib in enumerate(sizes):
        await shelf.add(fat(kib, str(n)))
    tail = await shelf.tail()
    for sight in (Sight.RECORDS, Sight.LEAVES):
        reader = Subscriber(tail, standing=always(sight))
        await reader.until(len(sizes))
        assert [entry.leaf for entry in reader.entries] == shelf.leaves
        assert max(map(len, reader.raw)) <= MIB
        assert len(reader.raw) == (5 if sight is Sight.RECORDS else 1)


async def test_the_largest_statement_fits_into_one_message() -> None:
    shelf = Shelf.new()
    largest = signal_statement(raw=[bytes(1024)] * 700, guidance_clause="c" * 40_000)
    rest = MAX_STATEMENT_BYTES - sum(map(len, (largest.statement.payload, *largest.statement.records)))
    largest = replace(largest, statement=replace(largest.statement, records=(*largest.statement.records, bytes(rest))))
    await shelf.add(signal_statement(seed="before"), largest)
    reader = Subscriber(await shelf.tail())
    await reader.until(2)
    assert MAX_STATEMENT_BYTES < max(map(len, reader.raw)) <= MIB


async def test_an_idle_feed_says_that_it_lives() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(2)
    reader = Subscriber(await shelf.tail(), cursor=2, heartbeat_s=0.001)
    for _ in range(3):
        message = await reader.next()
        assert message.heartbeat.sealed_size == 2
        assert not message.entries


@pytest.mark.parametrize("cursor", [0, 3])
async def test_a_draining_hub_says_where_to_go_on(cursor: int) -> None:
    shelf = Shelf.new()
    await shelf.add_plain(3)
    tail = await shelf.tail()
    reader = Subscriber(tail, cursor=cursor)
    if not cursor:
        await reader.until(3)
    assert not tail.draining
    tail.drain()
    message = await reader.next()
    assert message.draining.cursor == 3
    with pytest.raises(Ended):
        await reader.next()


async def test_draining_wakes_who_is_asleep_and_cuts_short_who_is_behind() -> None:
    shelf = Shelf.new(read_at_most=1)
    await shelf.add_plain(5)
    tail = await shelf.tail()
    behind, asleep = Subscriber(tail), Subscriber(tail, cursor=5)
    await behind.next()
    assert await asleep.silent()
    tail.drain()
    assert (await asleep.next()).draining.cursor == 5
    cursor = behind.feed.cursor
    while not (message := await behind.next()).HasField("draining"):
        cursor += len(message.entries)
    assert message.draining.cursor == cursor < 5, "from there the subscriber goes on without a gap"


async def test_a_probe_comes_back() -> None:
    shelf = Shelf.new()
    tail = await shelf.tail()
    reader, other = Subscriber(tail), Subscriber(tail)
    assert await reader.silent()
    reader.feed.probe(b"old")
    reader.feed.probe(b"are you there?")
    assert (await reader.next()).probe.state == b"are you there?"
    assert await reader.silent()
    assert await other.silent()
    await shelf.add_plain(1)
    await tail.advance()
    reader.feed.probe(b"and now?")
    assert (await reader.next()).probe.state == b"and now?"
    assert [entry.leaf for entry in await reader.until(1)] == shelf.leaves


async def test_a_probe_made_while_a_message_is_on_its_way_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed is not waiting then, so the wake-up is lost; the echo must not wait for the next heartbeat."""
    monkeypatch.setattr("tests.unit.fanout.fakes.DEADLINE_S", 0.2)
    shelf = Shelf.new()
    await shelf.add_plain(1)
    reader = Subscriber(await shelf.tail())
    await reader.until(1)
    reader.feed.probe(b"are you there?")
    assert (await reader.next()).probe.state == b"are you there?"


async def test_who_loses_its_standing_gets_nothing_more() -> None:
    shelf = Shelf.new(read_at_most=2)
    await shelf.add_plain(6)
    tail = await shelf.tail()
    allowed = True

    def standing() -> Sight:
        if not allowed:
            raise Denied("no longer")
        return Sight.RECORDS

    behind, asleep = Subscriber(tail, standing=standing), Subscriber(tail, cursor=6, standing=standing)
    await behind.next()
    assert await asleep.silent()
    allowed = False
    tail.wake()
    for reader in (behind, asleep):
        with pytest.raises(Denied):
            await reader.next()
    assert len(behind.entries) == 2
    assert asleep.entries == []


async def test_standing_is_asked_at_every_message() -> None:
    shelf = Shelf.new(read_at_most=1)
    await shelf.add_plain(3)
    sights = iter([Sight.RECORDS, Sight.LEAVES, Sight.RECORDS])
    reader = Subscriber(await shelf.tail(), standing=lambda: next(sights))
    await reader.until(3)
    assert [entry.state for entry in reader.entries] == [PRESENT, NOT_FOR_YOU, PRESENT]


async def test_a_cursor_below_the_floor() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(300)
    assert await shelf.store.archive(300) == 256
    tail = await shelf.tail()
    with pytest.raises(CursorBelowFloor) as caught:
        await Subscriber(tail, cursor=255).next()
    assert caught.value.floor == 256
    reader = Subscriber(tail, cursor=256)
    assert [entry.leaf for entry in await reader.until(300)] == shelf.leaves[256:]


async def test_a_cursor_above_the_size() -> None:
    shelf = Shelf.new()
    await shelf.add_plain(3)
    tail = await shelf.tail()
    with pytest.raises(CursorAboveSize) as caught:
        await tail.items(4, 10)
    assert caught.value.sealed_size == 3


def items_seen_by(said: Said, who: Actor) -> bool:
    item = item_of(entry_of(said, 0))
    return visible_to(who.workload, item.kind, item.publisher, item.audience)


@pytest.mark.parametrize("audience", [0, 2, 3])
def test_an_audience_that_cannot_be_read_lets_nobody_in(audience: int) -> None:
    """Such leaves cannot come into a log of ours; a restored or foreign one must still show nothing."""
    said = signal_statement(audience=None, header={"body": signal_body(audience=audience)})
    assert not items_seen_by(said, BETA)
    assert items_seen_by(said, ALPHA), "the publisher's own words"


def test_a_signal_without_a_body_lets_nobody_in() -> None:
    assert not items_seen_by(signal_statement(header={"body": None}), BETA)


def test_an_unknown_kind_is_for_nobody() -> None:
    said = signal_statement(header={"kind": 99, "body": None})
    assert not any(items_seen_by(said, who) for who in (ALPHA, BETA, BETA_LIAISON, POLICE, WITNESS))


def test_what_an_item_keeps_of_a_header() -> None:
    record: Record = pdq_record()
    item = item_of(entry_of(signal_statement(records=[record], audience=["alpha", "gamma"]), 7))
    assert (item.index, item.kind, item.publisher, item.label) == (7, 1, "alpha", Label.HARASSMENT_TARGETED)
    assert (item.indicator_types, item.election) == ((1,), b"")
    assert item.audience == frozenset({"alpha", "gamma"})
    assert item.restricted
    assert not item_of(entry_of(signal_statement(), 0)).restricted
