"""Our certificate: taken up when it fits, renewed before it ends, and never given up for something worse."""

from __future__ import annotations

import itertools
import logging
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exchange.errors import Reason, Rejected
from exchange_client import ClientConfig
from exchange_client.identity import FIRST_PAUSE_S, Identity, Renew, run_command
from tests.authorities import Issued, make

ROOT = make("root")
URI = "spiffe://test.exchange/member/alpha/pipeline"
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def certificate(uri: str = URI, begin: timedelta = -HOUR, end: timedelta = 2 * HOUR) -> Issued:
    return make("alpha", ROOT, ca=False, uri=uri, begin=NOW + begin, end=NOW + end)


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
    ],
    ids=["expired", "not begun", "another workload", "no name"],
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
