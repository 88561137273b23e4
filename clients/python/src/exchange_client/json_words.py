"""Values as they stand in JSON: words for enums, milliseconds or ISO times, ids in lower-case hexadecimal.

Everything that reads raises `Rejected` (INVALID) for what is not of its form.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import TypeVar

from exchange.errors import Reason, Rejected

E = TypeVar("E", bound=IntEnum)
#: So many words can be told to whoever says another.
_FEW = 20


def invalid(what: str) -> Rejected:
    """Return what is raised for a value that is not of its form."""
    return Rejected(Reason.INVALID, what)


def name_of(words: type[E], value: int) -> str | int | None:
    """Return the word for a number; the number itself when this release does not know it, None for "not said"."""
    return words(value).name.lower() if value in words._value2member_map_ else value or None


def word_of(words: type[E], text: object, what: str) -> E:
    """Return the number of a word."""
    # ASCII, because some other letters have one of its capitals as theirs.
    if isinstance(text, str) and text.isascii() and text.upper() in words.__members__ and text == text.lower():
        return words[text.upper()]
    known = f"one of: {', '.join(words.__members__).lower()}" if len(words) <= _FEW else ""
    found = f"{what} {text!r} is not known" if text is not None else f"{what} is missing"
    raise Rejected(Reason.INVALID, found, hint=known)


def optional_word(words: type[E], text: object, what: str) -> int:
    """Return the number of a word; 0 where there is none."""
    return 0 if text is None else int(word_of(words, text, what))


def time_of(value: object, name: str) -> int:
    """Return Unix milliseconds from a number or an ISO time with its zone."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid(f"`{name}` must be Unix milliseconds or an ISO time with its zone")
    return int(moment.timestamp() * 1000)


def text_of(value: object, name: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise invalid(f"`{name}` must be text")
    return value


def flag_of(value: object, name: str) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise invalid(f"`{name}` must be true or false")
    return value


def ids_of(value: object, name: str) -> tuple[bytes, ...]:
    """Return the ids of a list, which may be left out."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise invalid(f"`{name}` must be a list of signal ids")
    return tuple(id_of(item, name) for item in value)


def bytes32(value: object) -> bytes:
    """Return the 32 bytes that 64 hexadecimal characters are; none for anything else."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        found = b""
    return found if len(found) == 32 else b""


def id_of(value: object, name: str) -> bytes:
    """Return an id of 32 bytes."""
    id_ = bytes32(value)
    if not id_:
        raise invalid(f"`{name}` must be 64 hexadecimal characters")
    return id_
