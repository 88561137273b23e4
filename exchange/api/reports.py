"""ReportService: what a community's ledger adds up to. Metadata only: no identifier is in any answer.

Who was in the audience of a restricted signal is known to its publisher and to operators: of such a signal others see
in the list of debts only how they stand themselves. Whoever says something of a signal shows with it that it was given
it: that stands in the leaf, and so in lag, opinions and dispositions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc

from exchange.api.guard import caller
from exchange.api.logs import Folds, Hub
from exchange.domain.debts import Debt, Ending, debt_of, late_before
from exchange.domain.directory import Directory
from exchange.domain.identifiers import is_name
from exchange.domain.kinds import Role
from exchange.domain.life import MemberFacts, SignalFacts, could_see
from exchange.domain.policy import Workload
from exchange.errors import Reason, Rejected
from exchange.ports import Period
from exchange.v1 import report_pb2 as pb
from exchange.v1 import report_pb2_grpc

MAX_DEBTS = 1_000
#: Endings looked at between two turns, and so many times in one call: then the caller asks again.
_ENDINGS, _PAGES = 32, 64
_FIXED_BYTES = 8 + 32
#: Rows of a report in one answer.
_ROWS = 4_000
_OFFSET_BYTES = 4
#: What a page of a report costs, in the measure of a turn's work, which is records checked.
_WORK = 500
_NO_FACTS = MemberFacts()

R = TypeVar("R")

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
        page, next_page = _page(rows, request.page)
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
                for row in page
            ],
            next_page=next_page,
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
        page, next_page = _page(rows, request.page)
        return pb.GetActivityResponse(
            rows=[
                pb.ActivityRow(
                    member=row.member,
                    kind=row.kind,  # type: ignore[arg-type]
                    label=row.label,  # type: ignore[arg-type]
                    statements=row.statements,
                    signals=row.signals,
                )
                for row in page
            ],
            next_page=next_page,
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
        place: _Place | None = _Place.read(request.page)
        found: list[Debt] = []
        members = await folds.reports.members()
        for _ in range(_PAGES):
            assert place is not None
            await self._hub.turns.take(wanted.workload.member, len(wanted.directory.members) * _ENDINGS // 4)
            place = await _debts(folds, wanted, members, place, found, limit)
            if place is None or len(found) >= limit:
                break
        return pb.ListDebtsResponse(
            debts=[_debt(each) for each in found],
            next_page=b"" if place is None else bytes(place),
            size=folds.life.facts.place().size,
        )


def _page(rows: Sequence[R], page: bytes) -> tuple[Sequence[R], bytes]:
    """Return the rows of a page, and where the next one begins. Raises `Rejected` (MALFORMED)."""
    if len(page) not in (0, _OFFSET_BYTES):
        raise Rejected(Reason.MALFORMED, "page: not one of ours")
    start = int.from_bytes(page, "big")
    end = start + _ROWS
    return rows[start:end], end.to_bytes(_OFFSET_BYTES, "big") if end < len(rows) else b""


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

    def members(self, signal: SignalFacts, ending: Ending) -> list[str]:
        """Return the members that were given a signal before it ended, sorted, as far as the caller may know."""
        asked = (self.member,) if self.member else self.directory.members
        given = [
            member
            for member in sorted(asked)
            if member != signal.publisher
            and could_see(self.directory, self.origin, member, signal, until_size=ending.directory_size)
        ]
        entitled = self.workload.role is Role.OPERATOR or self.workload.member == signal.publisher
        if signal.audience is None or entitled:
            return given
        return [member for member in given if member == self.workload.member]


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind which ending of the log, and which member's answer to the next one, a page goes on."""

    index: int = -1
    signal_id: bytes = b""
    #: Of the ending after that: members up to this one have been listed.
    member: str = ""

    @classmethod
    def read(cls, page: bytes) -> _Place:
        """Return the place that an earlier answer gave. Raises `Rejected` (MALFORMED)."""
        if not page:
            return cls()
        index = int.from_bytes(page[:8], "big", signed=True)
        try:
            member = page[_FIXED_BYTES:].decode()
        except UnicodeDecodeError as error:
            raise Rejected(Reason.MALFORMED, "page: not one of ours") from error
        if len(page) < _FIXED_BYTES or index < -1 or (member and not is_name(member)):
            raise Rejected(Reason.MALFORMED, "page: not one of ours")
        return cls(index, page[8:_FIXED_BYTES] if index >= 0 else b"", member)

    def __bytes__(self) -> bytes:
        """Return it as an answer gives it."""
        return self.index.to_bytes(8, "big", signed=True) + self.signal_id.ljust(32, b"\0") + self.member.encode()


async def _debts(
    folds: Folds, wanted: _Wanted, members: Mapping[str, MemberFacts], place: _Place, found: list[Debt], limit: int
) -> _Place | None:
    """Add the debts of the next endings to what was found, up to a limit; return where to go on, None at the end."""
    endings = await folds.reports.endings((place.index, place.signal_id), _ENDINGS)
    ids = [ending.signal_id for ending in endings]
    said = await folds.reports.said(ids)
    signals = folds.life.facts.signals(ids)
    for ending in endings:
        signal = signals.get(ending.signal_id)
        if signal is not None and ending.opens_debts and wanted.election in (b"", signal.election):
            for member in wanted.members(signal, ending):
                if member <= place.member:
                    continue
                if len(found) >= limit:
                    return place
                answer, facts = said.get((signal.signal_id, member)), members.get(member, _NO_FACTS)
                debt = debt_of(signal, ending, member, facts, answer, late_before_ms=wanted.late_before_ms)
                if debt.open or not wanted.open_only:
                    found.append(debt)
                place = replace(place, member=member)
        place = _Place(ending.index, ending.signal_id)
    return place if len(endings) == _ENDINGS else None


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
