"""The calls that ask for referrals, notes and desks."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from exchange import codec_addressed
from exchange.domain.contacts import Contact
from exchange.v1 import referral_pb2, referral_pb2_grpc, statement_pb2
from exchange_client.connections import Connections
from exchange_client.referrals import MemberContacts, NoteReport, ReferralReport, ReferralStep
from exchange_client.transport.answers import CALL_S, asking, told, word


class ReferralCalls:
    """Asks one hub of several. Nothing that it tells is verified; a feed delivers the same, verified."""

    def __init__(self, connections: Connections) -> None:
        """Use `ExchangeClient.referrals`."""
        self._connections = connections

    async def list(
        self,
        origin: str,
        *,
        state: int = 0,
        unanswered_only: bool = False,
        open_only: bool = False,
        overdue_only: bool = False,
    ) -> AsyncGenerator[ReferralReport, None]:
        """Yield our referrals, those that we made and those made to us, the newest first.

        ``state`` is a `ReferralState`, 0 for all; those that nothing has become of yet are ``unanswered_only``.
        """
        request = asking(
            referral_pb2.ListReferralsRequest,
            origin=origin,
            state=state,
            unanswered_only=unanswered_only,
            open_only=open_only,
            overdue_only=overdue_only,
        )
        while True:
            async with self._connections.using() as connection:
                stub = referral_pb2_grpc.ReferralServiceStub(connection.channel)
                answer = told(await stub.ListReferrals(request, timeout=CALL_S))
            for each in answer.referrals:
                yield _referral(each)
            if not answer.next_page:
                return
            request.page = answer.next_page

    async def get(self, origin: str, referral: bytes) -> ReferralReport:
        """Return one of ours. Raises `Rejected` (NOT_FOUND)."""
        request = asking(referral_pb2.GetReferralRequest, origin=origin, referral=referral)
        async with self._connections.using() as connection:
            stub = referral_pb2_grpc.ReferralServiceStub(connection.channel)
            answer = told(await stub.GetReferral(request, timeout=CALL_S))
        return _referral(answer.referral)

    async def notes(self, origin: str, signal_id: bytes) -> tuple[NoteReport, ...]:
        """Return the notes on a dispute about a signal that we may read."""
        request = asking(referral_pb2.ListNotesRequest, origin=origin, signal_id=signal_id)
        async with self._connections.using() as connection:
            stub = referral_pb2_grpc.ReferralServiceStub(connection.channel)
            answer = told(await stub.ListNotes(request, timeout=CALL_S))
        return tuple(map(_note, answer.notes))

    async def contacts(self, origin: str) -> tuple[MemberContacts, ...]:
        """Return the desks of a community's members."""
        request = asking(referral_pb2.ListContactsRequest, origin=origin)
        async with self._connections.using() as connection:
            stub = referral_pb2_grpc.ReferralServiceStub(connection.channel)
            answer = told(await stub.ListContacts(request, timeout=CALL_S))
        return tuple(
            MemberContacts(
                member.member,
                member.display_name,
                word(statement_pb2.MemberClass, member.member_class, "MEMBER_CLASS_"),
                tuple(map(_contact, member.contacts)),
            )
            for member in answer.members
        )


def _referral(each: referral_pb2.ReferralSummary) -> ReferralReport:
    return ReferralReport(
        each.id,
        each.index,
        each.publisher,
        each.received_at_ms,
        codec_addressed.referral_of(each.record),
        each.state,
        each.outcome,
        each.waits_for,
        each.due_ms,
        each.overdue,
        each.ends_at_ms,
        tuple(map(_step, each.steps)),
        tuple(map(_note, each.notes)),
    )


def _step(each: referral_pb2.ReferralStep) -> ReferralStep:
    return ReferralStep(
        each.id, each.index, each.publisher, each.received_at_ms, codec_addressed.update_of(each.record)
    )


def _note(each: referral_pb2.NoteSummary) -> NoteReport:
    return NoteReport(each.id, each.index, each.publisher, each.received_at_ms, each.text, tuple(each.audience))


def _contact(each: statement_pb2.Contact) -> Contact:
    return Contact(each.purpose, each.address, each.hours, tuple(each.languages))
