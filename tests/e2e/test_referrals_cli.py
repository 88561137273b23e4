"""Referrals from the command line: referred, asked, answered and closed by real processes; told to a mailbox and a hook."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import DEADLINE_S, EXCHANGE, Place, founded, lines, run
from tests.notice_servers import NAME, PASSWORD, Authority, mail_server, web_server

pytestmark = pytest.mark.e2e

DESK = "mailto:referrals@alpha.example"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with founded(tmp_path_factory.mktemp("referrals")) as found:
        run(
            "member", "add", "police",
            "--class", "authority",
            "--community", "uk",
            "--client", found.operator,
            "--development-pki", found.folder / "hub" / "pki",
            "--folder", found.folder / "police",
        )  # fmt: skip
        run(
            "member", "contact", "set", "police",
            "--purpose", "referrals",
            "--address", "tel:101",
            "--hours", "Mon-Fri 09:00-17:00",
            "--language", "en",
            "--language", "cy",
            "--client", found.operator,
        )  # fmt: skip
        yield found


def as_alpha(place: Place, role: str = "liaison") -> tuple[object, ...]:
    return "--community", "uk", "--client", place.client("alpha", role)


def as_police(place: Place) -> tuple[object, ...]:
    return "--community", "uk", "--client", place.client("police", "authority")


def test_a_case_is_referred_asked_about_and_closed(place: Place) -> None:
    many = "\n".join(json.dumps({"case_ref": case}) for case in ("T-1", "T-2", "not a reference"))
    done = run(
        "referrals", "refer",
        "--lines", "-",
        "--authority", "police",
        "--label", "violence_threats",
        "--respond-within-hours", 24,
        "--contact", DESK,
        *as_alpha(place, "pipeline"),
        "--json",
        stdin=many,
        code=1,
    )  # fmt: skip
    one, _, refused = lines(done.stdout)
    assert (one["kind"], one["case_ref"], one["audience"]) == ("referral", "T-1", ["alpha", "police"])
    assert "must be a reference" in refused["error"]["message"]
    found = lines(run("referrals", "list", "--open", *as_police(place), "--json").stdout)
    assert [each["case_ref"] for each in found] == ["T-2", "T-1"]
    id_ = one["id"]
    run("referrals", "ask", id_, "--text", "Which time zone?", "--respond-within-hours", 1, *as_police(place))
    run("referrals", "answer", id_, "--text", "UTC.", *as_alpha(place))
    run("referrals", "close", id_, "--outcome", "taken_up", "--reference", "PS/1", *as_police(place))
    text = run("referrals", "show", id_, *as_alpha(place)).stdout
    assert (
        text.index("Which time zone?")
        < text.index("asked")
        < text.index("UTC.")
        < text.index("closed: taken_up (PS/1)")
    )
    assert "waits for" not in text


def test_the_desks_of_members(place: Place) -> None:
    operator = ("--client", place.operator)
    # Said again, for whatever reason: what is not given stays.
    run("member", "add", "police", "--name", "The Police", "--community", "uk", *operator)
    run("member", "add", "police", "--community", "uk", *operator)
    listed = {each["member"]: each for each in lines(run("member", "list", *operator, "--json").stdout)}
    assert (listed["police"]["name"], listed["police"]["class"]) == ("The Police", "authority")
    (police,) = lines(run("referrals", "contacts", *as_alpha(place), "--json").stdout)
    desk = {"purpose": "referrals", "address": "tel:101", "hours": "Mon-Fri 09:00-17:00", "languages": ["cy", "en"]}
    assert (police["member"], police["contacts"]) == ("police", [desk])


#: One event loop a process for grpc.aio: each desk is a process of its own, as it would be.
_BLOCKING = """
import sys, time
from pathlib import Path
from exchange.domain.addressed import ReferralOutcome, ReferralUrgency
from exchange.domain.labels import Label
from exchange_client import ClientConfig, SyncExchangeClient

what, path, origin = sys.argv[1:]
soon = time.time_ns() // 1_000_000 + 86_400_000
with SyncExchangeClient(ClientConfig.load(Path(path))) as client:
    referrals = client.referrals(origin)
    if what == "refer":
        case = {"respond_by_ms": soon, "case_ref": "T-77", "contact": "mailto:referrals@alpha.example"}
        said = referrals.refer("police", label=Label.VIOLENCE_THREATS, urgency=ReferralUrgency.ROUTINE, **case)
        referrals.note(said.id, "Material is at the desk.", referrals.get(said.id).parties)
    elif what == "work on it":
        (ours,) = [each for each in referrals.list(open_only=True) if each.record.case_ref == "T-77"]
        referrals.acknowledge(ours, at_ms=soon - 86_400_000)
        referrals.ask(ours, at_ms=soon - 86_400_000, respond_by_ms=soon)
    else:
        (ours,) = [each for each in referrals.list(open_only=True) if each.record.case_ref == "T-77"]
        referrals.answer(ours, at_ms=soon - 86_400_000)
        print(ours.waits_for, ours.notes[0].text, {each.member for each in referrals.contacts()})
