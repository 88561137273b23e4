"""What the address of a desk may look like: nothing with room for content, and nothing that is no desk's."""

from __future__ import annotations

import pytest

from exchange.domain.contacts import Contact, ContactPurpose, is_desk, is_https, problem_of


@pytest.mark.parametrize(
    "text",
    [
        "mailto:referrals@alpha.example",
        "mailto:desk.1+uk@mail.alpha.example",
        "https://alpha.example",
        "https://alpha.example/requests/lawful_uk~1",
        "https://alpha.example:8443/",
        "tel:101",
        "tel:+442079460000",
    ],
)
def test_a_desk(text: str) -> None:
    assert is_desk(text)
    assert is_https(text) is text.startswith("https:")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "referrals@alpha.example",
        "mailto:desk@alpha.example?subject=a+threat",
        "mailto:desk@alpha.example,other@alpha.example",
        "mailto:desk@alpha",
        "mailto:a b@alpha.example",
        "http://alpha.example/",
        "https://alpha.example/?case=1",
        "https://alpha.example/#part",
        "https://user@alpha.example/",
        "https://alpha.example/a b",
        "https://alpha.example/%41",
        "https://[::1]/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://alpha.example\n",
        "javascript:alert(1)",
        "tel:0207 946 0000",
        "tel:+0123456",
        "tel:999",
        "tel:112",
        "tel:\u0661\u0660\u0661",
        "https://alpha.example/" + "a" * 200,
    ],
)
def test_no_desk(text: str) -> None:
    assert not is_desk(text)


DESK = Contact(ContactPurpose.REFERRALS, "tel:101", "Mon-Fri 09:00-17:00", ("cy", "en"))


@pytest.mark.parametrize(
    ("contacts", "what"),
    [
        ((DESK,) * 2, "twice"),
        (tuple(Contact(1, f"tel:10{number}") for number in range(9)), "more than 8"),
        ((Contact(0, "tel:101"),), "purpose"),
        ((Contact(9, "tel:101"),), "purpose"),
        ((Contact(1, "tel:101", "x" * 101),), "hours"),
        ((Contact(1, "tel:101", "a\nb"),), "hours"),
        ((Contact(1, "tel:101", "a\u202eb"),), "hours"),
        ((Contact(1, "tel:101", "", ("en", "cy")),), "languages"),
        ((Contact(1, "tel:101", "", ("English",)),), "languages"),
    ],
)
def test_what_is_wrong_with_contacts(contacts: tuple[Contact, ...], what: str) -> None:
    assert what in problem_of(contacts)


def test_what_is_right() -> None:
    assert problem_of(()) == ""
    assert problem_of((DESK, Contact(ContactPurpose.REQUESTS, "https://alpha.example/requests"))) == ""
