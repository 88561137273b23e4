"""What became of what a command was given, line by line: told, counted, and kept where it was refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from exchange.cli.lines import Lines
from exchange.cli.output import REFUSED, emit, end_progress, say
from exchange.domain.bodies import AboutSignals, Acknowledgement, Quarantine, Release
from exchange.errors import ExchangeError, InvalidStatement, Unavailable
from exchange_client import Outcome, Publisher, RejectFile, Said
from exchange_client.json_life import said_to_json
from exchange_client.outbox import things_in

#: How long an interrupted run waits for receipts before it leaves what it has sent to the next one.
GRACE_S = 5.0
#: So many refused lines of a run are told with their reasons, where people read; the rest is counted.
SHOWN = 3
_NOTHING_TAKEN = "nothing was taken from the source"


@dataclass(frozen=True, slots=True)
class Given:
    """What was given to be said."""

    #: The object in a line, or its text where there is none in it.
    said: dict[str, object] | str
    #: The line's place in its source, counted from 1; 0 where arguments said it, or an earlier run.
    place: int = 0


@dataclass(slots=True)
class Tally:
    """Signals, and other things that were said, by what became of them."""

    as_json: bool
    refused: RejectFile = field(init=False)
    #: Whether anything was taken from what was given.
    begun: bool = False
    done: int = 0
    failed: int = 0
    #: In the outbox, without a receipt.
    kept: int = 0
    #: What kept the last of them there, where it was refused.
    why: str = ""
    _shown: int = 0

    @property
    def summary(self) -> str:
        """How much is where."""
        kept = f", {self.kept} kept in the outbox, which the next run sends first" if self.kept else ""
        return f"{self.done} in the ledger, {self.failed} refused{kept}"

    @contextmanager
    def of_source(self) -> Iterator[None]:
        """Say with an error that ends it all what had become of what by then."""
        try:
            yield
        except ExchangeError as error:
            if self.begun:
                say(self.summary, err=True)
            else:
                again = ", so run it again later" if isinstance(error, Unavailable) else ""
                error.hint = "; ".join(filter(None, [_NOTHING_TAKEN + again, error.hint]))
            raise

    def refuse(self, given: Given, error: ExchangeError | None) -> None:
        """Note a line that was refused."""
        self.refused.write_line(given.said, error)
        self.failed += 1

    def refuse_line(self, given: Given, error: ExchangeError | None) -> None:
        """Note a line that was refused, of a source that may have many such; tell people of the first few."""
        self.refuse(given, error)
        if self.as_json or error is None or self._shown > SHOWN:
            return
        self._shown += 1
        end_progress()
        if self._shown > SHOWN:
            say("what else is refused is counted only", err=True)
            return
        _say_refusal(given, error)
        if error.hint:
            say(f"  hint: {error.hint}", err=True)

    def take(self, outcome: Outcome, given: Given | None = None) -> None:
        """Count and tell what became of a signal; ``given`` is its line, None for one of an earlier run."""
        if outcome.receipt is None or outcome.signal_id is None:
            if outcome.kept and outcome.error is not None:
                self.why = outcome.error.message
                return
            if given is None:
                self.refused.write(outcome)
                self.failed += 1
            else:
                self.refuse_line(given, outcome.error)
            return
        self.done += 1
        if self.as_json:
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

    async def take_earlier(self, publisher: Publisher) -> None:
        """Count and tell what became of what an earlier run left."""
        async for outcomes in publisher.earlier():
            for outcome in outcomes:
                if isinstance(outcome, Said):
                    self.take_said(outcome, earlier=True)
                else:
                    self.take(outcome)

    async def give_back(self, publisher: Publisher) -> None:
        """Wait until what the hub has lost of ours was sent again, as far as it is here; tell how much that was."""
        await publisher.giving_back.looked()
        if given := publisher.giving_back.given:
            say(f"{given} sent again, whose records the hub had lost", err=True)

    async def note_kept(self, publisher: Publisher) -> None:
        """Count what is in the outbox without a receipt, where that can be told."""
        with suppress(ExchangeError):
            self.kept = sum(map(things_in, await publisher.outbox.pending()))

    def take_said(self, said: Said, *, earlier: bool) -> None:
        """Count and tell what became of something else that was said."""
        data = said_to_json(said)
        if said.receipt is not None:
            self.done += 1
            line = f"{in_words(said)}: entry {said.receipt.index}"
            # Other commands ask for it.
            line += f", id {said.id.hex()}" if said.id is not None else ""
            emit(data | {"earlier": earlier}, as_json=self.as_json, lines=[line])
        elif said.kept and said.error is not None:
            self.why = said.error.message
        else:
            self.refuse_one(Given(data), said.error)

    def refuse_one(self, given: Given, error: ExchangeError | None) -> None:
        """Note what was refused, and tell why: where what becomes of each thing is told."""
        self.refuse(given, error)
        if error is None:
            return
        why: dict[str, object] = {"reason": error.reason.value, "message": error.message}
        if isinstance(error, InvalidStatement):
            why["violations"] = [f"{each.field}: {each.description}" for each in error.violations]
        if self.as_json:
            line = given.said if isinstance(given.said, dict) else {"line": given.said}
            emit(line | {"error": why}, as_json=True)
        else:
            _say_refusal(given, error)

    def conclude(self, lines: Lines | None, number: int) -> None:
        """Say what became of it all, and exit accordingly; ``number`` is the signal that ended it, or 0."""
        if self.failed:
            say(f"{self.failed} refused, see {self.refused.path}", err=True)
        if self.kept and self.why:
            say(f"{self.kept} kept in the outbox: {self.why}", err=True)
        if number:
            unfinished = lines is not None and lines.unfinished
            cut = ", and the last line, which had no end, was not taken" if unfinished else ""
            say(f"interrupted: {self.summary}{cut}", err=True)
            sys.exit(128 + number)
        if not self.as_json:
            say(self.summary)
        if self.failed or self.kept:
            sys.exit(REFUSED)


def _say_refusal(given: Given, error: ExchangeError) -> None:
    where = f"line {given.place}: " if given.place else ""
    say(where + error.message, mark=("refused: ", "red"), err=True)


def say_ending() -> None:
    """Say what a signal has begun."""
    say(f"ending: waits {GRACE_S:.0f} s for receipts; interrupt again to end at once", err=True)


def in_words(said: Said) -> str:
    """Return what was said in a few words."""
    name = str(said_to_json(said).get("kind", "statement"))
    body = said.body
    if isinstance(body, Quarantine | Release):
        return f"{name} of {body.member}"
    if isinstance(body, Acknowledgement):
        return f"{name} through entry {body.processed_through}"
    if isinstance(body, AboutSignals):
        return f"{name} of {len(body.targets)} signal{'s' * (len(body.targets) != 1)}"
    return name
