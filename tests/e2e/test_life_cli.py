"""What is said about signals, from the command line taken back, answered for, said once after a kill."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.command_line import DEADLINE_S, EXCHANGE, Place, founded, lines, pdq_line, run, serve

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with founded(tmp_path_factory.mktemp("life")) as found:
        yield found


def as_alpha(place: Place) -> tuple[object, ...]:
    return "--community", "uk", "--client", place.client("alpha")


def as_beta(place: Place, role: str = "pipeline") -> tuple[object, ...]:
    return "--community", "uk", "--client", place.client("beta", role)


def published(place: Place, *cases: str) -> list[str]:
    """Publish a signal for each case; return their ids."""
    text = "\n".join(pdq_line(f"{number:02x}", case_ref=case) for number, case in enumerate(cases))
    done = run("publish", "-", *as_alpha(place), "--json", stdin=text)
    ids = {line["case_ref"]: line["signal_id"] for line in lines(done.stdout)}
    return [ids[case] for case in cases]


def test_a_case_is_taken_back_and_whoever_acted_answers(place: Place) -> None:
    one, two = published(place, "T-1", "T-2")
    acted = json.dumps({"signal_ids": [one], "state": "actioned", "action": "removed", "actioned_at": now_ms()})
    bad = json.dumps({"signal_ids": [one], "state": "reversed", "colour": "red"})
    rejects = place.folder / "rejects.jsonl"
    done = run(
        "dispose", "--lines", "-", *as_beta(place), "--rejects", rejects, "--json", stdin=f"{acted}\n{bad}\n", code=1
    )
    refused, said = sorted(lines(done.stdout), key=lambda line: "index" in line)
    assert (said["kind"], said["signal_ids"], said["earlier"]) == ("disposition", [one], False)
    assert "colour" in refused["error"]["message"]
    (noted,) = lines(rejects.read_text())
    assert noted["line"] == json.loads(bad)
    told = run("dispose", "--lines", "-", *as_beta(place), "--rejects", rejects, stdin=f"\n{bad}\n", code=1)
    assert "refused: line 2: " in told.stderr
    # Mended where it stands, and given again.
    del noted["line"]["colour"]
    noted["line"] |= {"state": "pending_review"}
    run("dispose", "--lines", "-", *as_beta(place), stdin=json.dumps(noted))
    run("opine", two, "--category", "negative_class", "--reason", "wrong_label", *as_beta(place))
    assert "nothing is owed" in run("debts", *as_beta(place, "liaison")).stdout
    done = run("retract", "--case", "T-1", "--reason", "error", *as_alpha(place), "--json")
    (taken,) = lines(done.stdout)
    assert (taken["kind"], taken["signal_ids"], taken["reason"]) == ("retraction", [one], "error")
    assert lines(run("retract", "--case", "T-1", "--reason", "error", *as_alpha(place), "--json").stdout) == [
        {"kind": "retraction", "case_ref": "T-1", "index": None}
    ]
    (owed,) = lines(run("debts", *as_beta(place, "liaison"), "--json").stdout)
    assert (owed["signal_id"], owed["member"], owed["said"], owed["open"]) == (one, "beta", "pending_review", True)
    table = run("debts", *as_beta(place, "liaison")).stdout.splitlines()
    assert table[1].split()[-2:] == ["open", one]
    run("dispose", one, "--state", "reversed", "--actioned-at", now_ms(), *as_beta(place))
    assert "nothing is owed" in run("debts", *as_beta(place, "liaison")).stdout
    (known,) = lines(run("signal", one, *as_beta(place, "liaison"), "--json").stdout)
    assert (known["retracted_at"], known["dispositions"]) == (taken["index"], {"reversed": 1})
    text = run("signal", two, *as_beta(place, "liaison")).stdout
    assert "disputed" in text
    assert "beta thinks: negative_class, wrong_label" in text


def test_what_is_wrong_is_said_and_changes_nothing(place: Place) -> None:
    (one,) = published(place, "T-3")
    refused = run("retract", one, "--reason", "error", *as_beta(place), code=1)
    assert "another member's signal" in refused.stderr
    missing = run("opine", one, "--reason", "reviewed", *as_beta(place), code=1)
    assert "category is missing" in missing.stderr
    unknown = run("retract", "--case", "T-unknown", "--reason", "error", *as_alpha(place), code=1)
    assert "nothing was published from here under this case" in unknown.stderr
    neither = run("retract", "--reason", "error", *as_alpha(place), code=1)
    assert "`signal_ids`, or a `case_ref`" in neither.stderr
    assert "64 hexadecimal" in run("erase", "abc", "--reason", "legal", *as_alpha(place), code=1).stderr
    denied = run("quarantine", "alpha", "--reason", "burst", *as_beta(place), code=1)
    assert "its role is pipeline, which may not publish a quarantine" in denied.stderr
    assert "name the client file of the role operator or automation with --client" in denied.stderr
    no_such = run("signal", "ab" * 32, *as_beta(place), code=1)
    assert "no such signal" in no_such.stderr


def test_what_an_operator_took_back_of_a_case_is_left_out_and_the_rest_is_taken_back(place: Place) -> None:
    text = "\n".join(pdq_line(f"{number:02x}", case_ref="T-6") for number in range(3))
    ids = [each["signal_id"] for each in lines(run("publish", *as_alpha(place), "--json", stdin=text).stdout)]
    run("retract", ids[1], "--reason", "legal", "--community", "uk", "--client", place.operator)
    # Named by ids, it is all or nothing.
    refused = run("retract", *ids, "--reason", "error", *as_alpha(place), code=1)
    assert "retraction.targets[1]: has been taken back already" in refused.stderr
    (taken,) = lines(run("retract", "--case", "T-6", "--reason", "error", *as_alpha(place), "--json").stdout)
    assert sorted(taken["signal_ids"]) == sorted([ids[0], ids[2]])
    (nothing,) = lines(run("retract", "--case-ref", "T-6", "--reason", "error", *as_alpha(place), "--json").stdout)
    assert nothing["index"] is None


def test_whoever_stops_reading_ends_it_and_the_next_run_says_the_rest(place: Place) -> None:
    (one,) = published(place, "T-7")
    said = {"signal_ids": [one], "category": "positive_class", "reason": "reviewed"}
    (place.folder / "said.jsonl").write_text(40 * f"{json.dumps(said)}\n")
    opining = [EXCHANGE, "opine", "--lines", str(place.folder / "said.jsonl"), *map(str, as_beta(place)), "--json"]
    with subprocess.Popen(opining, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()
        assert running.wait(DEADLINE_S) == 1
    run("opine", "--lines", "-", *as_beta(place))
    with contextlib.closing(sqlite3.connect(place.client("beta").parent / "state" / "client.sqlite")) as disk:
        assert disk.execute("SELECT count(*) FROM outbox WHERE receipt_index IS NULL").fetchone() == (0,)


def test_quarantine_and_release_and_erasure(place: Place) -> None:
    (one,) = published(place, "T-4")
    args = ("--community", "uk", "--client", place.operator)
    run("quarantine", "alpha", "--reason", "operator", *args)
    (known,) = lines(run("signal", one, *as_beta(place), "--json").stdout)
    assert known["quarantined"] is True
    assert "release of alpha: entry" in run("release", "alpha", *args).stdout
    (known,) = lines(run("signal", one, *as_beta(place), "--json").stdout)
    assert known["quarantined"] is False
    (erased,) = lines(run("erase", "--case", "T-4", "--reason", "on_request", *as_alpha(place), "--json").stdout)
    (known,) = lines(run("signal", one, *as_beta(place), "--json").stdout)
    assert known["erased_at"] == erased["index"]


def test_watching_acknowledges_and_lag_is_told(place: Place) -> None:
    published(place, "T-5")
    run("watch", *as_beta(place), "--acknowledge", "--limit", 1)
    rows = lines(run("lag", *as_beta(place, "liaison"), "--json").stdout)
    stages = {(row["stage"], row["publisher"], row["receiver"]) for row in rows if "stage" in row}
    assert ("received", "alpha", None) in stages
    assert ("delivered", "alpha", "beta") in stages
    clocks = {row["clock"]: row["error_ms"] for row in rows if "clock" in row}
    assert clocks["beta"] >= 1
    text = run("lag", "--stage", "delivered", "--stage", "received", *as_beta(place, "liaison")).stdout
    assert {"RECEIVED", "DELIVERED"} <= set(text.split())
    assert "#" in text
    assert "give or take" in text
    assert "nothing was measured" in run("lag", "--member", "nobody", *as_beta(place, "liaison")).stdout


@pytest.mark.parametrize("heard", [True, False])
def test_what_was_signed_before_a_kill_is_said_once_by_the_next_run(tmp_path: Path, heard: bool) -> None:
    with founded(tmp_path) as place:
        first, second = published(place, "T-1", "T-2")
        state = place.client("alpha").parent / "state" / "client.sqlite"
        command = [EXCHANGE, "retract", "--lines", "-", "--reason", "error", *as_alpha(place), "--json"]
        with subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(b'{"case_ref": "T-1"}\n')
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["signal_ids"] == [first]
            place.hub.send_signal(signal.SIGSTOP)
            running.stdin.write(b'{"case_ref": "T-2"}\n')
            running.stdin.flush()
            wait_for_unsent(state)
            running.kill()
        if heard:
            place.hub.send_signal(signal.SIGCONT)
        else:
            place.hub.kill()
            place.hub.wait(DEADLINE_S)
            place.hub = serve(place.config)
        done = run("retract", "--case", "T-2", "--reason", "error", *as_alpha(place), "--json")
        earlier, nothing = lines(done.stdout)
        assert (earlier["signal_ids"], earlier["earlier"]) == ([second], True)
        assert (nothing["case_ref"], nothing["index"]) == ("T-2", None)
        seen = run("watch", *as_beta(place), "--cursor", 0, "--limit", earlier["index"] + 1, "--json")
        taken = [entry["signal_ids"] for entry in lines(seen.stdout) if entry["kind"] == "retraction"]
        assert taken == [[first], [second]]


def wait_for_unsent(state: Path) -> None:
    """Return when there is a statement in the outbox without a receipt."""
    end = time.monotonic() + DEADLINE_S
    with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as disk:
        while time.monotonic() < end:
            (count,) = disk.execute("SELECT count(*) FROM outbox WHERE receipt_index IS NULL").fetchone()
            if count:
                return
            time.sleep(0.02)
    raise AssertionError("nothing came into the outbox")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_an_election_is_made_listed_and_named(place: Place) -> None:
    operator = ("--community", "uk", "--client", place.operator, "--json")
    when = ("--begins", "2020-01-01T00:00:00Z", "--polling-ends", "2099-01-01T00:00:00Z")
    refused = run("election", "create", "a-vote", *when, *operator, code=1)
    assert "is over 400 days" in refused.stderr
    now = datetime.now(UTC)
    when = ("--begins", now.isoformat(), "--polling-ends", (now + timedelta(days=20)).isoformat())
    (made,) = lines(run("election", "create", "a-vote", *when, "--target", "candidate", *operator).stdout)
    (listed,) = lines(run("election", "list", *as_beta(place, "liaison"), "--json").stdout)
    assert listed == made
    assert listed["targets"] == ["candidate"]
    text = run("election", "list", *as_beta(place, "liaison")).stdout
    assert "about candidate" in text
    assert made["id"] in text
    line = pdq_line("ab", election=made["id"], target_class="candidate")
    run("publish", "--community", "uk", "--client", place.client("alpha"), stdin=line + "\n")
    rows = lines(run("lag", "--election", made["id"], *as_beta(place, "liaison"), "--json").stdout)
    assert {(row["stage"], row["count"]) for row in rows if "stage" in row} == {("received", 1)}
