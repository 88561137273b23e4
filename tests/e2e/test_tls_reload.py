"""The hub's certificates and authorities change under it: taken up without a restart, and closed when they cannot be."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from exchange.api import tls
from exchange.cli.doctor.hub import ask
from exchange.errors import Reason
from exchange.ops.certificates import Files, authority_files, create_authority, issue, issued_files
from exchange.v1 import directory_pb2 as dir_pb
from tests.authorities import make
from tests.e2e.answers import Refusal, get, refusal
from tests.e2e.certificates import forge
from tests.e2e.exchange_fixture import NAME, TIMEOUT_S, UK, Party, World, open_world
from tests.e2e.follower import Follower
from tests.waits import until

pytestmark = pytest.mark.e2e

UNAUTHENTICATED, UNAVAILABLE = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
async def own_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """An exchange whose TLS files may be spoilt; each test puts back what it found."""
    opened = await open_world(tmp_path_factory.mktemp("reload"))
    yield opened
    await opened.aclose()


def tls_files(world: World) -> Files:
    return issued_files(world.exchange.pki, "hub", "server", "server")


def authority(world: World) -> Path:
    return authority_files(world.exchange.pki).certificate


def replace(path: Path, data: bytes) -> None:
    """Put new bytes in a file's place, whole."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


@asynccontextmanager
async def put_back(world: World) -> AsyncIterator[None]:
    """Restore the three files at the end, and wait until the hub serves with them."""
    server = tls_files(world)
    kept = {path: path.read_bytes() for path in (server.certificate, server.key, authority(world))}
    try:
        yield
    finally:
        for path, data in kept.items():
            replace(path, data)
        trust = world.app._trust
        await until(lambda: trust.material.pem == trust._files._files.read() and not trust.failure)


