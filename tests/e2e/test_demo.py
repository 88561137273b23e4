"""The demo is a test: it ends with 0 only when everything in it was as it must be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_the_demo_passes(tmp_path: Path) -> None:
    script = ROOT / "clients" / "python" / "examples" / "demo" / "run.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "acknowledged but missing: 0" in done.stdout
    assert "1 % cropped                   match" in done.stdout
    assert "10 % cropped                  no match" in done.stdout
    assert "beta found beta-user-7 (evandertroll@gmail.com)" in done.stdout
    assert "gamma found gamma-user-93" in done.stdout
    assert "nobody found a-quiet-user" in done.stdout
    assert "found: none of them; the pseudonym itself is in " in done.stdout
    assert done.stdout.count("  holds  ") == 8, "the report, and the ledger that it was counted from"
    assert (tmp_path / "build" / "demo" / "guide" / "guide-cy.pdf").exists()
