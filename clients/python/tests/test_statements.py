"""What is said about signals goes through the outbox as signals do: until there is a receipt, also in the next run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import signal
from exchange import codec
from exchange.domain.bodies import (
    Acknowledgement,
    Body,
    Disposition,
    DispositionReason,
    DispositionState,
    Erasure,
    ErasureReason,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
    SourceAction,
)
from exchange.domain.life import MAX_TARGETS
from exchange.errors import Denied, InvalidStatement, Reason, Rejected, Unavailable, Violation
from exchange_client import Outcome, Said, SyncExchangeClient, backoff, sync
from exchange_client.statements import in_parts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.002)


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


def bodies(hub: FakeHub) -> list[Body | None]:
    """What the community's ledger says, in order."""
    leaves = [codec.decode_leaf(entry.leaf) for entry in hub.uk.entries]
    return [codec.decode_header(leaf.payload, strict=False).body for leaf in leaves]


def ids_of(outcomes: Sequence[Outcome]) -> list[bytes]:
    return [outcome.signal_id for outcome in outcomes if outcome.signal_id is not None]


ID = b"i" * 32


async def test_what_is_no_member_of_its_enum_is_refused_with_the_name_of_the_enum(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    word: Any = "overturned_on_appeal"
    async with client, client.publisher(UK) as session:
        for saying, name in [
            (session.retract(case_ref="T-1", reason=word), "`reason` must be of the enum RetractionReason"),
            (session.retract([ID], reason=ErasureReason.LEGAL), "`reason` must be of the enum RetractionReason"),
            (session.erase([ID], reason=word), "`reason` must be of the enum ErasureReason"),
            (session.opine([ID], word, OpinionReason.REVIEWED), "`category` must be of the enum OpinionCategory"),
            (session.opine([ID], OpinionCategory.NEGATIVE_CLASS, word), "`reason` must be of the enum OpinionReason"),
            (session.dispose([ID], word), "`state` must be of the enum DispositionState"),
            (
                session.dispose([ID], DispositionState.ACTIONED, action=word),
                "`action` must be of the enum SourceAction",
            ),
            (session.quarantine("alpha", 0, word), "`reason` must be of the enum QuarantineReason"),
        ]:
            with pytest.raises(Rejected, match=name) as caught:
                await saying
            assert "overturned_on_appeal" not in caught.value.diagnostics()
        assert await session.outbox.kept() == []


async def test_each_method_says_its_kind(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        (receipt,) = await session.retract([ID], reason=RetractionReason.ERROR, decided_at_ms=5)
        await session.erase([ID], reason=ErasureReason.ON_REQUEST)
        await session.opine([ID], OpinionCategory.NEGATIVE_CLASS, OpinionReason.WRONG_LABEL)
        acted = {"action": SourceAction.REMOVED, "matched_at_ms": 7, "actioned_at_ms": 8}
        await session.dispose([ID], DispositionState.ACTIONED, **acted)
        await session.quarantine("beta", 3, QuarantineReason.BURST)
        await session.release("beta")
        assert await session.outbox.pending() == []
    assert receipt.index == 0
    assert bodies(hub) == [
        Retraction((ID,), RetractionReason.ERROR, 5),
        Erasure((ID,), ErasureReason.ON_REQUEST),
        Opinion((ID,), OpinionCategory.NEGATIVE_CLASS, OpinionReason.WRONG_LABEL),
        Disposition((ID,), DispositionState.ACTIONED, SourceAction.REMOVED, 0, 7, 8),
        Quarantine("beta", 3, QuarantineReason.BURST),
        Release("beta"),
    ]


async def test_a_case_is_taken_back_once_however_often_it_is_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        first = ids_of(await session.publish([signal("T-1"), signal("T-1"), signal("T-2")]))
        corrected = ids_of(await session.publish([signal("T-1", replaces=(first[0],))]))
        assert len(await session.retract(case_ref="T-1", reason=RetractionReason.ERROR)) == 1
        assert await session.retract(case_ref="T-1", reason=RetractionReason.ERROR) == []
        more = ids_of(await session.publish([signal("T-1")]))
        await session.retract(case_ref="T-1", reason=RetractionReason.LEGAL)
        await session.erase(case_ref="T-1", reason=ErasureReason.ON_REQUEST)
        assert await session.erase(case_ref="T-1", reason=ErasureReason.ON_REQUEST) == []
        with pytest.raises(Rejected, match="under this case") as unknown:
            await session.retract(case_ref="T-9", reason=RetractionReason.ERROR)
        assert unknown.value.reason is Reason.NOT_FOUND
    said = [body for body in bodies(hub) if isinstance(body, Retraction | Erasure)]
    assert [(type(body), set(body.targets)) for body in said] == [
        (Retraction, {first[1], *corrected}),
        (Retraction, set(more)),
        (Erasure, {*first[:2], *corrected, *more}),
    ]


def refusing(*places: int, kind: str = "retraction") -> InvalidStatement:
    """What a hub says to some of the signals that a statement names."""
    return InvalidStatement(tuple(Violation(f"{kind}.targets[{place}]", "cannot be said") for place in places))


async def test_what_others_ended_of_a_case_keeps_nothing_else_of_it_from_being_taken_back(
    hub: FakeHub, tmp_path: Path
) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        ids = sorted(ids_of(await session.publish([signal("T-1") for _ in range(4)])))
        transport.reports.ended = {ids[0]: (7, None), ids[2]: (8, None), ids[3]: (None, 9)}
        # The hub tells of so many at once, and of more when it is asked again.
        transport.refusals += [refusing(0), refusing(1)]
        (receipt,) = await session.retract(case_ref="T-1", reason=RetractionReason.ERROR)
        assert receipt.index == 1
        transport.refusals.append(refusing(0, 1, 2, 3, kind="erasure"))
        with pytest.raises(InvalidStatement, match=r"targets\[0\]"):
            await session.erase(case_ref="T-1", reason=ErasureReason.LEGAL)
        refused = ids[:3]  # the last one is erased already; nobody has erased these
        transport.refusals.append(refusing(0, 1, 2, 3, kind="erasure"))
        (said,) = await session.say_of(Erasure((), ErasureReason.LEGAL), "T-1")
        assert isinstance(said.body, Erasure)
        assert (sorted(said.body.targets), said.receipt) == (refused, None)
        assert await session.outbox.pending() == []
    (taken,) = bodies(hub)[1:]
    assert isinstance(taken, Retraction)
    assert sorted(taken.targets) == [ids[1], ids[3]]


async def test_what_is_refused_of_a_case_is_told_and_the_rest_is_taken_back(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        ids = sorted(ids_of(await session.publish([signal("T-1") for _ in range(3)])))
        transport.refusals.append(refusing(1))
        with pytest.raises(InvalidStatement, match="cannot be said"):
            await session.retract(case_ref="T-1", reason=RetractionReason.ERROR)
        # Of the form of the statement, or of what it names no more: nothing is taken apart.
        transport.refusals.append(InvalidStatement((Violation("retraction.targets", "are too many"),)))
        with pytest.raises(InvalidStatement, match="too many"):
            await session.retract(case_ref="T-1", reason=RetractionReason.ERROR)
        transport.refusals.append(refusing(1))
        with pytest.raises(InvalidStatement, match="cannot be said"):
            await session.retract(case_ref="T-1", reason=RetractionReason.ERROR)
        await session.retract(case_ref="T-1", reason=RetractionReason.LEGAL)
    assert [(each.reason, each.targets) for each in bodies(hub)[1:] if isinstance(each, Retraction)] == [
        (RetractionReason.ERROR, (ids[0], ids[2])),
        (RetractionReason.LEGAL, (ids[1],)),
    ]


async def test_a_case_is_taken_back_once_it_is_in_the_ledger_and_by_one_at_a_time(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        transport.stream_faults.append(Unavailable("away", retry_after_ms=0))
        publishing = asyncio.create_task(session.publish([signal("T-1")]))
        while not await session.outbox.signal_ids("T-1"):
            await asyncio.sleep(0)
        asked = [session.retract(case_ref="T-1", reason=RetractionReason.ERROR) for _ in range(3)]
        receipts = [len(each) for each in await asyncio.gather(*asked)]
        await publishing
        assert sorted(receipts) == [0, 0, 1]
        # Whoever stopped waiting has said it all the same.
        await session.publish([signal("T-2")])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await session.retract(case_ref="T-2", reason=RetractionReason.ERROR)
        stopped = asyncio.create_task(session.retract(case_ref="T-2", reason=RetractionReason.ERROR))
        while not session._waiting:
            await asyncio.sleep(0)
        stopped.cancel()
        assert await session.retract(case_ref="T-2", reason=RetractionReason.ERROR) == []
    kinds = [type(body).__name__ for body in bodies(hub)]
    assert kinds == ["SignalHeader", "Retraction", "SignalHeader", "Retraction"]


async def test_many_targets_go_in_several_statements_and_each_id_once(hub: FakeHub, tmp_path: Path) -> None:
    ids = [bytes([n % 256, n // 256]) * 16 for n in range(2 * MAX_TARGETS + 1)]
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        receipts = await session.opine([*ids, *ids], OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED)
    assert [receipt.index for receipt in receipts] == [0, 1, 2]
    said = [body.targets for body in bodies(hub) if isinstance(body, Opinion)]
    assert [len(targets) for targets in said] == [MAX_TARGETS, MAX_TARGETS, 1]
    assert [target for targets in said for target in targets] == ids
    assert len(list(in_parts(Opinion((), 1, 1)))) == 1


async def test_what_can_be_told_here_is_refused_before_it_is_signed(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        with pytest.raises(InvalidStatement, match="mandatory"):
            await session.retract([ID], reason=0)
        with pytest.raises(InvalidStatement, match="future"):
            await session.retract([ID], reason=1, decided_at_ms=hub.now + 3_600_000)
        with pytest.raises(InvalidStatement, match="32 bytes"):
            await session.opine([b"short"], OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED)
        with pytest.raises(InvalidStatement, match="not 0"):
            await session.dispose([], DispositionState.REVERSED)
        with pytest.raises(InvalidStatement, match="mandatory"):
            await session.dispose([ID], DispositionState.ACTIONED)
        with pytest.raises(InvalidStatement, match="own to uphold"):
            reason = DispositionReason.NO_MATCH
            await session.dispose([ID], DispositionState.UPHELD, action=SourceAction.REMOVED, reason=reason)
        with pytest.raises(InvalidStatement, match="encoded"):
            await session.quarantine("beta", -1, QuarantineReason.BURST)
        with pytest.raises(Rejected, match="either signals, or one case"):
            await session.retract([ID], case_ref="T-1", reason=RetractionReason.ERROR)
        with pytest.raises(InvalidStatement, match="not 0"):
            await session.retract(reason=RetractionReason.ERROR)
        with pytest.raises(Rejected, match="signals of others"):
            await session.say_of(Opinion((), 1, 1), "T-1")
        assert await session.outbox.kept() == []
    assert transport.sent == []


async def test_a_part_that_is_refused_keeps_no_other_from_being_said(hub: FakeHub, tmp_path: Path) -> None:
    ids = [bytes([n % 256, n // 256]) * 16 for n in range(MAX_TARGETS + 1)]
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        transport.refusals.append(InvalidStatement((Violation("retraction.targets[3]", "is no signal"),)))
        with pytest.raises(InvalidStatement, match="is no signal"):
            await session.retract(ids, reason=RetractionReason.ERROR)
        assert await session.outbox.pending() == []
    assert [body.targets for body in bodies(hub) if isinstance(body, Retraction)] == [(ids[-1],)]


async def test_what_has_no_receipt_is_said_by_the_next_run_and_not_again_by_who_asks_for_its_case(
    hub: FakeHub, tmp_path: Path
) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        (id_,) = ids_of(await session.publish([signal("T-1")]))
        transport.stream_faults.extend([Denied("suspended")] * 2)
        transport.streams[-1].cancel()
        with pytest.raises(Denied):
            await session.retract(case_ref="T-1", reason=RetractionReason.ERROR)
        assert len(await session.outbox.pending()) == 1
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        assert session.left == 1
        assert await session.retract(case_ref="T-1", reason=RetractionReason.ERROR) == []
        (earlier,) = [said async for told in session.earlier() for said in told]
        assert isinstance(earlier, Said)
        assert earlier.body == Retraction((id_,), RetractionReason.ERROR)
        assert earlier.receipt is not None
        assert await session.outbox.pending() == []
    assert bodies(hub)[1:] == [Retraction((id_,), RetractionReason.ERROR)]


async def test_a_refusal_of_an_earlier_run_is_told_with_what_was_said(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    transport.stream_faults.extend([Denied("suspended")] * 2)
    async with client, client.publisher(UK) as session:
        with pytest.raises(Denied):
            await session.retract([ID], reason=RetractionReason.ERROR)
    client, transport = client_of(hub, tmp_path)
    transport.refusals.append(InvalidStatement((Violation("retraction.targets[0]", "is no signal"),)))
    async with client, client.publisher(UK) as session:
        (earlier,) = [said async for told in session.earlier() for said in told]
        assert isinstance(earlier, Said)
        assert (earlier.body, earlier.receipt, earlier.kept) == (Retraction((ID,), 1), None, False)
        assert isinstance(earlier.error, InvalidStatement)
        assert await session.outbox.pending() == []


async def test_saying_waits_out_what_passes(hub: FakeHub, tmp_path: Path) -> None:
    client, transport = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as session:
        transport.stream_faults.append(Unavailable("away", retry_after_ms=0))
        transport.refusals.append(Unavailable("busy", retry_after_ms=0))
        assert (await session.say(Acknowledgement(0))).index == 0


def test_the_blocking_client_says_the_same(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = client_of(hub, tmp_path)
    monkeypatch.setattr(sync, "ExchangeClient", lambda config: client)
    with SyncExchangeClient(client._config) as blocking:
        (outcome,) = blocking.publish(UK, [signal("T-1")])
        assert outcome.signal_id is not None
        (receipt,) = blocking.retract(UK, case_ref="T-1", reason=RetractionReason.ERROR)
        blocking.erase(UK, case_ref="T-1", reason=ErasureReason.ON_REQUEST)
        blocking.opine(UK, [ID], OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED)
        blocking.dispose(UK, [ID], DispositionState.REVERSED)
        assert blocking.say(UK, Acknowledgement(3)).index == 5
    assert receipt.index == 1
    assert [type(body) for body in bodies(hub)[1:]] == [Retraction, Erasure, Opinion, Disposition, Acknowledgement]
