"""``exchange publish``: signals from JSON lines into the ledger.

Whatever is not in the ledger is in one of three places, and what is printed last says how much is where: refused
lines are in the reject file, what is signed and has no receipt is in the outbox, and the rest was never taken from the
source.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from exchange.cli.connect import as_client, origin_of
from exchange.cli.interruption import Interrupted, Interruption
from exchange.cli.lines import Lines
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
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable
from exchange.process import wall_ms
from exchange_client import ClientConfig, ExchangeClient, Outcome, Publisher, RejectFile, Signal, reject
from exchange_client.jsonl import signal_from_json

#: How long an interrupted run waits for receipts before it leaves what it has sent to the next one.
GRACE_S = 5.0
#: How deep a line may be nested; a signal has four levels.
_LEVELS = 16
_NOTHING_TAKEN = "nothing was taken from the source"


@click.command()
@click.argument("source", type=click.File("rb"), default="-")
@community_option
@client_option
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where refused lines go, with the reasons. Default: next to the state.",
)
@json_option
def publish(source: BinaryIO, name: str, client_path: Path, rejects: Path | None, *, as_json: bool) -> None:
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
    Examples:
      exchange publish signals.jsonl --community uk-elections --client alpha/pipeline/client.toml
      my-pipeline | exchange publish - --community uk-elections --client alpha/pipeline/client.toml --json
    """
    tally = _Tally(as_json=as_json)
    try:
        settings = ClientConfig.load(client_path)
        refused = RejectFile(rejects or settings.state / "rejects.jsonl")
        _refuse_own(source, refused.path)
        run = _Run(tally, refused, Lines(source.fileno()), origin_of(settings.exchange, name))
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


def _refuse_own(source: BinaryIO, rejects: Path) -> None:
    """Stop before a file is read that its own refused lines are appended to."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(source.fileno()), rejects.stat()):
            raise click.UsageError("what is refused goes to this very file: move it first, and publish the moved one")


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
    #: Whether receipts are waited for.
    waits: bool = False

    async def job(self, client: ExchangeClient, _: ClientConfig) -> int:
        """Publish all there is; return the signal that ended it before the source did, or 0."""
        with Interruption(self._end) as interruption, suppress(Interrupted):
            async with await interruption.unless(client.open_publisher(self.origin)) as publisher:
                try:
                    await self._all(publisher, interruption)
                finally:
                    with suppress(ExchangeError):
                        self.tally.kept = sum(len(s.records) for s in await publisher.outbox.pending())
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
                self._take(outcome, None)

    async def _publish(self, publisher: Publisher, lines: Sequence[bytes]) -> None:
        signals: list[Signal] = []
        read: list[dict[str, object] | str] = []
        # One moment for all: signals whose expiry is the same travel in one statement.
        now = wall_ms()
        for line in lines:
            given = line_of(line)
            try:
                signals.append(signal_of(given, now))
            except ExchangeError as error:
                self.refused.write_line(given, error)
                self.tally.failed += 1
            else:
                read.append(given)
        if signals:
            await publisher.publish(signals, tell=lambda place, outcome: self._take(outcome, read[place]))

    def _take(self, outcome: Outcome, given: dict[str, object] | str | None) -> None:
        """Count and tell what became of a signal; ``given`` is its line, None for one of an earlier run."""
        if outcome.receipt is None or outcome.signal_id is None:
            if outcome.kept and outcome.error is not None:
                self.tally.why = outcome.error.message
                return
            if given is None:
                self.refused.write(outcome)
            else:
                self.refused.write_line(given, outcome.error)
            self.tally.failed += 1
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


def line_of(line: bytes) -> dict[str, object] | str:
    """Return what a line gives: the object in it, or the text of what is none.

    A line of a reject file gives what stands under its `line`.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        # Told apart from what it would be with its bytes escaped: that may be a signal of another text.
        return "not UTF-8: " + line.decode(errors="backslashreplace").rstrip("\r\n")
    data = _object(text)
    if data is not None and data.keys() == reject.KEYS:
        inner = data["line"]
        text = inner if isinstance(inner, str) else json.dumps(inner)
        data = _object(text)
    return text.rstrip("\r\n") if data is None else data


def _object(text: str) -> dict[str, object] | None:
    with suppress(ValueError, RecursionError):
        data = _json(text)
        return data if isinstance(data, dict) else None
    return None


def _json(text: str) -> object:
    """Return the value in a text. Raises ValueError, also for its depth, and for numbers that are Python's only."""

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is no number")

    value = json.loads(text, parse_constant=refuse)
    if not _is_plain(value, _LEVELS):
        raise ValueError("nested too deep, or a number too large")
    return value


def _is_plain(value: object, levels: int) -> bool:
    """Whether a value is nested no deeper than that, and can be written as JSON again."""
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_plain(each, levels - 1) for each in inner)


def signal_of(given: dict[str, object] | str, now_ms: int) -> Signal:
    """Return the signal that a line gives. Raises `Rejected`."""
    if isinstance(given, dict):
        return signal_from_json(given, now_ms=now_ms)
    try:
        _json(given)
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"not JSON: {error}") from error
    raise Rejected(Reason.MALFORMED, "not a JSON object, or no UTF-8")
