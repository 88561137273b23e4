"""The desks of members in the directory, and what the address of a desk may look like.

The directory is for ever and every member reads it: a desk's address goes in, never a person's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

MAX_CONTACTS = 8
MAX_ADDRESS_CHARACTERS = 200
MAX_HOURS_CHARACTERS = 100
MAX_LANGUAGES = 16

_HOST = r"(?=.{1,253}(?:[:/]|$))(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
#: No user in front of a host, no query and no fragment: there is room for content in those.
_HTTPS = re.compile(rf"https://{_HOST}(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)
_MAILTO = re.compile(rf"mailto:[A-Za-z0-9][A-Za-z0-9._+-]{{0,63}}@{_HOST}", re.ASCII)
_TEL = re.compile(r"tel:(?:\+[1-9][0-9]{5,14}|[0-9]{3,6})", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}", re.ASCII)


#: Somebody who needs these must not have to look for a desk.
_EMERGENCIES = frozenset({"tel:999", "tel:112", "tel:911", "tel:18000"})


class ContactPurpose(IntEnum):
    """What a desk is there for."""

    REFERRALS = 1
    REQUESTS = 2
    DISPUTES = 3
    TECHNICAL = 4


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach a member's desk."""

    purpose: int
    address: str
    hours: str = ""
    languages: tuple[str, ...] = ()


def is_https(text: str) -> bool:
    """Whether a text is an https address without anything in it that could hold content."""
    return len(text) <= MAX_ADDRESS_CHARACTERS and _HTTPS.fullmatch(text) is not None


def is_desk(text: str) -> bool:
    """Whether a text is the address of a desk: mailto, https or tel. No desk is an emergency number."""
    fits = len(text) <= MAX_ADDRESS_CHARACTERS and text not in _EMERGENCIES
    return fits and (is_https(text) or bool(_MAILTO.fullmatch(text)) or bool(_TEL.fullmatch(text)))


def problem_of(contacts: Sequence[Contact]) -> str:
    """Return what is wrong with a member's contacts; empty where nothing is."""
    if len(contacts) > MAX_CONTACTS:
        return f"are more than {MAX_CONTACTS}"
    if len(set(contacts)) != len(contacts):
        return "hold one twice"
    for contact in contacts:
        if contact.purpose not in frozenset(ContactPurpose):
            return "hold one without a known purpose"
        if not is_desk(contact.address):
            return "hold an address that is no mailto:, https: or tel: of a desk, or holds more than that"
        if len(contact.hours) > MAX_HOURS_CHARACTERS or not contact.hours.isprintable():
            return f"hold hours that are not at most {MAX_HOURS_CHARACTERS} printable characters"
        languages = contact.languages
        known = len(languages) <= MAX_LANGUAGES and all(_LANGUAGE.fullmatch(each) for each in languages)
        if not known or list(languages) != sorted(set(languages)):
            return "hold languages that are no sorted set of ISO 639 codes"
    return ""
