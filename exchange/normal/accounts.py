"""Identifiers of accounts, and their normal forms: what a pseudonym is made of. Never on the wire, never in a log.

A pseudonym is a function of the type and the normal form, so two platforms meet only where both come to the same
text. The rules are versioned, one profile for each type; what libraries' data can change is named by `data_versions`,
and belongs to the key epoch: another version may make other pseudonyms, and then means another epoch.

What must stay true: every function is idempotent; no message repeats what it was given.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version

from exchange.errors import Reason, Rejected
from exchange.normal.email import normal_email
from exchange.normal.handle import normal_handle
from exchange.normal.phone import normal_phone
from exchange.normal.profile_urls import account_address

MAX_OPAQUE_CHARACTERS = 256

_DOMAIN = b"signal-exchange/account/1"
#: Categories of Unicode with which an opaque identifier is refused: controls, the unseen, the unassigned.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


class AccountType(StrEnum):
    """A type of account identifier, as it stands on a command line and in what is blinded."""

    EMAIL = "email"
    PHONE = "phone"
    HANDLE = "handle"
    PROFILE_URL = "profile_url"
    EXTERNAL_ID = "external_id"
    DEVICE = "device"
    PAYMENT = "payment"


#: The version of each type's rules.
PROFILES: dict[AccountType, int] = dict.fromkeys(AccountType, 1)


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """An account's identifier in normal form. Its repr tells the type alone: the text is what must not leak."""

    type: AccountType
    text: str

    def __repr__(self) -> str:
        return f"Account({self.type.value})"

    def to_bytes(self) -> bytes:
        """Return what is blinded: domain, type and normal form (UTF-8), each ended by a zero but the last."""
        return b"\0".join((_DOMAIN, self.type.value.encode(), self.text.encode()))


def normal_account(type_: AccountType, text: str, *, country: str | None = None) -> Account:
    """Bring an identifier to its normal form; ``country`` is where a telephone number without + was dialled.

    Raises `Rejected` (INVALID, TOO_LARGE): not an identifier of this type.
    """
    if type_ is AccountType.EMAIL:
        return Account(type_, normal_email(text))
    if type_ is AccountType.PHONE:
        return Account(type_, normal_phone(text, country=country))
    if type_ is AccountType.HANDLE:
        return Account(type_, normal_handle(text))
    if type_ is AccountType.PROFILE_URL:
        return Account(type_, account_address(text))
    return Account(type_, _opaque(text))


def data_versions() -> dict[str, str]:
    """Return the versions of everything whose data can change a normal form, by name."""
    libraries = ("ada-url", "email-validator", "idna", "phonenumbers", "precis-i18n")
    return {"unicode": unicodedata.unidata_version} | {name: version(name) for name in libraries}


def _opaque(text: str) -> str:
    """Return an identifier that means something to its issuer alone, exactly as it is."""
    if not text or text != text.strip():
        raise Rejected(Reason.INVALID, "an identifier must not be empty or have white space around it")
    if len(text) > MAX_OPAQUE_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"an identifier may have {MAX_OPAQUE_CHARACTERS} characters")
    if any(unicodedata.category(character) in _REFUSED for character in text):
        raise Rejected(Reason.INVALID, "an identifier must not hold characters that cannot be seen")
    if not unicodedata.is_normalized("NFC", text):
        raise Rejected(Reason.INVALID, "an identifier must be in Unicode's normal form C")
    return text