"""


def test_desks_without_an_event_loop_do_the_same(place: Place) -> None:
    alpha, police = place.client("alpha", "liaison"), place.client("police", "authority")
    told = ""
    for what, client in (("refer", alpha), ("work on it", police), ("answer", alpha)):
        command = [sys.executable, "-c", _BLOCKING, what, str(client), "cli.exchange/uk"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, done.stderr
        told = done.stdout
    assert told.startswith("alpha Material is at the desk. {")
    assert "police" in told


def test_a_desk_is_told_once_by_mail_and_hook(place: Place, tmp_path: Path) -> None:
    case = ("--label", "violence_threats", "--respond-within-hours", 1, "--case-ref", "T-9", "--contact", DESK)
    done = run("referrals", "refer", "--authority", "police", *case, *as_alpha(place))
    assert "call 999 first" in done.stderr
    assert re.search(r"^referral: entry \d+, id [0-9a-f]{64}$", done.stdout, re.MULTILINE)
    blind = run("referrals", "answer", "ab" * 32, *as_alpha(place, "pipeline"), code=1).stderr
    assert "say who asked, with --authority" in blind
    authority = Authority(tmp_path / "pki")
    password, secret = tmp_path / "smtp.password", tmp_path / "hook.secret"
    password.write_text(f"{PASSWORD}\n")
    secret.write_text("a secret of the desk's\n")
    with mail_server(authority) as box, web_server(authority) as hook:
        where = (
            "--mail-to", "desk@police.example",
            "--mail-from", "exchange@police.example",
            "--smtp", f"localhost:{box.port}",
            "--smtp-user", NAME,
            "--smtp-password", password,
            "--smtp-authority", authority.file,
            "--webhook", hook.url,
            "--webhook-secret", secret,
            "--webhook-authority", authority.file,
        )  # fmt: skip
        told = lines(run("referrals", "watch", "--once", *where, *as_police(place), "--json").stdout)
        assert len(told) == 2
        assert all(each["new"] >= 1 and not each["overdue"] for each in told)
        assert run("referrals", "watch", "--once", *where, *as_police(place), "--json").stdout == ""
        assert (len(box.messages), len(hook.posts)) == (1, 1)
        whole = bytes(box.messages[0]) + hook.posts[0][1]
    assert not any(word in whole for word in (b"T-9", b"alpha", b"violence", DESK.encode()))


def refer(place: Place, case: str) -> str:
    said = ("--label", "violence_threats", "--respond-within-hours", 1, "--case-ref", case, "--contact", DESK)
    done = run("referrals", "refer", "--authority", "police", *said, *as_alpha(place), "--json")
    return str(lines(done.stdout)[0]["id"])


def test_a_watch_goes_on_and_tells_the_same_again_after_it_was_killed(place: Place, tmp_path: Path) -> None:
    authority, secret, errors = Authority(tmp_path / "pki"), tmp_path / "hook.secret", tmp_path / "errors"
    secret.write_text("a secret of the desk's\n")

    def told(number: int) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE_S
        while len(hook.posts) < number and watch.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert len(hook.posts) == number, errors.read_text()
        found: dict[str, Any] = json.loads(hook.posts[-1][1])
        return found

    with web_server(authority) as hook, errors.open("wb") as stderr:
        where = ("--webhook", hook.url, "--webhook-secret", secret, "--webhook-authority", authority.file)
        # A channel of its own, which remembers nothing: all that is open is new to it.
        command = [EXCHANGE, "referrals", "watch", "--every", "1", *where, *as_police(place)]
        run("referrals", "watch", "--once", *where, *as_police(place))
        first = len(hook.posts)
        watch = subprocess.Popen(list(map(str, command)), stderr=stderr, stdout=subprocess.DEVNULL)
        hook.answers.clear()
        refer(place, "T-20")
        unsure = told(first + 1)
        watch.kill()
        watch.wait()
        hook.answers.set()
        watch = subprocess.Popen(list(map(str, command)), stderr=stderr, stdout=subprocess.DEVNULL)
        assert told(first + 2) == unsure, "with its id: whoever had it can tell"
        refer(place, "T-21")
        later = told(first + 3)
        assert (unsure["new"], later["new"], later["notice"] != unsure["notice"]) == (1, 1, True)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(DEADLINE_S) == 0, errors.read_text()


def test_words_are_not_said_of_what_is_refused(place: Place) -> None:
    id_ = refer(place, "T-30")
    ask = ("referrals", "ask", id_, "--respond-within-hours", 1, "--text", "Which time zone?", *as_police(place))
    assert "must be a reference" in run(*ask, "--reference", "see the file", code=1).stderr
    run("referrals", "close", id_, "--outcome", "taken_up", *as_police(place))
    assert "has been closed already" in run(*ask, code=1).stderr
    (shown,) = lines(run("referrals", "show", id_, *as_alpha(place), "--json").stdout)
    assert (shown["notes"], len(shown["steps"])) == ([], 1)
    assert shown["ends_at"] == shown["received_at"] + 400 * 86_400_000


@pytest.mark.parametrize(
    ("what", "who", "kind", "roles"),
    [
        ("refer", ("police", "authority"), "referral", "pipeline or liaison"),
        ("note", ("alpha", "pipeline"), "note", "liaison or authority or operator"),
        ("close", ("hub", "operator"), "referral_update", "pipeline or liaison or authority"),
    ],
)
def test_a_client_file_of_another_role_is_told_before_anything_is_taken(
    place: Place, what: str, who: tuple[str, str], kind: str, roles: str
) -> None:
    client = place.operator if who[1] == "operator" else place.client(*who)
    refused = run("referrals", what, "--lines", "-", "--community", "uk", "--client", client, stdin="{}", code=1)
    assert f"its role is {who[1]}, which may not publish a {kind}" in refused.stderr
    assert f"name the client file of the role {roles} with --client" in refused.stderr


def test_reports_are_cut_by_an_election_and_held_against_its_alert(place: Place) -> None:
    today = datetime.now(UTC)
    times = ("--begins", today.isoformat(), "--polling-ends", (today + timedelta(days=30)).isoformat())
    made = run("election", "create", "polls", *times, "--community", "uk", "--client", place.operator, "--json")
    assert "alert 10 min" in run("lag", "--election", lines(made.stdout)[0]["id"], *as_alpha(place)).stdout
    assert run("debts", "--election", "polls", *as_alpha(place)).stdout == "nothing is owed\n"
