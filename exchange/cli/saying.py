"""What is said about signals from a command line: one thing by its arguments, or many by lines of JSON.

As with signals, what is said is in the outbox before it is sent: what is interrupted is sent by the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from exchange.cli.connect import as_client, origin_of
from exchange.cli.cosigning import Written, write_to_sign
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import MAX_LINE_BYTES, Lines
from exchange.cli.output import emit, say
from exchange.cli.refusals import refuse_own
from exchange.cli.tally import GRACE_S, Given, Tally, say_ending
from exchange.domain.bodies import Quarantine, Release
from exchange.domain.kinds import Kind
from exchange.errors import ExchangeError, Reason, Rejected
from exchange_client import ClientConfig, ExchangeClient, Publisher, RejectFile
from exchange_client.json_life import LifeLine, life_from_json, said_to_json
from exchange_client.json_lines import line_of, object_of
from exchange_client.statements import in_parts


@dataclass(frozen=True, slots=True)
class Ask:
    """What a command was asked to say, and as whom."""

    kind: Kind
    community: str
    client: Path
    #: By its arguments; where there are lines, what those that do not say it otherwise say.
    values: Mapping[str, object]
    lines: BinaryIO | None = None
    rejects: Path | None = None
    to_sign: Path | None = None
    as_json: bool = False

    def say(self) -> None:
        """Say it, and exit accordingly."""
        if self.lines is not None and self.to_sign is not None:
            raise click.UsageError("--to-sign takes one thing, by arguments")
        if self.to_sign is not None:
            return self._write(self.to_sign)
        tally = Tally(self.as_json)
        if self.lines is None:
            read = life_from_json(self.values, self.kind)  # wrong arguments are told before anything is opened
            settings = ClientConfig.load(self.client)
            tally.refused = RejectFile(self.rejects or settings.state / "rejects.jsonl")
            run = _Run(self, tally, None, origin_of(settings.exchange, self.community), read)
            number = as_client(settings, run.job)
        else:
            with tally.of_source():
                settings = ClientConfig.load(self.client)
                tally.refused = RejectFile(self.rejects or settings.state / "rejects.jsonl")
                refuse_own(self.lines, tally.refused.path)
                run = _Run(self, tally, Lines(self.lines.fileno()), origin_of(settings.exchange, self.community))
                number = as_client(settings, run.job)
        tally.conclude(run.lines, number)
        return None

    def _write(self, path: Path) -> None:
        """Write it for other operators to sign."""
        said = life_from_json(self.values, self.kind)
        if said.case_ref:
            raise click.UsageError("--to-sign takes signal ids: a case is known to its publisher alone")
        settings = ClientConfig.load(self.client)
        origin = origin_of(settings.exchange, self.community)
        body = said.body
        parts = [body] if isinstance(body, Quarantine | Release) else list(in_parts(body))
        write_to_sign(settings, path, [Written(origin, part) for part in parts], as_json=self.as_json)


@dataclass(slots=True)
class _Run:
    """One run of a command."""

    ask: Ask
    tally: Tally
    lines: Lines | None
    origin: str
    #: What the arguments say, where there are no lines.
    one: LifeLine | None = None
    waits: bool = False

    async def job(self, client: ExchangeClient, _: ClientConfig) -> int:
        """Say all there is; return the signal that ended it before that, or 0."""
        with Interruption(self._end) as interruption, suppress(Interrupted):
            async with await interruption.unless(client.open_publisher(self.origin)) as publisher:
                try:
                    await self._all(publisher, interruption)
                finally:
                    await self.tally.note_kept(publisher)
        return interruption.number

    def _end(self) -> None:
        if self.lines is not None:
            self.lines.stop()
        if self.waits:
            say_ending()

    async def _all(self, publisher: Publisher, interruption: Interruption) -> None:
        if publisher.left:
            say(f"{publisher.left} of an earlier run are sent first", err=True)
        self.waits = True
        await interruption.unless(self.tally.take_earlier(publisher), grace_s=GRACE_S)
        async for bulk in self._bulks():
            self.tally.begun = True
            await interruption.unless(self._bulk(publisher, bulk), grace_s=GRACE_S)

    async def _bulks(self) -> AsyncIterator[list[tuple[Given, LifeLine]]]:
        if self.one is not None:
            yield [(dict(self.ask.values), self.one)]
        if self.lines is not None:
            self.waits = False
            async for bulk in self.lines.bulks():
                self.waits = True
                yield [read for line in bulk if (read := self._read(line)) is not None]
                self.waits = False

    def _read(self, line: bytes) -> tuple[Given, LifeLine] | None:
        given = line_of(line)
        try:
            if len(line) > MAX_LINE_BYTES:
                raise Rejected(Reason.TOO_LARGE, f"a line may have {MAX_LINE_BYTES:,} bytes")
            return given, life_from_json({**self.ask.values, **object_of(given)}, self.ask.kind)
        except ExchangeError as error:
            self._refuse(given, error)
            return None

    async def _bulk(self, publisher: Publisher, bulk: list[tuple[Given, LifeLine]]) -> None:
        """Say many things together; what is said of a signal, in the order in which it was given."""
        together: list[tuple[Given, LifeLine]] = []
        named: set[object] = set()
        for given, said in bulk:
            about = _about(said)
            if named & about:
                await self._together(publisher, together)
                together, named = [], set()
            together.append((given, said))
            named |= about
        await self._together(publisher, together)

    async def _together(self, publisher: Publisher, many: list[tuple[Given, LifeLine]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for given, said in many:
                tasks.create_task(self._say(publisher, given, said))

    async def _say(self, publisher: Publisher, given: Given, line: LifeLine) -> None:
        body = line.body
        try:
            if isinstance(body, Quarantine | Release):
                said = [await publisher.try_to_say(body)]
            else:
                said = await publisher.say_of(body, line.case_ref)
        except ExchangeError as error:
            self._refuse(given, error)
            return
        if not said:
            nothing = {"kind": self.ask.kind.name.lower(), "case_ref": line.case_ref, "index": None}
            text = f"nothing of case {line.case_ref} is left to say this of"
            emit(nothing, as_json=self.ask.as_json, lines=[text])
        for each in said:
            if each.error is None or each.kept:
                self.tally.take_said(each, earlier=False)
            else:
                # Where all of it was refused, its line says it as it was given.
                self._refuse(given if len(said) == 1 else said_to_json(each), each.error)

    def _refuse(self, given: Given, error: ExchangeError) -> None:
        if self.one is not None:
            raise error
        self.tally.refuse(given, error)
        self.tally.tell_refusal(given, error)


def _about(said: LifeLine) -> set[object]:
    """Return what something is said of: two such things are not said at the same time."""
    if isinstance(said.body, Quarantine | Release):
        return {said.body.member}
    about: set[object] = {*said.body.targets}
    return about | {said.case_ref} if said.case_ref else about
