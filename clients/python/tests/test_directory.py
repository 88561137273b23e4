"""The directory is read from the pin, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import DIRECTORY, OPERATOR, UK, FakeHub, client_of
from clients.python.tests.speech import statement
from exchange.domain.bodies import (
    Key,
    Member,
    State,
    Suspension,
)
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.statement import Signature
from exchange.errors import Reason, Rejected, Unavailable, VerificationFailed
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey


async def test_it_is_read_whole_and_then_on(tmp_path: Path) -> None:
    hub = FakeHub()
    client, _ = client_of(hub, tmp_path)
    async with client:
        directory = await client.directory()
        assert set(directory.members) == {"op", "alpha", "beta"}
        assert directory.in_community("alpha", UK)
        hub.say(Suspension("beta", 0, State.ACTIVE, "a test"))
        assert not directory.is_suspended("beta")
        assert (await client.directory()).is_suspended("beta")


async def test_many_may_ask_at_once(tmp_path: Path) -> None:
    hub = FakeHub()
    client, _ = client_of(hub, tmp_path)
    async with client:
        found = await asyncio.gather(*(client.directory() for _ in range(9)))
    assert {directory.size for directory in found} == {len(hub.directory.entries)}


async def test_another_exchange_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    client, _ = client_of(FakeHub(), tmp_path, pin=bytes(32))
    async with client:
        with pytest.raises(VerificationFailed, match="pin"):
            await client.directory()


async def test_a_root_that_is_not_signed_is_refused_again_and_again(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    other = FakeHub()
    other.directory.entries[-1] = other.directory.entries[-2]

    async def checkpoint(origin: str) -> bytes:
        return other.directory.checkpoint()

    async with client:
        honest = transport.checkpoint
        transport.checkpoint = checkpoint
        for _ in range(2):
            with pytest.raises(VerificationFailed, match="signed root"):
                await client.directory()
        with pytest.raises(VerificationFailed):
            await client.open_publisher(UK)
        transport.checkpoint = honest
        assert (await client.directory()).size == len(hub.directory.entries)


async def test_an_entry_that_does_not_hold_is_refused(tmp_path: Path) -> None:
    hub = FakeHub()
    entry = hub.directory.entries[3]
    hub.directory.entries[3] = replace(entry, leaf=entry.leaf[:-1] + bytes([entry.leaf[-1] ^ 1]))
    client, _ = client_of(hub, tmp_path)
    async with client:
        with pytest.raises(VerificationFailed):
            await client.directory()


async def test_a_hub_that_shows_only_a_part_is_not_asked_for_ever(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)

    async def entries(origin: str, start: int) -> object:
        return (), 10

    transport.entries = entries
    async with client:
        with pytest.raises(Unavailable):
            await client.directory()


async def test_a_directory_that_shrinks_or_forks_between_runs_is_found_out(tmp_path: Path) -> None:
    hub = FakeHub()
    client, _ = client_of(hub, tmp_path)
    async with client:
        await client.directory()
    last = hub.directory.entries.pop()
    shrunk, _ = client_of(hub, tmp_path)
    async with shrunk:
        with pytest.raises(VerificationFailed) as caught:
            await shrunk.directory()
        assert caught.value.reason is Reason.ROLLED_BACK
    hub.directory.places.clear()
    hub.say(Suspension("alpha", 0, State.ACTIVE, "another history"))
    forked, _ = client_of(hub, tmp_path)
    async with forked:
        with pytest.raises(VerificationFailed, match="fork"):
            await forked.directory()
    hub.directory.entries[-1] = last
    honest, _ = client_of(hub, tmp_path)
    async with honest:
        assert (await honest.directory()).size == len(hub.directory.entries)


async def test_an_operator_changes_it_and_gets_a_receipt(tmp_path: Path) -> None:
    hub = FakeHub()
    client, _ = client_of(hub, tmp_path, "op")
    second = SigningKey(b"2" * 32)
    async with client:
        receipt = await client.say(DIRECTORY, Member("gamma", "Gamma", MemberClass.PLATFORM, (Role.PIPELINE,)))
        assert receipt.index == len(hub.directory.entries) - 1
        assert receipt.tlog_proof().startswith(b"c2sp.org/tlog-proof@v1\n")
        assert "gamma" in (await client.directory()).members
        body = Key("gamma", Role.PIPELINE, SigningKey(b"g" * 32).public_key, State.ACTIVE)
        draft = await client.draft(DIRECTORY, body)
        further = Signature(second.key_id, second.sign(pae(draft.payload_type, draft.payload)))
        await client.submit(replace(draft, signatures=(*draft.signatures, further)))
    assert hub.directory.entries[-1].leaf.count(second.key_id) == 1
    assert hub.directory.entries[-1].leaf.count(OPERATOR.key_id) == 1


async def test_a_receipt_for_something_else_is_refused(tmp_path: Path) -> None:
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path, "op")
    body = Member("gamma", "Gamma", MemberClass.PLATFORM, (Role.PIPELINE,))
    async with client:
        await client.directory()
        transport.spoil_receipt = lambda receipt: replace(receipt, leaf=hub.directory.entries[2].leaf)
        with pytest.raises(VerificationFailed):
            await client.say(DIRECTORY, body)


async def test_proofs_can_be_asked_for(tmp_path: Path) -> None:
    hub = FakeHub()
    for _ in range(5):
        hub.commit(statement(hub))
    client, _ = client_of(hub, tmp_path)
    async with client:
        assert (await client.checkpoint(UK)).size == 5
        hash_, proof = await client.inclusion_proof(UK, 2)
        assert (hash_, len(proof)) == (hub.uk.hashes[2], 3)
        assert (await client.check_included(UK, 2, hash_)).size == 5
        with pytest.raises(VerificationFailed):
            await client.check_included(UK, 3, hash_)
        with pytest.raises(Rejected, match="not in the directory"):
            await client.checkpoint("test.exchange/elsewhere")
