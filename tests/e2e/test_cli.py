"""The command line as people and pipelines use it: real processes, from founding an exchange to verifying it."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from tests.e2e.command_line import Place, founded, lines, pdq_line, run
from tests.e2e.exchange_fixture import free_port

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with founded(tmp_path_factory.mktemp("cli")) as found:
        yield found


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
    table = run("watch", "--community", "uk", "--client", place.client("beta"), "--cursor", index, "--limit", 1)
    head, row = table.stdout.splitlines()
    assert head.split() == ["index", "publisher", "label", "or", "kind", "signals", "or", "state", "lag"]
    assert row.split()[:3] == [str(index), "alpha", "harassment_targeted"]
    assert len(head) == len(row)
    assert leaf_only["state"] == "not_for_you"
    assert leaf_only["signals"] == []


def test_members_hold_against_each_other_what_a_hub_shows_them(place: Place, tmp_path: Path) -> None:
    ask = ("checkpoint", "--community", "uk", "--client")
    file = tmp_path / "alpha.checkpoint"
    run("publish", "--community", "uk", "--client", place.client("alpha"), stdin=pdq_line("bf"))
    file.write_text(run(*ask, place.client("alpha", "liaison")).stdout)
    run("publish", "--community", "uk", "--client", place.client("alpha"), stdin=pdq_line("c0"))
    beta = place.client("beta", "liaison")
    (now,) = lines(run(*ask, beta, "--against", file, "--json").stdout)
    assert file.read_text() != now["checkpoint"]
    size = file.read_text().splitlines()[1]
    told = run(*ask, beta, "--against", file)
    assert told.stdout == now["checkpoint"]
    assert told.stderr == f"{file} and what we are shown agree up to size {size}: one ledger\n"
    key = SigningKey(bytes.fromhex((place.folder / "hub" / "data" / "keys" / "uk.seed").read_text()))
    shown = Checkpoint(now["origin"], now["size"], bytes.fromhex(now["root"]))
    assert open_checkpoint(now["checkpoint"].encode(), log_verifier(shown.origin, key.public_key)) == shown
    for other in (
        replace(shown, root=bytes(32)),
        replace(shown, size=shown.size + 1),
        replace(shown, size=shown.size - 1),
    ):
        file.write_bytes(sign_checkpoint(other, key))
        refused = run(*ask, beta, "--against", file, code=1)
        assert refused.stdout == ""
        *_, kept = sorted((beta.parent / "state" / "evidence").iterdir())
        assert str(kept) in refused.stderr
        assert (kept / "against").read_bytes() == file.read_bytes()
        assert (kept / "shown-to-us").read_text() == now["checkpoint"]
    file.write_bytes(sign_checkpoint(shown, SigningKey(bytes(32))))
    run(*ask, beta, "--against", file, code=1)
    # Nor is it another ledger than the one that was followed.
    run("watch", "--community", "uk", "--client", beta, "--limit", 2)
    run(*ask, beta)
    with contextlib.closing(sqlite3.connect(beta.parent / "state" / "client.sqlite")) as state, state:
        turned = state.execute("UPDATE cursors SET hashes = zeroblob(length(hashes)) WHERE origin = ?", (shown.origin,))
        assert turned.rowcount == 1
    assert "evidence" in run(*ask, beta, code=1).stderr


def test_doctor_finds_nothing_wrong_and_check_config_prints_what_is_in_force(place: Place) -> None:
    done = run("doctor", "--config", place.config, "--client", place.client("alpha"), "--json")
    assert {finding["state"] for finding in lines(done.stdout)} <= {"ok", "warning"}
    said = run("check-config", "--config", place.config).stdout.splitlines()
    data = place.folder.resolve() / "hub" / "data"
    assert {'exchange = "cli.exchange"', 'trust_domain = "cli.exchange"', "signatures.beside = true"} <= set(said)
    assert {f'data = "{data}"', f'keys = "{data}/keys"', f'marks = "{data}/marks"'} <= set(said)
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


def test_files_that_are_not_there_are_named_with_their_keys(place: Place, tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(place.config.read_text())
    done = run("check-config", "--config", tmp_path / "hub.toml", code=1)
    folder = tmp_path.resolve()
    assert f'data = "{folder}/data"' in done.stdout
    for key in ("tls.certificate", "tls.key", "tls.client_authority", "data", "keys"):
        assert re.search(
            rf"^(cannot be used: )?{key}: {folder}/.*: No such file or directory$", done.stderr, re.MULTILINE
        )
    assert "marks" not in done.stderr
    for name in ("data", "pki"):
        (tmp_path / name).symlink_to(place.config.parent / name)
    assert lines(run("check-config", "--config", tmp_path / "hub.toml", "--json").stdout)
    (tmp_path / "pki").unlink()
    (tmp_path / "pki").write_text("no folder")
    done = run("check-config", "--config", tmp_path / "hub.toml", "--json", code=1)
    assert lines(done.stdout)
    assert "tls.key" in done.stderr
    assert "Not a directory" in done.stderr


def test_files_of_values_and_keys_that_are_not_there_are_named_too(place: Place) -> None:
    config = place.config.with_name("named.toml")
    named = {"protected.values": "no-values", "automation.key": "no-seed", "automation.canaries": "no-canaries"}
    config.write_text(
        f'{place.config.read_text()}[protected]\nvalues = "{named["protected.values"]}"\n[automation]\n'
        f'key = "{named["automation.key"]}"\ncanaries = "{named["automation.canaries"]}"\n'
    )
    said = run("check-config", "--config", config, code=1).stderr
    for key, name in named.items():
        assert f"{key}: {config.parent.resolve()}/{name}: No such file or directory" in said


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
    [
        "init",
        "serve",
        "check-config",
        "doctor",
        "pki",
        "community",
        "member",
        "publish",
        "watch",
        "verify",
        "key",
        "pseudonyms",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    text = run(command, "--help").stdout
    assert "Usage:" in text
    assert "Example" in text


def test_a_community_is_made_once(place: Place) -> None:
    again = run("community", "create", "uk", "--config", place.config, "--client", place.operator, code=1)
    assert "exists already" in again.stderr


def test_a_member_is_made_once(place: Place) -> None:
    known = run("member", "list", "--client", place.operator).stdout
    made = ("--development-pki", place.folder / "hub" / "pki", "--folder", place.folder / "alpha")
    again = run("member", "add", "alpha", "--community", "uk", "--client", place.operator, *made, code=1)
    assert "alpha-pipeline.pem: exists already" in again.stderr
    assert "alpha may be a member already (`exchange member list`); the directory was not changed" in again.stderr
    assert run("member", "list", "--client", place.operator).stdout == known


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
