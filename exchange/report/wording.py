"""The words of a report: what each table and stage is called, and what has to be said beside them."""

from __future__ import annotations

from datetime import UTC, date, datetime

#: Of each table: its title, what its parts are called, what it counts, and what to know of it.
TABLES = {
    "signals-by-period": ("Signals published, over time", "when", "signals", ""),
    "signals-by-label": ("Signals published, by harm", "harm", "signals", ""),
    "signals-by-publisher": ("Signals published, by publisher", "member", "signals", ""),
    "statements-by-kind": (
        "What was said about signals and cases",
        "kind of statement",
        "statements",
        (
            "A statement may be about many signals. Referrals to authorities are counted here; what is in them never"
            " passes through the exchange."
        ),
    ),
    "dispositions-by-state": (
        "What receivers did",
        "what they did",
        "answers",
        "Each receiver's last word on each signal. Nobody has to answer to a signal that stands.",
    ),
    "taken-back-by-reason": (
        "Signals taken back",
        "reason",
        "signals",
        "Overturned on appeal, and every other reason for which a signal was taken back.",
    ),
    "erased-by-reason": ("Signals erased before their time", "reason", "signals", ""),
    "disputed-by-publisher": (
        "Signals that another member calls wrong",
        "publisher",
        "signals",
        "By the last opinion of each member, where it is that the signal is wrong.",
    ),
    "debts-by-member": (
        "Answers owed for signals that were taken back or erased",
        "receiver",
        "answers",
        (
            "Who was given a signal owes an answer when it is taken back, or erased on request. Of signals for some"
            " members only, those alone are counted who said something: the ledger does not show who else got them."
        ),
    ),
}
#: Of each stage of lag, in the order of the report.
STAGES = {
    "reported": "from the publisher's action until the hub had its signal",
    "received": "from the making of the statement until the hub had it",
    "delivered": "from the hub's receipt until a receiver had the signal",
    "matched": "from the hub's receipt until a receiver found its own content or account by it",
    "actioned": "from the hub's receipt until a receiver acted",
    "migration": "from the publisher's action until a receiver's: how long abuse could go on elsewhere",
    "undo_reported": "from the decision to take a signal back until the hub had the retraction",
    "undo_delivered": "from the hub's receipt of a retraction until a receiver had it",
    "undone": "from the hub's receipt of a retraction until a receiver had undone what it did",
}
_EPOCH = date(1970, 1, 1).toordinal()
#: Before the Monday of a week; under a plot there is no room for it.
WEEK = "week of "
#: The stage whose trend is drawn.
HEADLINE = "delivered"


def plain(word: str) -> str:
    """Return a word of the ledger as people write it."""
    return word.replace("_", " ").replace("-", " ")


def duration(at_most_ms: int | None) -> str:
    """Return an upper bound: two figures, in the unit that fits."""
    if at_most_ms is None:
        return "not told"
    for unit, size in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if at_most_ms >= size:
            number = at_most_ms / size
            return f"under {number:.2g} {unit}" if number < 100 else f"under {number:.0f} {unit}"
    return f"under {at_most_ms} ms"


def day(text: str) -> str:
    """Return a day as it is written."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{found.day} {found:%B %Y}"


def end_ms(text: str) -> int | None:
    """Return when a day ends (UTC); None of what is no day."""
    try:
        return (date.fromisoformat(text).toordinal() + 1 - _EPOCH) * 86_400_000
    except ValueError:
        return None


def moment(at_ms: int) -> str:
    """Return a moment as it is written."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
