"""The composition root of the pseudonym service: opens everything in order, runs it, and takes it down in reverse.

Start: budget book -> keys -> directory and ledgers -> guard and service -> ports. What runs is one task group: the
followers of the directory and of the files (keys, terms of members, TLS), and the one that announces epochs, destroys
the keys of those that have ended, and tells of that and of each day's totals. The service reads the directory and what
its communities' ledgers say of key epochs, and publishes; it subscribes to nothing, and no record comes here.
"""

from __future__ import annotations

import asyncio
import platform
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from msgspec.structs import asdict, astuple

from exchange import __version__, process
from exchange.api import ops as ops_api
from exchange.api import pseudonyms as api
from exchange.api.guard import Bounds, Guard
from exchange.api.server import Connections, listen
from exchange.api.tls import Trust
from exchange.config import split_address
from exchange.domain.directory import Directory
from exchange.domain.key_epochs import EpochState
from exchange.domain.kinds import Role
from exchange.domain.policy import Workload, may_evaluate
from exchange.errors import ExchangeError, Fatal, Reason, Rejected, Unavailable
from exchange.ops import clocks
from exchange.ops.grpc_ops import PSEUDONYMS
from exchange.ops.health import Health
from exchange.ops.metrics import Metrics, create_metrics
from exchange.ops.tls_files import TLSFiles
from exchange.pseudonym_config import Config, FollowedTerms
from exchange.pseudonyms.announcements import Announcements
from exchange.pseudonyms.budget import Budgets
from exchange.pseudonyms.day_totals import DayTotals
from exchange.pseudonyms.epochs import Epoch, live_epoch
from exchange.pseudonyms.evaluator import Evaluator
from exchange.pseudonyms.ledgers import FollowedDirectory, Ledgers
from exchange.publish.quota import Limits, Quotas
from exchange.stores.budget_book import BudgetFile
from exchange.stores.epoch_keys import EpochKeys, FollowedKeys

_log = structlog.get_logger()

