"""What a failed write of a file means to whoever waits for it."""

from __future__ import annotations

import errno
from pathlib import Path

from exchange.errors import ExchangeError, Fatal, Unavailable


def explained(error: OSError, path: Path, disk: str) -> ExchangeError:
    """Return `Unavailable` where this ``disk`` is full, else `Fatal`."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Unavailable(f"{disk} is full", retry_after_ms=5_000)
    return Fatal(f"{path}: {error.strerror}")
