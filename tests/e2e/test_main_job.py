"""The main job, over real mutual TLS: what is published is proven, delivered in order, and the same for everyone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from exchange import codec
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Role
from exchange.domain.labels import Label
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.proofs import verify_consistency, verify_inclusion
from exchange.v1 import feed_pb2, ledger_pb2, publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import check_receipt
from tests.e2e.drafts import now_ms, record, restricted, signal, video
from tests.e2e.exchange_fixture import DIRECTORY, HEARTBEAT_MS, NAME, SIDE, TIMEOUT_S, UK, Party, World
from tests.e2e.follower import Follower
from tests.e2e.new_community import new_community

pytestmark = pytest.mark.e2e

PRESENT, NOT_FOR_YOU = pb.RECORD_STATE_PRESENT, pb.RECORD_STATE_NOT_FOR_YOU


async def follow(world: World, member: str, role: Role = Role.PIPELINE, **options: object) -> Follower:
    return await Follower.start(world.party(member, role), world.exchange.verifier(UK), **options)  # type: ignore[arg-type]


async def size_of(world: World, origin: str = UK) -> int:
    note = await world.operator.checkpoint(origin)
    return open_checkpoint(note, world.exchange.verifier(origin)).size


async def test_a_receipt_proves_the_statement_and_a_repeat_gets_a_fresh_proof(world: World) -> None:
    alpha, verifier = world.party("alpha"), world.exchange.verifier(UK)
    before = now_ms()
    statement = signal("alpha", UK, records=[record(case_ref="c1"), record()]).sign(alpha.key)
    first = await alpha.publish(statement)
    leaf, checkpoint = check_receipt(first, statement, verifier)
    assert not first.repeated_statement
    assert not leaf.late
    assert before <= leaf.received_at_ms <= now_ms()
    assert leaf.directory_size == await size_of(world, DIRECTORY)
    await alpha.publish(signal("alpha", UK))
    again = await alpha.publish(statement)
    _, later = check_receipt(again, statement, verifier)
    assert again.repeated_statement
    assert (again.index, again.leaf) == (first.index, first.leaf)
    assert later.size > checkpoint.size
    assert await size_of(world) == later.size


async def test_a_stream_answers_every_statement_with_a_receipt(world: World) -> None:
    beta, verifier = world.party("beta"), world.exchange.verifier(UK)
    statements = [signal("beta", UK).sign(beta.key) for _ in range(300)]
    sent = {codec.statement_from_wire(message).payload: message for message in statements}
    results = await beta.stream([*statements, statements[0]], per=32)
    assert len(results) == 301
    repeated = [result for result in results if result.receipt.repeated_statement]
    assert [result.statement_id for result in repeated] == [results[0].statement_id]
    indices = set()
    for result in results:
        leaf = codec.decode_leaf(result.receipt.leaf)
        check_receipt(result.receipt, sent[leaf.payload], verifier)
        indices.add(result.receipt.index)
    assert len(indices) == 300


async def test_the_same_statement_twice_at_once_is_one_entry(world: World) -> None:
    alpha = world.party("alpha")
    before = await size_of(world)
    statement = signal("alpha", UK).sign(alpha.key)
    receipts = await asyncio.gather(*(alpha.publish(statement) for _ in range(8)))
    assert len({receipt.index for receipt in receipts}) == 1
    assert sum(not receipt.repeated_statement for receipt in receipts) == 1
    assert await size_of(world) == before + 1


async def test_a_full_message_of_small_statements_gets_all_its_receipts(world: World) -> None:
    alpha = world.party("alpha")
    statements = [signal("alpha", UK).sign(alpha.key) for _ in range(2_500)]
    assert publish_pb2.PublishStreamRequest(statements=statements).ByteSize() < 1024 * 1024
    results = await alpha.stream(statements, per=2_500)
    assert sum(result.HasField("receipt") for result in results) == 2_500


async def test_the_largest_things_allowed_go_all_the_way(world: World) -> None:
    alpha, follower = world.party("alpha"), await follow(world, "beta", cursor=await size_of(world))
    widest = signal("alpha", UK, records=[record() for _ in range(1_000)])
    videos = [video(1_400) for _ in range(12)]
    longest = signal("alpha", UK, records=videos, indicator_types=(IndicatorType.VPDQ,))
    for draft in (widest, longest):
        receipt = await alpha.publish(draft)
        await follower.reach(receipt.index + 1)
        assert tuple(follower.entries[-1].records) == draft.records
    await follower.stop()


async def test_hello_fits_the_cursor_and_the_last_checkpoint(world: World) -> None:
    alpha = world.party("alpha")
    notes = [(await alpha.publish(signal("alpha", UK))).checkpoint for _ in range(5)]
    size = await size_of(world)
    for cursor in (0, 1, size // 2, size - 1, size):
        for note in (b"", *notes):
            follower = await follow(world, "beta", cursor=cursor, last_checkpoint=note)
            assert follower.hello.floor == 0
            if cursor < size:
                await follower.reach(size)
            await follower.stop()


async def test_an_empty_log_says_hello_and_then_delivers(world: World) -> None:
    origin = f"{NAME}/empty"
    await new_community(world, origin)
    await world.registrar.enrol("pioneer", communities=(origin,))
    pioneer = world.party("pioneer")
    follower = await Follower.start(pioneer, world.exchange.verifier(origin))
    assert open_checkpoint(follower.hello.checkpoint, follower.verifier).size == 0
    await follower.until(lambda: bool(follower.heartbeats))
    await pioneer.publish(signal("pioneer", origin))
    await follower.reach(1)
    await follower.stop()
    second = await Follower.start(
        pioneer, world.exchange.verifier(origin), cursor=1, last_checkpoint=follower.hello.checkpoint
    )
    await second.stop()


async def test_live_entries_come_in_order_with_a_checkpoint_that_covers_them(world: World) -> None:
    start = await size_of(world)
    follower = await follow(world, "gamma", cursor=start)
    alpha = world.party("alpha")
    drafts = [signal("alpha", UK) for _ in range(20)]
    for draft in drafts:
        receipt = await alpha.publish(draft)
        await follower.reach(receipt.index + 1)
        assert follower.last_note == receipt.checkpoint
    assert [leaf.index for leaf in follower.leaves] == list(range(start, start + 20))
    assert [tuple(entry.records) for entry in follower.entries] == [draft.records for draft in drafts]
    assert [entry.state for entry in follower.entries] == [PRESENT] * 20
    await follower.stop()


async def test_filtered_restricted_and_liaison_entries_look_the_same(world: World) -> None:
    start = await size_of(world)
    alpha = world.party("alpha")
    await alpha.publish(signal("alpha", UK, label=Label.MISLEADING_SCAM))
    await alpha.publish(restricted("alpha", UK, ("gamma",), label=Label.HARASSMENT_DOXXING))
    size = start + 2
    only_doxxing = feed_pb2.Filter(labels=[pb.LABEL_HARASSMENT_DOXXING])
    only_urls = feed_pb2.Filter(indicator_types=[pb.INDICATOR_TYPE_URL])
    only_election = feed_pb2.Filter(elections=[b"e" * 32])
    views = {
        "beta": await follow(world, "beta", cursor=start),
        "beta_filtered": await follow(world, "beta", cursor=start, wanted=only_doxxing),
        "gamma": await follow(world, "gamma", cursor=start),
        "gamma_urls": await follow(world, "gamma", cursor=start, wanted=only_urls),
        "gamma_election": await follow(world, "gamma", cursor=start, wanted=only_election),
        "liaison": await follow(world, "gamma", Role.LIAISON, cursor=start),
        "police": await follow(world, "police", Role.AUTHORITY, cursor=start),
        "witness": await follow(world, "watcher", Role.WITNESS, cursor=start),
        "operator": await follow(world, "operator", Role.OPERATOR, cursor=start),
    }
    for view in views.values():
        await view.reach(size)
        await view.stop()
    states = {name: [entry.state for entry in view.entries] for name, view in views.items()}
    assert states["gamma"] == [PRESENT, PRESENT]
    assert states["beta"] == [PRESENT, NOT_FOR_YOU]
    bare = {name: [entry.SerializeToString() for entry in view.entries] for name, view in views.items()}
    for name in set(views) - {"beta", "gamma"}:
        assert states[name] == [NOT_FOR_YOU, NOT_FOR_YOU], name
        assert bare[name] == bare["liaison"]
    assert bare["beta"][1] == bare["liaison"][1]
    for entry in views["liaison"].entries:
        assert entry == pb.Entry(leaf=entry.leaf, state=NOT_FOR_YOU)


async def test_a_restricted_signal_reaches_its_audience_and_its_publisher_only(world: World) -> None:
    start = await size_of(world)
    draft = restricted("alpha", UK, ("beta",))
    live = {member: await follow(world, member, cursor=start) for member in ("alpha", "beta", "gamma")}
    await world.party("alpha").publish(draft)
    for member, follower in live.items():
        await follower.reach(start + 1)
        late = await follow(world, member, cursor=start)
        await late.reach(start + 1)
        page = await world.party(member).ledger.ListEntries(ledger_pb2.ListEntriesRequest(origin=UK, start=start))
        (entry,) = follower.entries
        assert [entry] == late.entries == list(page.entries)
        if member == "gamma":
            assert (entry.state, len(entry.records), entry.audience_record) == (NOT_FOR_YOU, 0, b"")
        else:
            assert (entry.state, tuple(entry.records)) == (PRESENT, draft.records)
            assert entry.audience_record == draft.audience_record
        await late.stop()
        await follower.stop()


async def test_an_idle_stream_says_that_it_lives(world: World) -> None:
    size = await size_of(world)
    follower = await follow(world, "beta", cursor=size)
    await follower.until(lambda: len(follower.heartbeats) >= 3)
    assert all(beat.sealed_size == size for beat in follower.heartbeats)
    times = [beat.hub_time_ms for beat in follower.heartbeats]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap >= HEARTBEAT_MS * 0.9 for gap in gaps)
    await follower.stop()


async def test_a_probe_comes_back_on_the_callers_own_streams(world: World) -> None:
    size = await size_of(world)
    mine = [await follow(world, "beta", cursor=size) for _ in range(2)]
    others = [await follow(world, "gamma", cursor=size), await follow(world, "beta", Role.LIAISON, cursor=size)]
    answer = await world.party("beta").feed.Probe(feed_pb2.ProbeRequest(origin=UK, state=b"p" * 64), timeout=TIMEOUT_S)
    assert (answer.streams, answer.sealed_size) == (2, size)
    for follower in mine:
        await follower.until(lambda follower=follower: bool(follower.echoes))  # type: ignore[misc]
        assert follower.echoes[0].state == b"p" * 64
    for follower in others:
        await follower.until(lambda follower=follower: bool(follower.heartbeats))  # type: ignore[misc]
        assert not follower.echoes
    for follower in (*mine, *others):
        await follower.stop()


async def _publish_many(party: Party, count: int) -> list[publish_pb2.PublishResult]:
    async def requests() -> AsyncIterator[publish_pb2.PublishStreamRequest]:
        for _ in range(count // 10):
            statements = [signal(party.member, UK).sign(party.key) for _ in range(10)]
            yield publish_pb2.PublishStreamRequest(statements=statements)
            await asyncio.sleep(0)

    call = party.publishing.PublishStream(requests(), timeout=60)
    return [result async for answer in call for result in answer.results]


async def test_catching_up_meets_live_without_gap_or_duplicate(world: World) -> None:
    start = await size_of(world)
    publishers = [asyncio.create_task(_publish_many(world.party(member), 400)) for member in ("alpha", "beta", "gamma")]
    cursors = (0, start // 2, start, max(0, start - 1), 1)
    readers = (("alpha", Role.PIPELINE), ("beta", Role.PIPELINE), ("gamma", Role.LIAISON))
    followers = [
        await follow(world, *readers[number % 3], cursor=cursor) for number, cursor in enumerate(cursors)
    ]  # fmt: skip
    results = [result for published in await asyncio.gather(*publishers) for result in published]
    assert all(result.HasField("receipt") for result in results)
    size = start + 1_200
    assert {result.receipt.index for result in results} == set(range(start, size))
    committed = {result.receipt.index: result.receipt.leaf for result in results}
    for follower, cursor in zip(followers, cursors, strict=True):
        await follower.reach(size, timeout_s=60)
        assert [leaf.index for leaf in follower.leaves] == list(range(cursor, size))
        assert all(committed[at] == follower.entries[at - cursor].leaf for at in range(start, size))
        await follower.stop()
    assert len({follower.last_note for follower in followers}) == 1


async def test_entries_are_paged_whole(world: World) -> None:
    gamma, verifier = world.party("gamma"), world.exchange.verifier(UK)
    leaves: list[bytes] = []
    checkpoint = open_checkpoint(await gamma.checkpoint(UK), verifier)
    for limit in (1, 7, 0):
        request = ledger_pb2.ListEntriesRequest(origin=UK, start=len(leaves), limit=limit)
        page = await gamma.ledger.ListEntries(request, timeout=TIMEOUT_S)
        assert page.sealed_size == checkpoint.size
        assert limit == 0 or len(page.entries) == limit
        leaves += [entry.leaf for entry in page.entries]
    while len(leaves) < checkpoint.size:
        request = ledger_pb2.ListEntriesRequest(origin=UK, start=len(leaves), limit=10_000_000)
        page = await gamma.ledger.ListEntries(request, timeout=TIMEOUT_S)
        assert page.entries
        assert page.ByteSize() <= 1024 * 1024
        leaves += [entry.leaf for entry in page.entries]
    assert CompactRange().extend(map(leaf_hash, leaves)).root() == checkpoint.root
    empty = await gamma.ledger.ListEntries(ledger_pb2.ListEntriesRequest(origin=UK, start=checkpoint.size))
    assert not empty.entries


async def test_proofs_hold_for_any_leaf_and_any_two_sizes(world: World) -> None:
    alpha, verifier = world.party("alpha"), world.exchange.verifier(UK)
    for _ in range(3):
        await alpha.publish(signal("alpha", UK))
    now = open_checkpoint(await alpha.checkpoint(UK), verifier)
    page = await alpha.ledger.ListEntries(ledger_pb2.ListEntriesRequest(origin=UK), timeout=TIMEOUT_S)
    hashes = [leaf_hash(entry.leaf) for entry in page.entries]
    ranges = [CompactRange().extend(hashes[:size]) for size in range(len(hashes) + 1)]
    sizes = sorted({1, 2, 3, len(hashes) // 2, len(hashes)})
    for index in (0, 1, len(hashes) // 2, len(hashes) - 1):
        for size in [size for size in sizes if size > index]:
            request = ledger_pb2.GetInclusionProofRequest(origin=UK, index=index, size=size)
            answer = await alpha.ledger.GetInclusionProof(request, timeout=TIMEOUT_S)
            assert (answer.size, answer.leaf_hash) == (size, hashes[index])
            verify_inclusion(
                leaf_hash=hashes[index], index=index, size=size, proof=answer.proof, root=ranges[size].root()
            )
    for old in sizes:
        between = ledger_pb2.GetConsistencyProofRequest(origin=UK, old_size=old)
        proof = await alpha.ledger.GetConsistencyProof(between, timeout=TIMEOUT_S)
        assert open_checkpoint(proof.checkpoint, verifier) == now
        verify_consistency(
            old_size=old, new_size=now.size, old_root=ranges[old].root(), new_root=now.root, proof=proof.proof
        )


async def test_the_logs_of_two_communities_are_apart(world: World) -> None:
    beta = world.party("beta")
    draft = signal("beta", SIDE)
    receipt = await beta.publish(draft)
    check_receipt(receipt, draft.sign(beta.key), world.exchange.verifier(SIDE))
    follower = await Follower.start(world.party("gamma"), world.exchange.verifier(SIDE))
    await follower.reach(receipt.index + 1)
    assert {codec.decode_header(leaf.payload, strict=True).origin for leaf in follower.leaves} == {SIDE}
    await follower.stop()
