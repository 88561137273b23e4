"""What a line of a pipeline gives: the object in it, or its text when there is none.

A line of a reject file gives what stands under its ``line``, so that it can be mended in its place and given again.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress

from exchange.errors import Reason, Rejected

#: What a line of a reject file holds.
REJECT_KEYS = frozenset({"line", "error"})
#: How deep a line may be nested; a signal has four levels.
_LEVELS = 16


def line_of(line: bytes) -> dict[str, object] | str:
    """Return what a line gives."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        # Told apart from what it would be with its bytes escaped: that may be a signal of another text.
        return "not UTF-8: " + line.decode(errors="backslashreplace").rstrip("\r\n")
    data = _object(text)
    if data is not None and data.keys() == REJECT_KEYS:
        inner = data["line"]
        text = inner if isinstance(inner, str) else json.dumps(inner)
        data = _object(text)
    return text.rstrip("\r\n") if data is None else data


def object_of(given: dict[str, object] | str) -> dict[str, object]:
    """Return the object that a line gave. Raises `Rejected` (MALFORMED) that says why there is none."""
    if isinstance(given, dict):
        return given
    try:
        _json(given)
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"not JSON: {error}") from error
    raise Rejected(Reason.MALFORMED, "not a JSON object, or no UTF-8")


def _object(text: str) -> dict[str, object] | None:
    with suppress(ValueError, RecursionError):
        data = _json(text)
        return data if isinstance(data, dict) else None
    return None


def _json(text: str) -> object:
    """Return the value in a text. Raises ValueError, also for its depth, and for numbers that are Python's only."""

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is no number")

    value = json.loads(text, parse_constant=refuse)
    if not _is_plain(value, _LEVELS):
        raise ValueError("nested too deep, or a number too large")
    return value


def _is_plain(value: object, levels: int) -> bool:
    """Whether a value is nested no deeper than that, and can be written as JSON again."""
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_plain(each, levels - 1) for each in inner)
