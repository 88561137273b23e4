"""The calls that ask what a ledger adds up to."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from exchange.domain.bodies import Election
from exchange.domain.elections import ElectionFacts
from exchange.v1 import directory_pb2, directory_pb2_grpc, report_pb2, report_pb2_grpc
from exchange_client.connections import Connections
from exchange_client.reports import ActivityRow, ClockRow, Debt, LagReport, LagRow, OpinionOf, SignalReport
from exchange_client.transport.answers import CALL_S, asking, told


class ReportCalls:
    """Asks one hub of several. Nothing that it tells is verified."""

    def __init__(self, connections: Connections) -> None:
        """Use `Transport.reports`."""
        self._connections = connections

    async def lag(self, origin: str, *, from_day: int, to_day: int, election: bytes) -> LagReport:
        """Ask how long signals and retractions took."""
        request = asking(
            report_pb2.GetLagReportRequest, origin=origin, from_day=from_day, to_day=to_day, election=election
        )
        rows: list[LagRow] = []
        while True:
            async with self._connections.using() as connection:
                stub = report_pb2_grpc.ReportServiceStub(connection.channel)
                answer = told(await stub.GetLagReport(request, timeout=CALL_S))
            rows += [LagRow(r.stage, r.publisher, r.receiver, r.label, tuple(r.counts)) for r in answer.rows]
            if not answer.next_page:
                break
            request.page = answer.next_page
        clocks = [ClockRow(row.member, row.offset_ms, row.error_ms) for row in answer.clocks]
        return LagReport(tuple(rows), tuple(clocks), answer.size)

    async def debts(
        self, origin: str, member: str, election: bytes, deadline_hours: int, *, open_only: bool
    ) -> AsyncGenerator[Debt, None]:
        """Yield what receivers said, or owe, to the ends of signals."""
        request = asking(
            report_pb2.ListDebtsRequest,
            origin=origin,
            member=member,
            open_only=open_only,
            deadline_hours=deadline_hours,
            election=election,
        )
        while True:
            async with self._connections.using() as connection:
                stub = report_pb2_grpc.ReportServiceStub(connection.channel)
                answer = told(await stub.ListDebts(request, timeout=CALL_S))
            for debt in answer.debts:
                yield _debt(debt)
            if not answer.next_page:
                return
            request.page = answer.next_page

    async def activity(self, origin: str, *, from_day: int, to_day: int, election: bytes) -> tuple[ActivityRow, ...]:
        """Ask what members said in a period."""
        request = asking(
            report_pb2.GetActivityRequest, origin=origin, from_day=from_day, to_day=to_day, election=election
        )
        rows: list[ActivityRow] = []
        while True:
            async with self._connections.using() as connection:
                stub = report_pb2_grpc.ReportServiceStub(connection.channel)
                answer = told(await stub.GetActivity(request, timeout=CALL_S))
            rows += [ActivityRow(row.member, row.kind, row.label, row.statements, row.signals) for row in answer.rows]
            if not answer.next_page:
                return tuple(rows)
            request.page = answer.next_page

    async def elections(self, origin: str) -> tuple[ElectionFacts, ...]:
        """Ask which elections there are."""
        async with self._connections.using() as connection:
            stub = directory_pb2_grpc.DirectoryServiceStub(connection.channel)
            answer = told(
                await stub.ListElections(asking(directory_pb2.ListElectionsRequest, origin=origin), timeout=CALL_S)
            )
        return tuple(map(_election, answer.elections))

    async def signal(self, origin: str, signal_id: bytes) -> SignalReport:
        """Ask what the ledger says of one signal."""
        request = asking(directory_pb2.GetSignalRequest, origin=origin, signal_id=signal_id)
        async with self._connections.using() as connection:
            stub = directory_pb2_grpc.DirectoryServiceStub(connection.channel)
            answer = told(await stub.GetSignal(request, timeout=CALL_S))
        return SignalReport(
            signal_id,
            answer.index,
            answer.publisher,
            answer.label,
            answer.received_at_ms,
            answer.expires_at_ms,
            answer.retracted_at if answer.HasField("retracted_at") else None,
            answer.erased_at if answer.HasField("erased_at") else None,
            answer.replaced_at if answer.HasField("replaced_at") else None,
            answer.quarantined,
            tuple([OpinionOf(each.member, each.category, each.reason) for each in answer.opinions]),
            answer.disputed,
            {each.state: each.members for each in answer.dispositions},
            answer.size,
        )


def _election(each: directory_pb2.ElectionSummary) -> ElectionFacts:
    said = each.election
    times = (said.begins_ms, said.polling_ends_ms)
    limits = (said.lag_target_ms, said.lag_alert_ms, said.keep_days)
    return ElectionFacts(
        each.id, each.index, Election(said.name, said.title, *times, tuple(said.target_classes), *limits)
    )


def _debt(debt: report_pb2.Debt) -> Debt:
    return Debt(
        debt.signal_id,
        debt.publisher,
        debt.label,
        debt.ended_at,
        debt.ended_at_ms,
        debt.erasure,
        debt.reason,
        debt.member,
        debt.said,
        debt.owes,
        debt.closed_at or None,
        debt.open,
        debt.overdue,
    )
