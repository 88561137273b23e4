"""A progress report from the command line, over a real hub: made, checked, and found out when anything is altered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from exchange.cli.made_files import write
from exchange.cli.progress.verifying import COUNTED, GROWN, SIGNED, TREE, WHO
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ops.clocks import wall_ms
from exchange.report.building import files_of
from exchange.report.payload import PAYLOAD_FILE, decoded, stated
from exchange_client import ClientConfig
from tests.e2e.command_line import Place, founded, lines, pdq_line, run

pytestmark = pytest.mark.e2e

PLENTY = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An exchange in which something has happened."""
    with founded(tmp_path_factory.mktemp("report")) as found:
        alpha, beta = (("--community", "uk", "--client", found.client(name)) for name in ("alpha", "beta"))
        text = [pdq_line(f"{number:02x}", case_ref=f"C-{number}") for number in range(PLENTY)]
        text += [pdq_line("f0", label="violence_threats"), pdq_line("f1", label="misleading_spam")]
        done = run("publish", "-", *alpha, "--json", stdin="\n".join(text))
        ids = [line["signal_id"] for line in sorted(lines(done.stdout), key=lambda line: line.get("case_ref") or "")]
        acted = [
            json.dumps({"signal_ids": [id_], "state": "actioned", "action": "removed", "actioned_at": 1})
            for id_ in ids[-12:]
        ]
        run("dispose", "--lines", "-", *beta, stdin="\n".join(acted))
        cases = "\n".join(
            json.dumps({"case_ref": f"C-{number}", "reason": "overturned_on_appeal"}) for number in range(6)
        )
        run("retract", "--lines", "-", *alpha, stdin=cases)
        run("watch", *beta, "--acknowledge", "--limit", 3)
        yield found


def made(place: Place, name: str, *more: object) -> Path:
    folder = place.folder / name
    run("report", folder, "--community", "uk", "--client", place.client("beta", "liaison"), *more)
    return folder


@pytest.fixture(scope="module")
def folder(place: Place) -> Path:
    """A report that nobody has touched."""
    return made(place, "good")


def verdicts(folder: Path, *more: object, code: int = 0) -> dict[str, tuple[str, str]]:
    done = run("verify-report", folder, *more, "--json", code=code)
    return {line["check"]: (line["state"], line["detail"]) for line in lines(done.stdout)}


def seed_of(client: Path) -> SigningKey:
    return SigningKey(bytes.fromhex(ClientConfig.load(client).signing_key.read_text().strip()))


def said_otherwise(folder: Path, by: SigningKey, **changes: Any) -> Path:
    """Make a report that says something else, in all its forms, and is signed anew: a lie, well told."""
    payload = replace(decoded((folder / PAYLOAD_FILE).read_bytes()), files={}, **changes)
    altered = folder.with_name(f"{folder.name}-{uuid4().hex[:6]}")
    write(files_of(payload, by), altered)
    return altered


def test_a_report_holds_for_whoever_counts_again(place: Place, folder: Path) -> None:
    found = verdicts(folder, "--client", place.client("alpha"))
    assert [state for state, _ in found.values()] == ["holds"] * 8, found
    asked_nobody = verdicts(folder, "--offline")
    assert [state for state, _ in asked_nobody.values()] == ["holds"] * 4 + ["not checked"] * 4
    again = made(place, "again", "--state", place.folder / "kept")
    figures = [json.loads((each / PAYLOAD_FILE).read_text())["figures"] for each in (folder, again)]
    assert figures[0] == figures[1]
    third = made(place, "third", "--state", place.folder / "kept", "--from", "2026-01-01", "--to", "2026-01-31")
    empty = json.loads((third / PAYLOAD_FILE).read_text())["figures"]
    assert {table["total"] for table in empty["tables"]} == {0}
    assert verdicts(third, "--client", place.operator).keys() == asked_nobody.keys()


def test_the_figures_are_those_of_what_happened(folder: Path) -> None:
    said = json.loads((folder / PAYLOAD_FILE).read_text())
    tables = {table["id"]: table for table in said["figures"]["tables"]}
    assert [tables[name]["total"] for name in ("signals-by-label", "signals-by-period")] == [PLENTY + 2] * 2
    (state,) = tables["dispositions-by-state"]["parts"]["rows"]
    assert (state["name"], state["count"], state["parts"]["rows"][0]["name"]) == ("actioned", 12, "removed")
    (reason,) = tables["taken-back-by-reason"]["parts"]["rows"]
    assert (reason["name"], reason["count"]) == ("overturned_on_appeal", 6)
    (beta,) = tables["debts-by-member"]["parts"]["rows"]
    assert [(row["name"], row["count"]) for row in beta["parts"]["rows"]] == [
        ("closed", 0),
        ("open", 6),
        ("overdue", 0),
    ]
    assert [row["count"] for row in tables["signals-by-label"]["parts"]["rows"]] == ["not shown"] * 3
    assert {member["id"]: member["state"] for member in said["figures"]["members"]} == {
        "alpha": "active",
        "beta": "active",
    }


