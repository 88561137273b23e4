"""A whole exchange in a folder, and the people who use it: development PKI, genesis, communities, members, a hub.

`Exchange` is what lies on disk and who holds which key. `LocalHub` runs the hub in this process and this event loop;
`World` is both together, with the members of the tests enrolled. Everything talks to the hub with the raw stubs.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import grpc

from exchange.app import App, running
from exchange.codec_bodies import kind_of
from exchange.config import TLS, Config, Drain, Feed, Ops, Tiles
from exchange.domain.bodies import (
    Body,
    Community,
    Key,
    Member,
    Membership,
    State,
    Suspension,
)
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import CLASS_ROLES, MemberClass, Role
from exchange.ledger.checkpoint import log_verifier
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.note import Verifier
from exchange.opening import found_exchange, genesis_statement, make_log
from exchange.ops.certificates import Files, authority_files, create_authority, issue, issued_files
from exchange.ops.clocks import monotonic_ms, wall_ms
from exchange.ports import Head
from exchange.publish.clock import WatchedClock
from exchange.stores.folders import Folders
from exchange.stores.opened import Stores, stores_in
from exchange.stores.redis_place import parse_place
from exchange.v1 import directory_pb2_grpc, feed_pb2_grpc, ledger_pb2, ledger_pb2_grpc, publish_pb2, publish_pb2_grpc
from exchange.v1 import statement_pb2 as pb
from tests.e2e.drafts import Draft

NAME = "test.exchange"
DIRECTORY = f"{NAME}/{Origin.DIRECTORY_LOG}"
#: Everyone is in it; its entry bundles are public.
UK = f"{NAME}/uk"
#: Only beta and gamma are in it; its entry bundles are for members.
SIDE = f"{NAME}/side"
OPERATOR = "operator"
TIMEOUT_S = 20.0
HEARTBEAT_MS = 200


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Party:
    """One workload of a member, connected: its signing key and its stubs."""

    member: str
    role: Role
    key: SigningKey
    channel: grpc.aio.Channel

    @cached_property
    def publishing(self) -> publish_pb2_grpc.PublishServiceAsyncStub:
        """PublishService."""
        return publish_pb2_grpc.PublishServiceStub(self.channel)

    @cached_property
    def feed(self) -> feed_pb2_grpc.FeedServiceAsyncStub:
        """FeedService."""
        return feed_pb2_grpc.FeedServiceStub(self.channel)

    @cached_property
    def ledger(self) -> ledger_pb2_grpc.LedgerServiceAsyncStub:
        """LedgerService."""
        return ledger_pb2_grpc.LedgerServiceStub(self.channel)

    @cached_property
    def directory(self) -> directory_pb2_grpc.DirectoryServiceAsyncStub:
        """DirectoryService."""
        return directory_pb2_grpc.DirectoryServiceStub(self.channel)

    async def publish(self, statement: Draft | pb.Statement) -> publish_pb2.Receipt:
        """Publish one statement, signed here if it is a draft, and return its receipt."""
        message = statement.sign(self.key) if isinstance(statement, Draft) else statement
        answer = await self.publishing.Publish(publish_pb2.PublishRequest(statement=message), timeout=TIMEOUT_S)
        return answer.receipt

    async def stream(self, statements: Sequence[pb.Statement], *, per: int = 64) -> list[publish_pb2.PublishResult]:
        """Publish through one stream, so many statements a message; return all results."""
        requests = [
            publish_pb2.PublishStreamRequest(statements=statements[at : at + per])
            for at in range(0, len(statements), per)
        ]
        call = self.publishing.PublishStream(iter(requests), timeout=TIMEOUT_S)
        return [result async for answer in call for result in answer.results]

    async def checkpoint(self, origin: str) -> bytes:
        """Return the log's signed checkpoint."""
        answer = await self.ledger.GetCheckpoint(ledger_pb2.GetCheckpointRequest(origin=origin), timeout=TIMEOUT_S)
        return answer.checkpoint


