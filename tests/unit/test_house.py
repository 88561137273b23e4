"""How the house is kept: sizes, names, and what must not stand in any file. Each rule says what to do instead."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_DECISION_LINES = 60
SOURCES = {".mjs", ".py", ".sh", ".ts"}
#: Names that say nothing about what is inside, and so collect everything.
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "shared", "util", "utils"}
REGISTRY_HOST = re.compile(r"\b(?:pypi|pythonhosted|npmjs|deb\.debian)\.(?:org|com)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|root|home/\w+|Users/\w+|opt/(?:pypi|wheels))/")


@cache
def _files() -> tuple[Path, ...]:
    """Return what is committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    paths = (ROOT / name for name in sorted(set(listed.decode().split("\0"))) if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def _written_by_hand() -> Iterator[Path]:
    generated = ROOT / "exchange" / "v1"
    return (path for path in _files() if path.suffix in SOURCES and path.parent != generated)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _project(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text())


def test_files_are_short_enough_to_read_in_one_sitting() -> None:
    lengths = {_name(path): len(path.read_text().splitlines()) for path in _written_by_hand()}
    assert {name: count for name, count in lengths.items() if count > MAX_FILE_LINES} == {}


def test_functions_are_short_enough_to_see_at_once() -> None:
    long = {}
    for path in _written_by_hand():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{_name(path)}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_modules_are_named_after_what_they_hold() -> None:
    assert [_name(path) for path in _written_by_hand() if {path.stem, path.parent.name} & EMPTY_NAMES] == []


def test_every_package_of_the_hub_can_be_seen_by_the_import_linter() -> None:
    folders = {path.parent for path in _files() if path.suffix == ".py" and path.is_relative_to(ROOT / "exchange")}
    assert [_name(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_log_events_are_words_not_sentences() -> None:
    wrong = []
    for path in _written_by_hand():
        if path.suffix != ".py" or not path.is_relative_to(ROOT / "exchange"):
            continue
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            event = _logged_event(call)
            if event is not None and not re.fullmatch(r"[a-z][a-z0-9_]*", event):
                wrong.append(f"{_name(path)}:{call.lineno} {event!r}")
    assert wrong == []


def _logged_event(call: ast.Call) -> str | None:
    """Return the literal event of a call such as ``log.info("group_sealed", size=3)``."""
    match call:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Name(id="log" | "_log" | "logger") | ast.Attribute(attr="log" | "_log" | "logger"),
                attr="debug" | "info" | "warning" | "error" | "exception" | "critical",
            ),
            args=[ast.Constant(value=str(event)), *_],
        ):
            return event
    return None


@pytest.mark.parametrize("pattern", [REGISTRY_HOST, MACHINE_PATH], ids=["registry host", "path of one machine"])
def test_no_file_depends_on_one_machine_or_index(pattern: re.Pattern[str]) -> None:
    found = []
    for path in _files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{_name(path)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def test_both_distributions_have_one_version() -> None:
    base, client = (_project(path)["project"] for path in ("pyproject.toml", "clients/python/pyproject.toml"))
    assert base["version"] == client["version"]
    assert f"signal-exchange[accounts]=={base['version']}" in client["dependencies"]


def test_licence_is_there_and_is_the_one_we_say() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert _project("pyproject.toml")["project"]["license"] == "Apache-2.0"


def test_decisions_are_short_and_numbered_without_a_gap() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    assert [path.name for path in decisions if len(path.read_text().splitlines()) > MAX_DECISION_LINES] == []
