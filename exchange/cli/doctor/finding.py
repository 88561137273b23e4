"""What a check finds: one thing that was looked at, how it is, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exchange.errors import ExchangeError

GOOD, WARN, BAD = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: str
    detail: str
    hint: str = ""


def guarded(what: str, check: Callable[[], Finding], *, hint: str = "") -> Finding:
    """Run a check; what it raises is what it found. ``hint`` is for what brings none of its own."""
    try:
        return check()
    except ExchangeError as error:
        return Finding(what, BAD, error.message, error.hint or hint)
    except (OSError, ValueError) as error:
        return Finding(what, BAD, str(error), hint)
