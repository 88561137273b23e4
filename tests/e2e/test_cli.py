"""The command line as people and pipelines use it: real processes, from founding an exchange to verifying it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exchange_fixture import free_port

pytestmark = pytest.mark.e2e

EXCHANGE = str(Path(sys.executable).parent / "exchange")
DEADLINE_S = 30.0


@dataclass
class Place:
    """A founded exchange with a serving hub."""

    folder: Path
    hub: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "hub" / "hub.toml"

    @property
    def operator(self) -> Path:
        return self.folder / "hub" / "operator" / "client.toml"

    def client(self, member: str, role: str = "pipeline") -> Path:
        return self.folder / member / role / "client.toml"


def run(*arguments: object, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [EXCHANGE, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def serve(config: Path) -> subprocess.Popen[bytes]:
    log = config.parent / "serve.log"
    before = log.read_text().count('"serving"') if log.exists() else 0
    with log.open("ab") as stderr:
        hub = subprocess.Popen([EXCHANGE, "serve", "--config", str(config)], stderr=stderr)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and hub.poll() is None:
        if log.read_text().count('"serving"') > before:
            return hub
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("cli")
    made = run(
        "init",
        "--exchange", "cli.exchange",
        "--operator", "op",
        "--folder", folder / "hub",
        "--listen", f"127.0.0.1:{free_port()}",
        "--ops-listen", f"127.0.0.1:{free_port()}",
        "--json",
    )  # fmt: skip
    assert len(lines(made.stdout)[0]["genesis"]) == 64
    found = Place(folder, serve(folder / "hub" / "hub.toml"))
    run("community", "create", "uk", "--config", found.config, "--client", found.operator)
    for member in ("alpha", "beta"):
        run(
            "member", "add", member,
            "--community", "uk",
            "--client", found.operator,
            "--development-pki", folder / "hub" / "pki",
            "--folder", folder / member,
        )  # fmt: skip
    yield found
    found.hub.send_signal(signal.SIGTERM)
    assert found.hub.wait(DEADLINE_S) == 0


def pdq_line(byte: str, **fields: object) -> str:
    return json.dumps(
        {
            "label": "harassment_targeted",
            "indicators": [{"type": "pdq", "value": byte * 32}],
            "expires_in_days": 30,
            **fields,
        }
    )


def test_a_pipeline_in_any_language_publishes_and_watches(place: Place) -> None:
    good = [pdq_line(f"{n:02x}", case_ref=f"T-{n}") for n in range(3)]
    done = run("publish", "-", "--community", "uk", "--client", place.client("alpha"), "--json", stdin="\n".join(good))
    receipts = lines(done.stdout)
    assert [r["case_ref"] for r in receipts] == ["T-0", "T-1", "T-2"]
    index = receipts[0]["index"]
    seen = run(
        "watch", "--community", "uk", "--client", place.client("beta"), "--cursor", index, "--limit", 1, "--json"
    )
    (entry,) = lines(seen.stdout)
    assert entry["state"] == "present"
    assert entry["covered"] is True
    together = [r["signal_id"] for r in receipts if r["index"] == index]
    assert [s["signal_id"] for s in entry["signals"]] == together
    liaison = run(
        "watch", "--community", "uk", "--client", place.client("beta", "liaison"), "--cursor", index, "--limit", 1,
        "--json",
    )  # fmt: skip
    (leaf_only,) = lines(liaison.stdout)
    assert leaf_only["state"] == "not_for_you"
    assert leaf_only["signals"] == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "not JSON"),
        ("[]", "not a JSON object"),
        (pdq_line("AB"), "lower-case"),
        (pdq_line("ab", label="nope"), "label 'nope' is not known"),
        (pdq_line("ab", label="child_safety_csam"), "routed elsewhere"),
        (pdq_line("ab", surprise=1), "`surprise` is not a known key"),
        (pdq_line("ab", audience=[]), "an empty audience is an error"),
        (pdq_line("ab", expires_in_days=100_000), "days away"),
        (pdq_line("ab", indicators=[]), "`indicators`"),
        (pdq_line("ab", indicators=[{"type": "url", "value": "https://x.com/someone"}]), "account"),
        (pdq_line("ab", indicators=[{"type": "url", "value": "ftp://example.org/"}]), "http"),
        (pdq_line("ab", election="ab" * 32), "names no election"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason_and_the_rest_goes_on(place: Place, line: str, why: str) -> None:
    rejects = place.folder / "rejects.jsonl"
    rejects.unlink(missing_ok=True)
    done = run(
        "publish", "-", "--community", "uk", "--client", place.client("alpha"), "--rejects", rejects,
        stdin=f"{line}\n{pdq_line('cd')}\n", code=1,
    )  # fmt: skip
    assert "1 in the ledger, 1 refused" in done.stdout
    (refused,) = lines(rejects.read_text())
    assert why in json.dumps(refused)
    assert rejects.stat().st_mode & 0o077 == 0


def test_a_line_that_is_no_text_does_not_end_the_others(place: Place, tmp_path: Path) -> None:
    source, rejects = tmp_path / "signals.jsonl", tmp_path / "rejects.jsonl"
    source.write_bytes(b"\xff\xfe\n" + f"{pdq_line('ce')}\n".encode())
    done = run(
        "publish", source, "--community", "uk", "--client", place.client("alpha"), "--rejects", rejects, code=1
    )  # fmt: skip
    assert "1 in the ledger, 1 refused" in done.stdout
    (refused,) = lines(rejects.read_text())
    assert (refused["reason"], refused["line"]) == ("malformed", "\\xff\\xfe")


def test_doctor_finds_nothing_wrong_and_check_config_prints_what_is_in_force(place: Place) -> None:
    done = run("doctor", "--config", place.config, "--client", place.client("alpha"), "--json")
    assert {finding["state"] for finding in lines(done.stdout)} <= {"ok", "warning"}
    assert "cli.exchange" in run("check-config", "--config", place.config).stdout
    assert lines(run("check-config", "--config", place.config, "--json").stdout)[0]["quotas"]["streams"] == 64


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('data = "data"', 'data = "data"\nsurprise = 1', "surprise"),
        ('exchange = "cli.exchange"', 'exchange = "Not A Name"', "not a name"),
        ('data = "data"', "data = 7", "data"),
        ('listen = "127.0.0.1', 'listen = "nowhere', "host:port"),
        ("[tls]", "[tls", "not TOML"),
        ('data = "data"', 'data = "data"\nlog_level = "loud"', "log_level"),
        ('exchange = "cli.exchange"\n', "", "exchange"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(place: Place, tmp_path: Path, old: str, new: str, why: str) -> None:
    text = place.config.read_text()
    assert old in text
    if "nowhere" in new:
        text = text.replace(text.split('listen = "')[1].split('"')[0], "nowhere", 1)
    else:
        text = text.replace(old, new, 1)
    (tmp_path / "hub.toml").write_text(text)
    done = run("check-config", "--config", tmp_path / "hub.toml", code=1)
    assert why in done.stderr


def test_what_exists_is_never_overwritten(place: Place) -> None:
    again = run("init", "--exchange", "cli.exchange", "--operator", "op", "--folder", place.folder / "hub", code=1)
    assert "already" in again.stderr
    taken = run(
        "member", "add", "alpha", "--client", place.operator, "--development-pki", place.folder / "hub" / "pki",
        "--folder", place.folder / "alpha", code=1,
    )  # fmt: skip
    assert "exist" in taken.stderr


def test_a_second_hub_on_the_same_store_is_refused(place: Place) -> None:
    text = place.config.read_text()
    for port in {part.split('"')[0] for part in text.split('"127.0.0.1:')[1:]}:
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    other = place.config.with_name("other.toml")
    other.write_text(text)
    done = run("serve", "--config", other, code=3)
    assert "another process" in done.stderr


def test_a_suspended_member_is_told_so_and_comes_back(place: Place) -> None:
    run("member", "suspend", "beta", "--reason", "drill", "--client", place.operator)
    done = run("publish", "-", "--community", "uk", "--client", place.client("beta"), stdin=pdq_line("ee"), code=1)
    assert "1 refused" in done.stdout
    run("member", "lift", "beta", "--reason", "drill over", "--client", place.operator)
    done = run("publish", "-", "--community", "uk", "--client", place.client("beta"), stdin=pdq_line("ef"))
    assert "1 in the ledger" in done.stdout
    assert "beta" in run("member", "list", "--client", place.client("alpha")).stdout


def test_verify_holds_and_finds_a_changed_byte(place: Place, tmp_path: Path) -> None:
    data, pin = place.folder / "hub" / "data", place.client("alpha")
    assert run("verify", data, "--genesis-of", pin).stdout.count("holds") == 2
    wrong = run("verify", data, "--genesis", "00" * 32, code=1)
    assert "genesis pin" in wrong.stdout
    assert "there are no logs" in run("verify", data.parent, "--genesis-of", pin, code=1).stderr
    copy = tmp_path / "data"
    for log in ("directory", "uk"):
        (copy / "logs" / log).mkdir(parents=True)
        with (
            contextlib.closing(sqlite3.connect(data / "logs" / log / "ledger.sqlite")) as source,
            contextlib.closing(sqlite3.connect(copy / "logs" / log / "ledger.sqlite")) as target,
        ):
            source.backup(target)
    with contextlib.closing(sqlite3.connect(copy / "logs" / "uk" / "ledger.sqlite")) as ledger:
        (frame,) = ledger.execute("SELECT frame FROM entries WHERE idx = 0").fetchone()
        for at in (30, len(frame) - 5):
            flipped = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
            ledger.execute("UPDATE entries SET frame = ? WHERE idx = 0", (flipped,))
            ledger.commit()
            found = run("verify", copy, "--genesis-of", pin, code=1)
            assert "FAILED" in found.stdout
        ledger.execute("UPDATE entries SET frame = ? WHERE idx = 0", (frame,))
        ledger.commit()
    assert run("verify", copy, "--genesis-of", pin).stdout.count("holds") == 2
    (copy / "logs" / "ruined").mkdir()
    (copy / "logs" / "ruined" / "ledger.sqlite").write_bytes(b"no database" * 1_000)
    found = run("verify", copy, "--genesis-of", pin, code=1)
    assert "FAILED  ruined" in found.stdout
    assert len(re.findall(r"^holds ", found.stdout, re.MULTILINE)) == 2


def test_a_hub_that_cannot_be_reached_is_explained(place: Place) -> None:
    text = place.client("alpha").read_text()
    address = text.split('addresses = ["')[1].split('"')[0]
    elsewhere = place.client("alpha").with_name("elsewhere.toml")
    elsewhere.write_text(text.replace(address, f"127.0.0.1:{free_port()}"))
    done = run("watch", "--community", "uk", "--client", elsewhere, "--limit", 1, code=3)
    assert "hint:" in done.stderr
    assert "doctor" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["init", "serve", "check-config", "doctor", "pki", "community", "member", "publish", "watch", "verify", "key"],
)
def test_every_command_explains_itself(command: str) -> None:
    text = run(command, "--help").stdout
    assert "Usage:" in text
    if command != "check-config":
        assert "Example" in text or "exchange " in text


def test_a_community_is_made_once(place: Place) -> None:
    again = run("community", "create", "uk", "--config", place.config, "--client", place.operator, code=1)
    assert "exists already" in again.stderr


def test_a_key_is_renewed_by_hand(place: Place) -> None:
    own = place.client("alpha", "liaison")
    seed = own.with_name("signing.seed")
    (before,) = lines(run("key", "status", "--client", own, "--json").stdout)
    assert (before["key"], before["directory"], before["days"]) == ("present", "in force", 0)
    early = run("key", "promote", "--client", own, code=1)
    assert "no next key" in early.stderr
    (made,) = lines(run("key", "next", "--client", own, "--json").stdout)
    assert Path(made["file"]).stat().st_mode & 0o077 == 0
    assert "already" in run("key", "next", "--client", own, code=1).stderr
    waits = run("key", "promote", "--client", own, code=1)
    assert "not registered" in waits.stderr
    run(*made["operator_command"].split()[1:], "--client", place.operator)
    assert [row["directory"] for row in lines(run("key", "status", "--client", own, "--json").stdout)] == [
        "in force"
    ] * 2
    old_seed = seed.read_text()
    (done,) = lines(run("key", "promote", "--client", own, "--json").stdout)
    assert (done["public_key"], done["old_public_key"]) == (made["public_key"], before["public_key"])
    assert seed.read_text() != old_seed
    assert not Path(made["file"]).exists()
    run(*done["operator_command"].split()[1:], "--client", place.operator)
    (after,) = lines(run("key", "status", "--client", own, "--json").stdout)
    assert (after["public_key"], after["directory"]) == (made["public_key"], "in force")
    assert "1 in the ledger" in run("publish", "-", "--community", "uk", "--client", own, stdin=pdq_line("ea")).stdout
