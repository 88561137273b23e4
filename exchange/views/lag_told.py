"""Lag as it becomes known: what new entries of a log tell of it, by stage and receiver, for whoever watches live.

Reports are exact and complete (`Reports.lag`); this is for alarms. It holds nothing, and what it needs of signals it
asks the fold for, at one time no more than one statement may name: of dispositions that come in thousands it sees some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from exchange.domain.bodies import Acknowledgement, Disposition, DispositionState, Retraction, SignalHeader
from exchange.domain.lag import Histogram, Stage, lags_of
from exchange.domain.life import MAX_TARGETS, SignalFacts
from exchange.ports import ToldEntry

#: Between which two moments, at which receiver ("" where it is the publisher's own), and how long.
_Noted = tuple[Stage, str, int]

#: What a receiver did, or undid.
_DONE = (DispositionState.ACTIONED, DispositionState.REVERSED)


def told_lag(
    entries: Sequence[ToldEntry], signals: Callable[[Sequence[bytes]], Mapping[bytes, SignalFacts]]
) -> dict[tuple[Stage, str], Histogram]:
    """Return what these entries tell of lag, once the fold has taken them; late ones and backfill are left out."""
    found: dict[tuple[Stage, str], Histogram] = {}
    left = MAX_TARGETS
    for entry in entries:
        if entry.late:
            continue
        body, member = entry.header.body, entry.header.publisher
        if isinstance(body, Acknowledgement):
            for cell in body.cells:
                stage = Stage.UNDO_DELIVERED if cell.retraction else Stage.DELIVERED
                found.setdefault((stage, member), Histogram.empty()).add(cell.counts)
        noted = list(_noted(entry))
        if isinstance(body, Disposition) and left and (body.matched_at_ms or body.state in _DONE):
            asked, left = body.targets[:left], max(0, left - len(body.targets))
            for signal in signals(asked).values():
                times = {"received_ms": signal.received_at_ms, "actioned_ms": signal.actioned_at_ms}
                lags = lags_of(body, **times, retracted_ms=signal.retracted_ms)
                told = lags if signal.in_lag else lags.keys() & {Stage.UNDONE}
                noted += [(stage, member, lags[stage]) for stage in told]
        for stage, receiver, lag_ms in noted:
            found.setdefault((stage, receiver), Histogram.empty()).note(lag_ms)
    return found


def _noted(entry: ToldEntry) -> Iterator[_Noted]:
    match entry.header.body:
        case SignalHeader(backfill=False, actioned_at_ms=actioned_ms):
            yield Stage.RECEIVED, "", entry.received_at_ms - entry.header.created_at_ms
            if actioned_ms:
                yield Stage.REPORTED, "", entry.received_at_ms - actioned_ms
        case Retraction(decided_at_ms=decided_ms) if decided_ms:
            yield Stage.UNDO_REPORTED, "", entry.received_at_ms - decided_ms
