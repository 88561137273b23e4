"""Saying to named members what a command was asked to say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from exchange.cli.interruption import Interruption
from exchange.cli.output import end_progress, say_progress
from exchange.cli.speaking import Asked, Run
from exchange.cli.tally import GRACE_S, Given
from exchange.domain.addressed import AddressedRecord, NoteRecord, ReferralRecord, ReferralState, UpdateRecord
from exchange.domain.kinds import Kind, Role
from exchange.domain.referrals import check_record
from exchange.domain.statement import SALT_BYTES
from exchange.domain.validation import Findings
from exchange.errors import ExchangeError, Reason, Rejected
from exchange.ops.clocks import wall_ms
from exchange_client import ExchangeClient, Publisher, Said
from exchange_client.json_referrals import AddressedLine, addressed_from_json
from exchange_client.referring import UNSALTED

#: Of what a command says; all others say an update of a referral.
_KINDS = {"refer": Kind.REFERRAL, "note": Kind.NOTE}


class RunToMembers(Run[AddressedLine]):
    """One run of a command."""

    def __init__(self, what: str, asked: Asked) -> None:
        """``what`` is a key of `exchange_client.json_referrals.KEYS`."""
        super().__init__(_KINDS.get(what, Kind.REFERRAL_UPDATE), asked)
        self._what = what

    def read(self, values: Mapping[str, Any]) -> AddressedLine:
        """Return what an object says. Raises `ExchangeError`."""
        return addressed_from_json(values, self._what, now_ms=wall_ms())

    async def say_bulk(
        self,
        client: ExchangeClient,
        publisher: Publisher,
        bulk: list[tuple[Given, AddressedLine]],
        interruption: Interruption,
    ) -> None:
        """Say them one after the other."""
        for given, line in bulk:
            await interruption.unless(self._say(client, publisher, given, line), grace_s=GRACE_S)
            if self.of_lines:
                say_progress(f"{self.tally.done:,} in the ledger, {self.tally.failed:,} refused")

    def ended(self) -> None:
        """End the line of progress."""
        if self.of_lines:
            end_progress()

    async def _say(self, client: ExchangeClient, publisher: Publisher, given: Given, line: AddressedLine) -> None:
        record = line.record
        try:
            audience = await self._audience(client, line)
            if line.text:
                # Before its words are in the ledger, for good, without it.
                _check(record)
        except ExchangeError as error:
            self.refuse(given, error)
            return
        if line.text and isinstance(record, UpdateRecord):
            # The words first: who reads the update finds them there.
            note = await publisher.say_to(NoteRecord(UNSALTED, record.referral, line.text), audience)
            if not self._take(given, note):
                return
        self._take(given, await publisher.say_to(record, audience))

    async def _audience(self, client: ExchangeClient, line: AddressedLine) -> Collection[str]:
        record, member = line.record, self.settings.member
        if isinstance(record, ReferralRecord):
            return {member, record.authority}
        if line.audience:
            return {member, *line.audience}
        if self.settings.role_number is Role.PIPELINE:
            # The hub would say what it says to everybody who may not read: nothing that helps.
            asked = isinstance(record, UpdateRecord) and record.state == ReferralState.ANSWERED
            hint = "say who asked, with --authority" if asked else "use the liaison's client file"
            raise Rejected(Reason.INVALID, "a pipeline reads no referrals", hint=hint)
        target = record.referral if isinstance(record, UpdateRecord) else record.target
        report = await client.referrals.get(self.origin, target)
        if isinstance(record, UpdateRecord) and (problem := report.problem_of(member, record.state)):
            raise Rejected(Reason.INVALID, f"the referral {problem}")
        return report.parties

    def _take(self, given: Given, said: Said) -> bool:
        """Tell what became of one statement; whether the next one may follow."""
        if said.error is None or said.kept:
            self.tally.take_said(said, earlier=False)
        else:
            self.refuse(given, said.error)
        return said.error is None


def _check(record: AddressedRecord) -> None:
    """Raise `InvalidStatement` for what can be told to be wrong before it is signed."""
    findings = Findings()
    check_record(findings, replace(record, salt=bytes(SALT_BYTES)), now_ms=wall_ms())
    findings.raise_if_any()
