"""The page of referrals holds the table that is held against a real hub."""

from __future__ import annotations

from pathlib import Path

from exchange.domain.kinds import Role
from tests.e2e.referral_access import BEGIN, COLUMNS, END, TABLE, rendered

PAGE = (Path(__file__).parents[2] / "docs" / "referrals.md").read_text()


def test_the_page_holds_the_table() -> None:
    assert PAGE.partition(BEGIN)[2].partition(END)[0].strip() == rendered()


def test_every_role_is_asked_and_only_the_parties_see_anything() -> None:
    assert {row.role for row in TABLE} == set(Role)
    parties = {"the platform's liaison", "the platform's pipeline", "the authority"}
    for row in TABLE:
        assert len(row.expected) == len(COLUMNS)
        if row.name not in parties:
            seen = {column: row.expected[column] for column in ("feed", "list", "get", "ask", "answer", "note")}
            assert set(seen.values()) <= {"leaf", "nothing", "refused"}, row.name
        if row.role is not Role.PIPELINE:
            assert row.expected["signal"] != "record", row.name


def test_the_emergency_number_stands_before_anything_else() -> None:
    assert "call 999 first" in PAGE.split("\n\n")[1]
