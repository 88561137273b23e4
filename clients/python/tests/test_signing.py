"""Two keys of one workload: the newest in force signs, and what was signed before is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import signal
from exchange import codec
from exchange.domain.bodies import Key, State
from exchange.domain.kinds import Role
from exchange.domain.statement import Statement, statement_id
from exchange.errors import Denied, Reason, Unavailable, VerificationFailed
from exchange.ledger.ed25519 import SigningKey
from exchange_client import backoff, client, in_flight
from exchange_client.wire import WireResult

OLD = SigningKey(b"alpha".ljust(32, b"."))
NEXT = SigningKey(b"n" * 32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(client, "ASK_DIRECTORY_EVERY_S", 0.01)


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


def register(hub: FakeHub, key: SigningKey = NEXT, state: State = State.ACTIVE) -> None:
    hub.say(Key("alpha", Role.PIPELINE, key.public_key, state))


def revoke(hub: FakeHub, key: SigningKey) -> None:
    register(hub, key, State.ENDED)


def make_next(folder: Path, key: SigningKey = NEXT) -> None:
    (folder / "seed.next").write_text(key._key.private_bytes_raw().hex())


def signers(hub: FakeHub) -> list[bytes]:
    return [codec.decode_leaf(entry.leaf).signatures[0].key_id for entry in hub.uk.entries]


class Judge:
    """Answers as a hub does: a revoked key is refused, unless the ledger has the very same statement already."""

    def __init__(self, hub: FakeHub, transport: Any) -> None:
        self.hub = hub
        self.revoked: set[bytes] = set()
        self.refused: list[Reason] = []
        self._commit = transport.answer
        transport.answer = self.answer

    def answer(self, statement: Statement) -> WireResult:
        """Commit, repeat or refuse."""
        id_ = statement_id(statement.payload)
        place = self.hub.uk.places.get(id_)
        bad = statement.signatures[0].key_id in self.revoked
        if bad and (place is None or not statement.resubmission):
            return self.refuse(id_, Reason.WRONG_KEY)
        if place is not None:
            leaf = codec.decode_leaf(self.hub.uk.entries[place].leaf)
            if leaf.signatures != statement.signatures:
                return self.refuse(id_, Reason.REPLAY_MISMATCH)
        result: WireResult = self._commit(statement)
        return result

    def refuse(self, id_: bytes, reason: Reason) -> WireResult:
        """Refuse, and remember it."""
        self.refused.append(reason)
        return WireResult(id_, None, VerificationFailed(reason, "a test"))


async def left_in_the_outbox(hub: FakeHub, folder: Path) -> None:
    """A run that ends before its statement gets through."""
    own, transport = client_of(hub, folder)
    transport.stream_faults.extend([Denied("away")] * 2)
    async with own, own.publisher(UK) as session:
        await session.publish([signal("T-1")])
        assert len(await session.outbox.pending()) == 1


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.002)


async def test_the_next_key_is_used_from_when_the_directory_has_it(hub: FakeHub, tmp_path: Path) -> None:
    own, _ = client_of(hub, tmp_path)
    async with own, own.publisher(UK) as session:
        await session.publish([signal("a")])
        make_next(tmp_path)
        await session.publish([signal("b")])
        register(hub)
        await until(lambda: own._keys.key_id == NEXT.key_id)
        await session.publish([signal("c")])
    assert signers(hub) == [OLD.key_id, OLD.key_id, NEXT.key_id]


async def test_a_client_that_starts_takes_the_newest_that_is_in_force(hub: FakeHub, tmp_path: Path) -> None:
    make_next(folder := tmp_path)
    register(hub)
    own, _ = client_of(hub, folder)
    async with own, own.publisher(UK) as session:
        await session.publish([signal("a")])
    revoke(hub, NEXT)
    own, _ = client_of(hub, folder)
    async with own, own.publisher(UK) as session:
        await session.publish([signal("b")])
    assert signers(hub) == [NEXT.key_id, OLD.key_id]


@pytest.mark.parametrize("text", ["", "no key", "ab" * 31])
async def test_a_next_key_that_is_being_written_disturbs_nobody(hub: FakeHub, tmp_path: Path, text: str) -> None:
    (tmp_path / "seed.next").write_text(text)
    own, _ = client_of(hub, tmp_path)
    async with own, own.publisher(UK) as session:
        assert (await session.publish([signal("a")]))[0].error is None
        (tmp_path / "seed").unlink()
        assert (await session.publish([signal("b")]))[0].error is None
    assert signers(hub) == [OLD.key_id] * 2


async def test_what_the_old_key_signed_is_sent_as_it_is_while_that_is_in_force(hub: FakeHub, tmp_path: Path) -> None:
    await left_in_the_outbox(hub, tmp_path)
    make_next(tmp_path)
    register(hub)
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    async with own, own.publisher(UK) as session:
        await session.settled()
        assert await session.outbox.pending() == []
    assert signers(hub) == [OLD.key_id]
    assert judge.refused == []


async def test_what_a_revoked_key_signed_is_signed_anew_and_keeps_its_id(hub: FakeHub, tmp_path: Path) -> None:
    await left_in_the_outbox(hub, tmp_path)
    make_next(tmp_path)
    register(hub)
    revoke(hub, OLD)
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.add(OLD.key_id)
    async with own, own.publisher(UK) as session:
        (before,) = await session.outbox.pending()
        await session.settled()
        (after,) = await session.outbox.kept()
        assert await session.outbox.pending() == []
        assert after.payload == before.payload
        assert await session.outbox.signal_ids("T-1")
    assert signers(hub) == [NEXT.key_id]
    assert judge.refused == [Reason.WRONG_KEY]


async def test_what_is_in_the_ledger_under_a_key_revoked_since_gets_its_receipt(hub: FakeHub, tmp_path: Path) -> None:
    own, transport = client_of(hub, tmp_path)
    transport.commits_before_failing = True
    transport.stream_faults.extend([Denied("the receipt is lost")] * 2)
    async with own, own.publisher(UK) as session:
        await session.publish([signal("T-1")])
    make_next(tmp_path)
    register(hub)
    revoke(hub, OLD)
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.add(OLD.key_id)
    async with own, own.publisher(UK) as session:
        await session.settled()
        assert await session.outbox.pending() == []
    assert signers(hub) == [OLD.key_id]
    assert judge.refused == []


async def test_a_ledger_that_has_it_under_the_old_key_after_all_gives_that_receipt(
    hub: FakeHub, tmp_path: Path
) -> None:
    """Another hub, whose view of the directory was a moment older, took it between our two tries."""
    await left_in_the_outbox(hub, tmp_path)
    make_next(tmp_path)
    register(hub)
    revoke(hub, OLD)
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.add(OLD.key_id)
    answer = judge.answer

    def late(statement: Statement) -> WireResult:
        result = answer(statement)
        if judge.refused == [Reason.WRONG_KEY]:
            hub.commit(statement)
        return result

    transport.answer = late
    async with own, own.publisher(UK) as session:
        await session.settled()
        assert await session.outbox.pending() == []
    assert judge.refused == [Reason.WRONG_KEY, Reason.REPLAY_MISMATCH]
    assert signers(hub) == [OLD.key_id]


async def test_without_another_key_it_is_told_and_kept(hub: FakeHub, tmp_path: Path) -> None:
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.add(OLD.key_id)
    async with own, own.publisher(UK) as session:
        (outcome,) = await session.publish([signal("T-1")])
        assert outcome.error is not None
        assert outcome.error.reason is Reason.WRONG_KEY
        (kept,) = await session.outbox.pending()
        assert kept.signatures[0].key_id == OLD.key_id
        assert await session.outbox.signal_ids("T-1")
    assert judge.refused == [Reason.WRONG_KEY] * 2


async def test_it_does_not_go_to_and_fro_for_ever(hub: FakeHub, tmp_path: Path) -> None:
    make_next(tmp_path)
    register(hub)
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.update((OLD.key_id, NEXT.key_id))
    async with own, own.publisher(UK) as session:
        (outcome,) = await session.publish([signal("T-1")])
        assert outcome.error is not None
        assert len(await session.outbox.pending()) == 1
    assert len(judge.refused) <= 2 * in_flight.MAX_KEY_CHANGES


async def test_a_directory_that_cannot_be_read_now_is_asked_later(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOOK_EVERY_S", 3_600.0)  # nobody else asks
    await left_in_the_outbox(hub, tmp_path)
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.add(OLD.key_id)
    entries, failing = transport.entries, [True]

    async def away(origin: str, start: int) -> Any:
        if len(judge.refused) == 1 and failing:
            failing.pop()
            raise Unavailable("away", retry_after_ms=1)
        return await entries(origin, start)

    transport.entries = away
    async with own, own.publisher(UK) as session:
        make_next(tmp_path)
        register(hub)
        await session.settled()
        assert await session.outbox.pending() == []
    assert not failing
    assert signers(hub) == [NEXT.key_id]


async def test_many_that_are_refused_together_ask_the_directory_once(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, transport = client_of(hub, tmp_path)
    judge = Judge(hub, transport)
    judge.revoked.add(OLD.key_id)
    reads: list[str] = []
    refresh = own._keys._refresh

    async def counted() -> Any:
        reads.append("one")
        return await refresh()

    async with own, own.publisher(UK) as session:
        monkeypatch.setattr(own._keys, "_refresh", counted)
        await asyncio.gather(*(session.publish([signal(f"T-{number}")]) for number in range(100)))
        assert len(await session.outbox.pending()) == 100
    assert len(judge.refused) >= 100
    assert 1 <= len(reads) <= len(transport.sent) < 50
