"""Product and model agree on many runs, and differ on every mutant: `make oracle` takes more, or one of them again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_200)]

ROOT = Path(__file__).parents[2]


def oracle(*options: str) -> tuple[int, str]:
    """Run the oracle as `make oracle` does; return its exit status and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.oracle", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "options", [("--seeds", "50", "--steps", "1000"), ("--mutants", "--every", "4")], ids=["the product", "mutants"]
)
def test_product_and_model_agree_and_no_mutant_passes(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = oracle(*options)
    with capsys.disabled():
        print(f"\n{said}")
    assert status == 0, said