@dataclass
class Exchange:
    """An exchange on disk, and every key in it."""

    folder: Path
    pin: bytes = b""
    keys: dict[tuple[str, Role], SigningKey] = field(default_factory=dict)
    log_keys: dict[str, bytes] = field(default_factory=dict)
    #: Further operator keys that must sign guarded changes with the first.
    cosigners: tuple[SigningKey, ...] = ()
    #: As in hub.toml. Empty: the logs lie in files.
    store: str = ""

    @property
    def bundles(self) -> Path | None:
        """The folder that all hubs of a store share."""
        return self.folder.parent / "bundles" if self.store else None

    @property
    def folders(self) -> Folders:
        """Where logs, marks and log keys lie."""
        return Folders(self.folder / "data", self.folder / "keys", bundles=self.bundles)

    @property
    def stores(self) -> Stores:
        """Which kind of store they lie in."""
        return stores_in(self.folders, parse_place(self.store, self.folder) if self.store else None)

    def beside(self, folder: Path) -> Exchange:
        """Return the same exchange as another hub of its store has it: with its own data, and the same keys."""
        for name in ("keys", "pki"):
            shutil.copytree(self.folder / name, folder / name)
        return replace(self, folder=folder)

    @property
    def pki(self) -> Path:
        """The development authority's folder."""
        return self.folder / "pki"

    @classmethod
    async def found(cls, folder: Path, *, threshold: int = 1, store: str = "") -> Exchange:
        """Make PKI, genesis and two empty communities; ``threshold`` operators must sign guarded changes."""
        made = cls(folder, store=store)
        made.cosigners = tuple(SigningKey(secrets.token_bytes(32)) for _ in range(threshold - 1))
        create_authority(made.pki, NAME)
        issue(made.pki, "hub", "server", kind="server", hosts=("localhost", "127.0.0.1"))
        operator_key = made.new_workload(OPERATOR, Role.OPERATOR)
        log_key = await made.new_log(DIRECTORY)
        genesis = genesis_statement(
            NAME,
            log_key,
            OPERATOR,
            "The operator",
            operator_key,
            further_keys=[key.public_key for key in made.cosigners],
            threshold=threshold,
            now_ms=wall_ms(),
            nonce=secrets.token_bytes(16),
        )
        clock = WatchedClock(wall_ms, monotonic_ms)
        made.pin = await found_exchange(made.folders, genesis, clock, made.stores)
        for origin in (UK, SIDE):
            await made.new_log(origin)
        return made

    async def new_log(self, origin: str) -> SigningKey:
        """Make an empty log with its key, as `exchange community create` does on the hub's machine."""
        parsed = Origin.parse(origin)
        assert parsed is not None
        key = await make_log(self.folders, parsed, self.stores)
        self.log_keys[origin] = key.public_key
        return key

    def new_workload(self, member: str, role: Role) -> SigningKey:
        """Issue a certificate for a workload and make its signing key."""
        issue(self.pki, member, role.word)
        key = SigningKey(secrets.token_bytes(32))
        self.keys[member, role] = key
        return key

    def verifier(self, origin: str) -> Verifier:
        """Return who must have signed a log's checkpoints."""
        return log_verifier(origin, self.log_keys[origin])

    def config(self, **sections: object) -> Config:
        """Return the hub's configuration; sections of it may be given."""
        server = issued_files(self.pki, "hub", "server", "server")
        settings: dict[str, object] = {
            "exchange": NAME,
            "data": self.folder / "data",
            "keys": self.folder / "keys",
            "listen": "127.0.0.1:0",
            "tls": TLS(server.certificate, server.key, authority_files(self.pki).certificate),
            "ops": Ops(listen=""),
            "feed": Feed(heartbeat_ms=HEARTBEAT_MS),
            "drain": Drain(grace_s=2),
            "store": self.store,
            "bundles": self.bundles,
        }
        return Config(**(settings | sections))  # type: ignore[arg-type]

    def credentials(self, files: Files | None) -> grpc.ChannelCredentials:
        """Return a client's TLS credentials, with or without a certificate of its own."""
        root = authority_files(self.pki).certificate.read_bytes()
        if files is None:
            return grpc.ssl_channel_credentials(root)
        return grpc.ssl_channel_credentials(root, files.key.read_bytes(), files.certificate.read_bytes())

    def channel(self, port: int, files: Files | None) -> grpc.aio.Channel:
        """Return a connection of its own to the hub."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 4 * 1024 * 1024))
        return grpc.aio.secure_channel(f"localhost:{port}", self.credentials(files), options=options)

    def party(self, port: int, member: str, role: Role = Role.PIPELINE) -> Party:
        """Return a member's workload, connected."""
        files = issued_files(self.pki, member, role.word)
        return Party(member, role, self.keys[member, role], self.channel(port, files))


