"""The reject file of a bulk job: what was refused, and why, on the publisher's own disk."""

from __future__ import annotations

import json
from pathlib import Path

from exchange.errors import ExchangeError, InvalidStatement
from exchange_client.jsonl import indicator_to_json
from exchange_client.publisher import Outcome


class RejectFile:
    """JSON lines, appended. Made with the first refusal, readable by its owner only: it holds identifiers."""

    def __init__(self, path: Path) -> None:
        """Append to this file."""
        self.path = path

    def write(self, outcome: Outcome) -> None:
        """Note a refused signal."""
        signal = outcome.signal
        self._append(
            {
                "case_ref": signal.case_ref,
                "label": signal.label.word,
                "indicators": [indicator_to_json(i) for i in signal.indicators],
                **_why(outcome.error),
            }
        )

    def write_line(self, line: str, error: ExchangeError) -> None:
        """Note a line that is no signal."""
        self._append({"line": line.rstrip("\n"), **_why(error)})

    def _append(self, data: dict[str, object]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.touch(mode=0o600)
        with self.path.open("a") as file:
            file.write(json.dumps(data) + "\n")


def _why(error: ExchangeError | None) -> dict[str, object]:
    if error is None:
        return {"reason": "unknown"}
    found: dict[str, object] = {"reason": error.reason.value, "message": error.message}
    if error.hint:
        found["hint"] = error.hint
    if isinstance(error, InvalidStatement):
        found["violations"] = [f"{v.field}: {v.description}" for v in error.violations]
    return found
