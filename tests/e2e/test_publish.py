"""`exchange publish` as a pipeline meets it: what is refused, interrupted or left, and what becomes of each line."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command_line import DEADLINE_S, EXCHANGE, Place, founded, lines, pdq_line, run
from tests.e2e.exchange_fixture import free_port

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with founded(tmp_path_factory.mktemp("publish")) as found:
        yield found


@contextlib.contextmanager
def publishing(place: Place, member: str = "alpha") -> Iterator[subprocess.Popen[bytes]]:
    """A run that reads a pipe whose other end stays open."""
    running = subprocess.Popen(
        [EXCHANGE, "publish", "-", "--community", "uk", "--client", str(place.client(member)), "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdin is not None
    try:
        yield running
        assert not running.stdin.closed
    finally:
        running.kill()
        running.communicate()


def give(running: subprocess.Popen[bytes], text: str) -> None:
    assert running.stdin is not None
    running.stdin.write(text.encode())
    running.stdin.flush()


def published(running: subprocess.Popen[bytes]) -> dict[str, object]:
    assert running.stdout is not None
    (found,) = lines(running.stdout.readline().decode())
    return found


def ended(running: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait until the process is gone; return its code and what it said last."""
    code = running.wait(DEADLINE_S)
    assert running.stderr is not None
    return code, running.stderr.read().decode()


