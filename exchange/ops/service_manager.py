"""What a service manager is told of a process: that it serves, that its loop is alive, that it is going away.

The protocol is systemd's (sd_notify(3)): datagrams to a socket that the environment names. Without one nothing is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"
_ALIVE = "WATCHDOG=1"


def tell(state: str) -> None:
    """Tell the service manager, where there is one. One that does not listen is no reason to stop serving."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        to.settimeout(0)
        to.sendto(state.encode(), address)


async def show_alive() -> None:
    """Tell it twice in each period that it asks for that the loop still turns, until cancelled; or never."""
    period_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    asked = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    while period_us and asked:
        tell(_ALIVE)
        await asyncio.sleep(period_us / 2e6)
