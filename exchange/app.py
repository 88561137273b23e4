"""The composition root: one function opens everything in order, runs it, and takes it down in reverse.

Start: directory log -> its view -> communities -> guard and services -> ports -> ready. What runs is one task group:
the directory's view and the keeper of its snapshots; a sequencer and a tail for each log; for each community the fold
of its life, the eraser and, where it may speak, the automation; what opens communities that come; the watcher that cuts
streams; the archiver; what follows the TLS files; what asks the signature process; and the HTTP ports. SIGTERM drains:
not ready, feeds say where to go on, calls finish, logs close. A second one does not wait. A log whose sequencer stops
takes the hub out of readiness; its feeds and proofs are served on.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial

import structlog
from msgspec.structs import asdict, astuple
from starlette.applications import Starlette

from exchange import __version__, process
from exchange.api import ops as ops_api
from exchange.api import server
from exchange.api.guard import Bounds, Guard
from exchange.api.logs import Folds, Hub, Log
from exchange.api.tls import Trust
from exchange.automation import Automation, Speaker
from exchange.communities import Communities
from exchange.config import Config, split_address
from exchange.domain.directory import Directory
from exchange.domain.guidance import Guidances
from exchange.domain.identifiers import Origin
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.life import LifeFacts
from exchange.domain.validation import DAY_MS
from exchange.errors import ExchangeError, Fatal, Reason, Unavailable
from exchange.following import Following
from exchange.opening import Judging, Memory, OpenLog, Room, keeper_of, open_log
from exchange.ops import clocks
from exchange.ops.grpc_ops import HUB
from exchange.ops.health import Health
from exchange.ops.metrics import Metrics, create_metrics
from exchange.ops.tls_files import TLSFiles
from exchange.ports import Head, ToldEntry
from exchange.publish.clock import WatchedClock
from exchange.publish.intake import Candidate, Intake
from exchange.publish.quota import Limits, Quotas
from exchange.publish.sequencer import Committed, Sequencer
from exchange.publish.signatures import Signatures
from exchange.publish.waiting import MAX_GROUP
from exchange.stores.facts import FactsFile
from exchange.stores.folders import read_key
from exchange.stores.opened import stores_in
from exchange.stores.proposals_file import ProposalFile
from exchange.stores.retention import first_younger
from exchange.stores.value_list import read_values
from exchange.views.directory import DIRECTORY, DirectoryView
from exchange.views.erasing import Eraser
from exchange.views.keeper import Keeper
from exchange.views.lag_told import told_lag

_log = structlog.get_logger()

#: How long a group waits for this hub to read the directory as far as another hub has.
_JUDGE_S = 5.0


class App:
    """One running hub. Use `serve`, or `running` in tests."""

    def __init__(self, config: Config, *, adopt: bool = False, accept_clock: bool = False) -> None:
        """Nothing is opened yet."""
        self._config = config
        self._adopt = adopt
        self._accept_clock = accept_clock
        self._folders = config.folders
        self._stores = stores_in(self._folders, config.place)
        self._clock = WatchedClock(clocks.wall_ms, clocks.monotonic_ms, on_jump=self._clock_jumped)
        self._logs: dict[str, Log] = {}
        self._memory = Memory(Room(config.feed.ring_bytes, config.feed.recent_bytes))
        self._open_logs = AsyncExitStack()
        self._ports = AsyncExitStack()
        self._tasks: asyncio.TaskGroup
        self._view: DirectoryView
        self._keeper: Keeper[Directory]
        self._communities: Communities
        self._intake: Intake
        self._trust: Trust
        self.metrics: Metrics = create_metrics()
        self.health = Health(("store", "publish", "ports", "tls"))
        self.signatures = Signatures()
        self.port = 0
        self._closing = False
        canaries = config.automation.canaries
        self._canaries = read_values(canaries) if canaries else frozenset[tuple[int, bytes]]()
        self._speaker: Speaker | None = None
        if config.automation.member and config.automation.key is not None:
            self._speaker = Speaker(config.automation.member, read_key(config.automation.key))

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        """Open logs and ports, and start the work. Raises `ExchangeError` when anything is not as it must be."""
        self._tasks = tasks
        self.metrics.build_info.labels(__version__, platform.python_version()).set(1)
        quotas = Quotas(Limits(**asdict(self._config.quotas)), clocks.monotonic_ms)
        directory = await self._open_directory(quotas)
        communities = self._communities = Communities(
            self._folders,
            self._stores,
            self._view,
            self.health,
            opened=self._logs.keys(),
            open_log=self._open_community,
        )
        with self._memory.expecting(communities.expected()):
            await communities.open_all()
        await self._check_clock()
        guard = self._guard(quotas)
        if self._speaker is not None:
            self._speaker.check(self._view.directory)
        if self._config.signatures.beside:
            tasks.create_task(self.signatures.run())
        proposals = ProposalFile(self._folders.proposals)
        await self._open_ports(Hub(self._view, self._intake, self.signatures, self._logs, proposals), guard)
        self._follow("the view", directory.origin, self._view.run, well=self._view.fresh)
        self._follow("the keeper of snapshots", directory.origin, self._keeper.run, well=self._view.fresh)
        self._open_logs.push_async_callback(_ended, tasks.create_task(communities.follow()))
        tasks.create_task(self._watch(guard))
        host, _ = split_address(self._config.listen)
        tasks.create_task(process.follow_tls_files(self._trust, guard, self.health, host, self.port))
        tasks.create_task(self._archive())
        self.health.serving("store")
        self.health.serving("publish")
        self.health.serving("ports")
        self.health.serving("tls")
        _log.info("serving", exchange=self._config.exchange, port=self.port, directory_size=directory.size)

    def _guard(self, quotas: Quotas) -> Guard:
        config = self._config
        self._trust = Trust(TLSFiles(*astuple(config.tls)), time.time, time.monotonic)
        bounds = Bounds(config.connections.call_s, config.connections.stalled_s, config.connections.calls)
        return Guard(config.domain, self._trust, lambda: self._view.directory, quotas, self.metrics, bounds)

    async def _open_directory(self, quotas: Quotas) -> Directory:
        origin = Origin(self._config.exchange, Origin.DIRECTORY_LOG)

        async def ready(head: Head) -> None:
            await self._view.reached(head.durable.size)

        def judge(candidate: Candidate) -> int:
            return self._intake.judge(candidate)

        log = await self._open_log(origin, Judging(judge, ready, 1))
        self._keeper = self._directory_keeper(log)
        self._view = DirectoryView(log.store, await self._keeper.load(), clocks.monotonic_ms)
        await self._view.refresh()
        if self._view.directory.genesis is None:
            raise Fatal("the directory is empty", reason=Reason.CONFIG, hint="`exchange init` writes its genesis")
        protected = frozenset[tuple[int, bytes]]()
        if self._config.protected.values is not None:
            protected = read_values(self._config.protected.values)
        self._intake = Intake(
            self._view.fresh,
            self._key_epochs,
            self._life,
            quotas,
            self._clock.now_ms,
            guidance=self._guidance,
            protected=protected,
        )
        return self._view.directory

    def _key_epochs(self, origin: str) -> KeyEpochs:
        return self._folds(origin).life.folds().key_epochs

    def _folds(self, origin: str) -> Folds:
        log = self._logs.get(origin)
        if log is None or log.folds is None:
            raise Unavailable("this log is not open on this hub", retry_after_ms=1_000)
        return log.folds

    def _guidance(self, origin: str) -> Guidances:
        return self._folds(origin).life.folds().guidances

    def _life(self, origin: str) -> LifeFacts:
        return self._folds(origin).life.current()

    def _directory_keeper(self, log: Log) -> Keeper[Directory]:
        key = read_key(self._folders.key(Origin.DIRECTORY_LOG))
        return keeper_of(DIRECTORY, log, self._folders, key)

    async def _open_community(self, origin: Origin) -> None:
        await self._open_log(origin, Judging(self._intake.judge, self._as_judged_before, MAX_GROUP))

    async def _as_judged_before(self, head: Head) -> None:
        """Return once the view is no older than the one that another hub has judged the last entry by."""
        try:
            async with asyncio.timeout(_JUDGE_S):
                await self._view.reached(head.last_directory_size)
        except TimeoutError as error:
            raise Unavailable("this hub has not read the directory's newest entries", retry_after_ms=500) from error

    async def _open_log(self, origin: Origin, judging: Judging) -> Log:
        name = str(origin)

        def committed(done: Committed) -> None:
            self.metrics.commit_seconds.labels(name).observe(done.seconds)
            self.metrics.statements.labels(name, "accepted").inc(len(done.said))
            self.metrics.records.labels(name).inc(done.records)
            self.metrics.group_statements.labels(name).observe(len(done.said))
            self.metrics.last_seal_timestamp.labels(name).set(time.time())

        opened: OpenLog = await open_log(
            self._folders,
            origin,
            judging,
            self._clock,
            time.monotonic,
            memory=self._memory,
            adopt=self._adopt,
            committed=committed,
            canaries=self._canaries,
            stores=self._stores,
        )
        self._open_logs.push_async_callback(opened.aclose)
        self._logs[name] = opened.log
        self._tasks.create_task(self._keep(name, opened.log.sequencer))
        self._follow("the tail", name, opened.log.tail.run)
        if (facts := opened.facts) is not None:
            folds = opened.log.of_community
            eraser = Eraser(
                name,
                opened.store,
                facts,
                opened.log.tail.erased,
                clocks.wall_ms,
                ready=folds.life.placed,
                moving=folds.life.moving,
                at_once=self._stores.erase_at_once,
            )
            folds.life.listeners.append(partial(self._tell_lag, name, facts))
            self._follow("the fold of its life", name, folds.life.run, well=folds.life.folds)
            self._follow("the eraser", name, eraser.run)
            if self._speaker is not None:
                limits = self._config.automation.limits
                automation = Automation(opened.log, self._intake, self._speaker, limits, self._clock.now_ms)
                self._follow("the automation", name, automation.run)
        _log.info("log_opened", origin=name, size=opened.log.tail.sealed.size)
        return opened.log

    def _tell_lag(self, origin: str, facts: FactsFile, entries: Sequence[ToldEntry]) -> None:
        for (stage, receiver), histogram in told_lag(entries, facts.signals).items():
            self.metrics.lag_seconds.add((origin, stage.word, receiver), histogram.counts)

    async def _keep(self, origin: str, sequencer: Sequencer) -> None:
        """Run a sequencer; when it stops for good, say so and leave the rest running."""
        try:
            await sequencer.run()
        except ExchangeError as error:
            self.health.not_serving("publish", f"{origin}: {error.message}", origin)
            _log.error("sequencer_stopped", origin=origin, exc_info=error)

    def _follow(
        self, what: str, origin: str, run: Callable[[], Awaitable[None]], *, well: Callable[[], object] = lambda: None
    ) -> None:
        following = Following(what, origin, run, self.health, closing=lambda: self._closing, well=well)
        self._tasks.create_task(following.run())

    def _clock_jumped(self) -> None:
        self.health.not_serving("publish", "the clock has jumped: look at it, then start the hub again", "the clock")
        _log.error("clock_jumped")

    async def _check_clock(self) -> None:
        heads = [await log.store.head() for log in self._logs.values()]
        newest = max((head.last_received_at_ms for head in heads), default=0)
        self._clock.check_start(newest, accept=self._accept_clock)

    async def _open_ports(self, hub: Hub, guard: Guard) -> None:
        """Open the plain ports first: closing goes backwards, and they are asked until the drain is over."""
        config = self._config
        connections = server.Connections(**asdict(config.connections))
        heartbeat_s = config.feed.heartbeat_ms / 1000
        main = server.build(hub, guard, self.metrics, clocks.wall_ms, heartbeat_s=heartbeat_s, connections=connections)
        if config.ops.listen:
            refresh = partial(self._refresh_metrics, main)
            await self._http(ops_api.ops_app(self.health, self.metrics, refresh), config.ops.listen, "`[ops] listen`")
        if config.tiles.listen:
            await self._http(
                ops_api.tiles_app(self._logs, self._entries_are_public), config.tiles.listen, "`[tiles] listen`"
            )
        if config.ops.grpc_listen:
            stop = await process.grpc_port(config.ops.grpc_listen, HUB, lambda: self.health.ready)
            self._ports.push_async_callback(stop, 0)
        self.port = server.listen(main.grpc, config.listen, self._trust)
        await main.grpc.start()
        self._ports.push_async_callback(self._drain, main)

    def _entries_are_public(self, origin: str) -> bool:
        community = self._view.directory.communities.get(origin)
        return community is not None and community.public_entries

    async def _http(self, app: Starlette, address: str, setting: str) -> None:
        self._ports.push_async_callback(await process.http_port(self._tasks, app, address, setting))

    def _refresh_metrics(self, main: server.MemberServer) -> None:
        process.show_process(self.metrics, self.health, self._trust, "hub")
        main.feeds.count()
        for origin, log in self._logs.items():
            size = log.tail.sealed.size
            self.metrics.checkpoint_size.labels(origin).set(size)
            if log.folds is not None:
                self.metrics.life_behind.labels(origin).set(max(0, size - log.folds.life.facts.place().size))
                with suppress(Unavailable):
                    self._show_referrals(origin, log.folds)

    def _show_referrals(self, origin: str, folds: Folds) -> None:
        folds.life.current()  # raises while the log is still being read
        still_open, overdue = folds.referrals.counts(clocks.wall_ms())
        self.metrics.referrals_open.labels(origin).set(still_open)
        self.metrics.referrals_overdue.labels(origin).set(overdue)

    async def _watch(self, guard: Guard) -> None:
        """At each change of the directory: cut streams that lost their ground."""
        seen = 0
        while True:
            await self._view.reached(seen + 1)
            seen = self._view.directory.size
            guard.review()

    async def _archive(self) -> None:
        while True:
            for origin, community in list(self._view.directory.communities.items()):
                if origin in self._logs:
                    limit = clocks.wall_ms() - community.retention_days * DAY_MS
                    try:
                        await self._archive_log(origin, self._logs[origin], limit)
                    except ExchangeError as error:
                        _log.error("not_archived", origin=origin, exc_info=error)
            await asyncio.sleep(self._config.retention.every_s)

    async def _archive_log(self, origin: str, log: Log, limit_ms: int) -> None:
        floor = await first_younger(log.store, limit_ms)
        before = (await log.store.head()).floor
        after = await log.history.archive(floor)
        if after != before:
            _log.info("archived", origin=origin, floor=after)
        await log.of_community.life.facts.forget(after)

    async def _drain(self, main: server.MemberServer) -> None:
        self.health.drain()
        for log in self._logs.values():
            log.tail.drain()
        await main.drain(self._config.drain.grace_s)

    async def aclose(self) -> None:
        """Drain the ports, then close the logs. Idempotent."""
        await self._ports.aclose()
        self._closing = True
        await self._open_logs.aclose()


async def _ended(task: asyncio.Task[None]) -> None:
    """End a task and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def running(config: Config, *, adopt: bool = False, accept_clock: bool = False) -> AbstractAsyncContextManager[App]:
    """Run a hub for the length of a ``with`` block."""
    return process.running(App(config, adopt=adopt, accept_clock=accept_clock))


async def serve(
    config: Config, *, adopt: bool = False, accept_clock: bool = False, ready: Callable[[App], None] = lambda _: None
) -> None:
    """Run a hub until SIGTERM or SIGINT; drain, then return. A second signal ends it at once."""
    await process.until_told(running(config, adopt=adopt, accept_clock=accept_clock), ready)
