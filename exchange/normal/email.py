"""The normal form of an e-mail address: one text for all spellings that reach the same mailbox.

Why: who was banned comes back with the same mailbox, written otherwise. A pseudonym is made of the normal form, so
whatever is not brought together here is two persons to everyone.

Profile 1, after RFC 5321, RFC 6531 and the UTS 46 form of the domain (by email-validator; nothing is looked up):

1. White space around the address is dropped. Comments, display names, quoted local parts and address literals:
   refused.
2. The domain is written in ASCII (A-labels), in lower case.
3. The local part is in NFC and lower case. RFC 5321 lets a server tell cases apart; none of weight does.
4. The provider's own rules, by the table `PROVIDERS`: its other domains are its first one, what follows a ``+``
   is a label of the user's own and is dropped, and what it ignores is left out.

What must stay true: the function is idempotent; any text gives an address or `Rejected`; no message repeats the
address. A change of a rule or of a row is a new profile. The vectors are in ``tests/vectors/accounts.json``.
"""

from __future__ import annotations

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from exchange.errors import Reason, Rejected

MAX_EMAIL_CHARACTERS = 320


@dataclass(frozen=True, slots=True)
class Provider:
    """One row: what a provider of mailboxes takes for the same mailbox."""

    #: Its domains, parted by spaces, that lead to the same mailbox; the first one stands for all.
    domains: str
    #: Characters of the local part that it ignores.
    ignored: str = ""


#: Each as the provider's own help pages say (read in 2026): Google "dots don't matter" and "task-specific addresses",
#: Microsoft "plus addressing in Outlook.com", Apple "iCloud Mail aliases", Proton "addresses and aliases", Fastmail
#: "plus addressing". Domains of one provider stand in rows of their own where one name may be two people's.
PROVIDERS = (
    Provider("gmail.com googlemail.com", ignored="."),
    Provider("outlook.com"),
    Provider("hotmail.com"),
    Provider("hotmail.co.uk"),
    Provider("live.com"),
    Provider("live.co.uk"),
    Provider("msn.com"),
    Provider("icloud.com me.com mac.com"),
    Provider("proton.me protonmail.com protonmail.ch pm.me", ignored=".-_"),
    Provider("fastmail.com"),
    Provider("fastmail.fm"),
)

#: What begins a label of the user's own, within the local part: the same with all of them.
_LABEL = "+"
_BY_DOMAIN = {domain: provider for provider in PROVIDERS for domain in provider.domains.split()}


def normal_email(text: str) -> str:
    """Return the normal form (profile 1). Raises `Rejected`: not an address, or a mailbox without a name."""
    if len(text) > MAX_EMAIL_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"an e-mail address may have {MAX_EMAIL_CHARACTERS} characters")
    try:
        found = validate_email(
            text.strip(), check_deliverability=False, allow_smtputf8=True, allow_quoted_local=False, strict=True
        )
    except (EmailNotValidError, UnicodeError):
        raise _refused() from None
    local, domain = found.local_part.lower(), found.ascii_domain.lower()
    provider = _BY_DOMAIN.get(domain)
    if provider is not None:
        domain = provider.domains.split()[0]
        local = local.partition(_LABEL)[0].translate({ord(character): None for character in provider.ignored})
        if not local:
            raise _refused()
    return f"{local}@{domain}"


def _refused() -> Rejected:
    # Not chained: what the library says may hold parts of the address.
    return Rejected(
        Reason.INVALID, "this is not an e-mail address", hint="such as name@example.org, without a name before"
    )
