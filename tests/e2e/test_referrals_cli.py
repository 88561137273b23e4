"""Referrals from the command line: referred, asked, answered and closed by real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.command_line import Place, founded, lines, run

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
    run("referrals", "acknowledge", id_, "--reference", "PS/1", *as_police(place))
    run("referrals", "ask", id_, "--text", "Which time zone?", "--respond-within-hours", 1, *as_police(place))
    (asked,) = lines(run("referrals", "list", "--state", "asked", *as_alpha(place), "--json").stdout)
    assert (asked["waits_for"], asked["notes"][0]["text"]) == ("alpha", "Which time zone?")
    run("referrals", "answer", id_, "--text", "UTC.", *as_alpha(place))
    run("referrals", "close", id_, "--outcome", "taken_up", *as_police(place))
    text = run("referrals", "show", id_, *as_alpha(place)).stdout
    assert "police: acknowledged (PS/1)" in text
    assert text.index("Which time zone?") < text.index("asked") < text.index("UTC.") < text.index("closed: taken_up")
    assert "waits for" not in text
    (seen,) = [
        each
        for each in lines(run("watch", *as_police(place), "--cursor", 0, "--limit", 1 + one["index"], "--json").stdout)
        if each["index"] == one["index"]
    ]
    assert (seen["id"], seen["record"]["case_ref"]) == (id_, "T-1")


def test_who_is_no_party_sees_nothing(place: Place) -> None:
    beta = ("--community", "uk", "--client", place.client("beta", "liaison"))
    (mine, *_) = lines(run("referrals", "list", *as_alpha(place), "--json").stdout)
    assert "there is none" in run("referrals", "list", "--overdue", *beta).stdout
    unknown = run("referrals", "show", mine["id"], *beta, code=1).stderr
    assert unknown == run("referrals", "show", "ab" * 32, *beta, code=1).stderr
    note = run("referrals", "note", mine["id"], "--to", "police", "--text", "Hello.", *beta, code=1)
    assert "no referral and no dispute that is known to you" in note.stderr


def test_the_desks_of_members(place: Place) -> None:
    operator = ("--client", place.operator)
    run(
        "member", "contact", "set", "police",
        "--purpose", "referrals",
        "--address", "tel:101",
        "--hours", "Mon-Fri 09:00-17:00",
        "--language", "en",
        "--language", "cy",
        *operator,
    )  # fmt: skip
    (police,) = lines(run("referrals", "contacts", *as_alpha(place), "--json").stdout)
    desk = {"purpose": "referrals", "address": "tel:101", "hours": "Mon-Fri 09:00-17:00", "languages": ["cy", "en"]}
    assert (police["member"], police["contacts"]) == ("police", [desk])
    person = run(
        "member", "contact", "set", "police", "--purpose", "requests", "--address", "P.C. Jones", *operator, code=1
    )
    assert "of a desk" in person.stderr
    run("member", "contact", "remove", "police", "--purpose", "referrals", *operator)
    assert "no member has a desk" in run("referrals", "contacts", *as_alpha(place)).stdout
