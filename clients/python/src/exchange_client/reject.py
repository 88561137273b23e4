"""The reject file of a bulk job: what was refused, and why, on the publisher's own disk.

Each line is ``{"line": ..., "error": {...}}``: the line as it was given (an object, or the text of what is none), so
that it can be mended where it stands, and published from there.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from exchange.errors import ExchangeError, InvalidStatement, Reason, Rejected
from exchange_client.in_flight import Outcome
from exchange_client.jsonl import signal_to_json


class RejectFile:
    """JSON lines, appended. Made with the first refusal, readable by its owner only: it holds identifiers."""

    def __init__(self, path: Path) -> None:
        """Append to this file."""
        self.path = path

    def write(self, outcome: Outcome) -> None:
        """Note a refused signal of which there is no line."""
        self.write_line(signal_to_json(outcome.signal), outcome.error)

    def write_line(self, line: object, error: ExchangeError | None) -> None:
        """Note a refused line: the object in it, or its text when there is none. Raises `Rejected` (CONFIG).

        Whole or not at all: what a full disk has left of a line is taken back, or the next one would be joined to it.
        """
        noted = json.dumps({"line": line, "error": _why(error)}).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                self.path.touch(mode=0o600)
            with self.path.open("ab", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                if file.write(noted) != len(noted):
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as failed:
            message = f"{self.path}: what is refused cannot be noted: {failed.strerror}"
            raise Rejected(Reason.CONFIG, message) from failed


def _why(error: ExchangeError | None) -> dict[str, object]:
    if error is None:
        return {"reason": "unknown"}
    found: dict[str, object] = {"reason": error.reason.value, "message": error.message}
    if error.hint:
        found["hint"] = error.hint
    if isinstance(error, InvalidStatement):
        found["violations"] = [f"{v.field}: {v.description}" for v in error.violations]
    return found
