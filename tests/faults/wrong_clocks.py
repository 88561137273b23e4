"""Servers whose wall clock is wrong, by as much as a file says, from one moment to the next.

That takes libfaketime, which Debian calls by this name; a machine without it says that it left something out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.redis_server import RedisServer

NAME = "libfaketimeMT.so.1"
FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


def library() -> Path:
    """Return the library. Skips the test, aloud, where there is none."""
    found = next((path for folder in FOLDERS for path in sorted(Path(folder).glob(f"**/faketime/{NAME}"))), None)
    if found is None:
        pytest.skip("extra: the clock of a server can only be put wrong with libfaketime; hubs' clocks jump everywhere")
    return found


def environment(file: Path) -> Mapping[str, str]:
    """Return what makes a process go by the offset in a file; its monotonic clock goes right."""
    file.write_text("+0")
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def jump(server: RedisServer, by_s: int) -> None:
    """Put a server's clock off by so much, and see that it goes by it."""
    Path(server.environment["FAKETIME_TIMESTAMP_FILE"]).write_text(f"{by_s:+d}")
    (now_us,) = re.findall(rb"server_time_usec:(\d+)", await server.ask("INFO", "server"))
    told = int(now_us) / 1_000_000 - time.time()
    assert abs(told - by_s) < 60, f"its clock is off by {told} s"
