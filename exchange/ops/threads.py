"""Threads beside the event loop's wait for their turn where they would take the core from it. On Linux only.

What wakes up may take the core from what runs there. gRPC's threads wake up for the packets of every connection, the
stores' for every commit, and so on few cores the event loop lost its own in the middle of a round of deliveries.
Under ``SCHED_BATCH`` (sched(7)) a thread has as large a share of a core as before, and takes none by waking up.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path


def give_way() -> None:
    """Have every thread but the one that calls wait for its turn, and all that they start. Once, when serving.

    Where somebody chose another policy for the process, or the system does not allow it, nothing is changed.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # musl has no such call, and a filter of calls may refuse it
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            return
        every = {int(folder.name) for folder in Path("/proc/self/task").iterdir()}
        for thread in every - {threading.get_native_id()}:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