#: How often files and directory are looked at, and ledgers while they lack something.
LOOK_S = 1.0
#: How often ledgers are asked while they lack nothing.
ASK_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service belongs."""

    #: Its configuration file, which is followed.
    file: Path
    exchange: str
    #: Its own member.
    member: str
    #: The origins of its communities.
    communities: tuple[str, ...]


class PseudonymApp:
    """One running pseudonym service. Use `serve`."""

    def __init__(self, config: Config, place: Place, ledgers: Ledgers) -> None:
        """Nothing is opened yet; ``ledgers`` is the exchange, as the service's own workload sees it."""
        self._config = config
        self._place = place
        self._ledgers = ledgers
        self._terms = FollowedTerms(place.file, config)
        self._directory = FollowedDirectory(ledgers, time.monotonic)
        self._announcements = Announcements(ledgers, place.member, place.communities)
        self._closing = AsyncExitStack()
        self._keys: FollowedKeys
        self._evaluator: Evaluator
        self._day_totals: DayTotals
        self._trust: Trust
        #: What may be evaluated under while it is live.
        self._served: dict[int, Epoch] = {}
        #: Whether the files of keys can be used.
        self._usable = False
        #: Wakes the one that talks to the ledgers.
        self._news = asyncio.Event()
        #: What is wrong, by component, and was said.
        self._wrong: dict[str, str] = {}
        self.metrics: Metrics = create_metrics()
        self.health = Health(("directory", "ledgers", "keys", "ports", "tls"))
        self.port = 0

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        """Open book, keys and ports, and start the work. Raises `ExchangeError` when anything is not as it must be."""
        config = self._config
        self.metrics.build_info.labels(__version__, platform.python_version()).set(1)
        book = await BudgetFile.open(config.book)
        self._closing.push_async_callback(book.aclose)
        self._keys = FollowedKeys(EpochKeys(config.keys))
        self._evaluator = Evaluator({}, config.processes)
        self._closing.push_async_callback(asyncio.to_thread, self._evaluator.close)
        budgets = Budgets(book, self._terms.of, clocks.wall_ms)
        self._day_totals = DayTotals(self._ledgers, budgets, book)
        try:
            await self._look_at_directory()
            await self._tell()
        except Unavailable as error:
            _log.warning("starts_without_the_hub", reason=error.message)
        self._look_at_keys()
        await self._open_ports(tasks, budgets)
        tasks.create_task(self._follow_directory())
        tasks.create_task(self._follow_files())
        tasks.create_task(self._follow_ledgers())
        self.health.serving("ports")
        self.health.serving("tls")
        _log.info("serving", exchange=self._place.exchange, port=self.port, epochs=sorted(self._served))

    async def _open_ports(self, tasks: asyncio.TaskGroup, budgets: Budgets) -> None:
        """Open the plain ports first: closing goes backwards, and they are asked until the drain is over."""
        config = self._config
        if config.ops.listen:
            app = ops_api.ops_app(self.health, self.metrics, self._refresh_gauges)
            self._closing.push_async_callback(await process.http_port(tasks, app, config.ops.listen, "`[ops] listen`"))
        if config.ops.grpc_listen:
            stop = await process.grpc_port(config.ops.grpc_listen, PSEUDONYMS, lambda: self.health.ready)
            self._closing.push_async_callback(stop, 0)
        self._trust = Trust(TLSFiles(*astuple(config.tls)), time.time, time.monotonic)
        bounds = Bounds(config.connections.call_s, config.connections.stalled_s, config.connections.calls)
        limits = Limits(calls_per_minute=config.calls.per_minute, calls=config.calls.at_once)
        guard = Guard(
            config.trust_domain or self._place.exchange,
            self._trust,
            self._directory.current,
            Quotas(limits, clocks.monotonic_ms),
            self.metrics,
            bounds,
        )
        servicer = api.PseudonymServicer(
            self._admit,
            self._own,
            budgets,
            self._evaluator,
            self.metrics,
            clocks.wall_ms,
            at_once=config.processes,
        )
        server = api.build(servicer, guard, Connections(**asdict(config.connections)))
        self.port = listen(server, config.listen, self._trust)
        await server.start()
        self._closing.push_async_callback(server.stop, config.drain.grace_s)
        self._closing.callback(self.health.drain)
        host, _ = split_address(config.listen)
        tasks.create_task(process.follow_tls_files(self._trust, guard, self.health, host, self.port))

    def _admit(self, workload: Workload, number: int) -> Epoch:
        may_evaluate(self._directory.current(), workload, self._place.communities)
        if "directory" in self._wrong or not self._usable:
            raise Unavailable(
                "the pseudonym service is not as it must be; its operator has to look", retry_after_ms=5_000
            )
        return live_epoch(self._served, number, clocks.wall_ms())

    def _own(self) -> dict[int, Epoch]:
        return {number: held.epoch for number, held in self._keys.held.items()}

    def _refresh_gauges(self) -> None:
        process.show_process(self.metrics, self.health, self._trust, "pseudonyms")
        ends_ms = max((epoch.ends_ms for epoch in self._served.values()), default=0)
        self.metrics.key_epoch_end.set(max(0.0, ends_ms / 1000 - time.time()))

    def _is_well(self, what: str) -> None:
        if self._wrong.pop(what, ""):
            _log.info("well_again", what=what)
        self.health.serving(what)

    def _is_wrong(self, what: str, error: ExchangeError) -> None:
        if self._wrong.get(what) != error.message:
            self._wrong[what] = error.message
            _log.error("not_served", what=what, reason=error.message, hint=error.hint)
        self.health.not_serving(what, error.message)

    def _check_standing(self, directory: Directory) -> None:
        """Return if the service may say what it has to say. Raises `Rejected` (CONFIG)."""
        member = self._place.member
        if directory.is_suspended(member) or not directory.workload_is_live(member, Role.PSEUDONYMS):
            raise Rejected(
                Reason.CONFIG,
                f"{member} is not in force in the directory with the role pseudonyms",
                hint=f"an operator registers it: exchange member add {member} --class operator --role pseudonyms",
            )
        for origin in self._place.communities:
            if not directory.in_community(member, origin):
                raise Rejected(
                    Reason.CONFIG,
                    f"{member} is not in {origin}, and cannot announce anything there",
                    hint=f"an operator lets it in: exchange member join {member} {origin}",
                )

    async def _follow_directory(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look_at_directory()
            except ExchangeError as error:
                if not (isinstance(error, Unavailable) and self._directory.fresh):
                    self._is_wrong("directory", error)

    async def _look_at_directory(self) -> None:
        self._check_standing(await self._directory.look())
        self._is_well("directory")

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if self._terms.look():
                    _log.info("terms_taken_up")
            except Rejected as error:
                _log.error("terms_not_taken_up", reason=error.message, hint=error.hint)
            self._look_at_keys()

    def _look_at_keys(self) -> None:
        """Serve what keys, clock and ledgers allow at present."""
        now_ms = clocks.wall_ms()
        try:
            if self._keys.look():
                self._news.set()
        except Fatal as error:
            self._served, self._usable = {}, False
            self._is_wrong("keys", error)
            return
        own = self._own()
        if any(epoch.state(now_ms) is EpochState.ENDED for epoch in own.values()):
            self._news.set()
        self._served, self._usable = self._announcements.served(own, now_ms), True
        self._judge_epochs(own, now_ms)
        held = {number: self._keys.held[number].key for number in self._served}
        self._evaluator.take({number: key.secret() for number, key in held.items() if key is not None})

    def _judge_epochs(self, own: dict[int, Epoch], now_ms: int) -> None:
        """Say what is wrong with our epochs, the worst of it."""
        against = self._announcements.contradictions(own, now_ms)
        missing = self._announcements.missing(own, now_ms)
        if against:
            number, what = next(iter(against.items()))
            text, hint = f"key epoch {number} is not served: {what}", "docs/pseudonym-service.md says what to do"
        elif missing:
            text = f"the ledger has key epoch {missing[0]} of ours, and its key is not here"
            hint = f"bring it back; if it is lost: exchange pseudonyms epoch destroy {missing[0]} --lost --yes"
        elif not any(epoch.state(now_ms) is EpochState.LIVE for epoch in self._served.values()):
            text = "no key epoch is live"
            hint = "exchange pseudonyms epoch create; or its announcement has not got through yet"
        else:
            self._is_well("keys")
            return
        self._is_wrong("keys", Rejected(Reason.CONFIG, text, hint=hint))

    async def _follow_ledgers(self) -> None:
        while True:
            settled = False
            self._news.clear()
            try:
                await self._tell()
                settled = self._announcements.settled(self._own(), clocks.wall_ms())
                self._is_well("ledgers")
            except ExchangeError as error:
                self._is_wrong("ledgers", error)
            self._look_at_keys()
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_S if settled else LOOK_S):
                    await self._news.wait()

    async def _tell(self) -> None:
        """Destroy what has ended, and tell every ledger what it lacks. Raises the first `ExchangeError` of several."""
        failed: list[ExchangeError] = []
        try:
            await self._destroy_ended()
        except ExchangeError as error:
            failed.append(error)
        for origin in self._place.communities:
            try:
                await self._tell_one(origin)
            except ExchangeError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    async def _tell_one(self, origin: str) -> None:
        now_ms = clocks.wall_ms()
        for body in await self._announcements.tell(origin, self._own(), now_ms):
            _log.info("key_epoch_told", origin=origin, epoch=body.number, destroyed=not body.ends_ms)
        members = {member.id for member in self._directory.current().community_members(origin)}
        for day in await self._day_totals.tell(origin, members, now_ms):
            _log.info("totals_told", origin=origin, day=day)

    async def _destroy_ended(self) -> None:
        """Destroy keys whose epochs have ended: by our clock and by the hub's, for there is no way back."""
        now_ms = clocks.wall_ms()
        ended = [epoch for epoch in self._own().values() if epoch.state(now_ms) is EpochState.ENDED]
        if not ended:
            return
        hub_ms = (await self._ledgers.who_am_i()).hub_time_ms
        for epoch in ended:
            if epoch.ends_ms > hub_ms:
                raise Unavailable(
                    f"key epoch {epoch.number} has ended by this machine's clock, and by the hub's it has not",
                    hint="set the clock right; the key is destroyed when both say so",
                )
            self._keys.destroy(epoch.number)
            _log.info("key_destroyed", epoch=epoch.number)

    async def aclose(self) -> None:
        """Drain the ports, then end the processes and close the book. Idempotent."""
        await self._closing.aclose()


async def serve(config: Config, place: Place, ledgers: Ledgers) -> None:
    """Run a pseudonym service until SIGTERM or SIGINT; drain, then return. A second signal ends it at once."""
    await process.until_told(process.running(PseudonymApp(config, place, ledgers)))
