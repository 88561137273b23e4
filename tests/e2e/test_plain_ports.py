"""The plain HTTP ports: the ledger as static tiles, verified against its checkpoint; health and metrics."""

from __future__ import annotations

import json
import re

import pytest

from exchange.domain.kinds import Role
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.tiles import (
    TILE_WIDTH,
    decode_bundle,
    entries_path,
    split_hashes,
    tile_path,
    tiles_for_size,
)
from exchange.v1 import directory_pb2, ledger_pb2
from tests.e2e.answers import get, refusal
from tests.e2e.drafts import record, signal
from tests.e2e.exchange_fixture import DIRECTORY, NAME, SIDE, TIMEOUT_S, UK, World
from tests.e2e.follower import Follower
from tests.e2e.new_community import new_community
from tests.e2e.test_standing import eventually, live_streams

pytestmark = pytest.mark.e2e

SIZE = 600


async def _tile(world: World, origin: str, path: str) -> tuple[int, bytes]:
    return await get(world.tiles_port, f"/{origin}/{path}")


async def check_tiles(world: World, origin: str) -> tuple[int, list[bytes]]:
    """Fetch every hash tile of the log's size and check them all against the checkpoint; return the leaf hashes."""
    status, note = await _tile(world, origin, "checkpoint")
    assert status == 200
    checkpoint = open_checkpoint(note, world.exchange.verifier(origin))
    rows: dict[int, list[bytes]] = {}
    for level, index, width in tiles_for_size(checkpoint.size):
        status, data = await _tile(world, origin, tile_path(level, index, width))
        assert (status, len(data)) == (200, 32 * width)
        rows.setdefault(level, []).extend(split_hashes(data))
    for level, row in rows.items():
        full = [row[at : at + TILE_WIDTH] for at in range(0, len(row) - len(row) % TILE_WIDTH, TILE_WIDTH)]
        assert [CompactRange().extend(tile).root() for tile in full] == rows.get(level + 1, [])
    leaves = rows.get(0, [])
    assert CompactRange().extend(leaves).root() == checkpoint.root
    return checkpoint.size, leaves


async def _filled(world: World, origin: str, *, public: bool) -> None:
    member = f"filler.{origin.partition('/')[2]}"
    await new_community(world, origin, public_entries=public)
    await world.registrar.enrol(member, communities=(origin,))
    party = world.party(member)
    results = await party.stream([signal(member, origin).sign(party.key) for _ in range(SIZE)])
    assert all(result.HasField("receipt") for result in results)


async def test_public_tiles_and_bundles_make_the_checkpoint(world: World) -> None:
    origin = f"{NAME}/public"
    await _filled(world, origin, public=True)
    hashes: list[bytes] = []
    for _ in range(2):
        size, hashes = await check_tiles(world, origin)
        assert size == SIZE
        entries: list[bytes] = []
        for level, index, width in tiles_for_size(size):
            if level == 0:
                status, bundle = await _tile(world, origin, entries_path(index, width))
                assert status == 200
                assert len(decode_bundle(bundle)) == width
                entries += decode_bundle(bundle)
        assert [leaf_hash(entry) for entry in entries] == hashes
        status, narrow = await _tile(world, origin, entries_path(0, 10))
        assert (status, list(decode_bundle(narrow))) == (200, entries[:10])
        # The second time the first two bundles come from the archive, and everything is the same.
        assert await world.app._logs[origin].history.archive(SIZE) == 512
    request = ledger_pb2.GetInclusionProofRequest(origin=origin, index=3)
    answer = await world.operator.ledger.GetInclusionProof(request, timeout=TIMEOUT_S)
    assert answer.leaf_hash == hashes[3]


async def test_bundles_of_a_closed_community_are_not_public(world: World) -> None:
    origin = f"{NAME}/closed"
    await _filled(world, origin, public=False)
    size, _ = await check_tiles(world, origin)
    for level, index, width in tiles_for_size(size):
        if level == 0:
            assert (await _tile(world, origin, entries_path(index, width)))[0] == 404
    assert (await check_tiles(world, DIRECTORY))[0] > 0
    assert (await _tile(world, DIRECTORY, entries_path(0, 1)))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/999",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/0",
        "tile/9/000.p/1",
        "tile/64/000",
        "tile/entries/999",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/..%2F..%2Fkeys%2Fuk.seed",
        "tile/entries/../../../keys/uk.seed",
        "nothing",
    ],
)
async def test_what_is_no_tile_is_not_found(world: World, path: str) -> None:
    assert (await _tile(world, UK, path))[0] == 404


async def test_an_unknown_log_has_no_pages(world: World) -> None:
    for origin in (f"{NAME}/nowhere", "other/uk"):
        assert (await _tile(world, origin, "checkpoint"))[0] == 404
        assert (await _tile(world, origin, "tile/0/000.p/1"))[0] == 404


async def test_the_ops_port_says_alive_and_ready(world: World) -> None:
    status, body = await get(world.ops_port, "/livez")
    assert (status, json.loads(body)["status"]) == (200, "alive")
    status, body = await get(world.ops_port, "/readyz")
    assert (status, json.loads(body)["status"]) == (200, "ready")
    assert (await get(world.ops_port, "/nothing"))[0] == 404


