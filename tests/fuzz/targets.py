"""The table of all readers of bytes from outside, by name."""

from __future__ import annotations

from tests.fuzz import client_targets, ledger_targets, text_targets, wire_targets
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *ledger_targets.TARGETS,
        *wire_targets.TARGETS,
        *client_targets.TARGETS,
        *text_targets.TARGETS,
    )
}
