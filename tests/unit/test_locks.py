"""What is installed: every declared dependency is locked, and what runs alone is a part of what the tests have met."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCAL_PACKAGES = {"signal-exchange", "signal-exchange-client"}
EVERYTHING, TO_RUN, TO_BUILD = "requirements.lock", "requirements-run.lock", "requirements-build.lock"
LOCKS = (EVERYTHING, TO_RUN, TO_BUILD)
ENTRY = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>[^\\]+?))? (?P<hashes>(?: *--hash=sha256:[0-9a-f]{64})+)"
)


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock."""

    name: str
    version: Version
    hashes: frozenset[str]
    marker: str | None

    @property
    def here(self) -> bool:
        """Whether it is installed on this machine."""
        return self.marker is None or Marker(self.marker).evaluate()


def _lines(lock: str) -> list[str]:
    return (ROOT / lock).read_text().replace("\\\n", " ").splitlines()


@cache
def _locked(lock: str) -> tuple[Locked, ...]:
    return tuple(
        Locked(found["name"], Version(found["version"]), frozenset(found["hashes"].split()), found["marker"])
        for found in map(ENTRY.fullmatch, _lines(lock))
        if found is not None
    )


def _declared() -> Iterator[Requirement]:
    for path in ("pyproject.toml", "clients/python/pyproject.toml"):
        project = tomllib.loads((ROOT / path).read_text())
        lists = [
            project["build-system"]["requires"],
            project["project"]["dependencies"],
            *project["project"].get("optional-dependencies", {}).values(),
            *project.get("dependency-groups", {}).values(),
        ]
        for texts in lists:
            yield from (Requirement(text) for text in texts)


def _group(name: str) -> list[Requirement]:
    return [
        Requirement(text) for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][name]
    ]


def _needed(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of all that these need on this machine, by what is installed, without our own two."""
    waiting = list(requirements)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        for further in map(Requirement, distribution(name).requires or ()):
            environments: Sequence[dict[str, str]] = [{"extra": extra} for extra in ("", *wanted.extras)]
            if further.marker is None or any(map(further.marker.evaluate, environments)):
                waiting.append(further)
    return {name for name, _ in seen} - LOCAL_PACKAGES


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


def test_lock_covers_every_declared_dependency() -> None:
    problems = []
    for requirement in _declared():
        name = canonicalize_name(requirement.name)
        versions = [locked.version for locked in _locked(EVERYTHING) if locked.name == name]
        if name not in LOCAL_PACKAGES and not any(map(requirement.specifier.contains, versions)):
            problems.append(str(requirement))
    assert problems == [], "run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_files_by_hash_and_nothing_else(lock: str) -> None:
    assert [line[:80] for line in _lines(lock) if not ENTRY.fullmatch(line)] == []
    assert _locked(lock)


@pytest.mark.parametrize("lock", [TO_RUN, TO_BUILD])
def test_what_is_installed_apart_is_a_part_of_what_was_tested(lock: str) -> None:
    tested = {(locked.name, locked.version, locked.hashes) for locked in _locked(EVERYTHING)}
    others = {(locked.name, locked.version, locked.hashes) for locked in _locked(lock)} - tested
    assert others == set(), "run: make lock"


@pytest.mark.parametrize(
    ("lock", "wanted"), [(TO_RUN, [Requirement("signal-exchange[cli]")]), (TO_BUILD, _group("build"))]
)
def test_it_is_all_that_is_needed_and_nothing_else(lock: str, wanted: Sequence[Requirement]) -> None:
    """So hub, pseudonym service and command line have no test, browser or compiler beside them."""
    assert {locked.name for locked in _locked(lock) if locked.here} == _needed(wanted), "run: make lock"


def test_what_runs_imports_nothing_else() -> None:
    """But for the guide and the report, which say what they lack (`exchange.cli.made_files.of_extra`)."""
    installed = {locked.name for locked in _locked(TO_RUN) if locked.here} | LOCAL_PACKAGES
    owners = packages_distributions()
    elsewhere = {ROOT / "exchange" / name for name in ("guide", "report")}
    lacking = {}
    for path in [*ROOT.glob("exchange/**/*.py"), *ROOT.glob("clients/python/src/**/*.py")]:
        if elsewhere.isdisjoint(path.parents):
            for module in set(_imported(path)) - sys.stdlib_module_names - {"exchange", "exchange_client"}:
                if installed.isdisjoint(map(canonicalize_name, owners.get(module, ()))):
                    lacking[str(path.relative_to(ROOT))] = module
    assert lacking == {}


def test_make_lock_writes_all_of_them() -> None:
    recipe = re.search(r"^lock:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert re.findall(r"--output-file (\S+?);?(?: |$)", recipe[1], re.MULTILINE) == list(LOCKS)
    assert recipe[1].count(f"--constraint {EVERYTHING}") == len(LOCKS) - 1


@pytest.mark.parametrize("name", ["deploy/compose/Dockerfile", "docs/deploy.md"])
def test_production_gets_what_runs_and_no_more(name: str) -> None:
    text = (ROOT / name).read_text()
    installed = re.findall(r"pip install .*--require-hashes .*?(?:--target (\S+) )?-r (\S+)", text)
    assert [lock for _, lock in installed] == [TO_RUN, TO_BUILD]
    assert [target != "" for target, _ in installed] == [False, True], "what builds is not installed where we run"
