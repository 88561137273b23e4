"""The reject file of a bulk job: what was refused, and why, on the publisher's own disk.

Each line is ``{"line": ..., "error": {...}}``: the line as it was given (an object, or the text of what is none), so
that it can be mended where it stands, and published from there.
"""

from __future__ import annotations

import json
from pathlib import Path

from exchange.errors import ExchangeError, InvalidStatement
from exchange_client.in_flight import Outcome
from exchange_client.jsonl import signal_to_json

#: What a line of a reject file holds.
KEYS = frozenset({"line", "error"})


class RejectFile:
    """JSON lines, appended. Made with the first refusal, readable by its owner only: it holds identifiers."""

    def __init__(self, path: Path) -> None:
        """Append to this file."""
        self.path = path

    def write(self, outcome: Outcome) -> None:
        """Note a refused signal of which there is no line."""
        self.write_line(signal_to_json(outcome.signal), outcome.error)

    def write_line(self, line: object, error: ExchangeError | None) -> None:
        """Note a refused line: the object in it, or its text when there is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.touch(mode=0o600)
        with self.path.open("a") as file:
            file.write(json.dumps({"line": line, "error": _why(error)}) + "\n")


def _why(error: ExchangeError | None) -> dict[str, object]:
    if error is None:
        return {"reason": "unknown"}
    found: dict[str, object] = {"reason": error.reason.value, "message": error.message}
    if error.hint:
        found["hint"] = error.hint
    if isinstance(error, InvalidStatement):
        found["violations"] = [f"{v.field}: {v.description}" for v in error.violations]
    return found
