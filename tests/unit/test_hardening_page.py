"""The page of limits says what the code says: every setting has a row, every value is the one in force, every test is."""

from __future__ import annotations

import re
from pathlib import Path

from exchange.api import publish, server
from exchange.config import Connections, Quotas
from exchange.domain import proposals
from exchange.publish import signatures, turns, waiting

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hardening.md").read_text()
ROW = re.compile(r"^\| `([\w.]+)` \| ([\d.]+) \|", re.MULTILINE)
TEST = re.compile(r"`((?:tests)/[\w/]+\.py)::(\w+)`")


def in_force() -> dict[str, float]:
    """Return every limit of the code by its name on the page."""
    found: dict[str, float] = dict(server.options(server.Connections()))
    connections, quotas = Connections(), Quotas()
    found |= {f"connections.{name}": getattr(connections, name) for name in ("calls", "call_s", "stalled_s")}
    found |= {f"quotas.{name}": getattr(quotas, name) for name in quotas.__struct_fields__}
    found |= {name: getattr(waiting, name) for name in ("MAX_WAITING", "MAX_WAITING_BYTES", "SHARE", "ALONE")}
    found |= {name: getattr(publish, name) for name in ("WINDOW", "MEMBER_WINDOW", "AHEAD", "MEMBER_AHEAD")}
    found |= {
        f"MAX_{name}{whose}": getattr(proposals, f"MAX_{name}{whose}")
        for name in ("PROPOSALS", "PROPOSED_BYTES")
        for whose in ("", "_OF_MEMBER")
    }
    return found | {
        "REST_S": turns.REST_S,
        "TURN_WORK": turns.TURN_WORK,
        "MAX_LINE_BYTES": signatures.MAX_LINE_BYTES,
    }


def test_every_limit_has_its_row_with_the_value_in_force() -> None:
    assert {name: float(value) for name, value in ROW.findall(PAGE)} == in_force()


def test_every_row_names_tests_and_they_exist() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| setting", "| rule"))
    ]
    rows = [line for line in rows if not set(line) <= set("|- ")]
    assert len(rows) > len(in_force())
    for row in rows:
        named = TEST.findall(row)
        assert named, row
        for file, test in named:
            text = (ROOT / file).read_text()
            assert re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), f"{file}::{test}"