async def until_it(happens: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await happens():
            await asyncio.sleep(0.05)


def other_authority(world: World, folder: Path) -> Files:
    """Another authority, and a certificate of it for alpha's pipeline."""
    create_authority(folder, NAME)
    return issue(folder, "alpha", "pipeline")


def connect(world: World, files: Files) -> Party:
    """alpha's pipeline, on a connection of its own with this certificate."""
    known = world.party("alpha")
    channel = grpc.aio.secure_channel(
        f"localhost:{world.app.port}",
        grpc.ssl_channel_credentials(_root(world), files.key.read_bytes(), files.certificate.read_bytes()),
        options=(("grpc.use_local_subchannel_pool", 1),),
    )
    return Party("alpha", known.role, known.key, channel)


_ROOTS: dict[Path, bytes] = {}


def _root(world: World) -> bytes:
    """The authority of the hub's own certificate, as members have it; the hub's list of authorities may differ."""
    return _ROOTS.setdefault(world.exchange.folder, authority(world).read_bytes())


async def who(party: Party) -> str:
    return (await party.directory.WhoAmI(dir_pb.WhoAmIRequest(), timeout=TIMEOUT_S)).member


async def refused(party: Party) -> Refusal:
    return await refusal(party.directory.WhoAmI(dir_pb.WhoAmIRequest(), timeout=TIMEOUT_S))


async def refused_anew(world: World, files: Files) -> Refusal:
    party = connect(world, files)
    try:
        return await refused(party)
    finally:
        await party.channel.close()


async def admitted(world: World, files: Files) -> bool:
    party = connect(world, files)
    try:
        return await who(party) == "alpha"
    except grpc.aio.AioRpcError:
        return False
    finally:
        await party.channel.close()


async def follow(world: World, party: Party) -> Follower:
    size = (await world.heads())[UK].sealed.size
    return await Follower.start(party, world.exchange.verifier(UK), cursor=size)


async def shown_serial(world: World) -> int:
    """The serial number of the certificate that the hub shows in a new handshake."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("localhost", world.app.port), timeout=TIMEOUT_S)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def serial_of(files: Files) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


def new_server(world: World, stem: str) -> Files:
    return issue(world.exchange.pki, stem, "server", kind="server", hosts=("localhost",))


async def gauge(world: World, name: str) -> float:
    _, body = await get(world.ops_port, "/metrics")
    (line,) = [line for line in body.decode().splitlines() if line.startswith(f"signal_exchange_{name} ")]
    return float(line.split()[1])


async def readiness(world: World) -> tuple[int, str]:
    status, body = await get(world.ops_port, "/readyz")
    return status, str(json.loads(body).get("waiting", {}).get("tls", ""))


async def test_a_new_certificate_is_shown_without_a_restart_and_old_connections_stay(own_world: World) -> None:
    old = own_world.party("beta")
    stream = await follow(own_world, old)
    fresh = new_server(own_world, "hub2")
    async with put_back(own_world):
        assert await shown_serial(own_world) == serial_of(tls_files(own_world))
        replace(tls_files(own_world).key, fresh.key.read_bytes())
        replace(tls_files(own_world).certificate, fresh.certificate.read_bytes())

        async def shown() -> bool:
            return await shown_serial(own_world) == serial_of(fresh)

        await until_it(shown)
        assert await who(old) == "beta"
        await stream.until(lambda: bool(stream.heartbeats))
        assert await admitted(own_world, issued_files(own_world.exchange.pki, "alpha", "pipeline"))
    await stream.stop()


async def test_a_pair_that_is_half_replaced_disturbs_nobody(own_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "GRACE_S", 3_600.0)
    known = issued_files(own_world.exchange.pki, "alpha", "pipeline")
    fresh = new_server(own_world, "hub3")
    async with put_back(own_world):
        replace(tls_files(own_world).certificate, fresh.certificate.read_bytes())
        await until(lambda: "is not the key of" in own_world.app._trust.failure)
        assert await gauge(own_world, "tls_files_failing") == 1
        assert await gauge(own_world, "tls_closed") == 0
        assert (await readiness(own_world))[0] == 200
        assert await who(own_world.party("beta")) == "beta"
        assert await admitted(own_world, known)
        replace(tls_files(own_world).key, fresh.key.read_bytes())
        await until(lambda: not own_world.app._trust.failure)

        async def shows_it() -> bool:
            return await shown_serial(own_world) == serial_of(fresh)

        await until_it(shows_it)  # new connections get it once the hub has made one of its own


async def test_a_new_authority_is_trusted_and_a_removed_one_is_not_even_on_old_connections(
    own_world: World, tmp_path: Path
) -> None:
    files = other_authority(own_world, tmp_path / "pki")
    _root(own_world)
    assert (await refused_anew(own_world, files)).code is UNAVAILABLE
    async with put_back(own_world):
        before = authority(own_world).read_bytes()
        replace(authority(own_world), before + authority_files(tmp_path / "pki").certificate.read_bytes())

        async def let_in() -> bool:
            return await admitted(own_world, files)

        await until_it(let_in)
        guest, bystander = connect(own_world, files), own_world.party("beta")
        streams = await follow(own_world, guest), await follow(own_world, bystander)
        replace(authority(own_world), before)
        cut = await streams[0].end()
        assert cut is not None
        assert (cut.code, cut.reason) == (UNAUTHENTICATED, Reason.UNAUTHENTICATED)
        again = await refused(guest)
        assert (again.code, again.reason) == (UNAUTHENTICATED, Reason.UNAUTHENTICATED)
        assert "connect anew" in again.metadata["hint"]
        assert (await refused_anew(own_world, files)).code is UNAVAILABLE
        beats = len(streams[1].heartbeats)
        await streams[1].until(lambda: len(streams[1].heartbeats) > beats)
        assert await who(bystander) == "beta"
        await streams[1].stop()
        await guest.channel.close()


def _garbage(world: World) -> None:
    replace(authority(world), b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")


def _empty(world: World) -> None:
    replace(authority(world), b"")


def _no_authority(world: World) -> None:
    replace(authority(world), tls_files(world).certificate.read_bytes())


def _wrong_key(world: World) -> None:
    replace(tls_files(world).key, issued_files(world.exchange.pki, "alpha", "pipeline").key.read_bytes())


def _missing(world: World) -> None:
    tls_files(world).certificate.unlink()


@pytest.mark.parametrize("spoil", [_garbage, _empty, _no_authority, _wrong_key, _missing])
async def test_files_that_stay_unusable_close_the_hub_until_they_are_good(
    own_world: World, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[World], None]
) -> None:
    monkeypatch.setattr(tls, "GRACE_S", 1.0)
    known = issued_files(own_world.exchange.pki, "alpha", "pipeline")
    _root(own_world)
    old = own_world.party("gamma")
    stream = await follow(own_world, old)
    async with put_back(own_world):
        spoil(own_world)
        cut = await stream.end()
        assert cut is not None
        assert (cut.code, cut.reason) == (UNAVAILABLE, Reason.UNAVAILABLE)
        assert cut.retry_ms
        again = await refused(old)
        assert (again.code, again.reason) == (UNAVAILABLE, Reason.UNAVAILABLE)
        # A connection that is made before its port has heard of it is told by the hub, any later one by the handshake.
        while (anew := await refused_anew(own_world, known)).reason:
            assert (anew.code, anew.reason) == (UNAVAILABLE, Reason.UNAVAILABLE)
        assert anew.code is UNAVAILABLE
        status, why = await readiness(own_world)
        assert status == 503
        assert why.startswith("closed: ")
        assert own_world.app._trust.failure in why
        assert await gauge(own_world, "tls_closed") == 1
        told = await asyncio.to_thread(ask, f"127.0.0.1:{own_world.ops_port}")
        assert (told.state, "tls: closed" in told.detail) == ("problem", True)
    assert (await readiness(own_world))[0] == 200
    assert await gauge(own_world, "tls_closed") == 0
    assert await who(old) == "gamma"
    assert await admitted(own_world, known)


async def test_a_certificate_that_expires_takes_its_old_connection_with_it(own_world: World) -> None:
    uri = f"spiffe://{NAME}/member/alpha/pipeline"
    # The handshake must happen within its life, on however slow a machine.
    files = forge(own_world.exchange.pki, [uri], end=timedelta(seconds=6))
    party = connect(own_world, files)
    stream = await follow(own_world, party)
    assert await who(party) == "alpha"
    cut = await stream.end()
    assert cut is not None
    assert (cut.code, cut.reason) == (UNAUTHENTICATED, Reason.UNAUTHENTICATED)
    assert (await refused(party)).code is UNAUTHENTICATED
    await party.channel.close()


async def test_an_intermediate_that_the_peer_sends_is_followed_to_the_authorities(
    own_world: World, tmp_path: Path
) -> None:
    root = make("a root")
    between = make("an intermediate", root)
    leaf = make("alpha", between, ca=False, uri=f"spiffe://{NAME}/member/alpha/pipeline")
    files = Files(tmp_path / "alpha.pem", tmp_path / "alpha-key.pem")
    files.certificate.write_bytes(leaf.pem + between.pem)
    files.key.write_bytes(leaf.key_pem)
    _root(own_world)
    async with put_back(own_world):
        before = authority(own_world).read_bytes()
        replace(authority(own_world), root.pem + before)

        async def let_in() -> bool:
            return await admitted(own_world, files)

        await until_it(let_in)
        party = connect(own_world, files)
        assert await who(party) == "alpha"
        replace(authority(own_world), before)
        await until(lambda: len(own_world.app._trust.material.authorities) == 1)
        assert (await refused(party)).code is UNAUTHENTICATED
        await party.channel.close()
