"""The published vectors of account identifiers: what every implementation, in any language, must answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Rejected
from exchange.normal.accounts import PROFILES, AccountType, normal_account

VECTORS = json.loads((Path(__file__).parent / "accounts.json").read_text(encoding="utf-8"))


def _id(vector: dict[str, Any]) -> str:
    return f"{vector['type']}: {vector['note']}"


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=_id)
def test_an_identifier_has_its_published_normal_form(vector: dict[str, Any]) -> None:
    type_ = AccountType(vector["type"])
    found = normal_account(type_, vector["input"], country=vector.get("country"))
    assert found.text == vector["text"]
    assert found.to_bytes().hex() == vector.get("blinded", found.to_bytes().hex())
    assert (
        found.to_bytes() == b"signal-exchange/account/1\0" + vector["type"].encode() + b"\0" + vector["text"].encode()
    )


@pytest.mark.parametrize("vector", [v for v in VECTORS["accepted"] if v["type"] != "profile_url"], ids=_id)
def test_a_normal_form_is_its_own(vector: dict[str, Any]) -> None:
    assert normal_account(AccountType(vector["type"]), vector["text"]).text == vector["text"]


@pytest.mark.parametrize("vector", VECTORS["rejected"], ids=_id)
def test_what_is_no_such_identifier_is_rejected_and_not_repeated(vector: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        normal_account(AccountType(vector["type"]), vector["input"], country=vector.get("country"))
    error = caught.value
    given = vector["input"].strip()
    assert len(given) < 2 or given not in str(error)
    # Nor anything that hangs on it: a traceback in a log shows the chain.
    assert error.__suppress_context__ or error.__cause__ is None or given not in str(error.__cause__)


def test_the_vectors_are_of_the_profiles_in_force_and_speak_of_all_types() -> None:
    assert VECTORS["profiles"] == {type_.value: number for type_, number in PROFILES.items()}
    for part in ("accepted", "rejected"):
        assert {vector["type"] for vector in VECTORS[part]} == set(AccountType)
