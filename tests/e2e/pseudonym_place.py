"""A pseudonym service as its operator runs it: its files in a folder, and its process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exchange.domain.kinds import MemberClass, Role
from exchange.ops.certificates import authority_files, issue, issued_files
from exchange_client import ClientConfig, ExchangeClient
from tests.e2e import warm_command_line
from tests.e2e.exchange_fixture import UK, World, free_port
from tests.e2e.sdk_clients import client_config
from tests.e2e.warm_command_line import Serving

SERVICE = "notary"
DEADLINE_S = 30.0


def client_file(config: ClientConfig, path: Path) -> Path:
    """Write the client file that says the same."""
    lines = {
        "addresses": list(config.addresses),
        "genesis": config.genesis.hex(),
        **{name: getattr(config, name) for name in ("exchange", "member", "role", "pseudonyms")},
        **{name: str(getattr(config, name)) for name in ("certificate", "key", "authority", "signing_key", "state")},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


@dataclass
class Service:
    """A service in a folder, running or not."""

    world: World
    folder: Path
    member: str = SERVICE
    listen: int = field(default_factory=free_port)
    ops: int = field(default_factory=free_port)
    process: Serving | None = None

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "pseudonyms.toml"

    @property
    def keys(self) -> Path:
        """The folder of its keys."""
        return self.folder / "keys"

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it has logged."""
        path = self.folder / "serve.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def configure(
        self,
        members: Mapping[str, tuple[int, int]],
        *,
        workload: tuple[str, Role] | None = None,
        communities: tuple[str, ...] = (UK,),
    ) -> None:
        """Write its files: each member's users and daily increment."""
        state = self.folder / "client"
        member, role = workload or (self.member, Role.PSEUDONYMS)
        own = client_config(self.world.exchange, self.world.app.port, member, state, role)
        pki = self.world.exchange.pki
        with contextlib.suppress(FileExistsError):
            issue(pki, self.member, "server", kind="server", hosts=("localhost", "127.0.0.1"))
        server = issued_files(pki, self.member, "server", "server")
        terms = "".join(
            f"[members.{name}]\nusers = {users}\ndaily = {daily}\n" for name, (users, daily) in members.items()
        )
        self.config.write_text(
            f"""
client = "{client_file(own, state / "client.toml")}"
keys = "keys"
data = "data"
listen = "127.0.0.1:{self.listen}"
communities = {json.dumps(list(communities))}
[tls]
certificate = "{server.certificate}"
key = "{server.key}"
client_authority = "{authority_files(pki).certificate}"
[ops]
listen = "127.0.0.1:{self.ops}"
[terms]
daily = 0
{terms}"""
        )

    async def run(self, *arguments: object, code: int = 0) -> str:
        """Run ``exchange pseudonyms`` with its configuration; return what it said, of a refusal the refusal."""
        words = ["pseudonyms", *map(str, arguments), "--config", str(self.config)]
        done = await asyncio.to_thread(warm_command_line.run, words, stdin="", timeout_s=DEADLINE_S)
        assert done.returncode == code, (words, done)
        return done.stderr if code else done.stdout

    async def start(self, *, ready: bool = True) -> None:
        """Start it, and return when it serves; with ``ready``, when an epoch is live that the ledger has."""
        self._spawn()
        async with asyncio.timeout(DEADLINE_S):
            while (await self.readiness())[0] not in ((200,) if ready else (200, 503)):
                assert self.process is not None
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.05)

    def _spawn(self) -> None:
        with (self.folder / "serve.log").open("ab") as stderr:
            self.process = Serving(("pseudonyms", "serve", "--config", str(self.config)), stderr=stderr)

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return what ``/readyz`` answers; 0 when nobody does."""
        return await asyncio.to_thread(self._readiness)

    def _readiness(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/readyz", timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except OSError:
            return 0, {}

    async def waiting_for(self, component: str, words: str) -> None:
        """Return once the service says that a component does not serve, and why."""
        async with asyncio.timeout(DEADLINE_S):
            while words not in (await self.readiness())[1].get("waiting", {}).get(component, ""):
                await asyncio.sleep(0.05)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; return how it ended."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        return await asyncio.to_thread(process.wait, DEADLINE_S)

    def client(self, name: str, role: Role = Role.PIPELINE) -> ExchangeClient:
        """Return a member's client that knows the service."""
        folder = self.folder.parent / name / role.word
        config = client_config(
            self.world.exchange, self.world.app.port, name, folder, role, pseudonyms=f"localhost:{self.listen}"
        )
        return ExchangeClient(config)

    def children(self) -> list[int]:
        """Return the processes that it has started and that live."""
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in task.read_text().split()]


@asynccontextmanager
async def a_service(
    world: World,
    folder: Path,
    members: Mapping[str, tuple[int, int]],
    *,
    name: str = SERVICE,
    communities: tuple[str, ...] = (UK,),
) -> AsyncIterator[Service]:
    """Enrol a service, and write its files; what runs at the end is stopped."""
    await world.registrar.enrol(name, MemberClass.OPERATOR, communities, roles=(Role.PSEUDONYMS,))
    folder.mkdir(parents=True)
    service = Service(world, folder, name)
    service.configure(members, communities=communities)
    try:
        yield service
    finally:
        if service.process is not None:
            await service.stop(signal.SIGKILL)
