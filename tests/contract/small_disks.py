"""A real disk that is small enough to be filled, and filling it.

Only root may make one. So each test with a real full disk also runs with a pretended one, which every machine can do,
and a machine that cannot make a real one has not failed: it says that it left something out.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of this size there. Skips the test, aloud, where that is not permitted."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("extra: a real small disk can only be made by root; the pretended one is tried everywhere")
    try:
        yield place
    finally:
        # Lazily: a store that a failed test left open must not leave the mount behind.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; return the file to delete."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 512):
            while _write_some(file.fileno(), size):
                pass
    return filler


def _write_some(file: int, size: int) -> bool:
    try:
        return os.write(file, bytes(size)) > 0
    except OSError:
        return False
