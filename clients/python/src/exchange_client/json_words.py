"""Values as they stand in JSON: words for enums, milliseconds or ISO times, ids in lower-case hexadecimal.

Everything that reads raises `Rejected` (INVALID) for what is not of its form. No message repeats a value: where columns
have slipped, an identifier may stand anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from difflib import get_close_matches
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeVar

from exchange.domain.labels import Label
from exchange.errors import Reason, Rejected

E = TypeVar("E", bound=IntEnum)
#: So many words can be told to whoever says another.
_FEW = 20
#: What may be a key, or a word, that was misspelt.
_KEY = re.compile("[a-z_]{1,32}")
_MISSPELT = re.compile("[A-Za-z_ -]{1,48}")
#: How alike two words must be for one to be taken for the other.
_ALIKE = 0.7


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
    found = f"this {what} is not known" if text is not None else f"{what} is missing"
    known = [word.lower() for word in words.__members__]
    all_of_them = "docs/labels.md lists them all" if issubclass(words, Label) else ""
    all_of_them = f"one of: {', '.join(known)}" if len(known) <= _FEW else all_of_them
    raise Rejected(Reason.INVALID, found, hint="; ".join(filter(None, [_meant(text, known), all_of_them])))


def known_keys(data: Mapping[str, Any], keys: Collection[str], of: str = "") -> None:
    """Raise `Rejected` where there is a key that is none of these; ``of`` says what they are keys of."""
    unknown = data.keys() - keys
    if not unknown:
        return
    key = min(unknown)
    shown = f"`{key}`" if _KEY.fullmatch(key) else "something in it"
    raise Rejected(Reason.INVALID, f"{shown} is not a known key{of}", hint=_meant(key, keys))


def _meant(text: object, known: Collection[str]) -> str:
    """Return which known words may have been meant, as a question; nothing where there are none."""
    if not isinstance(text, str) or not _MISSPELT.fullmatch(text):
        return ""
    near = _near(text.lower().replace(" ", "_").replace("-", "_"), tuple(sorted(known)))
    return f"did you mean {' or '.join(f'`{word}`' for word in near)}?" if near else ""


@lru_cache(maxsize=64)  # whoever misspells a word does so on every line
def _near(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(get_close_matches(text, known, n=2, cutoff=_ALIKE))


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
