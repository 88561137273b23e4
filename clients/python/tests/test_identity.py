"""Our certificate: taken up when it fits, renewed before it ends, and never given up for something worse."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID, NameOID

from exchange.errors import Reason, Rejected
from exchange_client import ClientConfig, identity
from exchange_client.identity import FIRST_PAUSE_S, Identity, Renew, run_command
from tests.authorities import Issued, make

ROOT = make("root")
URI = "spiffe://test.exchange/member/alpha/pipeline"
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def certificate(uri: str = URI, begin: timedelta = -HOUR, end: timedelta = 2 * HOUR) -> Issued:
    return make("alpha", ROOT, ca=False, uri=uri, begin=NOW + begin, end=NOW + end)


def of_a_form_that_nobody_knows() -> Issued:
    """A certificate whose names hold an x400Address."""
    key, name = generate_private_key(SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alpha")])
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3002a300"))
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - HOUR).not_valid_after(NOW + 900 * 24 * HOUR)
    return Issued(builder.add_extension(names, critical=False).sign(key, SHA256()), key)


class Place:
    """A client's files, its clock, and its identity."""

    def __init__(self, folder: Path, renew: Renew | None = None) -> None:
        self.now = NOW
        self.config = ClientConfig(
            ("localhost:1",), "test.exchange", "alpha", "pipeline", folder / "certificate", folder / "key",
            folder / "authority", folder / "seed", bytes(32), folder / "state",
        )  # fmt: skip
        self.config.authority.write_bytes(ROOT.pem)
        self.put(certificate())
        self.identity = Identity(self.config, self.now_ms, renew)

    def now_ms(self) -> int:
        return round(self.now.timestamp() * 1000)

    def put(self, issued: Issued) -> None:
        self.config.certificate.write_bytes(issued.pem)
        self.config.key.write_bytes(issued.key_pem)

    def looks(self) -> list[bool]:
        return [self.identity.look() for _ in range(3)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_newer_certificate_is_taken_up_once(place: Place) -> None:
    assert place.looks() == [False, False, False]
    newer = certificate(end=5 * HOUR)
    place.put(newer)
    assert place.looks() == [False, True, False]
    state = place.identity.state
    assert (state.not_after, state.renewals, state.problem) == (newer.certificate.not_valid_after_utc, 1, "")


def test_a_pair_that_is_half_written_changes_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    newer, before = certificate(end=5 * HOUR), place.identity.state.not_after
    place.config.certificate.write_bytes(newer.pem)
    with caplog.at_level(logging.ERROR, "exchange_client"):
        assert place.looks() == [False, False, False]
    assert len(caplog.records) == 1
    assert "is not the key of" in place.identity.state.problem
    assert place.identity.state.not_after == before
    place.config.key.write_bytes(newer.key_pem)
    assert True in place.looks()
    assert place.identity.state.problem == ""


def test_trouble_that_goes_away_is_forgotten(place: Place) -> None:
    kept = place.config.key.read_bytes()
    place.config.key.unlink()
    place.looks()
    assert place.identity.state.problem
    place.config.key.write_bytes(kept)
    place.looks()
    assert place.identity.state.problem == ""


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (certificate(begin=-2 * HOUR, end=-HOUR), "is valid from"),
        (certificate(begin=HOUR), "is valid from"),
        (certificate("spiffe://test.exchange/member/beta/pipeline"), "is not for /member/alpha/pipeline"),
        (certificate(""), "is not for"),
        (of_a_form_that_nobody_knows(), "names cannot be read"),
    ],
    ids=["expired", "not begun", "another workload", "no name", "names-of-an-unknown-form"],
)
def test_what_the_hub_would_refuse_is_not_taken_up(place: Place, issued: Issued, why: str) -> None:
    before = place.identity.state.not_after
    place.put(issued)
    assert place.looks() == [False, False, False]
    assert why in place.identity.state.problem
    assert place.identity.state.not_after == before


def test_a_certificate_that_has_not_begun_is_taken_up_when_it_does(place: Place) -> None:
    place.put(certificate(begin=HOUR, end=9 * HOUR))
    assert place.looks() == [False, False, False]
    place.now += HOUR
    assert place.looks() == [True, False, False]


def test_files_that_do_not_fit_at_the_start_are_told(place: Place) -> None:
    place.config.key.write_bytes(ROOT.key_pem)
    with pytest.raises(Rejected, match="is not the key of") as caught:
        Identity(place.config, place.now_ms)
    assert caught.value.reason is Reason.CONFIG


