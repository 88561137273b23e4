"""Accounts that may not be signalled: they are nobody's own, and to lose them harms many.

The mailboxes that RFC 2142 names belong to an organisation's duties, and mail that is not answered comes from the last
two. Emergency numbers need no rule: they are no numbers that a telephone account can have, and have no normal form.
"""

from __future__ import annotations

from exchange.errors import Reason, Rejected
from exchange.normal.accounts import Account, AccountType

#: RFC 2142, sections 3 to 6, and what is written for mail that nobody reads.
ROLE_MAILBOXES = frozenset(
    (
        *("info", "marketing", "sales", "support", "abuse", "noc", "security"),
        *("postmaster", "hostmaster", "usenet", "news", "webmaster", "www", "uucp", "ftp"),
        *("noreply", "no-reply"),
    )
)


def require_signallable(account: Account) -> None:
    """Return if an account may be signalled. Raises `Rejected` (NOT_PERMITTED), which does not repeat it."""
    if account.type is AccountType.EMAIL and account.text.partition("@")[0].partition("+")[0] in ROLE_MAILBOXES:
        raise Rejected(
            Reason.NOT_PERMITTED,
            "a mailbox of an organisation's duties (RFC 2142) may not be signalled",
            hint="signal the content, or the account by another identifier",
        )
