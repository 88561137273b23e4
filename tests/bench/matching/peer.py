"""The interpreter that has python-threatexchange: the named one, or one made for it under build/.

That package and FAISS are not among the locked ones, so they get an environment of their own, made once. Where it
cannot be made, the reason is told.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HOME = ROOT / "build" / "threatexchange"
PACKAGES = ("threatexchange==1.2.17", "faiss-cpu==1.15.1")
_DEADLINE_S = 600


class Missing(Exception):
    """Nobody here has the other index; says why."""


def interpreter(named: str | None, home: Path = HOME) -> str:
    """Return an interpreter that has the other index, making its environment where none is named."""
    if named is not None:
        if not importable(named):
            raise Missing(f"{named} cannot import threatexchange and faiss")
        return named
    python = str(home / "bin" / "python")
    if not importable(python):
        _run(sys.executable, "-m", "venv", "--clear", str(home))
        _run(python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", *PACKAGES)
        if not importable(python):
            raise Missing(f"{' and '.join(PACKAGES)} were installed, and cannot be imported")
    return python


def importable(python: str) -> bool:
    """Tell whether an interpreter has the other index."""
    try:
        asked = subprocess.run([python, "-c", "import threatexchange, faiss"], capture_output=True, check=False)
    except OSError:
        return False
    return asked.returncode == 0


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DEADLINE_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"its environment could not be made: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(f"its environment could not be made: {said[-1] if said else done.returncode}")