async def test_renewal_is_due_at_two_thirds_and_without_a_way_it_is_cried_for(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.now = NOW + timedelta(minutes=59)
    await place.identity.keep()
    assert not place.identity.state.overdue
    place.now = place.identity.state.renew_at + timedelta(seconds=1)
    with caplog.at_level(logging.ERROR, "exchange_client"):
        for _ in range(5):
            await place.identity.keep()
        assert len(caplog.records) == 1
        place.now += timedelta(seconds=FIRST_PAUSE_S)
        await place.identity.keep()
    assert len(caplog.records) == 2
    state = place.identity.state
    assert state.overdue
    assert "no newer certificate" in state.problem
    place.put(certificate(begin=HOUR, end=9 * HOUR))
    assert True in place.looks()
    assert not place.identity.state.overdue
    assert place.identity.state.problem == ""


async def test_a_renewal_that_fails_is_run_again_with_longer_pauses(tmp_path: Path) -> None:
    runs: list[datetime] = []

    async def renew(config: ClientConfig) -> None:
        runs.append(own.now)
        if len(runs) < 4:
            raise RuntimeError("not today")
        own.put(certificate(begin=HOUR, end=9 * HOUR))

    own = Place(tmp_path, renew)
    own.now = own.identity.state.renew_at
    while len(runs) < 4:
        await own.identity.keep()
        assert len(runs) == 4 or "not today" in own.identity.state.problem
        own.now += timedelta(seconds=1)
    pauses = [(after - before).total_seconds() for before, after in itertools.pairwise(runs)]
    assert pauses == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert True in own.looks()
    await own.identity.keep()
    assert len(runs) == 4


async def test_a_renewal_that_brings_nothing_is_run_again(tmp_path: Path) -> None:
    runs: list[ClientConfig] = []

    async def renew(config: ClientConfig) -> None:
        runs.append(config)

    place = Place(tmp_path, renew)
    place.now = place.identity.state.renew_at
    await place.identity.keep()
    await place.identity.keep()
    assert runs == [place.config]
    place.now += timedelta(seconds=FIRST_PAUSE_S)
    await place.identity.keep()
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("begun", "left", "most"),
    [(timedelta(minutes=4), timedelta(minutes=1), 5), (100 * 24 * HOUR, 25 * 24 * HOUR, 1)],
    ids=["its clock is behind", "it began long ago"],
)
async def test_certificates_that_come_overdue_make_no_storm(
    tmp_path: Path, begun: timedelta, left: timedelta, most: int
) -> None:
    runs: list[datetime] = []

    async def renew(config: ClientConfig) -> None:
        runs.append(own.now)
        at = own.now - NOW
        own.put(certificate(begin=at - begun, end=at + left))

    own = Place(tmp_path, renew)
    own.now = own.identity.state.renew_at
    for _ in range(60):
        own.identity.look()
        await own.identity.keep()
        assert own.now < own.identity.state.not_after
        own.now += timedelta(seconds=2)
    assert 1 <= len(runs) <= most
    assert own.identity.state.renewals


async def test_the_command_finds_the_files_in_its_environment(place: Place, tmp_path: Path) -> None:
    script = "import os, pathlib; pathlib.Path(os.environ['EXCHANGE_CERTIFICATE'] + '.seen').write_text(os.environ['EXCHANGE_KEY'])"
    await run_command(replace(place.config, renew_command=(sys.executable, "-c", script)))
    assert (tmp_path / "certificate.seen").read_text() == str(place.config.key)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (
            (sys.executable, "-c", "import sys; print('first'); sys.exit('the CA is away')"),
            "ended with 1: the CA is away",
        ),
        (("no-such-program-here",), "no-such-program-here"),
    ],
    ids=["fails", "is not there"],
)
async def test_a_command_that_fails_says_why(place: Place, command: tuple[str, ...], why: str) -> None:
    with pytest.raises(OSError, match=why):
        await run_command(replace(place.config, renew_command=command))


async def test_the_command_runs_in_the_folder_of_the_clients_file(place: Place, tmp_path: Path) -> None:
    names = {"certificate": "certificate", "key": "key", "authority": "authority", "signing_key": "seed", "state": "s"}
    lines = [f'{name} = "{value}"' for name, value in names.items()]
    lines += ['addresses = ["localhost:1"]', 'exchange = "test.exchange"', 'member = "alpha"', 'role = "pipeline"']
    lines += [f'genesis = "{"00" * 32}"', 'renew_command = ["cp", "key", "copied"]']
    (tmp_path / "client.toml").write_text("\n".join(lines))
    await run_command(ClientConfig.load(tmp_path / "client.toml"))
    assert (tmp_path / "copied").read_bytes() == place.config.key.read_bytes()


def test_the_folder_is_no_key_of_the_clients_file(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text('folder = "/"')
    with pytest.raises(Rejected, match="`folder` is not a known key"):
        ClientConfig.load(tmp_path / "client.toml")


#: Starts a child that holds the standard error, tells its id, and goes on as it is told.
_WITH_A_CHILD = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
place = pathlib.Path(sys.argv[1])
place.with_suffix(".new").write_text(str(child.pid))
place.with_suffix(".new").rename(place)
sys.stderr.write("one line\\nthe last line\\n")
if sys.argv[2] == "waits":
    child.wait()
sys.exit(3)
"""


def gone(pid: int) -> bool:
    """Whether it has ended: it is not there, or its parent has not asked for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_stopping_a_command_stops_what_it_has_started(place: Place, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    command = (sys.executable, "-c", _WITH_A_CHILD, str(told), "waits")
    task = asyncio.create_task(run_command(replace(place.config, renew_command=command)))
    async with asyncio.timeout(30):
        while not told.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not gone(int(told.read_text())):
            await asyncio.sleep(0.01)


async def test_a_command_has_ended_when_it_has_whatever_it_leaves_behind(place: Place, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    command = (sys.executable, "-c", _WITH_A_CHILD, str(told), "leaves")
    try:
        async with asyncio.timeout(30):
            with pytest.raises(OSError, match="ended with 3: the last line"):
                await run_command(replace(place.config, renew_command=command))
        assert not gone(int(told.read_text()))
    finally:
        os.kill(int(told.read_text()), signal.SIGKILL)


async def test_a_renewal_that_takes_too_long_is_ended_and_told(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "pid"
    command = (sys.executable, "-c", _WITH_A_CHILD, str(told), "waits")
    monkeypatch.setattr(identity, "RENEWAL_S", 1.0)
    own = Identity(replace(place.config, renew_command=command), place.now_ms)
    place.now = own.state.renew_at
    async with asyncio.timeout(30):
        await own.keep()
        assert "TimeoutError" in own.state.problem
        while told.exists() and not gone(int(told.read_text())):
            await asyncio.sleep(0.01)
