"""The client: one workload's connection to an exchange."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from types import TracebackType
from typing import Self

from exchange import codec
from exchange.domain.bodies import Body
from exchange.domain.directory import Directory
from exchange.domain.elections import ElectionFacts
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.kinds import Role
from exchange.domain.statement import Statement
from exchange.domain.validation import Rules
from exchange.errors import ExchangeError, Reason, Rejected
from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_inclusion
from exchange.ops.clocks import wall_ms
from exchange_client.account_pseudonyms import AccountPseudonyms
from exchange_client.acknowledging import Acknowledging
from exchange_client.auditor import Auditor
from exchange_client.config import ClientConfig
from exchange_client.cursors import Cursors, Position, Positions
from exchange_client.delivery import Delivery
from exchange_client.delivery_lag import DeliveryLag
from exchange_client.directory import DirectoryReader
from exchange_client.guidance import PlatformGuidance, verified_guidance
from exchange_client.identity import LOOK_EVERY_S, Identity, IdentityState, Renew
from exchange_client.key_epochs import fold_key_epochs
from exchange_client.outbox import Outbox, prune_hourly
from exchange_client.publisher import Publisher
from exchange_client.receipt import Receipt, verify_receipt
from exchange_client.remembered import RememberedDirectory
from exchange_client.reports import ActivityRow, Debt, LagReport, SignalReport
from exchange_client.signals import Drafter
from exchange_client.signature_pool import SignaturePool
from exchange_client.signing import SigningKeys
from exchange_client.state import StateFile
from exchange_client.subscriber import Subscriber
from exchange_client.transport import Transport
from exchange_client.transport.proposals import ProposalCalls
from exchange_client.transport.referrals import ReferralCalls
from exchange_client.wire import CommunitySummary, Filter, GuidanceSummary, MemberSummary, WhoAmI

#: How often the directory is asked for a key of ours that is not in force yet.
ASK_DIRECTORY_EVERY_S = 30.0
#: How long key epochs that were read are judged by before signing; then there may be new ones, and the hub judges.
EPOCHS_KNOWN_MS = 300_000


class ExchangeClient:
    """Publishes, subscribes and checks, in one member's name. Use as an async context manager."""

    def __init__(
        self, config: ClientConfig, *, now_ms: Callable[[], int] = wall_ms, renew: Renew | None = None
    ) -> None:
        """Read keys and certificates; nothing is connected yet. Raises `Rejected` (CONFIG).

        ``renew`` brings a newer certificate into its files, in place of the configuration's command.
        """
        self._config = config
        self._now_ms = now_ms
        self._keys = SigningKeys(config, self.directory)
        self._identity = Identity(config, now_ms, renew)
        self._transport = Transport(config, self._identity)
        #: Those of pseudonym services that are in use.
        self._services: set[Transport] = set()
        #: Of each community, and when they were read.
        self._key_epochs: dict[str, tuple[KeyEpochs, int]] = {}
        self._keeping: asyncio.Task[None]
        self._pruning: asyncio.Task[None]
        self._asked_s = -ASK_DIRECTORY_EVERY_S
        #: Whether the connections are still to be moved to a newer certificate.
        self._moves = False
        #: The logs that one of them acknowledges.
        self._acknowledges: set[str] = set()
        self._subscribers: weakref.WeakSet[Subscriber] = weakref.WeakSet()
        self._state: StateFile
        self._directory: DirectoryReader

    async def __aenter__(self) -> Self:
        """Open the state file. The hub is called when there is something to ask."""
        self._state = StateFile(self._config.state / "client.sqlite")
        origin, pin = self._config.directory, self._config.genesis
        remembered = RememberedDirectory(self._state, self._keys, origin, pin)
        self._directory = DirectoryReader(origin, pin, self._transport, Cursors(self._state), remembered)
        self._keeping = asyncio.create_task(self._keep())
        self._pruning = asyncio.create_task(prune_hourly(self._state, self._now_ms))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything, whatever one part raises."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._state.aclose)
            closing.push_async_callback(self._transport.aclose)
            for subscriber in list(self._subscribers):
                closing.push_async_callback(subscriber.store)
            self._keeping.cancel()
            self._pruning.cancel()
            await asyncio.wait((self._keeping, self._pruning))

    async def _keep(self) -> None:
        """Follow what may change under us for as long as the client is open."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - told, and tried again: this must not end unseen
                self._identity.note(error)
            else:
                self._identity.note(None)

    async def _look(self) -> None:
        self._moves = self._identity.look() or self._moves
        if self._moves:
            for transport in (self._transport, *self._services):
                await transport.renew()
            self._moves = False
        await self._identity.keep()
        if self._keys.look() and time.monotonic() >= self._asked_s + ASK_DIRECTORY_EVERY_S:
            self._asked_s = time.monotonic()
            await self._follow_keys()

    async def _follow_keys(self) -> None:
        try:
            await self._keys.renew()
        except ExchangeError as error:
            logging.getLogger("exchange_client").warning("the next key waits: %s", error.diagnostics())

    @property
    def identity(self) -> IdentityState:
        """How our certificate stands: alarm on ``overdue`` and ``problem``."""
        return self._identity.state

    async def who_am_i(self) -> WhoAmI:
        """Ask how the hub knows us."""
        return await self._transport.who_am_i()

    async def members(self, community: str = "") -> tuple[MemberSummary, ...]:
        """Ask who belongs to a community (its origin), or to the exchange. `directory` is the verified source."""
        return await self._transport.members(community)

    async def communities(self) -> tuple[CommunitySummary, ...]:
        """Ask which communities there are. `directory` is the verified source."""
        return await self._transport.communities()

    async def directory(self) -> Directory:
        """Return the exchange's directory, read whole and verified from the pinned genesis."""
        return await self._directory.refresh()

    async def draft(self, origin: str, body: Body) -> Statement:
        """Return a statement without records, signed by us; where it needs them, further operators sign it too."""
        await self._verifier(origin)
        return Drafter(origin, self._config.member, self._keys, self._now_ms).said(body)

    async def submit(self, statement: Statement) -> Receipt:
        """Publish a statement as it is, once; return its verified receipt. Raises `ExchangeError`."""
        origin = codec.decode_header(statement.payload, strict=False).origin
        return verify_receipt(await self._transport.publish(statement), statement, await self._verifier(origin))

    async def say(self, origin: str, body: Body) -> Receipt:
        """Publish one statement without records, such as a change of the directory; return its verified receipt.

        Said once, and not kept: a publisher's `say` goes through its outbox.
        """
        return await self.submit(await self.draft(origin, body))

    @asynccontextmanager
    async def publisher(self, origin: str) -> AsyncIterator[Publisher]:
        """Open a `Publisher` for a community, for as long as the context lasts."""
        async with await self.open_publisher(origin) as publisher:
            yield publisher

    async def open_publisher(self, origin: str) -> Publisher:
        """Return a publisher, not entered yet."""
        return await self._open_publisher(origin)

    async def _open_publisher(self, origin: str, part: str = "") -> Publisher:
        verifier = await self._verifier(origin)
        community = self._directory.directory.communities.get(origin)
        if community is None:
            raise Rejected(Reason.WRONG_ORIGIN, f"{origin} is not a community: signals go to one")

        def rules() -> Rules:
            days = community.max_expiry_days, community.replay_window_days
            now_ms = self._now_ms()
            known, read_at_ms = self._key_epochs.get(origin, (None, 0))
            fresh = known is not None and now_ms - read_at_ms < EPOCHS_KNOWN_MS
            return Rules(now_ms, *days, key_epochs=known.ends_of_live(now_ms) if known is not None and fresh else None)

        return Publisher(
            self._transport,
            Drafter(origin, self._config.member, self._keys, self._now_ms),
            Outbox(self._state, origin, part),
            verifier,
            rules,
            self._now_ms,
            sign_anew=self._keys.sign_anew,
        )

    async def subscribe(
        self,
        origin: str,
        *,
        cursor: int | None = None,
        from_now: bool = False,
        wanted: Filter | None = None,
        skip: Collection[int] = (),
        processes: int = 0,
        positions: Positions | None = None,
        acknowledges: bool = False,
    ) -> AsyncGenerator[Delivery, None]:
        """Yield verified entries, from the stored position, a cursor, or now; reconnects by itself.

        ``processes`` further ones check signatures, which makes catching up on single signals half as fast again.
        ``positions`` keeps the position in place of the client's own file: each such consumer has one of its own.
        ``acknowledges`` tells the community, at most once a minute, up to where this consumer has processed the log,
        and with which lag: one subscription of a pipeline does so.
        Raises `VerificationFailed` (with evidence written) when the hub cannot be trusted, `Denied`,
        `CursorBelowFloor` and `CursorAboveSize`.
        """
        positions = positions or Cursors(self._state)
        async with AsyncExitStack() as closing:
            pool = SignaturePool(processes) if processes else None
            if pool is not None:
                closing.push_async_callback(pool.aclose)
            verifier = await self._verifier(origin)
            processed: Callable[[Delivery], None] = lambda delivery: None  # noqa: E731
            if acknowledges:
                acknowledging = await closing.enter_async_context(await self._acknowledging(origin, closing))
                positions, processed = acknowledging.before(positions), acknowledging.processed
            subscriber = Subscriber(
                origin,
                self._transport,
                self._directory,
                positions,
                verifier,
                wanted=wanted or Filter(),
                skip=skip,
                now_ms=self._now_ms,
                evidence=self._config.state / "evidence",
                pool=pool,
                processed=processed,
            )
            self._subscribers.add(subscriber)
            async with aclosing(subscriber.deliveries(cursor, from_now=from_now)) as stream:
                async for delivery in stream:
                    yield delivery

    async def _acknowledging(self, origin: str, closing: AsyncExitStack) -> Acknowledging:
        if self._config.role_number != Role.PIPELINE:
            raise Rejected(Reason.CONFIG, "only a pipeline acknowledges what it has processed")
        if origin in self._acknowledges:
            raise Rejected(Reason.CONFIG, f"another subscription acknowledges {origin} already")
        self._acknowledges.add(origin)
        closing.callback(self._acknowledges.discard, origin)
        return Acknowledging(
            DeliveryLag(self._state, origin, self._config.member),
            await self._open_publisher(origin, "acknowledgements"),
            lambda: self._transport.probe(origin, b""),
            self._now_ms,
        )

    def acknowledge(self, delivery: Delivery) -> None:
        """Count a subscription's last delivery as processed, without asking for the next one: before leaving it."""
        for subscriber in self._subscribers:
            subscriber.acknowledge(delivery)

    async def key_epochs(self, origin: str) -> KeyEpochs:
        """Return a community's newest key epochs, each proven by its ledger. Raises `VerificationFailed`."""
        verifier = await self._verifier(origin)
        leaves, checkpoint = await self._transport.key_epoch_leaves(origin)
        directory = await self._directory.refresh()  # up to what these leaves were judged by
        epochs = fold_key_epochs(origin, directory, verifier, leaves, checkpoint)
        self._key_epochs[origin] = (epochs, self._now_ms())
        return epochs

    async def guidance(self, origin: str) -> tuple[GuidanceSummary, ...]:
        """Ask which platforms have a profile for candidates in a community. `guidance_of` is the verified one."""
        return (await self._transport.guidance(origin, "", "")).profiles

    async def guidance_of(self, origin: str, platform: str, language: str = "") -> PlatformGuidance:
        """Return a platform's newest profile, proven by the ledger. Raises `VerificationFailed`, and `Rejected`."""
        verifier = await self._verifier(origin)
        answer = await self._transport.guidance(origin, platform, language)
        return verified_guidance(origin, platform, await self._directory.refresh(), verifier, answer)

    @asynccontextmanager
    async def pseudonyms(self, origin: str, *, processes: int = 1) -> AsyncIterator[AccountPseudonyms]:
        """Connect to the pseudonym service for as long as the context lasts.

        ``processes`` blind and unblind, for each live key epoch. Raises `Rejected` (CONFIG) when the configuration
        names no service, and (NOT_FOUND) when no epoch is live.
        """
        service = Transport(self._config.of_pseudonyms, self._identity)
        self._services.add(service)
        try:
            making = AccountPseudonyms(
                service.evaluate, lambda: self.key_epochs(origin), self._now_ms, processes=processes
            )
            async with making as pseudonyms:
                yield pseudonyms
        finally:
            self._services.discard(service)
            await service.aclose()

    async def lag(self, origin: str, *, from_day: int = 0, to_day: int = 0, election: bytes = b"") -> LagReport:
        """Ask how long signals and retractions took. Days since 1970 (UTC), the last one too; 0 leaves that end open.

        This and the next three are what the hub tells: every member can make them again from the ledger.
        """
        return await self._transport.reports.lag(origin, from_day=from_day, to_day=to_day, election=election)

    def debts(
        self, origin: str, *, member: str = "", open_only: bool = False, deadline_hours: int = 0, election: bytes = b""
    ) -> AsyncGenerator[Debt, None]:
        """Yield what receivers said, or owe, to the ends of signals that they were given, in the order of the log.

        Of one ``member`` and one ``election``, or of all; silence for longer than the deadline (0: 72 h) is overdue.
        """
        return self._transport.reports.debts(origin, member, election, deadline_hours, open_only=open_only)

    async def activity(
        self, origin: str, *, from_day: int = 0, to_day: int = 0, election: bytes = b""
    ) -> tuple[ActivityRow, ...]:
        """Ask what members said, by kind and label; of an ``election``, signals that name it. Days as for `lag`."""
        return await self._transport.reports.activity(origin, from_day=from_day, to_day=to_day, election=election)

    async def signal(self, origin: str, signal_id: bytes) -> SignalReport:
        """Ask what the ledger says of one signal. Raises `Rejected` (NOT_FOUND) where it is none that we were given."""
        return await self._transport.reports.signal(origin, signal_id)

    @property
    def referrals(self) -> ReferralCalls:
        """Referrals, notes and desks: what is said to us, as the hub tells it. What we say: `Publisher.refer`."""
        return self._transport.referrals

    @property
    def proposals(self) -> ProposalCalls:
        """What waits at the hub for operators' signatures: held against the bytes by `exchange_client.proposals`."""
        return self._transport.proposals

    async def elections(self, origin: str) -> tuple[ElectionFacts, ...]:
        """Ask which elections signals may name, or could, in the order of the log."""
        return await self._transport.reports.elections(origin)

    async def probe(self, origin: str, state: bytes) -> int:
        """Ask for an echo on our live streams of this log; return how many there are."""
        return (await self._transport.probe(origin, state)).streams

    async def checkpoint(self, origin: str) -> Checkpoint:
        """Return the log's checkpoint, its signature verified."""
        verifier = await self._verifier(origin)
        return open_checkpoint(await self._transport.checkpoint(origin), verifier)

    async def position(self, origin: str) -> Position | None:
        """Return up to where this client's own subscription has read a log; None where it has read nothing."""
        return await Cursors(self._state).load(origin)

    async def auditor(self, origin: str) -> Auditor:
        """Return what reads a community's ledger whole, and vouches for what is made of it."""
        return Auditor(origin, self._transport, self._directory, await self._verifier(origin), self._keys)

    async def inclusion_proof(self, origin: str, index: int, size: int = 0) -> tuple[bytes, tuple[bytes, ...]]:
        """Ask for a leaf's hash and its path in the tree of ``size`` (0: all of it). `check_included` verifies one."""
        return await self._transport.inclusion_proof(origin, index, size)

    async def check_included(self, origin: str, index: int, leaf_hash: bytes) -> Checkpoint:
        """Return the present checkpoint if the leaf is in its tree. Raises `VerificationFailed`."""
        checkpoint = await self.checkpoint(origin)
        _, proof = await self._transport.inclusion_proof(origin, index, checkpoint.size)
        verify_inclusion(leaf_hash=leaf_hash, index=index, size=checkpoint.size, proof=proof, root=checkpoint.root)
        return checkpoint

    async def _verifier(self, origin: str) -> Verifier:
        """Return the key that a log is signed with, as the verified directory names it."""
        directory = self._directory.directory
        if not self._directory.held_size or (origin != self._config.directory and origin not in directory.communities):
            directory = await self._directory.refresh()
        self._keys.choose(directory)
        if origin == self._config.directory and directory.genesis is not None:
            return log_verifier(origin, directory.genesis.log_public_key)
        community = directory.communities.get(origin)
        if community is None:
            raise Rejected(Reason.WRONG_ORIGIN, f"{origin} is not in the directory of {self._config.exchange}")
        return log_verifier(origin, community.log_public_key)
