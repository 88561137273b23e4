"""Publishing: kept before it is sent, sent until there is a verified receipt, and never lost in between."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from clients.python.tests.fake_hub import DAY_MS, START_MS, UK, FakeHub, client_of, tree_path
from clients.python.tests.speech import sha, signal, statement
from exchange import codec
from exchange.domain.bodies import SignalHeader
from exchange.domain.identifiers import IndicatorType
from exchange.domain.labels import Label
from exchange.domain.statement import signal_ids
from exchange.domain.validation import MAX_STATEMENT_BYTES
from exchange.errors import (
    Denied,
    ExchangeError,
    InvalidStatement,
    OverQuota,
    Reason,
    Rejected,
    Unavailable,
    VerificationFailed,
    Violation,
)
from exchange_client import Distrusted, Indicator, VideoFrame, backoff, publisher
from exchange_client.wire import WireReceipt


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


def headers(hub: FakeHub) -> list[SignalHeader]:
    found = []
    for entry in hub.uk.entries:
        body = codec.decode_header(codec.decode_leaf(entry.leaf).payload, strict=True).body
        assert isinstance(body, SignalHeader)
        found.append(body)
    return found


async def test_outcomes_come_in_order_with_ids_that_the_records_hash_to(hub: FakeHub, tmp_path: Path) -> None:
    signals = [signal(f"T-{n}", label=Label.HARASSMENT_TARGETED if n % 2 else Label.MISLEADING_SPAM) for n in range(9)]
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish(signals)
        assert [o.signal for o in outcomes] == signals
        assert all(o.error is None and o.receipt is not None for o in outcomes)
        assert len({o.signal_id for o in outcomes}) == 9
        assert await session.outbox.pending() == []
        assert await session.outbox.signal_ids("T-3") == [outcomes[3].signal_id]
    # Two labels, so two statements; each record is under the id that was returned.
    assert len(hub.uk.entries) == 2
    for outcome in outcomes:
        assert outcome.receipt is not None
        entry = hub.uk.entries[outcome.receipt.index]
        assert outcome.signal_id in signal_ids(UK, "alpha", entry.records)


async def test_a_statement_is_on_disk_before_it_is_sent_and_a_receipt_before_it_is_told(
    hub: FakeHub, tmp_path: Path
) -> None:
    client, transport = client_of(hub, tmp_path)
    seen: list[tuple[int, int]] = []

    def look() -> tuple[int, int]:
        with contextlib.closing(apsw.Connection(str(client._config.state / "client.sqlite"))) as disk:
            kept, receipted = next(disk.execute("SELECT count(*), count(receipt_index) FROM outbox"))
            return int(kept), int(receipted)

    def spoil(receipt: WireReceipt) -> WireReceipt:
        seen.append(look())
        return receipt

    transport.spoil_receipt = spoil
    async with client, client.publisher(UK) as session:
        await session.publish([signal()])
        assert look() == (1, 1)
    assert seen == [(1, 0)]


async def test_the_same_signal_twice_in_a_bulk_is_two_signals(hub: FakeHub, tmp_path: Path) -> None:
    one = signal()
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        first, second = await session.publish([one, one])
    assert first.signal_id is not None
    assert first.signal_id != second.signal_id


async def test_groups_stay_within_a_statement_and_corrections_stand_alone(hub: FakeHub, tmp_path: Path) -> None:
    many = [signal() for _ in range(1001)]
    heavy = [signal(indicators=(_video(),), election=b"", target_class=1) for _ in range(20)]
    alone = [signal(derived_from=(bytes([n]) * 32,)) for n in range(3)]
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish([*many, *heavy, *alone])
    assert [o.error for o in outcomes if o.error] == []
    counts = [len(entry.records) for entry in hub.uk.entries]
    assert sum(counts) == 1024
    assert max(counts) == 1000
    assert all(len(codec.encode_statement(s)) < MAX_STATEMENT_BYTES for batch in transport.sent for s in batch)
    assert all(sum(len(codec.encode_statement(s)) for s in batch) <= 1024 * 1024 for batch in transport.sent)
    assert [len(e.records) for e, h in zip(hub.uk.entries, headers(hub), strict=True) if h.derived_from] == [1, 1, 1]


def _video() -> Indicator:
    return Indicator(IndicatorType.VPDQ, frames=tuple(VideoFrame(n, 80, bytes(32)) for n in range(1200)))


async def test_messages_stay_below_the_limit_also_with_long_audiences(hub: FakeHub, tmp_path: Path) -> None:
    audience = tuple(f"{n:03}".ljust(63, "x") for n in range(500))
    signals = [signal(audience=audience, target_class=n % 3 + 1, observed_at_ms=n + 1) for n in range(70)]
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish(signals)
    assert [o.error for o in outcomes if o.error] == []
    assert len(transport.sent) >= 3
    assert all(sum(len(codec.encode_statement(s)) + 4 for s in batch) <= 1024 * 1024 for batch in transport.sent)


async def test_two_large_statements_do_not_share_a_message(hub: FakeHub, tmp_path: Path) -> None:
    smaller = [signal(indicators=(_video(),)) for _ in range(10)]
    larger = [signal(indicators=(_video(),), target_class=1) for _ in range(11)]
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish([*smaller, *larger])
    assert [o.error for o in outcomes if o.error] == []
    sizes = [[len(codec.encode_statement(s)) for s in batch] for batch in transport.sent]
    # The first alone would leave room by count and by the soft bound, but both together pass the hard one.
    assert sizes[0][0] < publisher.MAX_BATCH_BYTES
    assert sum(map(sum, sizes)) > publisher.MESSAGE_BYTES
    assert max(map(sum, sizes)) <= publisher.MESSAGE_BYTES


async def test_a_receipt_of_another_statement_proves_nothing(hub: FakeHub, tmp_path: Path) -> None:
    def someone_elses(receipt: WireReceipt) -> WireReceipt:
        # A leaf that is truly in the tree, with its true index, path and checkpoint: just not what was sent.
        index, _ = hub.commit(statement(hub, "beta"))
        path = tuple(tree_path(index, hub.uk.hashes))
        return WireReceipt(index, hub.uk.entries[index].leaf, path, hub.uk.checkpoint(), repeated=False)

    def rewritten(receipt: WireReceipt, **changes: Any) -> WireReceipt:
        leaf = codec.encode_leaf(replace(codec.decode_leaf(receipt.leaf), **changes))
        hub.uk.entries[receipt.index] = replace(hub.uk.entries[receipt.index], leaf=leaf)
        path = tuple(tree_path(receipt.index, hub.uk.hashes))
        return WireReceipt(receipt.index, leaf, path, hub.uk.checkpoint(), repeated=False)

    def other_signatures(receipt: WireReceipt) -> WireReceipt:
        (ours,) = codec.decode_leaf(receipt.leaf).signatures
        return rewritten(receipt, signatures=(replace(ours, signature=bytes(64)),))

    def other_words(receipt: WireReceipt) -> WireReceipt:
        return rewritten(receipt, payload=statement(hub).payload)

    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        for lie in (someone_elses, other_signatures, other_words):
            transport.spoil_receipt = lie
            with pytest.raises(Distrusted, match="not the statement"):
                await session.publish([signal()])


BAD: dict[str, dict[str, Any]] = {
    "expired": {"expires_at_ms": START_MS - 1},
    "far away": {"expires_at_ms": START_MS + 900 * DAY_MS},
    "no indicators": {"indicators": ()},
    "hexadecimal text as value": {"indicators": (sha(b"a" * 64),)},
    "routed elsewhere": {"label": next(iter(Label))},
    "empty audience": {"audience": ()},
    "audience that is no member id": {"audience": ("Not A Name",)},
    "case reference too long": {"case_ref": "x" * 129},
    "case reference of a megabyte": {"case_ref": "x" * 1_000_000},
    "a lone surrogate": {"case_ref": "\ud800"},
    "number out of range": {"quality": -1},
    "another type": {"quality": "good"},
    "no indicator at all": {"indicators": (None,)},
    "an unhashable audience": {"audience": ["beta", 7]},
    "election that is no id": {"election": b"e" * 31},
    "both references": {"replaces": (b"r" * 32,), "derived_from": (b"d" * 32,)},
}


@pytest.mark.parametrize("name", [name for name in BAD if name != "routed elsewhere"])
async def test_a_bad_signal_is_refused_alone_before_anything_is_signed(hub: FakeHub, tmp_path: Path, name: str) -> None:
    bad = replace(signal("bad"), **BAD[name])
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish([signal("a"), bad, signal("b")])
    assert [o.error is None for o in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, Rejected)
    assert outcomes[1].signal_id is None
    assert sum(len(s.records) for batch in transport.sent for s in batch) == 2


async def test_when_every_signal_is_bad_nothing_is_sent(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish([signal(expires_at_ms=1) for _ in range(3)])
        assert await session.publish([]) == []
    assert all(isinstance(o.error, InvalidStatement) for o in outcomes)
    assert transport.sent == []


@pytest.mark.parametrize(
    "error", [Unavailable("later", retry_after_ms=1), OverQuota("too much", retry_after_ms=1)], ids=["later", "quota"]
)
async def test_later_means_later(hub: FakeHub, tmp_path: Path, error: ExchangeError) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.refusals.extend([error, error])
    async with client, client.publisher(UK) as session:
        (outcome,) = await session.publish([signal()])
    assert outcome.receipt is not None
    assert len(transport.sent) == 3


@pytest.mark.parametrize("committed", [False, True])
async def test_a_stream_that_breaks_costs_nothing_and_repeats_nothing(
    hub: FakeHub, tmp_path: Path, committed: bool
) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.commits_before_failing = committed
    transport.stream_faults.extend([Unavailable("broke", retry_after_ms=0)] * 3)
    async with client, client.publisher(UK) as session:
        outcomes = await session.publish([signal() for _ in range(3)])
        assert await session.outbox.pending() == []
    assert [o.receipt.repeated for o in outcomes if o.receipt] == [committed] * 3
    assert len(hub.uk.entries) == 1


async def test_what_a_hub_refuses_for_good_is_told_and_forgotten(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(InvalidStatement((Violation("records[0]", "is wrong"),)))
    async with client, client.publisher(UK) as session:
        (outcome,) = await session.publish([signal("T-1")])
        assert isinstance(outcome.error, InvalidStatement)
        assert await session.outbox.kept() == []
        assert await session.outbox.signal_ids("T-1") == []


async def test_a_stream_that_is_refused_as_a_whole_keeps_the_outbox(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.stream_faults.extend([Denied("suspended")] * 2)
    async with client, client.publisher(UK) as session:
        (outcome,) = await session.publish([signal()])
        assert isinstance(outcome.error, Denied)
        assert len(await session.outbox.pending()) == 1
        # One cut alone is not a refusal.
        transport.stream_faults.append(Denied("cut"))
        (outcome,) = await session.publish([signal()])
        assert outcome.receipt is not None


async def test_a_receipt_that_does_not_hold_is_a_lie_and_the_statement_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        await session.publish([signal()])
        transport.spoil_receipt = lambda receipt: replace(receipt, proof=(bytes(32),))
        with pytest.raises(Distrusted) as caught:
            await session.publish([signal()])
        assert isinstance(caught.value, VerificationFailed)
        assert len(await session.outbox.pending()) == 1


async def test_every_part_of_a_receipt_is_checked(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        await session.publish([signal()])
        for spoil in (
            {"index": 0},
            {"leaf": hub.uk.entries[0].leaf},
            {"leaf": b""},
            {"proof": ()},
            {"checkpoint": hub.uk.checkpoint(1)},
            {"checkpoint": hub.directory.checkpoint()},
            {"checkpoint": b""},
        ):
            transport.spoil_receipt = lambda receipt, spoil=spoil: replace(receipt, **spoil)
            with pytest.raises(Distrusted):
                await session.publish([signal()])


async def test_whoever_stops_waiting_does_not_stop_the_sending(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(Unavailable("later", retry_after_ms=200))
    async with client, client.publisher(UK) as session:
        with pytest.raises(TimeoutError):
            await session.publish([signal()], timeout_s=0.05)
        assert len(await session.outbox.pending()) == 1
        await session.settled()
        assert await session.outbox.pending() == []
    assert len(hub.uk.entries) == 1


async def test_the_next_run_sends_what_the_last_one_could_not(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.refusals.extend([Unavailable("down", retry_after_ms=60_000)] * 9)
    async with client:
        async with client.publisher(UK) as session:
            waiting = asyncio.ensure_future(session.publish([signal("T-1")]))
            while not transport.sent:
                await asyncio.sleep(0.001)
        (outcome,) = await waiting
        assert isinstance(outcome.error, Unavailable)
    hub.now += DAY_MS
    again, transport = client_of(hub, tmp_path)
    async with again, again.publisher(UK) as session:
        await session.settled()
        assert await session.outbox.pending() == []
        assert len(await session.outbox.kept()) == 1
        assert await session.outbox.signal_ids("T-1") == [outcome.signal_id]
    assert [s.resubmission for batch in transport.sent for s in batch] == [True]
    assert len(hub.uk.entries) == 1


async def test_what_an_earlier_run_left_and_the_hub_refuses_is_not_sent_for_ever(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.stream_faults.extend([Denied("suspended")] * 2)
    async with client, client.publisher(UK) as session:
        await session.publish([signal()])
    again, transport = client_of(hub, tmp_path)
    transport.refusals.append(InvalidStatement((Violation("created_at_ms", "is too old"),), reason=Reason.CLOCK_SKEW))
    async with again:
        async with again.publisher(UK) as session:
            await session.settled()
        assert await session.outbox.kept() == []


async def test_an_old_statement_is_marked_as_a_resubmission(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(Unavailable("later", retry_after_ms=50))
    async with client, client.publisher(UK) as session:
        waiting = asyncio.ensure_future(session.publish([signal()]))
        while not transport.sent:
            await asyncio.sleep(0.001)
        hub.now += 2 * publisher.RESUBMIT_AFTER_MS
        await waiting
    assert [batch[0].resubmission for batch in transport.sent] == [False, True]


async def test_a_restricted_signal_names_its_readers_only_in_its_records(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        (outcome,) = await session.publish([signal(audience=("beta", "alpha", "beta"))])
    assert outcome.receipt is not None
    (entry,) = hub.uk.entries
    assert codec.decode_audience(entry.audience_record, strict=True) == ("alpha", "beta")
    assert b"beta" not in outcome.receipt.leaf


async def test_a_bug_in_the_publisher_is_told_to_whoever_waits(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)

    def answer(statement: object) -> None:
        raise RuntimeError("a bug")

    transport.answer = answer
    async with client:
        session = await client.open_publisher(UK)
        with pytest.raises(RuntimeError, match="a bug"):
            async with session:
                (outcome,) = await session.publish([signal()], timeout_s=5)
                assert outcome.error is not None
                (outcome,) = await session.publish([signal()], timeout_s=5)
                assert outcome.error is not None
    assert hub.uk.entries == []


async def test_signals_go_to_communities_only(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        with pytest.raises(Rejected, match="not a community"):
            await client.open_publisher("test.exchange/directory")


async def test_publishing_and_reading_share_a_client(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        feed = client.subscribe(UK)
        for round_ in range(5):
            (outcome,) = await session.publish([signal(f"T-{round_}")])
            delivery = await anext(feed)
            assert outcome.signal_id == delivery.signals[0].signal_id
            assert delivery.signals[0].case_ref == f"T-{round_}"
        await feed.aclose()
