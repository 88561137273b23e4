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

from exchange import codec
from exchange.api.logs import Log
from exchange.domain.alarms import Alarm, AlarmLimits, BurstWatch, is_disputed
from exchange.domain.bodies import Opinion, OpinionCategory, Quarantine, QuarantineReason
from exchange.domain.kinds import Kind, Role
from exchange.domain.policy import Workload
from exchange.domain.statement import HEADER_TYPE, NONCE_BYTES, Header, Signature, Statement
from exchange.errors import ExchangeError, Rejected
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange.ports import ToldEntry
from exchange.publish.intake import Intake

_log = structlog.get_logger()

#: Alarms that wait to be looked into: more would be of the same members.
_MOST_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Speaker:
    """In whose name it is said."""

    member: str
    key: SigningKey


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
        self._alarms: asyncio.Queue[Alarm] = asyncio.Queue(_MOST_WAITING)
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
            if isinstance(body, Opinion) and body.category == OpinionCategory.NEGATIVE_CLASS:
                self._doubt(body, entry.index)
        self._told.set()

    def _raise(self, alarm: Alarm) -> None:
        if not self._alarms.full():
            self._alarms.put_nowait(alarm)

    def _doubt(self, opinion: Opinion, index: int) -> None:
        if self._limits.disputed_percent:
            for facts in self._life.facts.signals(opinion.targets).values():
                self._doubted[facts.publisher] = index

    async def run(self) -> None:
        """Say what has to be said, until cancelled."""
        while True:
            await self._told.wait()
            self._told.clear()
            doubted, self._doubted = self._doubted, {}
            for member, index in doubted.items():
                disputed, signals = await self._reports.disputed(member, self._limits.disputed_by)
                if is_disputed(self._limits, disputed, signals):
                    self._raise(Alarm(member, index, QuarantineReason.DISPUTED))
            while not self._alarms.empty():
                await self._say(self._alarms.get_nowait())

    async def _say(self, alarm: Alarm) -> None:
        """Flag the member, unless it is flagged already."""
        if self._life.facts.member(alarm.member).quarantined_from is not None:
            return
        try:
            await self._publish(Quarantine(alarm.member, alarm.from_index, alarm.reason))
        except Rejected as error:
            # Somebody may have been quicker. Anything else is for the operators to see: the rule stands, unsaid.
            _log.warning("not_flagged", origin=self._log.origin, member=alarm.member, reason=error.message)
        except ExchangeError as error:
            _log.error("not_flagged", origin=self._log.origin, member=alarm.member, reason=error.message)
        else:
            _log.warning("flagged", origin=self._log.origin, member=alarm.member, why=alarm.reason.name.lower())

    async def _publish(self, body: Quarantine) -> None:
        key, member = self._speaker.key, self._speaker.member
        nonce = secrets.token_bytes(NONCE_BYTES)
        header = Header(self._log.origin, Kind.QUARANTINE, member, self._now_ms(), nonce, (), body)
        payload = codec.encode_header(header)
        signature = Signature(key.key_id, key.sign(pae(HEADER_TYPE, payload)))
        workload = Workload(member, Role.AUTOMATION)
        admitted = self._intake.admit(workload, Statement(payload, (signature,)))
        judged_at = self._intake.identify(workload, admitted)
        await self._log.up_to_date()
        receipt = await self._log.sequencer.offer(self._intake.check(workload, admitted, judged_at))
        await self._life.reached(receipt.index + 1)  # the next alarm of the same burst finds it said
