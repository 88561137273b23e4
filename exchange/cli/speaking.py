"""One run of a command that says things: one by its arguments, or many by lines of JSON, until a signal ends it.

What is said is in the outbox before it is sent: what is interrupted is sent by the next run, before all else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import click

from exchange.cli.connect import as_client, origin_of, require_role
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import Lines, Source, check_length
from exchange.cli.output import client_option, community_option, json_option, say
from exchange.cli.refusals import refuse_own, rejects_option
from exchange.cli.tally import GRACE_S, Given, Tally, say_ending
from exchange.domain.kinds import Kind
from exchange.errors import ExchangeError
from exchange_client import ClientConfig, ExchangeClient, Publisher, RejectFile
from exchange_client.json_lines import line_of, object_of

F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L")

_LINES = click.option(
    "--lines", type=Source(), metavar="FILE", help="Say many things, one JSON object a line; - for stdin."
)


def saying_options(command: F) -> F:
    """Give a command what all that say things have."""
    for option in (json_option, rejects_option, client_option, community_option, _LINES):
        command = option(command)
    return command


def words_option(name: str, words: type[IntEnum], text: str) -> Callable[[F], F]:
    """Return an option that is one of these words."""
    return click.option(f"--{name}", type=click.Choice([word.name.lower() for word in words]), help=text)


def said_by_arguments(values: Mapping[str, object], *, times: tuple[str, ...]) -> dict[str, object]:
    """Return what arguments say, as a line would; a time that is a number is one."""
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if value}
    for key in times:
        if str(said.get(key, "")).isdecimal():
            said[key] = int(str(said[key]))
    return said


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command was asked to say, and as whom."""

    community: str
    client: Path
    #: By its arguments; where there are lines, what those that do not say it otherwise say.
    values: Mapping[str, object]
    lines: BinaryIO | None
    rejects: Path | None
    as_json: bool


class Run(ABC, Generic[L]):
    """One run. Use `say`."""

    def __init__(self, kind: Kind, asked: Asked) -> None:
        """Nothing is opened yet. ``kind`` is of what is said."""
        self.kind = kind
        self.asked = asked
        self.tally = Tally(asked.as_json)
        self.settings: ClientConfig
        self.origin = ""
        self._lines: Lines | None = None
        #: What the arguments say, where there are no lines.
        self._one: L | None = None
        self._waits = False

    @abstractmethod
    def read(self, values: Mapping[str, Any]) -> L:
        """Return what an object says. Raises `ExchangeError`."""

    @abstractmethod
    async def say_bulk(
        self, client: ExchangeClient, publisher: Publisher, bulk: list[tuple[Given, L]], interruption: Interruption
    ) -> None:
        """Say several things, and tell what becomes of each; what is waited for, an ``interruption`` ends."""

    @property
    def of_lines(self) -> bool:
        """Whether many things are said."""
        return self.asked.lines is not None

    def say(self) -> None:
        """Say all there is, and exit accordingly."""
        lines = self.asked.lines
        if lines is None:
            self._one = self.read(self.asked.values)  # wrong arguments are told before anything is opened
            self._load()
            number = as_client(self.settings, self._job)
        else:
            with self.tally.of_source():
                self._load()
                refuse_own(lines, self.tally.refused.path)
                self._lines = Lines(lines.fileno())
                number = as_client(self.settings, self._job)
        self.tally.conclude(self._lines, number)

    def _load(self) -> None:
        self.settings = ClientConfig.load(self.asked.client)
        self.tally.refused = RejectFile(self.asked.rejects or self.settings.state / "rejects.jsonl")
        self.origin = origin_of(self.settings.exchange, self.asked.community)
        require_role(self.settings, self.asked.client, self.kind)

    async def _job(self, client: ExchangeClient, _: ClientConfig) -> int:
        """Say all there is; return the signal that ended it before that, or 0."""
        with Interruption(self._end) as interruption, suppress(Interrupted):
            async with await interruption.unless(client.open_publisher(self.origin)) as publisher:
                try:
                    await self._all(client, publisher, interruption)
                finally:
                    await self.tally.note_kept(publisher)
                    self.ended()
        return interruption.number

    def ended(self) -> None:
        """Put an end to what is shown while it runs."""

    def _end(self) -> None:
        if self._lines is not None:
            self._lines.stop()
        if self._waits:
            say_ending()

    async def _all(self, client: ExchangeClient, publisher: Publisher, interruption: Interruption) -> None:
        if publisher.left:
            say(f"{publisher.left} of an earlier run are sent first", err=True)
        self._waits = True
        await interruption.unless(self.tally.take_earlier(publisher), grace_s=GRACE_S)
        async for bulk in self._bulks():
            self.tally.begun = True
            await self.say_bulk(client, publisher, bulk, interruption)
        await interruption.unless(self.tally.give_back(publisher), grace_s=GRACE_S)

    async def _bulks(self) -> AsyncIterator[list[tuple[Given, L]]]:
        if self._one is not None:
            yield [(Given(dict(self.asked.values)), self._one)]
        if self._lines is not None:
            self._waits = False
            async for bulk in self._lines.bulks():
                self._waits = True
                yield [read for place, line in bulk if (read := self._read(place, line)) is not None]
                self._waits = False

    def _read(self, place: int, line: bytes) -> tuple[Given, L] | None:
        given = Given(line_of(line), place)
        try:
            check_length(line)
            return given, self.read({**self.asked.values, **object_of(given.said)})
        except ExchangeError as error:
            self.refuse(given, error)
            return None

    def refuse(self, given: Given, error: ExchangeError) -> None:
        """Note and tell what was refused; raise it where it is the one thing that was said."""
        if self._one is not None:
            raise error
        self.tally.refuse_one(given, error)
