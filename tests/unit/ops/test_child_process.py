"""A program beside this one: what it is asked reaches it at once, also while this one's event loop is busy."""

from __future__ import annotations

import asyncio
import os
import signal

from exchange.signatures.batch import Signed, pack
from exchange.signatures.child import Child
from tests.waits import until

LARGE = 700_000


async def test_a_large_question_takes_one_round_of_the_event_loop() -> None:
    child = Child()
    assert await child.holding([Signed(b"", ())]) == b"\1"
    assert child.process is not None
    assert child.process.stdin is not None
    os.kill(child.process.pid, signal.SIGSTOP)  # it reads nothing, as where the loop does not come by
    try:
        asking = asyncio.create_task(child.ask(pack([Signed(bytes(LARGE), ())])))
        await asyncio.sleep(0)
        assert not child.process.stdin.transport.get_write_buffer_size()
        assert not asking.done()
    finally:
        os.kill(child.process.pid, signal.SIGCONT)
    await until(asking.done)
    assert asking.result() == b"\1"
    await child.aclose()
