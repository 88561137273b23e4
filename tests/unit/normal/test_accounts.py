"""Properties of the normal forms of account identifiers, beyond their vectors."""

from __future__ import annotations

import unicodedata
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ExchangeError, Rejected
from exchange.normal.accounts import Account, AccountType, data_versions, normal_account
from exchange.normal.email import PROVIDERS, normal_email
from exchange.normal.handle import looks_like_latin, normal_handle
from exchange.normal.phone import normal_phone
from exchange.normal.profile_urls import SITES, account_address, profile_site

_NAMES = st.text("abcXYZ019", min_size=1, max_size=12)


@given(type_=st.sampled_from(AccountType), text=st.text(max_size=60))
def test_any_text_has_a_normal_form_that_is_its_own_or_is_refused(type_: AccountType, text: str) -> None:
    try:
        found = normal_account(type_, text)
    except Rejected:
        return
    if type_ is not AccountType.PROFILE_URL:
        assert normal_account(type_, found.text) == found
    assert found.text


@given(local=_NAMES, label=_NAMES, dots=st.lists(st.integers(1, 11), max_size=3))
def test_googles_spellings_are_one_mailbox(local: str, label: str, dots: list[int]) -> None:
    spelled = local
    for at in sorted({dot for dot in dots if dot < len(local)}, reverse=True):
        spelled = f"{spelled[:at]}.{spelled[at:]}"
    assert normal_email(f"{spelled.upper()}+{label}@googlemail.com") == f"{local.lower()}@gmail.com"


def test_no_domain_stands_in_two_rows() -> None:
    domains = [domain for provider in PROVIDERS for domain in provider.domains.split()]
    assert len(domains) == len(set(domains))
    assert domains == [domain.lower() for domain in domains]


@given(text=st.text(max_size=40), domain=st.sampled_from(["gmail.com", "proton.me", "example.org"]))
def test_an_error_never_repeats_an_address(text: str, domain: str) -> None:
    try:
        normal_email(f"{text}@{domain}")
    except ExchangeError as error:
        assert domain not in str(error)
        assert error.__cause__ is None


@pytest.mark.parametrize("number", ["+447700900123", "+12125550100", "+390669812345"])
def test_a_number_is_the_same_from_every_country(number: str) -> None:
    assert {normal_phone(number, country=country) for country in (None, "GB", "US", "IT", "JP")} == {number}


def test_look_alikes_of_one_script_are_noted_and_kept() -> None:
    imitation = normal_handle("\u0440\u0430\u0443\u0440\u0430\u0435")  # all Cyrillic
    assert imitation == "\u0440\u0430\u0443\u0440\u0430\u0435"
    assert looks_like_latin(imitation)
    assert not looks_like_latin(normal_handle("paypae"))
    assert not looks_like_latin(normal_handle("\u0430\u043b\u0438\u0441\u0430"))
    assert not looks_like_latin(normal_handle("123"))


@given(name=st.text("abcdefgh0123", min_size=5, max_size=12))
def test_an_accounts_address_is_the_same_with_its_tabs_and_case(name: str) -> None:
    for form in (
        f"https://www.instagram.com/{name}/",
        f"http://instagram.com/{name.upper()}/tagged?x=1",
        f"https://instagr.am/{name}/reels/#top",
    ):
        assert account_address(form) == f"instagram/{name}"


@given(
    host=st.sampled_from([host for site in SITES for host in site.hosts.split()] + ["social.example"]),
    path=st.lists(
        st.sampled_from(["@bob", "bob", "in", "user", "profile", "about", "videos", "1", "channel"]), max_size=4
    ),
)
def test_an_address_is_an_accounts_where_the_table_says_so(host: str, path: list[str]) -> None:
    address = f"https://{host}/{'/'.join(path)}"
    if profile_site(address) is None:
        with pytest.raises(Rejected):
            account_address(address)
    else:
        assert account_address(address) == account_address(address.upper().replace("HTTPS", "https"))


def test_an_account_shows_its_type_alone() -> None:
    assert repr(Account(AccountType.EMAIL, "someone@example.org")) == "Account(email)"
    assert "someone" not in f"{Account(AccountType.EMAIL, 'someone@example.org')}"


def test_types_never_meet() -> None:
    texts = {Account(type_, "x").to_bytes() for type_ in AccountType}
    assert len(texts) == len(AccountType)


def test_what_can_change_a_pseudonym_is_named_with_its_version() -> None:
    found = data_versions()
    assert found["unicode"] == unicodedata.unidata_version
    assert found["phonenumbers"] == version("phonenumbers")
    assert {"ada-url", "email-validator", "idna", "precis-i18n"} <= set(found)
