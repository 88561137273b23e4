"""A report by its files alone: it holds, and whatever is altered is found out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.cli.made_files import write
from exchange.errors import ExchangeError, Reason, Rejected
from exchange.ledger.dsse import pae
from exchange.report.building import files_of, forms_of
from exchange.report.checking import State, check_files, open_report
from exchange.report.envelope import PAYLOAD_TYPE, opened, sealed
from exchange.report.payload import ENVELOPE_FILE, MAX_BYTES, PAYLOAD_FILE, decoded, digests, encoded
from exchange.report.remaking import check_forms
from tests.unit.builders import ALPHA_LIAISON, SIDE
from tests.unit.report.example import KEY, note, payload, plain

FILES = files_of(payload(), KEY)


def test_what_was_made_holds() -> None:
    found = open_report(FILES)
    assert found.payload.signer.member == "beta"
    assert check_files(found.payload, FILES).state is State.HOLDS
    assert [each.state for each in check_forms(found.payload)] == [State.HOLDS] * 2


def envelope(**changes: Any) -> dict[str, bytes]:
    data = json.loads(FILES[ENVELOPE_FILE]) | changes
    return FILES | {ENVELOPE_FILE: json.dumps(data).encode()}


def another_figure() -> dict[str, bytes]:
    data = plain() | {"files": json.loads(FILES[PAYLOAD_FILE])["files"]}
    data["figures"]["tables"][0]["total"] += 1
    return FILES | {PAYLOAD_FILE: json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()}


def figure_in_both() -> dict[str, bytes]:
    altered = another_figure()
    return envelope(payload=base64.b64encode(altered[PAYLOAD_FILE]).decode()) | {PAYLOAD_FILE: altered[PAYLOAD_FILE]}


def by_another_key() -> dict[str, bytes]:
    return FILES | {ENVELOPE_FILE: sealed(FILES[PAYLOAD_FILE], ALPHA_LIAISON.key)}


def another_type() -> dict[str, bytes]:
    other = "application/vnd.signal-exchange.header.v1"
    signature = base64.b64encode(KEY.sign(pae(other, FILES[PAYLOAD_FILE]))).decode()
    return envelope(payloadType=other, signatures=[{"keyid": KEY.key_id.hex(), "sig": signature}])


def spaced() -> dict[str, bytes]:
    said = json.dumps(json.loads(FILES[PAYLOAD_FILE]), indent=1, ensure_ascii=False).encode()
    return FILES | {PAYLOAD_FILE: said, ENVELOPE_FILE: sealed(said, KEY)}


def said_otherwise(**changes: Any) -> dict[str, bytes]:
    """Return a report that says something else, signed anew by whoever signed it."""
    data = json.dumps(
        json.loads(FILES[PAYLOAD_FILE]) | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    return FILES | {PAYLOAD_FILE: data, ENVELOPE_FILE: sealed(data, KEY)}


ALTERED: dict[str, tuple[dict[str, bytes], Reason]] = {
    "nothing": ({}, Reason.NOT_FOUND),
    "no envelope": ({PAYLOAD_FILE: FILES[PAYLOAD_FILE]}, Reason.NOT_FOUND),
    "another figure": (another_figure(), Reason.BAD_SIGNATURE),
    "another figure in the envelope too": (figure_in_both(), Reason.BAD_SIGNATURE),
    "another key": (by_another_key(), Reason.WRONG_KEY),
    "another type": (another_type(), Reason.MALFORMED),
    "no signature": (envelope(signatures=[]), Reason.MALFORMED),
    "an unknown field": (envelope(more=1), Reason.MALFORMED),
    "no JSON": (FILES | {ENVELOPE_FILE: b"["}, Reason.MALFORMED),
    "too much": (FILES | {ENVELOPE_FILE: b" " * (2 * MAX_BYTES + 1)}, Reason.TOO_LARGE),
    "spaces": (spaced(), Reason.MALFORMED),
    "files elsewhere": (said_otherwise(files={"../../etc/passwd": "ab" * 32}), Reason.MALFORMED),
    "no checkpoint": (said_otherwise(checkpoint="all is well"), Reason.BAD_CHECKPOINT),
    "another log's checkpoint": (said_otherwise(checkpoint=note(SIDE, 3)), Reason.MALFORMED),
    "no day": (said_otherwise(last_day="2027-02-30"), Reason.MALFORMED),
    "ends before it begins": (said_otherwise(last_day="2026-01-01"), Reason.MALFORMED),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_report_does_not_open(name: str) -> None:
    files, reason = ALTERED[name]
    with pytest.raises(ExchangeError) as refused:
        open_report(files)
    assert refused.value.reason is reason


@pytest.mark.parametrize("name", sorted(FILES.keys() - {PAYLOAD_FILE, ENVELOPE_FILE}))
def test_an_altered_or_missing_file_is_named(name: str) -> None:
    said = open_report(FILES).payload
    found = check_files(said, FILES | {name: FILES[name][:-1] + b"x"})
    assert (found.state, found.detail) == (State.FAILED, f"altered: {name}")
    found = check_files(said, {each: data for each, data in FILES.items() if each != name})
    assert (found.state, found.detail) == (State.FAILED, f"missing: {name}")


def test_a_file_that_is_not_part_of_it_is_named() -> None:
    found = check_files(open_report(FILES).payload, FILES | {"summary.html": b"all is well"})
    assert found.state is State.HOLDS
    assert "not vouched for: summary.html" in found.detail


def test_a_signed_page_that_says_other_than_the_figures_is_found_out() -> None:
    forms = forms_of(payload())
    forms["report.html"] = forms["report.html"].replace(b"fewer than 5", b"7")
    lying = replace(payload(), files=digests(forms))
    assert check_files(lying, forms).state is State.HOLDS
    found, paper = check_forms(lying)
    assert paper.state is State.HOLDS
    assert (found.state, found.detail) == (State.FAILED, "other than this release makes them: report.html")


def test_the_pages_of_another_release_are_not_judged() -> None:
    for found in check_forms(payload(release="9.9.9")):
        assert (found.state, found.detail[:22]) == (State.NOT_CHECKED, "made by release 9.9.9,")


def test_a_pdf_that_is_not_the_one_that_is_made_here_is_not_said_to_hold() -> None:
    forms = forms_of(payload())
    forms["report.pdf"] = forms["report.pdf"].replace(b"/Title", b"/Titel")
    pages, paper = check_forms(replace(payload(), files=digests(forms)))
    assert (pages.state, paper.state) == (State.HOLDS, State.NOT_CHECKED)
    assert "rely on the page" in paper.detail


def test_a_report_that_vouches_for_no_page_does_not_hold() -> None:
    forms = {name: data for name, data in forms_of(payload()).items() if name != "report.html"}
    bare = replace(payload(release="9.9.9"), files=digests(forms))
    found = check_files(bare, forms | {"report.html": b"anything"})
    assert (found.state, found.detail) == (State.FAILED, "missing: report.html")


def test_nobody_is_told_to_check_a_report_in_another_way() -> None:
    other = payload(verify="Ring us, and we shall tell you.")
    pages, _ = check_forms(replace(other, files=digests(forms_of(other))))
    assert (pages.state, pages.detail[:15]) == (State.FAILED, "they say that i")


def test_a_payload_has_one_form() -> None:
    assert decoded(encoded(payload())) == payload()
    for other in (b"", b"{}", b"null", encoded(payload()) + b" ", b"\xff"):
        with pytest.raises(Rejected):
            decoded(other)
    with pytest.raises(Rejected, match="no envelope"):
        opened(json.dumps({"payload": "?", "payloadType": PAYLOAD_TYPE, "signatures": []}).encode())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Any) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(Rejected) as refused:
        write(FILES, tmp_path / "report")
    assert refused.value.reason is Reason.CONFIG
