"""What is to be signed is shown whole, and kept as it was written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from exchange.cli import cosigning
from exchange.domain import bodies
from exchange.domain.bodies import Body, Key, Membership, Quarantine, Retraction, State, Suspension
from exchange.domain.kinds import Role
from exchange.domain.statement import Statement
from exchange.errors import Rejected
from exchange.ledger.ed25519 import SigningKey
from tests.unit.builders import community_statement, directory_statement

IDS = (b"\x01" * 32, b"\x02" * 32)


def words(statement: Statement) -> str:
    return "\n".join(cosigning.in_words(statement))


def test_every_value_is_shown_and_numbers_with_their_words() -> None:
    retraction = words(community_statement(Retraction(IDS, bodies.RetractionReason.LEGAL, 1_800_000_000_000)))
    for part in ("RETRACTION in", "targets: 2", IDS[0].hex(), IDS[1].hex(), "legal (5)", "2027-01-15T08:00:00"):
        assert part in retraction
    key = words(directory_statement(Key("alpha", Role.LIAISON, b"\x07" * 32, State.ENDED)))
    for part in ("member: alpha", "role: liaison (2)", (b"\x07" * 32).hex(), "state: ended (2)"):
        assert part in key
    suspended = words(directory_statement(Suspension("alpha", 0, State.ACTIVE, "stolen")))
    for part in ("role: 0", "state: active (1)", "reason: stolen"):
        assert part in suspended
    flagged = words(community_statement(Quarantine("beta", 7, 99)))
    for part in ("member: beta", "from_index: 7", "reason: 99"):
        assert part in flagged


def _numbers() -> Iterator[tuple[type, str]]:
    """Yield the fields of bodies that hold numbers with words."""
    for body in get_args(Body):
        for field in dataclasses.fields(body):
            if field.name in {"reason", "state", "role", "roles", "category", "action", "member_class"}:
                yield body, field.name


def test_every_number_with_a_word_has_one_here() -> None:
    lacking = [
        (body.__name__, name)
        for body, name in _numbers()
        if (body, name) not in cosigning._WORDS and (object, name) not in cosigning._WORDS
    ]
    # The reason of a suspension is a text; a signal's own words need no second signature.
    assert lacking == [("Suspension", "reason")]


def test_the_hub_is_no_file_and_a_file_may_be_named_like_it() -> None:
    place = cosigning._Place(path_type=Path, dir_okay=False)
    assert place.convert("hub", None, None) is cosigning.HUB
    assert place.convert("./hub", None, None) is not cosigning.HUB
    assert place.convert("change.jsonl", None, None) == Path("change.jsonl")


def test_a_file_holds_what_was_signed_and_who_signed_it(tmp_path: Path) -> None:
    first = directory_statement(Membership("alpha", "my.exchange/uk", State.ACTIVE))
    path = tmp_path / "file.jsonl"
    cosigning.write(path, [first])
    assert cosigning.read(path) == [first]
    with pytest.raises(Rejected, match="exists already"):
        cosigning.write(path, [first])
    one, two = (SigningKey(bytes([n]) * 32) for n in (1, 2))
    by_one, by_two = cosigning.signed_by(first, one), cosigning.signed_by(first, two)
    assert cosigning.signed_by(by_one, one) == by_one
    (both,) = cosigning.merged([[by_one], [by_two]])
    ours = first.signatures
    assert both.signatures == (*ours, by_one.signatures[-1], by_two.signatures[-1])
    cosigning.write(path, [both], anew=False)
    assert cosigning.read(path) == [both]
    assert [each.name for each in tmp_path.iterdir()] == ["file.jsonl"]
