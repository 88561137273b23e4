"""Giving a hub back what it has lost: records of ours, whose entries came back to it from somebody's leaves.

The hub is asked which they are: when a publisher opens, and whenever its stream has broken off, which is how a loss
begins. What is still in the outbox is sent again, some at a time; the hub holds it against the ids in its ledger.

A statement whose every signal was erased from this same state stays here, whatever a hub says. Of one with others, all
records are sent, for they cannot be cut out of it; and what was erased from elsewhere is not known here. There the hub
goes by its ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from exchange.domain.statement import Statement
from exchange.errors import ExchangeError, Unavailable
from exchange_client.backoff import Backoff
from exchange_client.in_flight import end_of
from exchange_client.outbox import Outbox
from exchange_client.verify import Distrusted

_LOG = logging.getLogger("exchange_client")
#: Statements that are sent again at one time.
AT_ONCE = 64
#: A hub that has just started reads its log first; after so many tries nobody waits for the answer any longer.
PATIENCE = 5


class GivingBack:
    """For one publisher, as long as it is open."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Sequence[int]]],
        outbox: Outbox,
        send: Callable[[Sequence[Statement]], Awaitable[None]],
    ) -> None:
        """``ask`` returns the places of what the hub has lost; ``send`` returns when all of it is answered."""
        self._ask = ask
        self._outbox = outbox
        self._send = send
        self._due = asyncio.Event()
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: How many statements have been sent again.
        self.given = 0

    def start(self) -> None:
        """Ask now; an outbox that never holds records does not."""
        if self._outbox.part:
            self._looked.set()
        else:
            self._task = asyncio.create_task(self._run())

    def look_again(self) -> None:
        """Ask once more, as soon as there is a hub."""
        self._due.set()

    async def looked(self) -> None:
        """Return when all that the hub had lost has been sent again and answered, or no hub could tell."""
        await self._looked.wait()

    async def aclose(self) -> None:
        """Stop. What is not given back then is the next publisher's to give."""
        if self._task is not None:
            self._task.cancel()
            await end_of(self._task)

    async def _run(self) -> None:
        backoff = Backoff()  # silent: whoever publishes says that the hub is away
        tries = 0
        while True:
            self._due.clear()
            try:
                await self._give()
            except Unavailable as error:
                tries += 1
                if tries >= PATIENCE:
                    self._looked.set()
                await backoff.wait(error.retry_after_ms / 1000)
                continue
            except ExchangeError as error:
                # An older hub does not know the question; whoever is suspended gives nothing back.
                level = logging.ERROR if isinstance(error, Distrusted) else logging.INFO
                _LOG.log(level, "no records are given back: %s", error.diagnostics())
            self._looked.set()
            tries = 0
            backoff.reset()
            await self._due.wait()

    async def _give(self) -> None:
        lost = await self._ask()
        if not lost:
            return
        ids = await self._outbox.receipted(lost)
        given = 0
        for at in range(0, len(ids), AT_ONCE):
            statements = await self._outbox.statements(ids[at : at + AT_ONCE])
            await self._send(statements)
            given += len(statements)
        self.given += given
        _LOG.warning(
            "the hub has lost the records of %d statements of ours: %d were sent again, %d are not in this outbox",
            len(lost),
            given,
            len(lost) - given,
        )
