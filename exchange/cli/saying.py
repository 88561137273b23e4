"""What is said about signals from a command line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from exchange.cli.connect import origin_of
from exchange.cli.cosigning import write_to_sign
from exchange.cli.interruption import Interruption
from exchange.cli.output import emit
from exchange.cli.speaking import Asked, Run
from exchange.cli.tally import GRACE_S, Given
from exchange.domain.bodies import Quarantine, Release
from exchange.domain.kinds import Kind
from exchange.errors import ExchangeError
from exchange_client import ClientConfig, Distrusted, ExchangeClient, Publisher
from exchange_client.json_life import LifeLine, life_from_json, said_to_json
from exchange_client.proposals import Written
from exchange_client.statements import in_parts


def say_of_signals(kind: Kind, asked: Asked, to_sign: Path | None) -> None:
    """Say it, or write it for other operators to sign; exit accordingly."""
    if to_sign is None:
        _Run(kind, asked).say()
    elif asked.lines is not None:
        raise click.UsageError("--to-sign takes one thing, by arguments")
    else:
        _write(kind, asked, to_sign)


def _write(kind: Kind, asked: Asked, path: Path) -> None:
    said = life_from_json(asked.values, kind)
    if said.case_ref:
        raise click.UsageError("--to-sign takes signal ids: a case is known to its publisher alone")
    settings = ClientConfig.load(asked.client)
    origin = origin_of(settings.exchange, asked.community)
    body = said.body
    parts = [body] if isinstance(body, Quarantine | Release) else list(in_parts(body))
    write_to_sign(settings, path, [Written(origin, part) for part in parts], as_json=asked.as_json)


class _Run(Run[LifeLine]):
    """One run of a command."""

    def read(self, values: Mapping[str, Any]) -> LifeLine:
        return life_from_json(values, self.kind)

    async def say_bulk(
        self,
        client: ExchangeClient,  # noqa: ARG002 - not asked for anything
        publisher: Publisher,
        bulk: list[tuple[Given, LifeLine]],
        interruption: Interruption,
    ) -> None:
        await interruption.unless(self._bulk(publisher, bulk), grace_s=GRACE_S)

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
        saying = [asyncio.ensure_future(self._say(publisher, given, said)) for given, said in many]
        try:
            await asyncio.gather(*saying)
        finally:
            for task in saying:
                task.cancel()
            await asyncio.gather(*saying, return_exceptions=True)

    async def _say(self, publisher: Publisher, given: Given, line: LifeLine) -> None:
        body = line.body
        try:
            if isinstance(body, Quarantine | Release):
                said = [await publisher.try_to_say(body)]
            else:
                said = await publisher.say_of(body, line.case_ref)
        except Distrusted:
            raise  # nothing is wrong with the line, which is in the outbox
        except ExchangeError as error:
            self.refuse(given, error)
            return
        if not said:
            nothing = {"kind": self.kind.name.lower(), "case_ref": line.case_ref, "index": None}
            text = f"nothing of case {line.case_ref} is left to say this of"
            emit(nothing, as_json=self.asked.as_json, lines=[text])
        for each in said:
            if each.error is None or each.kept:
                self.tally.take_said(each, earlier=False)
            else:
                # Where all of it was refused, its line says it as it was given.
                self.refuse(given if len(said) == 1 else replace(given, said=said_to_json(each)), each.error)


def _about(said: LifeLine) -> set[object]:
    """Return what something is said of: two such things are not said at the same time."""
    if isinstance(said.body, Quarantine | Release):
        return {said.body.member}
    about: set[object] = {*said.body.targets}
    return about | {said.case_ref} if said.case_ref else about
