"""Accounts that may not be signalled: mailboxes of an organisation's duties, and emergency numbers."""

from __future__ import annotations

import pytest

from exchange.errors import Reason, Rejected
from exchange.normal.accounts import AccountType, normal_account
from exchange.normal.protected import ROLE_MAILBOXES, require_signallable


@pytest.mark.parametrize("name", sorted(ROLE_MAILBOXES))
def test_a_mailbox_of_a_duty_is_refused_however_it_is_written(name: str) -> None:
    for text in (f"{name}@example.org", f" {name.upper()}@Example.ORG", f"{name}+x@example.org"):
        with pytest.raises(Rejected) as caught:
            require_signallable(normal_account(AccountType.EMAIL, text))
        assert caught.value.reason is Reason.NOT_PERMITTED
        assert "example" not in caught.value.message


@pytest.mark.parametrize("text", ["abuser@example.org", "ann.support@example.org", "x@abuse.example"])
def test_others_are_not(text: str) -> None:
    require_signallable(normal_account(AccountType.EMAIL, text))
    require_signallable(normal_account(AccountType.HANDLE, "support"))


@pytest.mark.parametrize("number", ["999", "112", "101", "111", "116123", "+44999", "+44 112"])
def test_an_emergency_number_is_no_account(number: str) -> None:
    with pytest.raises(Rejected):
        normal_account(AccountType.PHONE, number, country="GB")
