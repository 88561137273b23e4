"""Each cell of the table of who sees what of a referral, asked of a real hub by each role; and an authority's stream."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from exchange import codec
from exchange.codec_addressed import encode_addressed
from exchange.domain.addressed import (
    AddressedRecord,
    Note,
    NoteRecord,
    Referral,
    ReferralRecord,
    ReferralState,
    ReferralUpdate,
    UpdateRecord,
)
from exchange.domain.bodies import Opinion, OpinionCategory, OpinionReason
from exchange.domain.kinds import RESTRICTED, Kind, MemberClass, Role
from exchange.domain.labels import Label
from exchange.domain.statement import audience_id, signal_ids
from exchange.v1 import ledger_pb2, referral_pb2, referral_pb2_grpc, report_pb2, report_pb2_grpc
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import get, read_refusal
from tests.e2e.drafts import DAY_MS, Draft, now_ms, restricted, signal
from tests.e2e.exchange_fixture import SIDE, TIMEOUT_S, UK, Party, World
from tests.e2e.follower import Follower
from tests.e2e.referral_access import COLUMNS, TABLE, Row

pytestmark = pytest.mark.e2e

_BODIES: dict[type[AddressedRecord], tuple[Kind, type[Referral | ReferralUpdate | Note]]] = {
    ReferralRecord: (Kind.REFERRAL, Referral),
    UpdateRecord: (Kind.REFERRAL_UPDATE, ReferralUpdate),
    NoteRecord: (Kind.NOTE, Note),
}
REFUSED = "refused"


def said(record: AddressedRecord, member: str, audience: Sequence[str]) -> Draft:
    """Return what a member says to named members."""
    audience_record = codec.encode_audience(secrets.token_bytes(16), sorted(audience))
    kind, body = _BODIES[type(record)]
    committed = body(audience_id(UK, member, audience_record))
    return Draft(UK, member, kind, committed, (encode_addressed(record),), audience_record)


def a_referral(member: str, authority: str) -> Draft:
    record = ReferralRecord(
        secrets.token_bytes(16), authority, Label.VIOLENCE_THREATS, 1, now_ms() + DAY_MS, "T-1", contact="tel:101"
    )
    return said(record, member, (member, authority))


def an_update(id_: bytes, state: ReferralState, member: str, parties: Sequence[str]) -> Draft:
    asks = state is ReferralState.ASKED
    record = UpdateRecord(secrets.token_bytes(16), id_, state, now_ms(), respond_by_ms=now_ms() + DAY_MS if asks else 0)
    return said(record, member, parties)


def a_note(target: bytes, member: str, audience: Sequence[str]) -> Draft:
    return said(NoteRecord(secrets.token_bytes(16), target, "Some words."), member, audience)


def id_of(draft: Draft) -> bytes:
    return signal_ids(draft.origin, draft.member, draft.records)[0]


@dataclass
class Scene:
    """A referral with an update and a note, of which each caller tries to learn; a disputed signal with a note."""

    world: World
    #: Of each party that is asked about: its referral, its two members, and where its entries lie.
    referrals: dict[str, tuple[bytes, tuple[str, str], list[int]]]
    signal_id: bytes
    signal_index: int

    def of(self, row: Row) -> tuple[bytes, tuple[str, str], list[int]]:
        return self.referrals.get(row.member, self.referrals["referrer"])

    def party(self, row: Row) -> Party:
        return self.world.party(row.member, row.role)


async def told(world: World, referrer: str, authority: str) -> tuple[bytes, tuple[str, str], list[int]]:
    """Refer, acknowledge, note; return the referral's id, its parties and the indices."""
    liaison, desk = world.party(referrer, Role.LIAISON), world.party(authority, Role.AUTHORITY)
    parties = (referrer, authority)
    first = a_referral(referrer, authority)
    id_ = id_of(first)
    receipts = [
        await liaison.publish(first),
        await desk.publish(an_update(id_, ReferralState.ACKNOWLEDGED, authority, parties)),
        await desk.publish(a_note(id_, authority, parties)),
    ]
    return id_, parties, [receipt.index for receipt in receipts]


