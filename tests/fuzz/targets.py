"""The table of all readers of bytes from outside, by name."""

from __future__ import annotations

from tests.fuzz import (
    addressed_targets,
    backup_targets,
    client_targets,
    file_targets,
    hub_targets,
    ledger_targets,
    privacy_targets,
    proposal_targets,
    report_targets,
    store_targets,
    text_targets,
    wire_targets,
)
from tests.fuzz.target import Target

_MODULES = (
    ledger_targets,
    privacy_targets,
    report_targets,
    wire_targets,
    addressed_targets,
    backup_targets,
    proposal_targets,
    hub_targets,
    client_targets,
    text_targets,
    file_targets,
    store_targets,
)
TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
#: The module that each is in.
MODULES: dict[str, str] = {target.name: module.__name__ for module in _MODULES for target in module.TARGETS}