@dataclass
class Registrar:
    """The operator at work: enrols members and changes their standing by statements to the directory."""

    exchange: Exchange
    operator: Party

    async def say(self, body: Body) -> int:
        """Commit one directory statement; it counts when this returns. Returns its index."""
        draft = Draft(DIRECTORY, OPERATOR, kind_of(body), body)
        return (await self.operator.publish(draft.sign(self.operator.key, *self.exchange.cosigners))).index

    async def community(self, origin: str, **rules: int | bool) -> None:
        """Register a community whose log is there already."""
        settings: dict[str, int | bool] = {
            "last_size_under_old_key": 0,
            "retention_days": 400,
            "max_expiry_days": 365,
            "replay_window_days": 30,
            "public_entries": False,
        }
        title, key = origin.partition("/")[2], self.exchange.log_keys[origin]
        await self.say(Community(origin=origin, title=title, log_public_key=key, **(settings | rules)))  # type: ignore[arg-type]

    async def enrol(
        self,
        member: str,
        member_class: MemberClass = MemberClass.PLATFORM,
        communities: Sequence[str] = (UK,),
        roles: Sequence[Role] = (),
    ) -> None:
        """Register a member with these roles, or all of its class, a key for each, and its communities."""
        roles = sorted(roles or CLASS_ROLES[member_class])
        await self.say(Member(member, member.title(), member_class, tuple(map(int, roles))))
        for role in roles:
            key = self.exchange.new_workload(member, role)
            await self.say(Key(member, role, key.public_key, State.ACTIVE))
        for origin in communities:
            await self.join(member, origin)

    async def join(self, member: str, origin: str) -> None:
        """Let a member into a community."""
        await self.say(Membership(member, origin, State.ACTIVE))

    async def suspend(self, member: str, role: int = 0, state: State = State.ACTIVE) -> None:
        """Suspend a member or one of its roles, or lift the suspension."""
        await self.say(Suspension(member, role, state, "a test"))

    async def populate(self) -> None:
        """Register the communities and members that every test knows."""
        await self.community(UK, public_entries=True)
        await self.community(SIDE)
        await self.enrol("alpha")
        await self.enrol("beta", communities=(UK, SIDE))
        await self.enrol("gamma", communities=(UK, SIDE))
        await self.enrol("police", MemberClass.AUTHORITY)
        await self.enrol("watcher", MemberClass.WITNESS)


class LocalHub:
    """A hub in this process. It lives in a task of its own, whoever starts and stops it."""

    def __init__(self) -> None:
        self.app: App
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None]

    async def start(self, config: Config, *, adopt: bool = False, accept_clock: bool = False) -> LocalHub:
        """Return when the hub serves; raise what kept it from doing so."""
        started: asyncio.Future[App] = asyncio.get_running_loop().create_future()

        async def live() -> None:
            async with running(config, adopt=adopt, accept_clock=accept_clock) as app:
                started.set_result(app)
                try:
                    await self._stop.wait()
                finally:
                    await app.aclose()

        self._task = asyncio.create_task(live())
        await asyncio.wait((started, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        self.app = started.result()
        return self

    @property
    def port(self) -> int:
        """The port that members connect to."""
        return self.app.port

    @property
    def alive(self) -> bool:
        """Whether the hub still runs."""
        return not self._task.done()

    async def stop(self) -> None:
        """Drain and close the hub; raise what it died of, if it did."""
        self._stop.set()
        await self._task


@dataclass
class World:
    """An exchange, its hub in this process, and connections for whoever a test wants to be."""

    exchange: Exchange
    hub: LocalHub
    ops_port: int
    tiles_port: int
    _parties: dict[tuple[str, Role], Party] = field(default_factory=dict)

    @property
    def app(self) -> App:
        """The hub's composition root."""
        return self.hub.app

    def party(self, member: str, role: Role = Role.PIPELINE) -> Party:
        """Return a workload; each has one connection."""
        if (member, role) not in self._parties:
            self._parties[member, role] = self.exchange.party(self.app.port, member, role)
        return self._parties[member, role]

    @property
    def operator(self) -> Party:
        """The operator's workload."""
        return self.party(OPERATOR, Role.OPERATOR)

    @property
    def registrar(self) -> Registrar:
        """The operator at work."""
        return Registrar(self.exchange, self.operator)

    async def heads(self) -> dict[str, Head]:
        """Return where every log stands: durable and sealed sizes, roots, checkpoints."""
        return {origin: await log.store.head() for origin, log in self.app._logs.items()}

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Check that what happens inside changes no log: not on disk, and not on the wire."""
        before, seen = await self.heads(), await self.operator.checkpoint(UK)
        yield
        assert await self.heads() == before
        assert await self.operator.checkpoint(UK) == seen

    async def aclose(self) -> None:
        """Disconnect everyone and stop the hub."""
        for party in self._parties.values():
            await party.channel.close()
        await self.hub.stop()


async def open_world(folder: Path, *, threshold: int = 1, **sections: object) -> World:
    """Found an exchange, run its hub, enrol everyone."""
    exchange = await Exchange.found(folder, threshold=threshold)
    ops_port, tiles_port = free_port(), free_port()
    listening: dict[str, object] = {
        "ops": Ops(listen=f"127.0.0.1:{ops_port}"),
        "tiles": Tiles(listen=f"127.0.0.1:{tiles_port}"),
    }
    hub = await LocalHub().start(exchange.config(**(listening | sections)))
    world = World(exchange, hub, ops_port, tiles_port)
    await world.registrar.populate()
    return world