async def test_metrics_count_and_name_no_member_and_no_identifier(world: World) -> None:
    alpha = world.party("alpha")
    value, case_ref = bytes(range(32)), "case-metrics-4711"
    receipt = await alpha.publish(signal("alpha", UK, records=[record(value, case_ref=case_ref)]))
    await refusal(alpha.publish(signal("alpha", SIDE)))
    follower = await Follower.start(alpha, world.exchange.verifier(UK), cursor=receipt.index)
    status, body = await get(world.ops_port, "/metrics")
    await follower.stop()
    assert status == 200
    text = body.decode()
    found = {
        (name, labels): float(number)
        for name, labels, number in re.findall(r"^(\w+)(\{[^}]*\})? ([0-9.e+-]+)$", text, re.MULTILINE)
    }
    assert found["signal_exchange_checkpoint_size", f'{{origin="{UK}"}}'] == receipt.index + 1
    assert found["signal_exchange_statements_total", f'{{origin="{UK}",outcome="accepted"}}'] >= 1
    assert found["signal_exchange_rejected_total", '{reason="not_permitted"}'] >= 1
    assert found["signal_exchange_feed_streams", f'{{origin="{UK}"}}'] >= 1
    assert found["signal_exchange_ready", ""] == 1
    assert found["signal_exchange_cert_expiry_seconds", '{certificate="hub"}'] > 0
    members = world.app._view.directory.members
    # But for lag, whose receivers the ledger names to everybody in it.
    words = set(re.findall(r'"([^"]*)"', re.sub(r"^signal_exchange_lag_seconds.*\n", "", text, flags=re.MULTILINE)))
    assert not words & set(members)
    assert case_ref not in text
    assert value.hex() not in text


async def test_what_a_stream_is_sent_is_counted_while_it_lives(world: World) -> None:
    origin = f"{NAME}/counted"
    await new_community(world, origin)
    await world.registrar.enrol("counted", communities=(origin,))
    party = world.party("counted")

    async def counted() -> list[str]:
        _, body = await get(world.ops_port, "/metrics")
        return re.findall(
            rf'^signal_exchange_feed_entries_total{{origin="{origin}"}} (.+)$', body.decode(), re.MULTILINE
        )

    results = await party.stream([signal("counted", origin).sign(party.key) for _ in range(3)])
    assert all(result.HasField("receipt") for result in results)
    follower = await Follower.start(party, world.exchange.verifier(origin), cursor=1)
    await follower.reach(3)
    assert await counted() == ["2.0"]
    await party.publish(signal("counted", origin))
    await follower.reach(4)
    assert await counted() == ["3.0"]
    await follower.stop()
    await eventually(lambda: live_streams(world, "counted") == 0)
    assert await counted() == ["3.0"], "nothing is counted twice"


async def test_who_am_i_and_the_directory_agree_with_the_log(world: World) -> None:
    beta = world.party("beta")
    me = await beta.directory.WhoAmI(directory_pb2.WhoAmIRequest(), timeout=TIMEOUT_S)
    assert (me.member, int(me.role), list(me.communities)) == ("beta", Role.PIPELINE, [SIDE, UK])
    assert (me.directory, me.suspended) == (DIRECTORY, False)
    checkpoint = open_checkpoint(await beta.checkpoint(DIRECTORY), world.exchange.verifier(DIRECTORY))
    assert me.directory_size == checkpoint.size
    everyone = await beta.directory.ListMembers(directory_pb2.ListMembersRequest(), timeout=TIMEOUT_S)
    known = {member.id: member for member in everyone.members}
    assert {"alpha", "beta", "gamma", "police", "watcher", "operator"} <= set(known)
    keys = {key.public_key for key in known["alpha"].keys}
    assert keys == {world.exchange.keys["alpha", role].public_key for role in (Role.PIPELINE, Role.LIAISON)}
    side = await beta.directory.ListMembers(directory_pb2.ListMembersRequest(community=SIDE), timeout=TIMEOUT_S)
    assert {"beta", "gamma"} <= {member.id for member in side.members}
    assert "alpha" not in {member.id for member in side.members}
    hidden = directory_pb2.ListMembersRequest(community=SIDE)
    nowhere = directory_pb2.ListMembersRequest(community=f"{NAME}/nowhere")
    alpha = world.party("alpha").directory
    assert await refusal(alpha.ListMembers(hidden)) == await refusal(alpha.ListMembers(nowhere))
    listed = await beta.directory.ListCommunities(directory_pb2.ListCommunitiesRequest(), timeout=TIMEOUT_S)
    rows = {row.origin: row for row in listed.communities}
    assert rows[UK].verifier_key == world.exchange.verifier(UK).vkey()
    assert (rows[UK].public_entries, rows[SIDE].public_entries) == (True, False)
    assert rows[SIDE].members == len(side.members)


async def test_the_directory_is_read_whole_from_its_pinned_genesis(world: World) -> None:
    follower = await Follower.start(world.party("police", Role.AUTHORITY), world.exchange.verifier(DIRECTORY))
    await follower.until(lambda: bool(follower.checkpoints))
    assert leaf_hash(follower.entries[0].leaf) == world.exchange.pin
    await follower.stop()
