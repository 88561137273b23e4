"""Saying to named members what a command was asked to say: one thing by its arguments, or many by lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from exchange.cli.connect import as_client, origin_of
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import MAX_LINE_BYTES, Lines
from exchange.cli.output import end_progress, say, say_progress
from exchange.cli.refusals import refuse_own
from exchange.cli.tally import GRACE_S, Given, Tally, say_ending
from exchange.domain.addressed import NoteRecord, ReferralRecord, UpdateRecord
from exchange.errors import ExchangeError, Reason, Rejected
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient, Publisher, RejectFile, Said
from exchange_client.json_lines import line_of, object_of
from exchange_client.json_referrals import AddressedLine, addressed_from_json
from exchange_client.referring import UNSALTED


@dataclass(frozen=True, slots=True)
class Ask:
    """What a command was asked to say, and as whom."""

    #: A key of `exchange_client.json_referrals.KEYS`.
    what: str
    community: str
    client: Path
    #: By its arguments; where there are lines, what those that do not say it otherwise say.
    values: Mapping[str, object]
    lines: BinaryIO | None = None
    rejects: Path | None = None
    as_json: bool = False

    def say(self) -> None:
        """Say it, and exit accordingly."""
        tally = Tally(self.as_json)
        if self.lines is None:
            read = addressed_from_json(self.values, self.what, now_ms=wall_ms())  # told before anything is opened
            settings = ClientConfig.load(self.client)
            tally.refused = RejectFile(self.rejects or settings.state / "rejects.jsonl")
            run = _Run(self, tally, None, origin_of(settings.exchange, self.community), settings.member, read)
            number = as_client(settings, run.job)
        else:
            with tally.of_source():
                settings = ClientConfig.load(self.client)
                tally.refused = RejectFile(self.rejects or settings.state / "rejects.jsonl")
                refuse_own(self.lines, tally.refused.path)
                origin = origin_of(settings.exchange, self.community)
                run = _Run(self, tally, Lines(self.lines.fileno()), origin, settings.member)
                number = as_client(settings, run.job)
        tally.conclude(run.lines, number)


@dataclass(slots=True)
class _Run:
    """One run of a command."""

    ask: Ask
    tally: Tally
    lines: Lines | None
    origin: str
    member: str
    #: What the arguments say, where there are no lines.
    one: AddressedLine | None = None
    waits: bool = False

    async def job(self, client: ExchangeClient, _: ClientConfig) -> int:
        """Say all there is; return the signal that ended it before that, or 0."""
        with Interruption(self._end) as interruption, suppress(Interrupted):
            async with await interruption.unless(client.open_publisher(self.origin)) as publisher:
                try:
                    await self._all(client, publisher, interruption)
                finally:
                    await self.tally.note_kept(publisher)
                    if self.lines is not None:
                        end_progress()
        return interruption.number

    def _end(self) -> None:
        if self.lines is not None:
            self.lines.stop()
        if self.waits:
            say_ending()

    async def _all(self, client: ExchangeClient, publisher: Publisher, interruption: Interruption) -> None:
        if publisher.left:
            say(f"{publisher.left} of an earlier run are sent first", err=True)
        self.waits = True
        await interruption.unless(self.tally.take_earlier(publisher), grace_s=GRACE_S)
        async for given, line in self._given():
            self.tally.begun = True
            await interruption.unless(self._say(client, publisher, given, line), grace_s=GRACE_S)
            if self.lines is not None:
                say_progress(f"{self.tally.done:,} in the ledger, {self.tally.failed:,} refused")

    async def _given(self) -> AsyncIterator[tuple[Given, AddressedLine]]:
        if self.one is not None:
            yield dict(self.ask.values), self.one
        if self.lines is not None:
            self.waits = False
            async for bulk in self.lines.bulks():
                self.waits = True
                for line in bulk:
                    if (read := self._read(line)) is not None:
                        yield read
                self.waits = False

    def _read(self, line: bytes) -> tuple[Given, AddressedLine] | None:
        given = line_of(line)
        try:
            if len(line) > MAX_LINE_BYTES:
                raise Rejected(Reason.TOO_LARGE, f"a line may have {MAX_LINE_BYTES:,} bytes")
            said = {**self.ask.values, **object_of(given)}
            return given, addressed_from_json(said, self.ask.what, now_ms=wall_ms())
        except ExchangeError as error:
            self._refuse(given, error)
            return None

    async def _say(self, client: ExchangeClient, publisher: Publisher, given: Given, line: AddressedLine) -> None:
        record = line.record
        try:
            audience = await self._audience(client, line)
        except ExchangeError as error:
            self._refuse(given, error)
            return
        if line.text and isinstance(record, UpdateRecord):
            # The words first: who reads the update finds them there.
            note = await publisher.say_to(NoteRecord(UNSALTED, record.referral, line.text), audience)
            if not self._take(given, note):
                return
        self._take(given, await publisher.say_to(record, audience))

    async def _audience(self, client: ExchangeClient, line: AddressedLine) -> Collection[str]:
        record = line.record
        if isinstance(record, ReferralRecord):
            return {self.member, record.authority}
        if line.audience:
            return {self.member, *line.audience}
        target = record.referral if isinstance(record, UpdateRecord) else record.target
        return (await client.referrals.get(self.origin, target)).parties

    def _take(self, given: Given, said: Said) -> bool:
        """Tell what became of one statement; whether the next one may follow."""
        if said.error is None or said.kept:
            self.tally.take_said(said, earlier=False)
        else:
            self._refuse(given, said.error)
        return said.error is None

    def _refuse(self, given: Given, error: ExchangeError) -> None:
        if self.one is not None:
            raise error
        self.tally.refuse(given, error)
        self.tally.tell_refusal(given, error)
