"""The oracle's page says what it does and finds, and its model has nothing of the product in it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from tests.oracle.bugs import BUGS
from tests.oracle.operations import OPERATIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "oracle.md").read_text()


def rows(heading: str) -> dict[str, str]:
    """Return the second column of a section's table, by the name in the first."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE))


def first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def test_every_step_is_on_the_page() -> None:
    assert rows("What happens") == {name: first_line(run.__doc__) for name, (run, _) in OPERATIONS.items()}


def test_every_mutant_is_on_the_page() -> None:
    assert rows("What it finds") == {name: first_line(bug.__doc__) for name, bug in BUGS.items()}


def test_the_model_knows_nothing_of_the_product() -> None:
    for name in ("model.py", "reader.py"):
        tree = ast.parse((ROOT / "tests" / "oracle" / name).read_text())
        named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {module for module in named if module.partition(".")[0] not in sys.stdlib_module_names}
        assert ours <= {"tests.oracle.model"}, name
