"""Flags members by themselves: looks at what a community's log was told, and says a quarantine where a rule says so.

What it says is a statement like any other, signed by the operator's member in the role automation, and judged by the
hub's own intake. Nothing waits for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from exchange.api.logs import Log
from exchange.domain.alarms import Alarm, AlarmLimits, BurstWatch, is_disputed
from exchange.domain.bodies import Opinion, OpinionCategory, Quarantine, QuarantineReason, Release
from exchange.domain.directory import Directory
from exchange.domain.kinds import Kind, Role
from exchange.domain.policy import Workload
from exchange.domain.statement import NONCE_BYTES, Header
from exchange.domain.validation import DAY_MS
from exchange.errors import ExchangeError, Unavailable
from exchange.ledger.ed25519 import SigningKey
from exchange.ports import Period, ToldEntry
from exchange.publish.intake import Intake
from exchange.signatures.signed import signed

_log = structlog.get_logger()

#: How long an alarm waits that could not be said.
_AGAIN_S = 2.0
#: What a member usually says is taken from so many days.
_USUAL_DAYS, _DAY_MINUTES = 7, 1_440


@dataclass(frozen=True, slots=True)
class Speaker:
    """In whose name it is said."""

    member: str
    key: SigningKey

    def check(self, directory: Directory) -> None:
        """Say so where the directory does not let it speak, now rather than at the first alarm."""
        known = directory.key(self.key.key_id)
        if known is None or known not in directory.live_keys(self.member, Role.AUTOMATION):
            _log.warning("automation_cannot_speak", member=self.member, why="its key is not in force in the directory")


class Automation:
    """One community's."""

    def __init__(
        self, log: Log, intake: Intake, speaker: Speaker, limits: AlarmLimits, now_ms: Callable[[], int]
    ) -> None:
        """Listen to this log from now on."""
        self._log = log
        self._life, self._reports = log.of_community.life, log.of_community.reports
        self._intake = intake
        self._speaker = speaker
        self._limits = limits
        self._now_ms = now_ms
        self._bursts = BurstWatch(limits)
        #: What is still to be said, one of a reason for each member.
        self._alarms: dict[tuple[str, QuarantineReason], Alarm] = {}
        #: Members of which some signal was called wrong since it was last counted, each with the newest index.
        self._doubted: dict[str, int] = {}
        self._told = asyncio.Event()
        self._life.listeners.append(self._take)

    def _take(self, entries: Sequence[ToldEntry]) -> None:
        for entry in entries:
            for alarm in self._bursts.look(entry.index, entry.header, entry.received_at_ms):
                self._raise(alarm)
            if entry.canary:
                self._raise(Alarm(entry.header.publisher, entry.index, QuarantineReason.CANARY))
            body = entry.header.body
            if isinstance(body, Release):
                self._bursts.forget(body.member)
            if isinstance(body, Opinion) and body.category == OpinionCategory.NEGATIVE_CLASS:
                self._doubt(body, entry.index)
        self._told.set()

    def _raise(self, alarm: Alarm) -> None:
        self._alarms.setdefault((alarm.member, alarm.reason), alarm)
        self._told.set()

    def _doubt(self, opinion: Opinion, index: int) -> None:
        if self._limits.disputed_percent:
            for facts in self._life.facts.signals(opinion.targets).values():
                self._doubted[facts.publisher] = index

    async def run(self) -> None:
        """Say what has to be said, until cancelled."""
        self._bursts.usual(await self._usual(), self._now_ms())
        while True:
            await self._told.wait()
            self._told.clear()
            doubted, self._doubted = self._doubted, {}
            for member, index in doubted.items():
                disputed, signals = await self._reports.disputed(member, self._limits.disputed_by)
                if is_disputed(self._limits, disputed, signals):
                    self._raise(Alarm(member, index, QuarantineReason.DISPUTED))
            for key, alarm in list(self._alarms.items()):
                if await self._say(alarm):
                    del self._alarms[key]
            if self._alarms:
                await asyncio.sleep(_AGAIN_S)
                self._told.set()

    async def _usual(self) -> dict[str, float]:
        """Return how many signals a minute each member has said in the last days."""
        today = self._now_ms() // DAY_MS
        rows = await self._reports.activity(Period(max(0, today - _USUAL_DAYS), 0), b"")
        said: dict[str, float] = {}
        for row in rows:
            if row.kind == Kind.SIGNAL:
                said[row.member] = said.get(row.member, 0.0) + row.signals / (_USUAL_DAYS * _DAY_MINUTES)
        return said

    async def _say(self, alarm: Alarm) -> bool:
        """Flag the member, unless it is flagged already. Return whether that is done with."""
        try:
            if self._life.facts.member(alarm.member).quarantined_from is not None:
                return True
            await self._publish(Quarantine(alarm.member, alarm.from_index, alarm.reason))
        except Unavailable as error:
            _log.warning("not_flagged_yet", origin=self._log.origin, member=alarm.member, reason=error.message)
            return False
        except ExchangeError as error:
            # Somebody may have been quicker. Anything else is for the operators to see: the rule stands, unsaid.
            _log.error("not_flagged", origin=self._log.origin, member=alarm.member, reason=error.message)
            return True
        _log.warning("flagged", origin=self._log.origin, member=alarm.member, why=alarm.reason.name.lower())
        return True

    async def _publish(self, body: Quarantine) -> None:
        key, member = self._speaker.key, self._speaker.member
        nonce = secrets.token_bytes(NONCE_BYTES)
        header = Header(self._log.origin, Kind.QUARANTINE, member, self._now_ms(), nonce, (), body)
        workload = Workload(member, Role.AUTOMATION)
        admitted = self._intake.admit(workload, signed(header, key))
        judged_at = self._intake.identify(workload, admitted)
        await self._log.up_to_date()
        receipt = await self._log.sequencer.offer(self._intake.check(workload, admitted, judged_at))
        await self._life.reached(receipt.index + 1)  # the next alarm of the same burst finds it said