@pytest.fixture(scope="module")
async def scene(world: World) -> Scene:
    registrar = world.registrar
    for platform in ("referrer", "third", "disputer", "halted"):
        await registrar.enrol(platform)
    for authority in ("constables", "commission", "paused"):
        await registrar.enrol(authority, MemberClass.AUTHORITY)
    await registrar.enrol("machines", MemberClass.OPERATOR, roles=(Role.AUTOMATION, Role.PSEUDONYMS))
    await registrar.enrol("elsewhere", communities=(SIDE,))
    await registrar.enrol("outside", MemberClass.AUTHORITY, communities=(SIDE,))
    referrals = {
        "referrer": await told(world, "referrer", "constables"),
        "paused": await told(world, "halted", "paused"),
    }
    referrals["halted"] = referrals["paused"]
    disputed = signal("referrer", UK)
    receipt = await world.party("referrer").publish(disputed)
    opinion = Opinion((id_of(disputed),), OpinionCategory.NEGATIVE_CLASS, OpinionReason.FALSE_POSITIVE)
    await world.party("disputer", Role.LIAISON).publish(Draft(UK, "disputer", Kind.OPINION, opinion))
    note = a_note(id_of(disputed), "disputer", ("disputer", "referrer"))
    await world.party("disputer", Role.LIAISON).publish(note)
    for member in ("paused", "halted"):
        await registrar.suspend(member)
    return Scene(world, referrals, id_of(disputed), receipt.index)


class Asked:
    """What one caller finds in each column."""

    def __init__(self, scene: Scene, row: Row) -> None:
        self.scene, self.row, self.party = scene, row, scene.party(row)
        self.id, self.parties, self.indices = scene.of(row)
        self.stub = referral_pb2_grpc.ReferralServiceStub(self.party.channel)
        self.refusals: dict[str, str] = {}

    async def entries(self) -> list[pb.Entry]:
        """Return the whole stream; both ways of reading it must tell the same."""
        verifier = self.scene.world.exchange.verifier(UK)
        size = self.scene.world.app._logs[UK].tail.sealed.size
        follower = await Follower.start(self.party, verifier)
        await follower.until(lambda: len(follower.entries) >= size)
        await follower.stop()
        listed: list[pb.Entry] = []
        while len(listed) < size:
            request = ledger_pb2.ListEntriesRequest(origin=UK, start=len(listed))
            listed += (await self.party.ledger.ListEntries(request, timeout=TIMEOUT_S)).entries
        assert listed[:size] == follower.entries[:size]
        return listed

    async def feed(self) -> str:
        entries = await self.entries()
        mine = [entries[index] for index in self.indices]
        assert [entry.state == pb.RECORD_STATE_PRESENT for entry in mine] == [bool(entry.records) for entry in mine]
        assert [bool(entry.records) for entry in mine] == [bool(entry.audience_record) for entry in mine]
        assert len({bool(entry.records) for entry in mine}) == 1
        for entry in mine:
            # The leaf names nobody but who said it, and not what it is about.
            other = next(member for member in self.parties if member != codec.decode_routing(entry.leaf).publisher)
            assert other.encode() not in entry.leaf
            assert self.id not in entry.leaf or entry is mine[0]
        return "record" if mine[0].records else "leaf"

    async def signal(self) -> str:
        entry = (await self.entries())[self.scene.signal_index]
        return "record" if entry.records else "leaf"

    async def list(self) -> str:
        answer = await self.stub.ListReferrals(referral_pb2.ListReferralsRequest(origin=UK), timeout=TIMEOUT_S)
        assert all(self.party.member in (each.publisher, each.record.authority) for each in answer.referrals)
        return "record" if self.id in [each.id for each in answer.referrals] else "nothing"

    async def get(self) -> str:
        request = referral_pb2.GetReferralRequest(origin=UK, referral=self.id)
        answer = await self.stub.GetReferral(request, timeout=TIMEOUT_S)
        assert (answer.referral.record.case_ref, answer.referral.notes[0].text) == ("T-1", "Some words.")
        return "record"

    async def dispute(self) -> str:
        request = referral_pb2.ListNotesRequest(origin=UK, signal_id=self.scene.signal_id)
        return "record" if (await self.stub.ListNotes(request, timeout=TIMEOUT_S)).notes else "nothing"

    async def contacts(self) -> str:
        await self.stub.ListContacts(referral_pb2.ListContactsRequest(origin=UK), timeout=TIMEOUT_S)
        return "yes"

    async def activity(self) -> str:
        stub = report_pb2_grpc.ReportServiceStub(self.party.channel)
        answer = await stub.GetActivity(report_pb2.GetActivityRequest(origin=UK), timeout=TIMEOUT_S)
        rows = [row for row in answer.rows if int(row.kind) in RESTRICTED]
        # By who said it and kind alone: no label, and not to whom.
        assert all(row.label == 0 for row in rows)
        assert len({(row.member, row.kind) for row in rows}) == len(rows)
        return "counts"

    async def publishes(self, draft: Draft) -> str:
        await self.party.publish(draft)
        return "yes"

    async def refer(self) -> str:
        return await self.publishes(a_referral(self.party.member, "commission"))

    async def ask(self) -> str:
        return await self.publishes(an_update(self.id, ReferralState.ASKED, self.party.member, self.parties))

    async def answer(self) -> str:
        if not self.scene.world.app._view.directory.is_suspended(self.parties[1]):
            desk = self.scene.world.party(self.parties[1], Role.AUTHORITY)
            await desk.publish(an_update(self.id, ReferralState.ASKED, self.parties[1], self.parties))
        return await self.publishes(an_update(self.id, ReferralState.ANSWERED, self.party.member, self.parties))

    async def note(self) -> str:
        return await self.publishes(a_note(self.id, self.party.member, self.parties))

    async def found(self, column: str) -> str:
        """Return what is seen in a column; what it was refused with is kept."""
        try:
            seen: str = await getattr(self, column)()
        except grpc.aio.AioRpcError as error:
            refusal = read_refusal(error)
            assert refusal.code in (
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.INVALID_ARGUMENT,
            ), f"{self.row.name}, {column}: {refusal}"
            self.refusals[column] = refusal.message
            return REFUSED
        return seen


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name.replace(" ", "-"))
async def test_each_role_sees_what_the_table_says(scene: Scene, row: Row) -> None:
    asked = Asked(scene, row)
    found = {column: await asked.found(column) for column in COLUMNS}
    assert found == row.expected
    if row.member in asked.parties:
        return
    # Of a referral that there is, whoever is no party is told the same as of one that there is not.
    unknown = Asked(scene, row)
    unknown.id = secrets.token_bytes(32)
    for column in ("get", "ask", "note"):
        assert await unknown.found(column) == REFUSED
        assert unknown.refusals[column] == asked.refusals[column]


