"""``exchange publish``: signals from JSON lines into the ledger.

Whatever is not in the ledger is in one of three places, and what is printed last says how much is where: refused
lines are in the reject file, what is signed and has no receipt is in the outbox, and the rest was never taken from the
source.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from exchange.cli.connect import as_client, origin_of, require_role
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import Lines, Source, check_length
from exchange.cli.naming import Naming
from exchange.cli.output import (
    client_option,
    community_option,
    end_progress,
    json_option,
    say,
    say_progress,
)
from exchange.cli.refusals import refuse_own, rejects_option
from exchange.cli.tally import GRACE_S, Given, Tally, say_ending
from exchange.domain.kinds import Kind
from exchange.errors import ExchangeError
from exchange.normal.accounts import Account
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient, Publisher, RejectFile, Signal
from exchange_client.json_lines import line_of, object_of
from exchange_client.jsonl import signal_and_accounts


@click.command()
@click.argument("source", type=Source(), default="-")
@community_option
@client_option
@rejects_option
@click.option("--shorten", is_flag=True, help="Let a signal that names accounts end with its key epoch at the latest.")
@json_option
def publish(
    source: BinaryIO, name: str, client_path: Path, rejects: Path | None, *, shorten: bool, as_json: bool
) -> None:
    """Publish signals, one JSON object a line, from SOURCE (a file, or - for standard input).

    Every line is checked before anything is signed; refused lines go to the rejects file and the rest goes on. What is
    acknowledged is in the ledger: the receipt's proof has been verified. What is interrupted is sent by the next run,
    before anything else. Without a hub at the start, nothing is taken from SOURCE (3); later, a hub that is away is
    waited for. Ctrl-C or SIGTERM finishes what was read, or keeps it, and ends with 130 or 143.

    \b
    A line:
      {"label": "harassment_targeted", "indicators": [{"type": "pdq", "value": "<64 hex>"}],
       "expires_in_days": 30, "case_ref": "T-1042"}
    or one of a rejects file, whose `line` was mended.
    One that names accounts, of which nobody but you sees the identifier:
      {"label": "misleading_scam", "accounts": [{"type": "email", "value": "someone@example.org"}],
       "expires_in_days": 30}
    Examples:
      exchange publish signals.jsonl --community uk-elections --client alpha/pipeline/client.toml
      my-pipeline | exchange publish - --community uk-elections --client alpha/pipeline/client.toml --json
    """
    tally = Tally(as_json)
    with tally.of_source():
        settings = ClientConfig.load(client_path)
        require_role(settings, client_path, Kind.SIGNAL)
        tally.refused = RejectFile(rejects or settings.state / "rejects.jsonl")
        refuse_own(source, tally.refused.path)
        run = _Run(tally, Lines(source.fileno()), origin_of(settings.exchange, name), shorten)
        number = as_client(settings, run.job)
    tally.conclude(run.lines, number)


@dataclass(slots=True)
class _Run:
    """One run of the command."""

    tally: Tally
    lines: Lines
    origin: str
    shorten: bool
    #: Whether receipts are waited for.
    waits: bool = False
    naming: Naming = field(init=False)

    async def job(self, client: ExchangeClient, _: ClientConfig) -> int:
        """Publish all there is; return the signal that ended it before the source did, or 0."""
        with Interruption(self._end) as interruption, suppress(Interrupted):
            async with (
                AsyncExitStack() as closing,
                await interruption.unless(client.open_publisher(self.origin)) as publisher,
            ):
                self.naming = Naming(client, self.origin, closing, shorten=self.shorten)
                try:
                    await self._all(publisher, interruption)
                finally:
                    await self.tally.note_kept(publisher)
                    end_progress()
        return interruption.number

    def _end(self) -> None:
        self.lines.stop()
        if self.waits:
            say_ending()

    async def _all(self, publisher: Publisher, interruption: Interruption) -> None:
        if publisher.left:
            say(f"{publisher.left} of an earlier run are sent first", err=True)
            self.waits = True
        await interruption.unless(self.tally.take_earlier(publisher), grace_s=GRACE_S)
        self.waits = False
        async for bulk in self.lines.bulks():
            self.tally.begun = self.waits = True
            await interruption.unless(self._publish(publisher, bulk), grace_s=GRACE_S)
            self.waits = False
            say_progress(f"{self.tally.done:,} in the ledger, {self.tally.failed:,} refused")
        await interruption.unless(self.tally.give_back(publisher), grace_s=GRACE_S)

    async def _publish(self, publisher: Publisher, bulk: Sequence[tuple[int, bytes]]) -> None:
        # One moment for all: signals whose expiry is the same travel in one statement.
        now = wall_ms()
        read: list[Given] = []
        drafts: list[tuple[Signal, tuple[Account, ...]]] = []
        for place, line in bulk:
            given = Given(line_of(line), place)
            try:
                check_length(line)
                drafts.append(signal_and_accounts(object_of(given.said), now_ms=now))
            except ExchangeError as error:
                self.tally.refuse_line(given, error)
            else:
                read.append(given)
        signals: list[Signal] = []
        of_signals: list[Given] = []
        for given, named in zip(read, await self.naming.named(drafts), strict=True):
            if isinstance(named, ExchangeError):
                self.tally.refuse_line(given, named)
            else:
                signals.append(named)
                of_signals.append(given)
        if signals:
            await publisher.publish(signals, tell=lambda at, outcome: self.tally.take(outcome, of_signals[at]))
