"""What a client only sees as "Socket closed", told apart: each case is made for real, and must be named with a next step."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exchange.domain.bodies import Key, State
from exchange.domain.kinds import Role
from exchange.ledger.ed25519 import SigningKey
from exchange.ops.certificates import Files, authority_files, create_authority, issue, issued_files
from exchange_client import ClientConfig
from tests.e2e import warm_command_line
from tests.e2e.certificates import forge
from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import NAME, Exchange, World, free_port
from tests.e2e.sdk_clients import client_config

pytestmark = pytest.mark.e2e

EXCHANGE = Path(sys.executable).parent / "exchange"
DEADLINE_S = 60.0
HOUR = timedelta(hours=1)
URI = f"spiffe://{NAME}/member/alpha/pipeline"


@dataclass
class Told:
    """What the doctor said."""

    code: int
    findings: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def of(self, state: str) -> list[str]:
        """Everything in a state, as text."""
        rows = [row for rows in self.findings.values() for row in rows if row["state"] == state]
        return [f"{row['what']}: {row['detail']} // {row['hint']}" for row in rows]

    @property
    def problem(self) -> str:
        """The problems, which must be there, each with a next step."""
        assert self.code == 1
        rows = [row for rows in self.findings.values() for row in rows if row["state"] == "problem"]
        assert rows
        assert all(row["hint"] for row in rows), rows
        return "\n".join(self.of("problem"))


async def doctor(*arguments: object) -> Told:
    """Run the command as a person would."""
    words = ["doctor", "--json", *map(str, arguments)]
    done = await asyncio.to_thread(warm_command_line.run, words, stdin="", timeout_s=DEADLINE_S)
    assert "Traceback" not in done.stderr, done.stderr
    told = Told(done.returncode)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        told.findings.setdefault(row["what"], []).append(row)
    return told


def write(config: ClientConfig) -> Path:
    """Write a client's file."""
    rows: dict[str, Any] = {
        "addresses": list(config.addresses),
        "exchange": config.exchange,
        "member": config.member,
        "role": config.role,
        "certificate": str(config.certificate),
        "key": str(config.key),
        "authority": str(config.authority),
        "signing_key": str(config.signing_key),
        "genesis": config.genesis.hex(),
        "state": str(config.state),
        "server_name": config.server_name,
        "signing_key_days": config.signing_key_days,
    }
    path = config.state.parent / "client.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items()))
    return path


@pytest.fixture
def good(world: World, tmp_path: Path) -> ClientConfig:
    """A client with nothing wrong, in files of its own."""
    config = client_config(world.exchange, world.app.port, "alpha", tmp_path)
    config.signing_key.chmod(0o600)
    own = replace(
        config,
        certificate=tmp_path / "certificate.pem",
        key=tmp_path / "key.pem",
        authority=tmp_path / "authority.pem",
    )
    show(own, issued_files(world.exchange.pki, "alpha", "pipeline"))
    shutil.copy(authority_files(world.exchange.pki).certificate, own.authority)
    return own


def show(config: ClientConfig, files: Files) -> None:
    shutil.copy(files.certificate, config.certificate)
    shutil.copy(files.key, config.key)
    config.key.chmod(0o600)


async def test_nothing_is_wrong_where_nothing_is(good: ClientConfig) -> None:
    told = await doctor("--client", write(good))
    assert told.code == 0
    assert told.of("problem") == []
    assert told.of("warning") == []
    assert "reached as alpha/pipeline" in told.findings["hub"][0]["detail"]
    assert told.findings["signing key in the directory"][0]["detail"] == "in force"


Spoil = Callable[[World, ClientConfig], ClientConfig | None]


def other_authority(world: World, config: ClientConfig) -> None:
    create_authority(config.state.parent / "pki", NAME)
    show(config, issue(config.state.parent / "pki", "alpha", "pipeline"))


def other_hubs_authority(world: World, config: ClientConfig) -> None:
    made = create_authority(config.state.parent / "pki", "other.exchange")
    shutil.copy(made.certificate, config.authority)