async def test_an_authority_never_receives_the_record_of_a_signal(scene: Scene) -> None:
    """Signals for everyone, for a named audience with the authority in it, and one that is referred to it."""
    world = scene.world
    drafts = [signal("referrer", UK) for _ in range(20)]
    drafts += [restricted("referrer", UK, readers) for readers in (["constables"], ["constables", "third"])]
    for draft in drafts:
        await world.party("referrer").publish(draft)
    about = ReferralRecord(
        secrets.token_bytes(16),
        "constables",
        Label.VIOLENCE_THREATS,
        1,
        now_ms() + DAY_MS,
        "T-2",
        signal_ids=tuple(id_of(draft) for draft in drafts[-3:]),
        contact="tel:101",
    )
    await world.party("referrer", Role.LIAISON).publish(said(about, "referrer", ("constables", "referrer")))
    (row,) = [row for row in TABLE if row.name == "the authority"]
    entries = await Asked(scene, row).entries()
    kinds = [(codec.decode_routing(entry.leaf).kind, bool(entry.records)) for entry in entries]
    assert kinds.count((Kind.SIGNAL, False)) > len(drafts)
    assert (Kind.SIGNAL, True) not in kinds
    assert (Kind.REFERRAL, True) in kinds
    stream = b"".join(entry.SerializeToString() for entry in entries)
    assert not any(record in stream for draft in drafts for record in draft.records)


async def test_metrics_tell_two_numbers_and_no_member(world: World, scene: Scene) -> None:
    status, page = await get(world.ops_port, "/metrics")
    assert status == 200
    shown: dict[str, Any] = {}
    for line in page.decode().splitlines():
        if line.startswith("signal_exchange_referrals_"):
            name, _, value = line.rpartition(" ")
            shown[name] = float(value)
    told = re.compile(r'signal_exchange_referrals_(open|overdue)\{origin="[^",]+"\}')
    assert all(map(told.fullmatch, shown)), "a community, and nobody in it"
    assert {f'signal_exchange_referrals_open{{origin="{origin}"}}' for origin in (UK, SIDE)} <= shown.keys()
    assert shown[f'signal_exchange_referrals_open{{origin="{UK}"}}'] >= 2
    assert shown[f'signal_exchange_referrals_overdue{{origin="{UK}"}}'] == 0
