"""ReferralService: referrals and notes for those who are in their audience, and the desks of members.

Words are read from the log's entries when somebody asks: the fold knows who said what to whom and when, never the
words. So what is erased is nowhere. A referral whose record is gone meanwhile is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc

from exchange import codec
from exchange.api.guard import caller
from exchange.api.logs import Folds, Hub, Log
from exchange.codec_addressed import decode_addressed, message_of
from exchange.codec_bodies import contact_message
from exchange.domain.addressed import AddressedRecord, NoteRecord, ReferralRecord, UpdateRecord
from exchange.domain.kinds import Kind, MemberClass
from exchange.domain.policy import Workload, may_read_addressed
from exchange.domain.referral_facts import ReferralFacts, ends_at_ms
from exchange.domain.statement import ID_BYTES
from exchange.errors import CursorBelowFloor, Denied, Reason, Rejected
from exchange.ports import SaidOf
from exchange.v1 import referral_pb2 as pb
from exchange.v1 import referral_pb2_grpc

MAX_REFERRALS = 50
#: What the referrals of one answer take at most; one alone may take more.
_MAX_BYTES = 512 * 1024
#: Referrals looked at between two turns, and how often in one call: then the caller asks again.
_LOOKED_AT, _PAGES = 100, 20
#: What reading one entry costs, in the measure of a turn's work, which is records checked.
_READING = 20
_PLACE_BYTES = 8
_END = 1 << 62

_Context = grpc.aio.ServicerContext[Any, Any]


class ReferralServicer(referral_pb2_grpc.ReferralServiceServicer):
    """Reads only."""

    def __init__(self, hub: Hub, now_ms: Callable[[], int]) -> None:
        """Read this hub's logs."""
        self._hub = hub
        self._now_ms = now_ms

    async def _entitled(self, origin: str, kind: Kind) -> tuple[Workload, Log, Folds]:
        """Return what the caller may ask about what is said to it, with the log up to date. Raises `Denied`."""
        workload = caller()
        may_read_addressed(self._hub.view.directory, workload, origin, kind)
        log, _ = self._hub.log_to_read(workload, origin, self._now_ms())
        folds = await log.up_to_date()
        await self._hub.turns.take(workload.member, _READING)
        return workload, log, folds

    async def ListReferrals(  # noqa: D102 - as in the proto
        self,
        request: pb.ListReferralsRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListReferralsResponse:
        workload, log, folds = await self._entitled(request.origin, Kind.REFERRAL)
        answer = pb.ListReferralsResponse(size=folds.life.facts.place().size)
        limit, total, before = min(request.limit or MAX_REFERRALS, MAX_REFERRALS), 0, _place(request.page)
        for _ in range(_PAGES):
            found = await folds.referrals.of(workload.member, before, _LOOKED_AT)
            await self._hub.turns.take(workload.member, _LOOKED_AT)
            for facts in found:
                if _wanted(request, facts, self._now_ms()):
                    summary = await self._summary(workload, log, folds, facts)
                    total += 0 if summary is None else summary.ByteSize()
                    if answer.referrals and (len(answer.referrals) >= limit or total > _MAX_BYTES):
                        answer.next_page = before.to_bytes(_PLACE_BYTES, "big")
                        return answer
                    answer.referrals.extend([summary] if summary is not None else [])
                before = facts.index
            if len(found) < _LOOKED_AT:
                return answer
        answer.next_page = before.to_bytes(_PLACE_BYTES, "big")
        return answer

    async def GetReferral(  # noqa: D102
        self,
        request: pb.GetReferralRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetReferralResponse:
        workload, log, folds = await self._entitled(request.origin, Kind.REFERRAL)
        facts = folds.life.current().addressed.referral(request.referral)
        party = facts is not None and workload.member in facts.parties
        summary = await self._summary(workload, log, folds, facts) if facts is not None and party else None
        if summary is None:
            raise Rejected(Reason.NOT_FOUND, "no such referral, or none of yours")
        return pb.GetReferralResponse(referral=summary, size=folds.life.facts.place().size)

    async def ListNotes(  # noqa: D102
        self,
        request: pb.ListNotesRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListNotesResponse:
        workload, log, folds = await self._entitled(request.origin, Kind.NOTE)
        if len(request.signal_id) != ID_BYTES:
            raise Rejected(Reason.MALFORMED, "signal_id: is no id of a signal")
        # A referral's notes come with it: whoever asks for them here gets what it would get there.
        notes = await self._notes(workload, log, await folds.referrals.said_of(request.signal_id))
        return pb.ListNotesResponse(notes=notes, size=folds.life.facts.place().size)

    async def ListContacts(  # noqa: D102
        self,
        request: pb.ListContactsRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListContactsResponse:
        workload, directory = caller(), self._hub.view.directory
        operator = directory.members[workload.member].member_class is MemberClass.OPERATOR
        if not (operator or directory.in_community(workload.member, request.origin)):
            raise Denied("no such community, or not yours to read")
        return pb.ListContactsResponse(
            members=[
                pb.MemberContacts(
                    member=entry.id,
                    display_name=entry.display_name,
                    member_class=int(entry.member_class),  # type: ignore[arg-type]
                    contacts=map(contact_message, entry.contacts),
                )
                for entry in directory.community_members(request.origin)
                if entry.contacts
            ],
            directory_size=directory.size,
        )

    async def _record(self, workload: Workload, log: Log, index: int, kind: int) -> AddressedRecord | None:
        """Return the record of an entry; None where it is gone."""
        await self._hub.turns.take(workload.member, _READING)
        try:
            found = await log.store.read(index, 1)
        except CursorBelowFloor:
            return None
        entry = codec.decode_frame(found[0].frame)
        return decode_addressed(kind, entry.records, strict=False) if entry.present else None

    async def _summary(
        self, workload: Workload, log: Log, folds: Folds, facts: ReferralFacts
    ) -> pb.ReferralSummary | None:
        record = await self._record(workload, log, facts.index, Kind.REFERRAL)
        if not isinstance(record, ReferralRecord):
            return None
        said = await folds.referrals.said_of(facts.id)
        community = self._hub.view.directory.communities[log.origin]
        return pb.ReferralSummary(
            id=facts.id,
            index=facts.index,
            publisher=facts.publisher,
            received_at_ms=facts.received_at_ms,
            record=_without_salt(record),
            state=facts.state,  # type: ignore[arg-type]
            outcome=facts.outcome,  # type: ignore[arg-type]
            waits_for=facts.waits_for,
            due_ms=facts.due_ms,
            overdue=facts.overdue(self._now_ms()),
            steps=await self._steps(workload, log, said),
            notes=await self._notes(workload, log, said),
            ends_at_ms=ends_at_ms(facts.received_at_ms, community.retention_days),
        )

    async def _steps(self, workload: Workload, log: Log, said: Sequence[SaidOf]) -> list[pb.ReferralStep]:
        return [
            pb.ReferralStep(
                id=each.id,
                index=each.index,
                publisher=each.publisher,
                received_at_ms=each.received_at_ms,
                record=_without_salt(record),
            )
            async for each, record in self._said(workload, log, said, Kind.REFERRAL_UPDATE)
            if isinstance(record, UpdateRecord)
        ]

    async def _notes(self, workload: Workload, log: Log, said: Sequence[SaidOf]) -> list[pb.NoteSummary]:
        to_us = [each for each in said if workload.member in each.audience]
        return [
            pb.NoteSummary(
                id=each.id,
                index=each.index,
                publisher=each.publisher,
                received_at_ms=each.received_at_ms,
                text=record.text,
                audience=sorted(each.audience),
            )
            async for each, record in self._said(workload, log, to_us, Kind.NOTE)
            if isinstance(record, NoteRecord)
        ]

    async def _said(
        self, workload: Workload, log: Log, said: Sequence[SaidOf], kind: Kind
    ) -> AsyncIterator[tuple[SaidOf, AddressedRecord | None]]:
        """Yield what was said of one kind, each with its record."""
        for each in said:
            if each.kind == kind:
                yield each, await self._record(workload, log, each.index, each.kind)


def _without_salt(record: Any) -> Any:  # noqa: ANN401 - a record, and its message
    message = message_of(record)
    message.ClearField("salt")
    return message


def _place(page: bytes) -> int:
    """Return below which index a page goes on. Raises `Rejected` (MALFORMED)."""
    if not page:
        return _END
    place = int.from_bytes(page, "big")
    if len(page) != _PLACE_BYTES or place > _END:
        raise Rejected(Reason.MALFORMED, "page: not one of ours")
    return place


def _wanted(request: pb.ListReferralsRequest, facts: ReferralFacts, now_ms: int) -> bool:
    return (
        (not request.state or facts.state == request.state)
        and (not request.unanswered_only or not facts.state)
        and (not request.open_only or bool(facts.waits_for))
        and (not request.overdue_only or facts.overdue(now_ms))
    )
