"""`canonical_url`: any text gives an address or `Rejected`, and an address is its own canonical form."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected
from exchange.normal.url import MAX_URL_CHARACTERS, canonical_url, url_digest

PARTS = st.sampled_from(
    [
        "http:",
        "https:",
        "/",
        "//",
        "\\",
        "example.org",
        "EXAMPLE",
        ".",
        "..",
        ":",
        "80",
        "443",
        "@",
        "user",
        "?",
        "#",
        "%",
        "%2e",
        "%2E",
        "%41",
        "%c3%bc",
        "%25",
        "%2",
        "[",
        "]",
        "::1",
        "127.1",
        "0x7f",
        "ü",
        "。",
        "xn--",
        "a",
        " ",
        "\t",
    ]
)
ADDRESSES = st.builds(
    lambda start, rest: start + "".join(rest), st.sampled_from(["http://", "https://a.b/"]), st.lists(PARTS)
)
TEXTS = st.text() | st.builds("http://{}".format, st.text()) | st.builds("http://a.b/{}".format, st.text()) | ADDRESSES
LONE_SURROGATES = st.builds("http://a.b/{}".format, st.text(st.characters(categories=["Cs", "Ll"])))


@given(TEXTS | LONE_SURROGATES)
def test_any_text_gives_an_address_that_is_its_own_canonical_form_or_is_rejected(text: str) -> None:
    try:
        canonical = canonical_url(text)
    except Rejected:
        return
    assert canonical_url(canonical) == canonical
    assert re.fullmatch(r"https?://[^/?#@\\]+/[^#]*", canonical)
    assert canonical.isascii()
    assert canonical.isprintable()
    assert " " not in canonical
    assert url_digest(text) == hashlib.sha256(canonical.encode()).digest()


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_fragment_changes_nothing(fragment: str) -> None:
    assert canonical_url(f"https://example.org/a?b=1#x{fragment}x") == "https://example.org/a?b=1"


@given(st.text(alphabet="abc-._~%/?=&é ", max_size=40))
def test_every_percent_sign_starts_an_escape_in_upper_case(rest: str) -> None:
    canonical = canonical_url(f"http://a.b/{rest}")
    assert re.fullmatch("([^%]|%[0-9A-F]{2})*", canonical)


def test_too_long_a_text_is_rejected_unread() -> None:
    with pytest.raises(Rejected) as caught:
        canonical_url("http://a.b/" + "a" * MAX_URL_CHARACTERS)
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_text_that_grows_too_long_is_rejected() -> None:
    with pytest.raises(Rejected) as caught:
        canonical_url("http://a.b/" + "ü" * (MAX_URL_CHARACTERS // 4))
    assert caught.value.reason is Reason.TOO_LARGE


def test_the_longest_canonical_form_is_taken() -> None:
    text = "http://a.b/".ljust(MAX_URL_CHARACTERS, "a")
    assert canonical_url(text) == text


@pytest.mark.parametrize("text", ["http://secret-name@a.b/", "secret-name", "ftp://a.b/secret-name"])
def test_no_message_repeats_the_address(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        canonical_url(text)
    assert "secret-name" not in caught.value.diagnostics()
