"""What a process of a pool does first, so that it neither ends before whoever started it nor outlives it.

A pool's processes wait for work on a pipe that they hold open themselves: when their parent is killed they would wait
for ever, and with them whoever reads what they print to.
"""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait


def begin() -> None:
    """Leave Ctrl-C to the parent, which may still want answers, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
