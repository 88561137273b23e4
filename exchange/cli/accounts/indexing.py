"""``exchange accounts index``: a platform's accounts from a file or pipe into its indices, once for each key epoch."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from exchange.cli.accounts.gauge import Gauge
from exchange.cli.accounts.places import folder_of, index_option
from exchange.cli.connect import as_client, origin_of
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import Lines, Source
from exchange.cli.output import REFUSED, client_option, community_option, emit, end_progress, json_option, say
from exchange.cli.refusals import refuse_own, rejects_option
from exchange.errors import OverQuota
from exchange_client import AccountIndexes, ClientConfig, ExchangeClient, Own, Progress, RejectFile
from exchange_client.account_sources import AccountLines, Refused

#: How long an interrupted run waits for what has been sent: it is paid for.
GRACE_S = 10.0


@click.command()
@click.argument("source", type=Source(), metavar="FILE")
@community_option
@client_option
@index_option
@click.option(
    "--epoch",
    "epochs",
    type=click.IntRange(min=1),
    multiple=True,
    help="Under this live key epoch only. Repeat for more. Default: under each live one.",
)
@click.option(
    "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="That blind and unblind, an epoch."
)
@rejects_option
@json_option
def index(
    source: BinaryIO,
    name: str,
    client_path: Path,
    folder: Path | None,
    epochs: tuple[int, ...],
    processes: int,
    rejects: Path | None,
    *,
    as_json: bool,
) -> None:
    """Index a platform's own accounts from FILE (or - for standard input), so that signals can be held against them.

    FILE is CSV, its first line naming the columns, or JSON lines: an identifier a line (`reference`, `type`, `value`),
    or an account a line, its identifiers under their types. `reference` is your own name for the account, and tells
    others nothing; `country` (such as GB) is for telephone numbers without +. Other columns and keys are ignored.

    Each identifier costs one evaluation for each live key epoch, and is never evaluated again: what is interrupted goes
    on when it is run again, and a later run with more accounts evaluates the new ones alone. When the budget is used up
    (3), what is done stays, and the rest is for tomorrow. Lines that are refused go to the rejects file with the
    reason, the identifier in them, for your eyes only; the rest goes on (1). Ctrl-C or SIGTERM keeps what was sent, and
    ends with 130 or 143.

    \b
    Lines:
      reference,email,phone                                        (CSV, an account a line)
      u1042,someone@example.org,+442079460018
      {"reference": "u1042", "type": "handle", "value": "@someone"}
    Examples:
      exchange accounts index accounts.csv --community uk-elections --client beta/pipeline/client.toml
      my-export | exchange accounts index - --community uk-elections --client beta/pipeline/client.toml
    """
    settings = ClientConfig.load(client_path)
    refused = RejectFile(rejects or settings.state / "accounts-rejects.jsonl")
    refuse_own(source, refused.path)
    run = _Run(Lines(source.fileno()), refused, origin_of(settings.exchange, name), epochs, processes)
    with closing(AccountIndexes(folder_of(settings, folder))) as indexes:
        run.indexes = indexes
        try:
            number = as_client(settings, run.job)
        except OverQuota as error:
            hours = error.retry_after_ms / 3_600_000
            error.hint = (
                f"{run.progress.left:,} evaluations are left: run it again in {hours:.1f} h; what is done stays"
            )
            run.tell(as_json=as_json)
            raise
        finally:
            if run.refused_lines:
                say(f"{run.refused_lines:,} refused, see {refused.path}", err=True)
    run.tell(as_json=as_json)
    if number:
        sys.exit(128 + number)
    if run.refused_lines:
        sys.exit(REFUSED)


@dataclass(slots=True)
class _Run:
    """One run of the command."""

    lines: Lines
    refused: RejectFile
    origin: str
    epochs: tuple[int, ...]
    processes: int
    indexes: AccountIndexes = field(init=False)
    progress: Progress = field(default_factory=Progress)
    refused_lines: int = 0
    #: Identifiers that the source has given so far.
    drawn: int = 0
    #: Whether we were asked to end.
    interrupted: bool = False

    async def job(self, client: ExchangeClient, _: ClientConfig) -> int:
        """Index all there is; return the signal that ended it before the source did, or 0."""
        with Interruption(self._end) as interruption, suppress(Interrupted):
            try:
                await interruption.unless(self._all(client), grace_s=GRACE_S)
            finally:
                end_progress()
        return interruption.number

    def _end(self) -> None:
        self.interrupted = True
        self.lines.stop()
        say("ending: keeps what has been sent; interrupt again to end at once", err=True)

    async def _all(self, client: ExchangeClient) -> None:
        gauge = Gauge(self._whole, time.monotonic)

        def take(progress: Progress) -> None:
            self.progress = progress
            gauge.show(progress)

        async with client.pseudonyms(self.origin, processes=self.processes) as making:
            await self.indexes.add(making, self._accounts(), take, epochs=self.epochs)

    async def _accounts(self) -> AsyncIterator[Own]:
        reader = AccountLines()
        async for bulk in self.lines.bulks():
            for _, line in bulk:
                if self.interrupted:
                    return
                for found in reader.read(line):
                    if isinstance(found, Refused):
                        self.refused_lines += 1
                        self.refused.write_line(found.line, found.error)
                    else:
                        self.drawn += 1
                        yield found

    def _whole(self) -> float | None:
        """Return how many identifiers there will be, judged by the bytes that are read; None for a pipe."""
        about = os.fstat(self.lines.descriptor)
        if not stat.S_ISREG(about.st_mode) or not self.lines.taken:
            return None
        return self.drawn * about.st_size / self.lines.taken

    def tell(self, *, as_json: bool) -> None:
        """Print what became of it all."""
        done = self.progress
        data = {
            "read": done.read,
            "evaluated": done.evaluated,
            "refused": self.refused_lines,
            "left": done.left,
            "interrupted": self.interrupted,
        }
        ended = "interrupted: " if self.interrupted else ""
        told = f"{ended}{done.read:,} identifiers read, {done.evaluated:,} evaluated, {self.refused_lines:,} refused"
        emit(data, as_json=as_json, lines=[told])
