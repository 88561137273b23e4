"""`exchange accounts` and accounts in published lines: the command line against a real hub and a real service."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchange.domain.kinds import Role
from tests.e2e import warm_command_line
from tests.e2e.command_line import EXCHANGE, lines
from tests.e2e.exchange_fixture import World, open_world
from tests.e2e.pseudonym_place import Service, a_service, client_file
from tests.e2e.sdk_clients import client_config

pytestmark = pytest.mark.e2e

DEADLINE_S = 60.0
MATCHED = 4
#: Of the service's budget: what alpha and beta may have evaluated.
USERS = {"alpha": (1_000, 0), "beta": (600, 0)}


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, object]]:
        return lines(self.out)


@dataclass
class Place:
    """A hub, a service with a live epoch, and the members' client files."""

    world: World
    service: Service
    folder: Path

    def client(self, member: str, *, knows_service: bool = True) -> Path:
        folder = self.folder / member / Role.PIPELINE.word
        service = f"localhost:{self.service.listen}" if knows_service else ""
        config = client_config(self.world.exchange, self.world.app.port, member, folder, pseudonyms=service)
        return client_file(config, folder / "client.toml")

    def state(self, member: str) -> Path:
        return self.folder / member / Role.PIPELINE.word / "state"

    def words(self, member: str, *arguments: object) -> list[str]:
        return [*map(str, arguments), "--community", "uk", "--client", str(self.client(member))]

    @asynccontextmanager
    async def running(self, member: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
        words = self.words(member, *arguments)
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(EXCHANGE, *words, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def run(self, member: str, *arguments: object, stdin: str = "", code: int = 0) -> Done:
        words = self.words(member, *arguments)
        ended = await asyncio.to_thread(warm_command_line.run, words, stdin=stdin, timeout_s=DEADLINE_S)
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert done.code == code, (arguments, done, [f.read_text() for f in self.folder.rglob("rejects.jsonl")])
        return done

    async def publish(self, *accounts: dict[str, str], code: int = 0, member: str = "alpha", **fields: object) -> Done:
        line = {"label": "misleading_scam", "accounts": list(accounts), "expires_in_days": 30, **fields}
        return await self.run(member, "publish", "-", "--json", stdin=json.dumps(line), code=code)


def email(text: str) -> dict[str, str]:
    return {"type": "email", "value": text}


def accounts_csv(path: Path, numbers: Iterable[int]) -> Path:
    path.write_text("reference,email\n" + "".join(f"user-{n},someone.{n}@example.org\n" for n in numbers))
    return path


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    world = await open_world(tmp_path / "exchange")
    try:
        async with a_service(world, tmp_path / "service", USERS) as service:
            await service.run("epoch", "create", "--days", 100)
            await service.start()
            yield Place(world, service, tmp_path)
    finally:
        await world.aclose()


async def test_a_platform_finds_the_accounts_that_another_one_named(place: Place, tmp_path: Path) -> None:
    source = accounts_csv(tmp_path / "accounts.csv", range(20))
    done = await place.run("beta", "accounts", "index", source, "--json")
    assert done.rows == [{"read": 20, "evaluated": 20, "refused": 0, "left": 0, "interrupted": False}]
    assert (await place.run("beta", "accounts", "check", "--json")).rows == []

    published = await place.publish(email("Someone.7@Example.org"), email("nobody@example.org"), case_ref="T-7")
    (receipt,) = published.rows
    found = await place.run("beta", "accounts", "check", "--json", code=MATCHED)
    (match,) = found.rows
    assert (match["reference"], match["publisher"], match["signal_id"]) == ("user-7", "alpha", receipt["signal_id"])
    assert (match["label"], match["severity"], match["confidence"]) == ("misleading_scam", "severe", "high")
    table = await place.run("beta", "accounts", "check", code=MATCHED)
    assert table.out.splitlines()[1].split()[:3] == ["user-7", "alpha", "misleading_scam"]
    assert "nothing was done" in table.err

    # An account that comes later is held against what was said before it; those that are there cost nothing.
    with source.open("a") as file:
        file.write("user-99,nobody@example.org\n")
    done = await place.run("beta", "accounts", "index", source, "--json")
    assert (done.rows[0]["read"], done.rows[0]["evaluated"]) == (21, 1)
    found = await place.run("beta", "accounts", "check", "--new", "--json", code=MATCHED)
    assert [row["reference"] for row in found.rows] == ["user-7", "user-99"]
    assert (await place.run("beta", "accounts", "check", "--new", "--json")).rows == []

    asked = await place.run(
        "beta", "accounts", "check", "--identifier", "email", "NOBODY@example.org", "--json", code=4
    )
    assert [(row["reference"], row["publisher"]) for row in asked.rows] == [(None, "alpha")]
    value = "someone.8@example.org\n"
    asked = await place.run("beta", "accounts", "check", "--identifier", "email", "-", stdin=value)
    assert "no live signal names this account" in asked.out

    assert (await _remove(place, "user-7", "user-1000")).rows == [{"removed": 1}]
    found = await place.run("beta", "accounts", "check", "--json", code=MATCHED)
    assert [row["reference"] for row in found.rows] == ["user-99"]
    (status,) = (await place.run("beta", "accounts", "status", "--json")).rows
    assert (status["key_epoch"], status["state"], status["accounts"], status["identifiers"]) == (1, "live", 20, 20)

    # What was signed, kept and sent holds no identifier, at either member nor at hub and service.
    for folder in (place.state("alpha"), place.state("beta"), tmp_path / "exchange" / "data", place.service.folder):
        kept = [path for path in folder.rglob("*") if path.is_file()]
        assert kept
        assert not [path for path in kept if b"example.org" in path.read_bytes()]
    assert not [path for path in place.state("beta").rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


async def _remove(place: Place, *references: str) -> Done:
    words = [EXCHANGE, "accounts", "remove", *references, "--client", str(place.client("beta")), "--json"]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return Done(0, out.decode(), err.decode())


async def test_who_follows_hears_of_a_match_as_it_arrives(place: Place, tmp_path: Path) -> None:
    source = accounts_csv(tmp_path / "accounts.csv", range(5))
    await place.run("beta", "accounts", "index", source)
    await place.publish(email("someone.1@example.org"))
    async with (
        asyncio.timeout(DEADLINE_S),
        place.running("beta", "accounts", "check", "--follow", "--json") as following,
    ):
        assert following.stdout is not None
        assert json.loads(await following.stdout.readline())["reference"] == "user-1"
        await place.publish(email("stranger@example.org"))
        await place.publish(email("someone.3@example.org"))
        assert json.loads(await following.stdout.readline())["reference"] == "user-3"
        following.send_signal(signal.SIGINT)
        assert await following.wait() == 0


async def test_an_interrupted_run_keeps_what_it_sent_and_goes_on(place: Place, tmp_path: Path) -> None:
    """A pipe that stays open, then SIGINT; then SIGKILL in the middle; then the whole."""
    text = accounts_csv(tmp_path / "accounts.csv", range(550)).read_text()
    head = "".join(text.splitlines(keepends=True)[:257])
    index = place.state("beta") / "accounts"
    async with asyncio.timeout(DEADLINE_S), place.running("beta", "accounts", "index", "-", "--json") as piped:
        assert piped.stdin is not None
        assert piped.stdout is not None
        piped.stdin.write(head.encode() + b"user-300,half a li")
        await piped.stdin.drain()
        while not _indexed(index):
            await asyncio.sleep(0.02)
        piped.send_signal(signal.SIGINT)
        told = json.loads(await piped.stdout.readline())
        assert told == {"read": 256, "evaluated": 256, "refused": 0, "left": 0, "interrupted": True}
        assert await piped.wait() == 130
    async with asyncio.timeout(DEADLINE_S), place.running("beta", "accounts", "index", "-") as piped:
        assert piped.stdin is not None
        piped.stdin.write(text.encode())
        await piped.stdin.drain()
        while _indexed(index) == 256:  # the next batch is on disk, and the pipe is open
            await asyncio.sleep(0.02)
        piped.kill()
    there = _indexed(index)
    assert there >= 512
    done = await place.run("beta", "accounts", "index", "-", "--json", stdin=text)
    assert (done.rows[0]["read"], done.rows[0]["evaluated"]) == (550, 550 - there)
    assert _indexed(index) == 550


def _indexed(folder: Path) -> int:
    """How many identifiers an index holds, by its file."""
    files = list(folder.glob("epoch-1-*.sqlite"))
    if not files:
        return 0
    with closing(sqlite3.connect(f"file:{files[0]}?mode=ro", uri=True)) as reading:
        try:
            return int(reading.execute("SELECT count(*) FROM accounts").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


async def test_ctrl_c_in_the_middle_of_a_file_loses_nothing_that_was_paid_for(place: Place, tmp_path: Path) -> None:
    source = accounts_csv(tmp_path / "accounts.csv", range(600))
    index = place.state("beta") / "accounts"
    async with asyncio.timeout(DEADLINE_S), place.running("beta", "accounts", "index", source, "--json") as running:
        assert running.stdout is not None
        while not _indexed(index):
            await asyncio.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        told = json.loads(await running.stdout.readline())
        assert await running.wait() == 143
    there = _indexed(index)
    assert told["evaluated"] == there > 0
    # All 600 fit the budget only if nothing was evaluated twice.
    done = await place.run("beta", "accounts", "index", source, "--json")
    assert (done.rows[0]["read"], done.rows[0]["evaluated"]) == (600, 600 - there)


async def test_over_the_budget_what_is_done_stays_and_the_rest_is_counted(place: Place, tmp_path: Path) -> None:
    source = accounts_csv(tmp_path / "accounts.csv", range(700))
    done = await place.run("beta", "accounts", "index", source, "--json", code=3)
    (told,) = done.rows
    assert told["read"] == 700
    assert isinstance(told["evaluated"], int)
    assert isinstance(told["left"], int)
    assert told["evaluated"] + told["left"] == 700
    assert 512 <= told["evaluated"] <= 600
    assert f"{told['left']} evaluations are left: run it again in" in done.err
    assert _indexed(place.state("beta") / "accounts") == told["evaluated"]


async def test_bad_lines_are_kept_to_oneself_and_the_rest_goes_on(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "accounts.csv"
    source.write_bytes(
        b"reference,type,value\nu1,email,not an address\nu2,handle,\xd1\x80\xd0\xb0ypal\nu3,email,\xff@example.org\n"
        b"u4,email,good@example.org\nu5,phone,020 7946 0018\nu6,email," + b"x" * 10_000_000 + b"\n"
    )
    done = await place.run("beta", "accounts", "index", source, "--json", code=1)
    assert (done.rows[0]["evaluated"], done.rows[0]["refused"]) == (1, 5)
    assert "not an address" not in done.out + done.err
    rejects = place.state("beta") / "accounts-rejects.jsonl"
    assert rejects.stat().st_mode & 0o077 == 0
    refused = lines(rejects.read_text())
    assert refused[0]["line"] == {"reference": "u1", "type": "email", "value": "not an address"}
    assert [row["error"]["reason"] for row in refused] == ["invalid", "invalid", "malformed", "invalid", "too_large"]
    assert "not an address" not in json.dumps([row["error"] for row in refused])
    own = await place.run("beta", "accounts", "index", rejects, code=2)
    assert "move it first" in own.err
    mended = tmp_path / "mended.jsonl"
    refused[0]["line"]["value"] = "mended@example.org"
    mended.write_text(json.dumps(refused[0]))
    assert (await place.run("beta", "accounts", "index", mended, "--json")).rows[0]["evaluated"] == 1
    wrong = await place.run("beta", "accounts", "index", "-", stdin="u1,secret@example.org\n", code=1)
    assert "the first line must name the columns" in wrong.err
    assert "secret" not in wrong.err


async def test_a_line_that_cannot_be_named_is_refused_and_the_rest_is_published(place: Place) -> None:
    pdq = {"type": "pdq", "value": "ab" * 32}
    bad: list[dict[str, object]] = [
        {"accounts": [email("SECRET")]},
        {"accounts": [email("secret@example.org")], "expires_in_days": 200},
        {"accounts": [{"type": "secret@example.org", "value": "x"}]},
    ]
    good: list[dict[str, object]] = [
        {"accounts": [email("good@example.org")], "indicators": [pdq]},
        {"indicators": [pdq]},
    ]
    base: dict[str, object] = {"label": "misleading_scam", "expires_in_days": 30}
    text = "\n".join(json.dumps(base | line) for line in bad + good)
    done = await place.run("alpha", "publish", "-", "--json", stdin=text, code=1)
    assert len(done.rows) == 2
    assert "3 refused" in done.err
    assert "secret" not in (done.out + done.err).lower()
    refused = lines((place.state("alpha") / "rejects.jsonl").read_text())
    assert refused[2]["line"] == base | bad[1]  # the member's own file: a line is mended where it stands
    errors = json.dumps([row["error"] for row in refused])
    assert "secret" not in errors.lower()
    assert "behind the end of key epoch 1" in errors
    watched = await place.run("beta", "watch", "--cursor", done.rows[0]["index"], "--limit", 1, "--json")
    (entry,) = watched.rows
    assert isinstance(entry["signals"], list)
    values = [each["value"] for each in entry["signals"][0]["indicators"] if each["type"] == "pseudonym"]
    assert [value.partition(":")[0] for value in values] == ["1"]

    shortened = await place.run("alpha", "publish", "-", "--shorten", "--json", stdin=json.dumps(base | bad[1]))
    assert len(shortened.rows) == 1


async def test_in_an_overlap_the_old_index_serves_until_the_new_one_is_there(place: Place, tmp_path: Path) -> None:
    source = accounts_csv(tmp_path / "accounts.csv", range(5))
    await place.run("beta", "accounts", "index", source)
    await place.publish(email("someone.1@example.org"))
    now = datetime.now(UTC)
    await place.service.run("epoch", "create", "--begins", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    async with asyncio.timeout(DEADLINE_S):
        while len((await place.run("beta", "accounts", "status", "--json")).rows) < 2:
            await asyncio.sleep(0.1)
    await place.publish(email("someone.2@example.org"))
    found = await place.run("beta", "accounts", "check", "--json", code=MATCHED)
    assert [row["reference"] for row in found.rows] == ["user-1", "user-2"]
    assert "key epoch 2 is live and has no index" in found.err
    done = await place.run("beta", "accounts", "index", source, "--json")
    assert (done.rows[0]["read"], done.rows[0]["evaluated"]) == (5, 5)
    found = await place.run("beta", "accounts", "check", "--json", code=MATCHED)
    assert [row["reference"] for row in found.rows] == ["user-1", "user-2"]
    assert "no index" not in found.err
    only = await place.run("beta", "accounts", "index", source, "--epoch", "3", code=1)
    assert "key epoch 3 is not live" in only.err


async def test_without_an_index_or_a_service_it_is_said_what_is_missing(place: Place, tmp_path: Path) -> None:
    nothing = await place.run("beta", "accounts", "check", code=1)
    assert "no account is indexed" in nothing.err
    source = accounts_csv(tmp_path / "accounts.csv", range(2))
    unnamed = place.client("gamma", knows_service=False)
    words = [EXCHANGE, "accounts", "index", str(source), "--community", "uk", "--client", str(unnamed)]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"names no pseudonym service" in err
