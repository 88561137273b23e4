"""The logs this hub serves, as the servicers see them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exchange.domain.policy import Sight, Workload, may_subscribe, require_open
from exchange.errors import Reason, Rejected, Unavailable
from exchange.fanout.tail import Tail
from exchange.ledger.note import Verifier
from exchange.ports import History, LogStore, ProposalBook, Referrals, Reports
from exchange.publish.intake import Intake
from exchange.publish.sequencer import Sequencer
from exchange.publish.signatures import Signatures
from exchange.publish.turns import Turns
from exchange.publish.waiting import Receipt
from exchange.views.directory import DirectoryView
from exchange.views.life import LifeView


@dataclass(frozen=True, slots=True)
class Folds:
    """What follows a community's log."""

    life: LifeView
    reports: Reports
    referrals: Referrals
    #: Looks at so many bare entries of a publisher (`exchange.views.lost`), from an index on: returns those that are
    #: lost, and where to look on, zero where these were all.
    lost: Callable[[str, int, int], Awaitable[tuple[Sequence[int], int]]]


@dataclass(frozen=True, slots=True)
class Log:
    """One open log: its two halves, and the store between them."""

    origin: str
    verifier: Verifier
    store: LogStore
    history: History
    sequencer: Sequencer
    tail: Tail
    #: None for the directory.
    folds: Folds | None = None

    @property
    def of_community(self) -> Folds:
        """What follows a community's log. Raises `Rejected` (WRONG_ORIGIN) for the directory, which has none of it."""
        if self.folds is None:
            raise Rejected(Reason.WRONG_ORIGIN, "the directory has no such thing: name a community")
        return self.folds

    async def up_to_date(self) -> Folds:
        """Return what follows a community's log once it has read all that is sealed now.

        Raises `Unavailable`, and as `of_community`.
        """
        folds = self.of_community
        await folds.life.caught_up()
        await folds.life.reached((await self.store.head()).sealed.size)
        return folds


@dataclass(frozen=True, slots=True)
class Hub:
    """What every servicer works on. ``logs`` grows when a community is created."""

    view: DirectoryView
    intake: Intake
    signatures: Signatures
    logs: Mapping[str, Log]
    #: What waits here for operators' signatures.
    proposals: ProposalBook
    #: The event loop, which whoever publishes and whoever reads the ledger take in turns.
    turns: Turns = field(default_factory=lambda: Turns(time.monotonic))

    def log_to_read(self, workload: Workload, origin: str, now_ms: int) -> tuple[Log, Sight]:
        """Return a log and what the workload may see of it. Raises `Denied`, also for a log that is not there.

        Raises `Unavailable` while a new community is being opened, and `Rejected` where a log was lost and closed.
        """
        sight = may_subscribe(self.view.directory, workload, origin, now_ms=now_ms)
        log = self.logs.get(origin)
        if log is None:
            require_open(self.view.directory, origin)
            raise Unavailable("this log is not open on this hub", retry_after_ms=1_000)
        return log, sight

    def log_to_write(self, origin: str) -> Log:
        """Return the log of a checked statement. Raises `Unavailable` while a new community is being opened."""
        log = self.logs.get(origin)
        if log is None:
            raise Unavailable("this log is not open on this hub", retry_after_ms=1_000)
        return log

    def counts(self, receipt: Receipt) -> bool:
        """Whether a committed statement counts: a directory statement does when the view has taken it."""
        directory = self.view.directory
        return receipt.origin != directory.origin or receipt.index < directory.size

    async def in_force(self, receipt: Receipt) -> None:
        """Return once a committed statement counts."""
        if not self.counts(receipt):
            await self.view.reached(receipt.index + 1)
