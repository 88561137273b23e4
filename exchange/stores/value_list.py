"""A file of indicator values, one to a line: what may not be signalled, or what nobody can have seen.

Each line is a type and a value in its text form (docs/indicators.md), such as ``image_sha256 9f86d0...``; empty lines
and those that begin with # are passed over. The file is the operators' own: its values are hashes or pseudonyms, and it
is read at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exchange.domain.identifiers import IndicatorType
from exchange.errors import Reason, Rejected
from exchange.normal import text_forms

_URL_DIGEST = text_forms.HASH_FORMS["image_sha256"][0]
_PARSERS: dict[str, tuple[int, Callable[[str], bytes]]] = {
    **{word: (int(IndicatorType[word.upper()]), forms[0]) for word, forms in text_forms.HASH_FORMS.items()},
    IndicatorType.URL.word: (int(IndicatorType.URL), _URL_DIGEST),
}


def read_values(path: Path) -> frozenset[tuple[int, bytes]]:
    """Return the (type, value) pairs of a file. Raises `Rejected` (CONFIG) that names the line at fault."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(Reason.CONFIG, f"{path}: cannot be read: {error}") from error
    found = set()
    for number, line in enumerate(lines, start=1):
        word, _, value = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        if word not in _PARSERS:
            raise Rejected(Reason.CONFIG, f"{path}:{number}: {word!r} is not a type that has one value")
        type_, parse = _PARSERS[word]
        try:
            found.add((type_, parse(value.strip())))
        except Rejected as error:
            raise Rejected(Reason.CONFIG, f"{path}:{number}: {error.message}") from error
    return frozenset(found)