def wrote(path: Path, text: str) -> None:
    path.write_text(text)


def swap_key(world: World, config: ClientConfig) -> None:
    shutil.copy(issued_files(world.exchange.pki, "beta", "pipeline").key, config.key)


def forged(*uris: str, **options: Any) -> Spoil:
    return lambda world, config: show(config, forge(world.exchange.pki, uris, **options))


CASES: dict[str, tuple[Spoil, str]] = {
    "name": (lambda w, c: replace(c, addresses=("no-such-host.invalid:1",)), "cannot be resolved"),
    "nobody": (lambda w, c: replace(c, addresses=(f"localhost:{free_port()}",)), "nothing listens there"),
    "bad_address": (lambda w, c: replace(c, addresses=("localhost",)), "not host:port"),
    "plain": (lambda w, c: replace(c, addresses=(f"127.0.0.1:{w.ops_port}",)), "does not speak TLS"),
    "wrong_host": (lambda w, c: replace(c, server_name="hub.example"), "not for 'hub.example', but for localhost, 127.0.0.1"),
    "other_hubs_authority": (other_hubs_authority, "comes from another authority"),
    "no_certificate": (lambda w, c: c.certificate.unlink(), "No such file"),
    "no_pem": (lambda w, c: wrote(c.certificate, "nonsense"), "holds no PEM certificate"),
    "wrong_key": (swap_key, "is not the key of"),
    "expired": (forged(URI, begin=-2 * HOUR, end=-HOUR), "has expired on"),
    "early": (forged(URI, begin=HOUR, end=2 * HOUR), "is not valid before"),
    "untrusted": (other_authority, "the hub hangs up on it"),
    "usage": (forged(URI, usage=ExtendedKeyUsageOID.SERVER_AUTH), "not made for clients (clientAuth)"),
    "no_uri": (forged(), "names no SPIFFE URI"),
    "other_uri": (forged(f"spiffe://{NAME}/member/beta/pipeline"), "/member/beta/pipeline"),
    "other_domain": (forged("spiffe://elsewhere/member/alpha/pipeline"), "names no workload of this exchange"),
    "unknown_member": (
        lambda w, c: forged(f"spiffe://{NAME}/member/nobody/pipeline")(w, c) or replace(c, member="nobody"),
        "not in force in the directory",
    ),
    "no_seed": (lambda w, c: c.signing_key.unlink(), "signing key"),
    "other_seed": (lambda w, c: wrote(c.signing_key, "ab" * 32), "not registered"),
    "pin": (lambda w, c: replace(c, genesis=bytes(32)), "genesis pin"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_named(world: World, good: ClientConfig, case: str) -> None:
    spoil, why = CASES[case]
    told = await doctor("--client", write(spoil(world, good) or good))
    assert why in told.problem


async def test_an_expired_certificate_is_told_from_both_ends(world: World, good: ClientConfig) -> None:
    """By its own dates, with the clock as a suspect, and by the hub that hangs up."""
    show(good, forge(world.exchange.pki, [URI], begin=-2 * HOUR, end=-HOUR))
    told = await doctor("--client", write(good))
    assert "clock" in told.findings["our certificate"][0]["hint"]
    (address,) = good.addresses
    assert told.findings[f"hub's certificate at {address}"][0]["state"] == "ok"
    assert told.findings[f"our certificate at {address}"][0]["state"] == "problem"
    assert "hub" not in told.findings


async def test_standing_is_told(world: World, good: ClientConfig, tmp_path: Path) -> None:
    for member in ("doctor.sus", "doctor.key"):
        await world.registrar.enrol(member)
    await world.registrar.suspend("doctor.sus")
    suspended = client_config(world.exchange, world.app.port, "doctor.sus", tmp_path / "s")
    assert "is suspended" in (await doctor("--client", write(suspended))).problem
    lost = client_config(world.exchange, world.app.port, "doctor.key", tmp_path / "k")
    key = world.exchange.keys["doctor.key", Role.PIPELINE]
    spare = SigningKey(b"\x21" * 32)
    await world.registrar.say(Key("doctor.key", Role.PIPELINE, spare.public_key, State.ACTIVE))
    await world.registrar.say(Key("doctor.key", Role.PIPELINE, key.public_key, State.ENDED))
    assert "signing key in the directory: revoked" in (await doctor("--client", write(lost))).problem
    lost.next_signing_key.write_text((b"\x21" * 32).hex())
    told = await doctor("--client", write(lost))
    assert told.code == 0
    assert "promote" in told.findings["next signing key"][0]["hint"]


async def test_what_will_go_wrong_is_a_warning(world: World, good: ClientConfig) -> None:
    show(good, forge(world.exchange.pki, [URI], begin=-3 * HOUR, end=HOUR))
    good.key.chmod(0o644)
    good.signing_key.chmod(0o644)
    old = time.time() - 200 * 86_400
    os.utime(good.signing_key, (old, old))
    told = await doctor("--client", write(good))
    assert told.code == 0
    said = "\n".join(told.of("warning"))
    for part in ("two thirds of its life", "chmod 600", "200 days old", "exchange key next"):
        assert part in said


@asynccontextmanager
async def tls_server(
    files: Files, *, version: ssl.TLSVersion | None = None, protocol: str = "h2"
) -> AsyncIterator[int]:
    """Something that speaks TLS on a port and is no hub."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols([protocol])
    if version is not None:
        context.maximum_version = version

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(talk, "localhost", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def hub_files(world: World) -> Files:
    return issued_files(world.exchange.pki, "hub", "server", "server")


async def test_what_is_in_between_and_speaks_less_is_told(world: World, good: ClientConfig) -> None:
    async with tls_server(hub_files(world), version=ssl.TLSVersion.TLSv1_2) as port:
        told = await doctor("--client", write(replace(good, addresses=(f"localhost:{port}",))))
        assert "TLSv1.2 was agreed on; a hub takes TLS 1.3 only" in told.problem
    async with tls_server(hub_files(world), protocol="http/1.1") as port:
        told = await doctor("--client", write(replace(good, addresses=(f"localhost:{port}",))))
        assert "no HTTP/2 behind it" in told.problem


def server_certificate(world: World, folder: Path, *, begin: timedelta, end: timedelta) -> Files:
    """A hub's certificate with these dates, of the hub's own authority."""
    authority = authority_files(world.exchange.pki)
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    signer = load_pem_private_key(authority.key.read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, SHA256())
    )
    files = Files(folder / "hub.pem", folder / "hub-key.pem")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@pytest.mark.parametrize(
    ("begin", "end", "why"), [(-2 * HOUR, -HOUR, "has expired"), (HOUR, 2 * HOUR, "is not valid before")]
)
async def test_a_hubs_certificate_that_is_out_of_date_is_told_with_the_clock(
    world: World, good: ClientConfig, tmp_path: Path, begin: timedelta, end: timedelta, why: str
) -> None:
    files = server_certificate(world, tmp_path, begin=begin, end=end)
    async with tls_server(files) as port:
        told = await doctor("--client", write(replace(good, addresses=(f"localhost:{port}",))))
    assert why in told.problem
    assert "clock" in told.problem


async def test_one_address_of_several_that_works_is_enough_to_go_on(good: ClientConfig) -> None:
    addresses = (f"localhost:{free_port()}", *good.addresses)
    told = await doctor("--client", write(replace(good, addresses=addresses)))
    assert "nothing listens there" in told.problem
    assert told.findings["directory"][0]["state"] == "ok"


async def test_clocks_that_differ_are_told(tmp_path: Path) -> None:
    exchange = await Exchange.found(tmp_path / "late")
    hub = await ChildHub.start(exchange, "--clock-offset-ms", "600000", "--accept-clock")
    try:
        config = client_config(exchange, hub.port, "operator", tmp_path / "client", Role.OPERATOR)
        told = await doctor("--client", write(config))
        assert "clock differs by" in told.problem
        assert "set the clock" in told.problem
    finally:
        await hub.aclose()


def hub_toml(world: World, folder: Path, *, ops: str, changes: Iterable[tuple[str, str]] = ()) -> Path:
    settings = world.app._config
    text = (
        f'exchange = "{NAME}"\ndata = "{settings.data}"\nkeys = "{settings.keys}"\nlisten = "127.0.0.1:1"\n'
        f'[tls]\ncertificate = "{settings.tls.certificate}"\nkey = "{settings.tls.key}"\n'
        f'client_authority = "{settings.tls.client_authority}"\n[ops]\nlisten = "{ops}"\n'
    )
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "hub.toml"
    path.write_text(text)
    return path


async def test_a_hubs_machine_is_looked_over(world: World, tmp_path: Path) -> None:
    told = await doctor("--config", hub_toml(world, tmp_path, ops=f"127.0.0.1:{world.ops_port}"))
    assert told.code == 0, told.of("problem")
    for what in ("disk of data", "disk of marks", "fsync of data", "fsync of marks", "open files", "memory", "clock"):
        assert what in told.findings, what
    assert "median" in told.findings["fsync of marks"][0]["detail"]
    assert all(f"process {os.getpid()}" in told.findings[what][0]["detail"] for what in ("open files", "core dumps"))
    assert told.findings[f"{NAME}/uk: store"][0]["detail"].endswith("sound")
    assert told.findings["running hub"][0]["detail"] == "ready"
    quiet = await doctor("--config", hub_toml(world, tmp_path, ops=f"127.0.0.1:{free_port()}"))
    assert quiet.findings["running hub"][0]["state"] == "warning"


async def test_a_hubs_files_that_do_not_fit_are_named(world: World, tmp_path: Path) -> None:
    alpha = issued_files(world.exchange.pki, "alpha", "pipeline")
    tls = world.app._config.tls
    ops = f"127.0.0.1:{world.ops_port}"
    for changes, why in (
        ([(str(tls.key), str(alpha.key))], "is not the key of"),
        ([(str(tls.key), str(alpha.key)), (str(tls.certificate), str(alpha.certificate))], "not made for servers"),
        ([(str(tls.client_authority), str(alpha.certificate))], "is not an authority's"),
    ):
        told = await doctor("--config", hub_toml(world, tmp_path, ops=ops, changes=changes))
        assert why in told.problem


async def test_a_damaged_store_and_an_open_key_are_found(tmp_path: Path) -> None:
    exchange = await Exchange.found(tmp_path / "damaged")
    hub = await ChildHub.start(exchange)
    await hub.populate()
    hub.send(signal.SIGTERM)
    assert await hub.ended() == 0
    config = exchange.folder / "hub.toml"
    assert (await doctor("--config", config)).code == 0
    exchange.folders.key("uk").chmod(0o644)
    assert "others on this machine may read this key" in (await doctor("--config", config)).problem
    exchange.folders.key("uk").chmod(0o600)
    exchange.folders.proposals.write_bytes(b"{}")
    assert "proposals" in (await doctor("--config", config)).problem
    exchange.folders.proposals.unlink()
    database = exchange.folders.log("directory") / "ledger.sqlite"
    data = bytearray(database.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = bytes(64)
    database.write_bytes(data)
    assert "damaged" in (await doctor("--config", config)).problem
    await hub.aclose()


async def test_few_open_files_are_told(world: World, tmp_path: Path) -> None:
    elsewhere = [(f'data = "{world.app._config.data}"', f'data = "{tmp_path}"')]  # where no hub runs
    path = hub_toml(world, tmp_path, ops=f"127.0.0.1:{world.ops_port}", changes=elsewhere)
    process = await asyncio.create_subprocess_shell(
        f"ulimit -n 128; exec {EXCHANGE} doctor --json --config {path}", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    rows = [json.loads(line) for line in out.decode().splitlines()]
    (found,) = [row for row in rows if row["what"] == "open files"]
    assert found["state"] == "problem"
    assert "ulimit" in found["hint"]
