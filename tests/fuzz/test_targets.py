"""Every reader of bytes from outside answers with a value or with its own error, whatever it is given."""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import changer
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FINDINGS: dict[str, str] = tomllib.loads((CORPUS / "findings.toml").read_text())
KEPT = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("*/*"))

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@each_target
def test_seeds_are_accepted(target: Target) -> None:
    """Else the target would prove nothing: its input would never get past the first check."""
    assert [seed for seed in target.seeds if not target.accepts(seed)] == []


@each_target
def test_any_bytes_are_read_or_refused(target: Target) -> None:
    change = changer(message=target.message)

    @settings(
        max_examples=target.examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        data=st.one_of(
            st.binary(max_size=64),
            st.builds(
                lambda seed, by: change(seed, Random(by), target.seeds),
                st.sampled_from(target.seeds),
                st.integers(0, 2**32 - 1),
            ),
        )
    )
    def look(data: bytes) -> None:
        target.accepts(data)

    look()


@pytest.mark.parametrize("name", KEPT)
def test_what_was_found_once_is_not_found_again(name: str) -> None:
    TARGETS[name.partition("/")[0]].accepts((CORPUS / name).read_bytes())


def test_every_kept_finding_says_what_it_was() -> None:
    assert sorted(FINDINGS) == KEPT
    assert all(FINDINGS.values())