def failing(place: Place, folder: Path) -> dict[str, str]:
    found = verdicts(folder, "--client", place.client("alpha"), code=1)
    return {check: detail for check, (state, detail) in found.items() if state == "FAILED"}


def test_a_lie_that_is_well_told_is_found_out(place: Place, folder: Path) -> None:
    payload = decoded((folder / PAYLOAD_FILE).read_bytes())
    liaison = seed_of(place.client("beta", "liaison"))
    tables = payload.figures.tables
    less = replace(payload.figures, tables=(replace(tables[0], total=7), *tables[1:]))
    (detail,) = failing(place, said_otherwise(folder, liaison, figures=less)).values()
    assert detail == "figures.tables.signals-by-period.total says 7, and the ledger 26"

    pipeline = seed_of(place.client("beta"))
    signer = replace(payload.signer, public_key=pipeline.public_key.hex())
    assert failing(place, said_otherwise(folder, pipeline, signer=signer)) == {WHO: "its key is beta's, as pipeline"}

    tree = stated(payload.checkpoint)
    forged = sign_checkpoint(tree, SigningKey(b"x" * 32)).decode()
    assert failing(place, said_otherwise(folder, liaison, checkpoint=forged)).keys() == {TREE, GROWN, COUNTED}

    log_key = SigningKey(bytes.fromhex(next(place.folder.glob("hub/**/uk.seed")).read_text().strip()))
    longer = sign_checkpoint(Checkpoint(tree.origin, tree.size + 9, tree.root), log_key).decode()
    found = failing(place, said_otherwise(folder, liaison, checkpoint=longer))
    assert found.keys() == {GROWN, COUNTED}
    assert "the log ends at" in found[GROWN]


def test_a_report_that_leaves_out_what_came_later_is_found_out(place: Place, folder: Path) -> None:
    """The newest entries of a day, left out by an older checkpoint of the log's own: signed, and a good tree."""
    payload = decoded((folder / PAYLOAD_FILE).read_bytes())
    run("publish", "-", "--community", "uk", "--client", place.client("alpha"), stdin=pdq_line("fe"))
    assert verdicts(folder, "--client", place.client("alpha"))[COUNTED][0] == "holds", "what came after it was counted"
    later = said_otherwise(folder, seed_of(place.client("beta", "liaison")), as_at_ms=wall_ms())
    (detail,) = failing(place, later).values()
    assert "received before it was counted, are left out" in detail
    soon = said_otherwise(folder, seed_of(place.client("beta", "liaison")), as_at_ms=wall_ms() + 3_600_000)
    assert "not yet" in failing(place, soon)[COUNTED]
    assert payload.as_at_ms <= wall_ms()


def test_what_was_altered_afterwards_is_found_out(place: Place, folder: Path) -> None:
    folder = Path(shutil.copytree(folder, place.folder / "altered"))
    page = folder / "report.html"
    page.write_text(page.read_text().replace("not shown", "2"))
    assert failing(place, folder) == {"each file is the one that was signed": "altered: report.html"}
    said = folder / PAYLOAD_FILE
    said.write_bytes(said.read_bytes().replace(b'"least":5', b'"least":4'))
    assert failing(place, folder) == {SIGNED: "report.json is not what was signed"}


def test_who_may_not_vouch_is_told_so(place: Place) -> None:
    wrong = ("report", place.folder / "wrong", "--community", "uk", "--client")
    assert "a pipeline does not vouch for reports" in run(*wrong, place.client("alpha"), code=1).stderr
    unknown = run(*wrong, place.operator, "--election", "no-such", code=1)
    assert "no election 'no-such'" in unknown.stderr
    assert "there is none: an operator announces one with `exchange election create`" in unknown.stderr


def test_a_report_of_an_election_counts_what_names_it_and_shows_its_title_as_text(place: Place) -> None:
    title = "<script>alert(1)</script> '\" & <b>polls</b>"
    begins, ends = (datetime.now(UTC) + timedelta(days) for days in (-1, 20))
    times = ("--begins", begins.isoformat(), "--polling-ends", ends.isoformat())
    community = ("--community", "uk", "--client")
    made_it = run("election", "create", "polls", "--title", title, *times, *community, place.operator, "--json")
    named = lines(made_it.stdout)[0]["id"]
    text = "\n".join(pdq_line(f"{number:02x}", election=named) for number in range(0x40, 0x47))
    run("publish", "-", *community, place.client("alpha"), "--json", stdin=text)
    polls = made(place, "polls", "--election", "polls")
    said = json.loads((polls / PAYLOAD_FILE).read_text())
    assert (said["election"]["id"], said["election"]["title"]) == (named, title)
    tables = {table["id"]: table for table in said["figures"]["tables"]}
    assert {tables[name]["total"] for name in tables if name.startswith("signals-by")} == {7}
    assert "statements-by-kind" not in tables, "most kinds of statement name no election"
    page = (polls / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert [state for state, _ in verdicts(polls, "--client", place.client("beta")).values()] == ["holds"] * 8