def unsent(place: Place, member: str) -> int:
    """How many statements wait in a member's outbox, by its file."""
    file = place.client(member).parent / "state" / "client.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as state:
        return int(state.execute("SELECT count(*) FROM outbox WHERE receipt_index IS NULL").fetchone()[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_while_the_pipe_stays_open(place: Place, number: signal.Signals) -> None:
    with publishing(place) as running:
        give(running, pdq_line("01", case_ref="T-1") + "\n" + '{"label": "half a li')
        assert published(running)["case_ref"] == "T-1"
        running.send_signal(number)
        code, said = ended(running)
    assert code == 128 + number
    assert "interrupted: 1 in the ledger, 0 refused, and the last line, which had no end, was not taken" in said
    assert "Traceback" not in said
    assert "Fatal Python error" not in said


def test_what_is_interrupted_without_its_receipt_is_sent_by_the_next_run(place: Place) -> None:
    with publishing(place, "beta") as running:
        give(running, pdq_line("02", case_ref="T-2") + "\n")
        assert published(running)["earlier"] is False
        place.hub.send_signal(signal.SIGSTOP)
        try:
            for byte in ("03", "04"):
                give(running, pdq_line(byte, case_ref=f"T-{byte}", quality=70) + "\n")
            end = time.monotonic() + DEADLINE_S
            while not unsent(place, "beta") and time.monotonic() < end:
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            running.send_signal(signal.SIGINT)
            code, said = ended(running)
        finally:
            place.hub.send_signal(signal.SIGCONT)
    assert code == 130
    assert "interrupted: 1 in the ledger, 0 refused, " in said
    assert "interrupt again to end at once" in said
    left = unsent(place, "beta")
    assert left in (1, 2)
    done = run("publish", "-", "--community", "uk", "--client", place.client("beta"), "--json", stdin="")
    told = lines(done.stdout)
    assert {row["case_ref"] for row in told} <= {"T-03", "T-04"}
    assert len(told) == int(said.split("refused, ")[1].split(" kept")[0])
    assert all(row["earlier"] is True for row in told)
    assert f"{len(told)} of an earlier run are sent first" in done.stderr
    assert unsent(place, "beta") == 0


def test_without_a_hub_nothing_is_taken_and_that_is_said(place: Place) -> None:
    text = place.client("alpha").read_text()
    address = text.split('addresses = ["')[1].split('"')[0]
    elsewhere = place.client("alpha").with_name("elsewhere.toml")
    elsewhere.write_text(text.replace(address, f"127.0.0.1:{free_port()}"))
    done = run("publish", "-", "--community", "uk", "--client", elsewhere, stdin=pdq_line("05"), code=3)
    assert "nothing was taken from the source, so run it again later" in done.stderr
    assert unsent(place, "alpha") == 0


def test_a_client_of_another_role_is_told_which_to_name_and_nothing_is_taken(place: Place, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    done = run(
        "publish", "-", "--community", "uk", "--client", place.operator, "--rejects", rejects,
        stdin=pdq_line("05"), code=1,
    )  # fmt: skip
    assert "its role is operator, which may not publish a signal" in done.stderr
    assert "nothing was taken from the source; name the client file of the role pipeline or liaison" in done.stderr
    assert not rejects.exists()


def test_a_source_that_is_closed_is_told(place: Place) -> None:
    command = [EXCHANGE, "publish", "-", "--community", "uk", "--client", str(place.client("alpha"))]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_line_is_mended_where_it_stands_and_published_again(place: Place, tmp_path: Path) -> None:
    rejects, mended = tmp_path / "rejects.jsonl", tmp_path / "mended.jsonl"
    bad = pdq_line("06", case_ref="T-6", label="nope")
    publishing_to = ("--community", "uk", "--client", place.client("alpha"), "--rejects", rejects)
    run("publish", "-", *publishing_to, stdin=f"{bad}\nnonsense\n", code=1)
    own = run("publish", rejects, *publishing_to, code=2)
    assert "move it first" in own.stderr
    rejects.rename(mended)
    first, second = lines(mended.read_text())
    assert first["line"] == json.loads(bad)
    assert "label" in first["error"]["message"]
    assert second["line"] == "nonsense"
    first["line"]["label"] = "harassment_targeted"
    mended.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    done = run("publish", mended, *publishing_to, "--json", code=1)
    assert [row["case_ref"] for row in lines(done.stdout)] == ["T-6"]
    (still,) = lines(rejects.read_text())
    assert still == second


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "not JSON"),
        ("[]", "not a JSON object"),
        (pdq_line("AB"), "lower-case"),
        (pdq_line("ab", label="nope"), "this label is not known"),
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


def test_the_first_refused_lines_are_told_with_place_and_reason_and_no_identifier(place: Place, tmp_path: Path) -> None:
    source, rejects = tmp_path / "signals.jsonl", tmp_path / "rejects.jsonl"
    bad = [
        pdq_line("c1", label="harasment_targeted"),
        "",
        pdq_line("c2", election="ab" * 32, case_ref="someone@example.org"),
        pdq_line("c3", label="someone@example.org"),
        *(pdq_line("c4", lable=f"someone{number}@example.org") for number in range(9)),
    ]
    source.write_text("\n".join(["", pdq_line("c5"), *bad]) + "\n")
    publishing_to = ("--community", "uk", "--client", place.client("alpha"), "--rejects", rejects)
    done = run("publish", source, *publishing_to, code=1)
    assert "1 in the ledger, 12 refused" in done.stdout
    told = [line for line in done.stderr.splitlines() if line.startswith("refused: ")]
    assert told[:3] == [
        "refused: line 3: this label is not known",
        "refused: line 6: this label is not known",
        "refused: line 7: `lable` is not a known key",
    ]
    assert "  hint: did you mean `label`?" in done.stderr
    assert len(told) == 3
    assert done.stderr.count("what else is refused is counted only") == 1
    assert "someone" not in done.stderr
    source.write_text(bad[2])
    done = run("publish", source, *publishing_to, code=1)
    assert "refused: line 1: signal.election: names no election" in done.stderr
    assert "someone" not in done.stderr
    assert "refused: " not in run("publish", source, *publishing_to, "--json", code=1).stderr


def test_a_line_that_is_no_text_does_not_end_the_others(place: Place, tmp_path: Path) -> None:
    source, rejects = tmp_path / "signals.jsonl", tmp_path / "rejects.jsonl"
    source.write_bytes(b"\xff\xfe\n" + f"{pdq_line('ce')}\n".encode())
    done = run(
        "publish", source, "--community", "uk", "--client", place.client("alpha"), "--rejects", rejects, code=1
    )  # fmt: skip
    assert "1 in the ledger, 1 refused" in done.stdout
    (refused,) = lines(rejects.read_text())
    assert (refused["error"]["reason"], refused["line"]) == ("malformed", "not UTF-8: \\xff\\xfe")


def test_a_suspended_member_is_told_so_and_comes_back(place: Place) -> None:
    run("member", "suspend", "beta", "--reason", "drill", "--client", place.operator)
    done = run("publish", "-", "--community", "uk", "--client", place.client("beta"), stdin=pdq_line("ee"), code=1)
    assert "0 in the ledger, 1 refused" in done.stdout
    run("member", "lift", "beta", "--reason", "drill over", "--client", place.operator)
    done = run("publish", "-", "--community", "uk", "--client", place.client("beta"), stdin=pdq_line("ef"))
    assert "1 in the ledger" in done.stdout
    assert "beta" in run("member", "list", "--client", place.client("alpha")).stdout
