"""``exchange publish``: signals from JSON lines into the ledger.

Whatever is not in the ledger is in one of three places, and what is printed last says how much is where: refused
lines are in the reject file, what is signed and has no receipt is in the outbox, and the rest was never taken from the
source.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from exchange.cli.connect import as_client, origin_of
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import MAX_LINE_BYTES, Lines, Source
from exchange.cli.naming import Naming
from exchange.cli.output import (
    REFUSED,
    client_option,
    community_option,
    emit,
    end_progress,
    json_option,
    say,
    say_progress,
)
from exchange.cli.refusals import refuse_own, rejects_option
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable
from exchange.normal.accounts import Account
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient, Outcome, Publisher, RejectFile, Said, Signal
from exchange_client.json_life import said_to_json
from exchange_client.json_lines import line_of, object_of
from exchange_client.jsonl import signal_and_accounts
from exchange_client.outbox import things_in

#: How long an interrupted run waits for receipts before it leaves what it has sent to the next one.
GRACE_S = 5.0
_NOTHING_TAKEN = "nothing was taken from the source"


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
    tally = _Tally(as_json=as_json)
    try:
        settings = ClientConfig.load(client_path)
        refused = RejectFile(rejects or settings.state / "rejects.jsonl")
        refuse_own(source, refused.path)
        run = _Run(tally, refused, Lines(source.fileno()), origin_of(settings.exchange, name), shorten)
        number = as_client(settings, run.job)
    except ExchangeError as error:
        if tally.begun:
            say(tally.summary, err=True)
        else:
            again = ", so run it again later" if isinstance(error, Unavailable) else ""
            error.hint = "; ".join(filter(None, [_NOTHING_TAKEN + again, error.hint]))
        raise
    _conclude(tally, refused, run.lines, number)


def _conclude(tally: _Tally, refused: RejectFile, lines: Lines, number: int) -> None:
    """Say what became of it all, and exit accordingly."""
    if tally.failed:
        say(f"{tally.failed} refused, see {refused.path}", err=True)
    if tally.kept and tally.why:
        say(f"{tally.kept} kept in the outbox: {tally.why}", err=True)
    if number:
        cut = ", and the last line, which had no end, was not taken" if lines.unfinished else ""
        say(f"interrupted: {tally.summary}{cut}", err=True)
        sys.exit(128 + number)
    if not tally.as_json:
        say(tally.summary)
    if tally.failed or tally.kept:
        sys.exit(REFUSED)


@dataclass(slots=True)
class _Tally:
    """Signals and lines, by what became of them."""

    as_json: bool
    #: Whether anything was taken from the source.
    begun: bool = False
    done: int = 0
    failed: int = 0
    #: In the outbox, without a receipt.
    kept: int = 0
    #: What kept the last of them there, where it was refused.
    why: str = ""

    @property
    def summary(self) -> str:
        kept = f", {self.kept} kept in the outbox, which the next run sends first" if self.kept else ""
        return f"{self.done} in the ledger, {self.failed} refused{kept}"


@dataclass(slots=True)
class _Run:
    """One run of the command."""

    tally: _Tally
    refused: RejectFile
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
                    with suppress(ExchangeError):
                        self.tally.kept = sum(map(things_in, await publisher.outbox.pending()))
                    end_progress()
        return interruption.number

    def _end(self) -> None:
        self.lines.stop()
        if self.waits:
            say(f"ending: waits {GRACE_S:.0f} s for receipts; interrupt again to end at once", err=True)

    async def _all(self, publisher: Publisher, interruption: Interruption) -> None:
        if publisher.left:
            say(f"{publisher.left} of an earlier run are sent first", err=True)
            self.waits = True
        await interruption.unless(self._earlier(publisher), grace_s=GRACE_S)
        self.waits = False
        async for bulk in self.lines.bulks():
            self.tally.begun = self.waits = True
            await interruption.unless(self._publish(publisher, bulk), grace_s=GRACE_S)
            self.waits = False
            say_progress(f"{self.tally.done:,} in the ledger, {self.tally.failed:,} refused")

    async def _earlier(self, publisher: Publisher) -> None:
        async for outcomes in publisher.earlier():
            for outcome in outcomes:
                if isinstance(outcome, Said):
                    self._take_said(outcome)
                else:
                    self._take(outcome, None)

    def _take_said(self, said: Said) -> None:
        """Count and tell what became of something else that an earlier run has said."""
        if said.receipt is not None:
            self.tally.done += 1
            if self.tally.as_json:
                emit(said_to_json(said) | {"earlier": True}, as_json=True)
        elif said.kept and said.error is not None:
            self.tally.why = said.error.message
        else:
            self._refuse(said_to_json(said), said.error)

    async def _publish(self, publisher: Publisher, lines: Sequence[bytes]) -> None:
        # One moment for all: signals whose expiry is the same travel in one statement.
        now = wall_ms()
        read: list[dict[str, object] | str] = []
        drafts: list[tuple[Signal, tuple[Account, ...]]] = []
        for line in lines:
            given = line_of(line)
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise Rejected(Reason.TOO_LARGE, f"a line may have {MAX_LINE_BYTES:,} bytes")
                drafts.append(signal_and_accounts(object_of(given), now_ms=now))
            except ExchangeError as error:
                self._refuse(given, error)
            else:
                read.append(given)
        signals: list[Signal] = []
        of_signals: list[dict[str, object] | str] = []
        for given, named in zip(read, await self.naming.named(drafts), strict=True):
            if isinstance(named, ExchangeError):
                self._refuse(given, named)
            else:
                signals.append(named)
                of_signals.append(given)
        if signals:
            await publisher.publish(signals, tell=lambda place, outcome: self._take(outcome, of_signals[place]))

    def _refuse(self, given: dict[str, object] | str, error: ExchangeError | None) -> None:
        self.refused.write_line(given, error)
        self.tally.failed += 1

    def _take(self, outcome: Outcome, given: dict[str, object] | str | None) -> None:
        """Count and tell what became of a signal; ``given`` is its line, None for one of an earlier run."""
        if outcome.receipt is None or outcome.signal_id is None:
            if outcome.kept and outcome.error is not None:
                self.tally.why = outcome.error.message
                return
            if given is None:
                self.refused.write(outcome)
                self.tally.failed += 1
            else:
                self._refuse(given, outcome.error)
            return
        self.tally.done += 1
        if self.tally.as_json:
            emit(
                {
                    "signal_id": outcome.signal_id.hex(),
                    "index": outcome.receipt.index,
                    "case_ref": outcome.signal.case_ref,
                    "repeated": outcome.receipt.repeated,
                    "earlier": given is None,
                },
                as_json=True,
            )
