"""A platform's accounts from its files: both forms of CSV and of JSON lines, and whatever else stands in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected
from exchange.normal.accounts import Account, AccountType
from exchange_client import Own
from exchange_client.account_sources import MAX_LINE_BYTES, AccountLines, Refused, accounts_of

SOMEONE = Account(AccountType.EMAIL, "someone@example.org")
PHONE = Account(AccountType.PHONE, "+442079460018")


def read(*lines: str | bytes) -> list[Own | Refused]:
    reader = AccountLines()
    return [each for line in lines for each in reader.read(line if isinstance(line, bytes) else line.encode())]


@pytest.mark.parametrize(
    "lines",
    [
        ["reference,type,value", "u1,email,Someone@Example.org", "u1,phone,+44 20 7946 0018"],
        ["value, type ,Reference,joined", "Someone@Example.org,email,u1,2024", '"+44 20 7946 0018",phone,u1,"a, b"'],
        ["reference,type,value,country", "u1,email,someone@example.org,", "u1,phone,020 7946 0018,GB"],
        ["\ufeffreference,email,phone", "u1,someone@example.org,+442079460018", "u2,,"],
        ["phone,email,reference,country,name", "020 7946 0018,someone@example.org,u1,GB,Some One", ",,u2,GB,No One"],
        [
            '{"reference": "u1", "type": "email", "value": "someone@example.org", "joined": 2024}',
            '{"reference": "u1", "type": "phone", "value": "020 7946 0018", "country": "GB"}',
        ],
        ['{"reference": "u1", "email": "someone@example.org", "phone": "+442079460018", "handle": null}'],
        ['{"line": {"reference": "u1", "email": "someone@example.org", "phone": "+442079460018"}, "error": {}}'],
    ],
)
def test_each_form_gives_the_same_accounts(lines: list[str]) -> None:
    found = read(*lines)
    assert {each for each in found if isinstance(each, Own)} == {Own("u1", SOMEONE), Own("u1", PHONE)}
    assert len(found) == 2


def test_a_reference_may_be_a_number() -> None:
    assert read('{"reference": 1042, "email": "someone@example.org"}') == [Own("1042", SOMEONE)]


CSV = "reference,type,value"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([CSV, "u1,email,SECRET"], Reason.INVALID),
        ([CSV, "u1,email,\u0440\u0430ypal-SECRET@example.org@"], Reason.INVALID),
        ([CSV, "u1,handle,SECRET\u0440\u0430ypal"], Reason.INVALID),
        ([CSV, "u1,SECRET@example.org,email"], Reason.INVALID),
        ([CSV, "u1,email,SECRET@example.org,more"], Reason.INVALID),
        ([CSV, "u1,email"], Reason.INVALID),
        ([CSV, "u1,email,"], Reason.INVALID),
        ([CSV, ",email,SECRET@example.org"], Reason.INVALID),
        ([CSV, '"u1,email,SECRET@example.org'], Reason.MALFORMED),
        ([CSV, "u\x001,email,SECRET@example.org"], Reason.INVALID),
        ([CSV, f"{'u' * 300},email,SECRET@example.org"], Reason.TOO_LARGE),
        ([CSV, "u1,email," + "SECRET" * 100_000], Reason.TOO_LARGE),
        ([CSV, b"u1,email,SECRET\xff@example.org"], Reason.MALFORMED),
        (["reference,phone", "u1,020 7946 SECRET"], Reason.INVALID),
        (['{"reference": "u1", "email": "SECRET"}'], Reason.INVALID),
        (['{"reference": "u1", "email": ["SECRET@example.org"]}'], Reason.INVALID),
        (['{"reference": "u1", "emial": "SECRET@example.org"}'], Reason.INVALID),
        (['{"reference": "u1", "type": "emial", "value": "SECRET@example.org"}'], Reason.INVALID),
        (['{"reference": "u1", "type": "email"}'], Reason.INVALID),
        (['{"reference": null, "email": "SECRET@example.org"}'], Reason.INVALID),
        (['{"reference": "\\ud800", "email": "SECRET@example.org"}'], Reason.INVALID),
        (['{"reference": "u1", "email": "SECRET@example.org"'], Reason.MALFORMED),
        (["{} SECRET"], Reason.MALFORMED),
        (['{"reference": "u1", "x": ' + "[" * 10_000], Reason.MALFORMED),
    ],
)
def test_a_bad_line_is_refused_without_repeating_it_and_the_next_is_read(
    lines: list[str | bytes], reason: Reason
) -> None:
    good = "u9,email,someone@example.org" if lines[0] == CSV else '{"reference": "u9", "email": "someone@example.org"}'
    if lines[0] == "reference,phone":
        good = "u9,+442079460018"
    refused, last = read(*lines, good)
    assert isinstance(refused, Refused)
    assert refused.error.reason is reason
    assert "SECRET" not in refused.error.diagnostics()
    assert "SECRET" not in repr(refused)
    assert refused.error.__traceback__ is None
    assert isinstance(last, Own)
    assert last.reference == "u9"


def test_of_an_account_only_what_is_bad_is_refused_and_can_be_mended_in_its_place() -> None:
    found = read("reference,email,phone", "u1,not an address,+442079460018")
    refused, good = found
    assert good == Own("u1", PHONE)
    assert isinstance(refused, Refused)
    assert refused.line == {"reference": "u1", "type": "email", "value": "not an address"}
    mended = {"line": {**refused.line, "value": "someone@example.org"}, "error": {"reason": "invalid"}}
    assert read(json.dumps(mended)) == [Own("u1", SOMEONE)]


@pytest.mark.parametrize(
    "first",
    [
        "u1,email,SECRET@example.org",
        "reference",
        "reference,name",
        "type,value",
        "email,phone",
        "reference,email,email",
        "reference,type,value,type",
        "reference;type;value",
        "reference\ttype\tvalue",
        '"reference,type,value',
        "[1, 2]",
        b"\xff\xfereference",
        b"PK\x03\x04",
    ],
)
def test_a_file_whose_first_line_names_no_columns_is_refused_whole(first: str | bytes) -> None:
    with pytest.raises(Rejected, match="the first line must name the columns") as caught:
        read(first, "u1,email,SECRET@example.org")
    assert caught.value.reason is Reason.INVALID
    assert "SECRET" not in caught.value.diagnostics()


@given(st.lists(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), min_size=1, max_size=5))
def test_any_lines_give_accounts_or_refusals(lines: list[bytes]) -> None:
    for first in (b"reference,type,value", b"reference,email,country", b'{"reference": 1}'):
        reader = AccountLines()
        reader.read(first)
        for line in lines:
            for found in reader.read(line):
                assert isinstance(found, Own | Refused)
                json.dumps(found.line if isinstance(found, Refused) else found.reference)


async def test_a_file_is_read_line_by_line_whatever_is_in_it(tmp_path: Path) -> None:
    path, refused = tmp_path / "accounts.csv", list[Refused]()
    long = b"u2,email," + b"x" * 10_000_000
    path.write_bytes(b"\n".join((CSV.encode(), b"", b"u1,email,someone@example.org", long, b"u3,phone,+442079460018")))
    found = [each async for each in accounts_of(path, refused.append)]
    assert found == [Own("u1", SOMEONE), Own("u3", PHONE)]
    (one,) = refused
    assert one.error.reason is Reason.TOO_LARGE
    assert isinstance(one.line, str)
    assert len(one.line) <= MAX_LINE_BYTES


@pytest.mark.parametrize("name", ["nothing.csv", "."])
async def test_what_is_no_file_is_told_as_such(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        _ = [each async for each in accounts_of(tmp_path / name, lambda _: None)]
    assert caught.value.reason is Reason.CONFIG
