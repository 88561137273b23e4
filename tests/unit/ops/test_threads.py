"""Threads beside the event loop's give way to it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import os, threading
from exchange.ops.threads import give_way
asked, over = threading.Event(), threading.Event()
later = []

def beside():
    asked.wait()
    thread = threading.Thread(target=over.wait)
    thread.start()
    later.append(thread)

thread = threading.Thread(target=beside)
thread.start()
{chosen}
give_way()
policy = os.sched_getscheduler(thread.native_id)
asked.set()
thread.join()
print(os.sched_getscheduler(0), policy, os.sched_getscheduler(later[0].native_id))
over.set()
"""


def policies(chosen: str = "") -> list[int]:
    """Return the policies of a process's main thread, of one beside it, and of one that that one started."""
    script = _SCRIPT.format(chosen=chosen)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="policies of threads are Linux's")
def test_threads_beside_the_main_one_and_what_they_start_wait_for_their_turn() -> None:
    assert policies() == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_BATCH]


@pytest.mark.skipif(sys.platform != "linux", reason="policies of threads are Linux's")
def test_what_somebody_chose_for_the_process_is_left() -> None:
    chosen = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"
    assert policies(chosen) == [os.SCHED_IDLE, os.SCHED_OTHER, os.SCHED_OTHER]
