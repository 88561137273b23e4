"""ReportService: what a community's ledger adds up to. Metadata only: no identifier is in any answer.

Who was in the audience of a restricted signal is known to its publisher and to operators: of such a signal others see
only how they stand themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from exchange.api.guard import caller
from exchange.api.logs import Folds, Hub
from exchange.domain.debts import Debt, Ending, debt_of, late_before
from exchange.domain.directory import Directory
from exchange.domain.kinds import Role
from exchange.domain.life import MemberFacts, SignalFacts, could_see
from exchange.domain.policy import Workload
from exchange.errors import Reason, Rejected
from exchange.ports import Period
from exchange.v1 import report_pb2 as pb
from exchange.v1 import report_pb2_grpc

MAX_DEBTS = 1_000
_ENDINGS = 256
_PAGE_BYTES = 8 + 32
#: What a page of a report costs, in the measure of a turn's work, which is records checked.
_WORK = 500
_NO_FACTS = MemberFacts()

_Context = grpc.aio.ServicerContext[Any, Any]


class ReportServicer(report_pb2_grpc.ReportServiceServicer):
    """Reads only."""

    def __init__(self, hub: Hub, now_ms: Callable[[], int]) -> None:
        """Read this hub's logs."""
        self._hub = hub
        self._now_ms = now_ms

    async def _folds(self, origin: str) -> Folds:
        workload = caller()
        log, _ = self._hub.log_to_read(workload, origin, self._now_ms())
        folds = await log.up_to_date()
        await self._hub.turns.take(workload.member, _WORK)
        return folds

    async def GetLagReport(  # noqa: D102 - as in the proto
        self,
        request: pb.GetLagReportRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetLagReportResponse:
        folds = await self._folds(request.origin)
        rows = await folds.reports.lag(Period(request.from_day, request.to_day), request.election)
        members = await folds.reports.members()
        return pb.GetLagReportResponse(
            rows=[
                pb.LagRow(
                    stage=row.stage,  # type: ignore[arg-type]
                    publisher=row.publisher,
                    receiver=row.receiver,
                    label=row.label,  # type: ignore[arg-type]
                    counts=row.counts,
                )
                for row in rows
            ],
            clocks=[
                pb.ClockRow(member=member, offset_ms=facts.clock_offset_ms, error_ms=facts.clock_error_ms)
                for member, facts in sorted(members.items())
                if facts.processed_through is not None
            ],
            size=folds.life.facts.place().size,
        )

    async def GetActivity(  # noqa: D102
        self,
        request: pb.GetActivityRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetActivityResponse:
        folds = await self._folds(request.origin)
        rows = await folds.reports.activity(Period(request.from_day, request.to_day), request.election)
        return pb.GetActivityResponse(
            rows=[
                pb.ActivityRow(
                    member=row.member,
                    kind=row.kind,  # type: ignore[arg-type]
                    label=row.label,  # type: ignore[arg-type]
                    statements=row.statements,
                    signals=row.signals,
                )
                for row in rows
            ],
            size=folds.life.facts.place().size,
        )

    async def ListDebts(  # noqa: D102
        self,
        request: pb.ListDebtsRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListDebtsResponse:
        folds = await self._folds(request.origin)
        wanted = _Wanted(
            caller(),
            self._hub.view.directory,
            request.origin,
            request.member,
            request.open_only,
            request.election,
            late_before(self._now_ms(), request.deadline_hours),
        )
        limit = min(request.limit or MAX_DEBTS, MAX_DEBTS)
        after = _place(request.page)
        found: list[Debt] = []
        while True:
            page, after, end = await _debts(folds, wanted, after)
            found += page
            if end or len(found) >= limit:
                break
        return pb.ListDebtsResponse(
            debts=[_debt(each) for each in found],
            next_page=b"" if end else after[0].to_bytes(8, "big") + after[1],
            size=folds.life.facts.place().size,
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which debts are asked for, and by whom."""

    workload: Workload
    directory: Directory
    origin: str
    member: str
    open_only: bool
    election: bytes
    late_before_ms: int

    def members(self, signal: SignalFacts) -> list[str]:
        """Return the members that were given a signal, as far as the caller may know."""
        given = [
            entry.id
            for entry in self.directory.members.values()
            if entry.id != signal.publisher
            and self.member in ("", entry.id)
            and could_see(self.directory, self.origin, entry.id, signal)
        ]
        entitled = self.workload.role is Role.OPERATOR or self.workload.member == signal.publisher
        if signal.audience is None or entitled:
            return given
        return [member for member in given if member == self.workload.member]


def _place(page: bytes) -> tuple[int, bytes]:
    if not page:
        return -1, b""
    if len(page) != _PAGE_BYTES:
        raise Rejected(Reason.MALFORMED, "page: not one of ours")
    return int.from_bytes(page[:8], "big"), page[8:]


async def _debts(folds: Folds, wanted: _Wanted, after: tuple[int, bytes]) -> tuple[list[Debt], tuple[int, bytes], bool]:
    """Return the debts of the next endings, where to go on behind them, and whether there is nothing more."""
    endings = await folds.reports.endings(after, _ENDINGS)
    ids = [ending.signal_id for ending in endings]
    said, members = await folds.reports.said(ids), await folds.reports.members()
    signals = folds.life.facts.signals(ids)
    found = []
    for ending in endings:
        signal = signals.get(ending.signal_id)
        if signal is None or not ending.opens_debts or wanted.election not in (b"", signal.election):
            continue
        for member in wanted.members(signal):
            facts = members.get(member) or _NO_FACTS
            debt = debt_of(
                signal,
                ending,
                member,
                facts,
                said.get((signal.signal_id, member)),
                late_before_ms=wanted.late_before_ms,
            )
            if debt.open or not wanted.open_only:
                found.append(debt)
    last: Ending | None = endings[-1] if endings else None
    return found, (last.index, last.signal_id) if last else after, len(endings) < _ENDINGS


def _debt(debt: Debt) -> pb.Debt:
    ending = debt.ending
    return pb.Debt(
        signal_id=ending.signal_id,
        publisher=debt.signal.publisher,
        label=debt.signal.label,  # type: ignore[arg-type]
        ended_at=ending.index,
        ended_at_ms=ending.received_at_ms,
        erasure=ending.erasure,
        reason=0 if ending.erasure else ending.reason,  # type: ignore[arg-type]
        member=debt.member,
        said=debt.said.state if debt.said else 0,  # type: ignore[arg-type]
        owes=debt.owes,
        closed_at=debt.closed_at or 0,
        open=debt.open,
        overdue=debt.overdue,
    )
