"""The published vectors of `url` profile 1: what every implementation, in any language, must answer."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from exchange.errors import Reason, Rejected
from exchange.normal.url import CANONICALISER, PROFILE_VERSION, canonical_url, url_digest

VECTORS = json.loads((Path(__file__).parent / "url_profile1.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: ascii(vector["input"]))
def test_an_address_has_its_published_canonical_form_and_digest(vector: dict[str, str]) -> None:
    assert canonical_url(vector["input"]) == vector["canonical"]
    assert url_digest(vector["input"]).hex() == vector["sha256"]


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: ascii(vector["input"]))
def test_a_canonical_form_is_its_own(vector: dict[str, str]) -> None:
    assert canonical_url(vector["canonical"]) == vector["canonical"]


@pytest.mark.parametrize("vector", VECTORS["rejected"], ids=lambda vector: ascii(vector["input"]))
def test_what_is_no_such_address_is_rejected(vector: dict[str, str]) -> None:
    with pytest.raises(Rejected) as caught:
        canonical_url(vector["input"])
    assert caught.value.reason is Reason(vector["reason"])


def test_the_vectors_are_of_the_pinned_profile_and_canonicaliser() -> None:
    name, major = CANONICALISER.split()
    assert VECTORS["profile"] == PROFILE_VERSION
    assert VECTORS["canonicaliser"] == CANONICALISER
    assert version(name).split(".")[0] == major
