"""A signal asks work to end, and a second one ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from exchange.cli.interruption import Interrupted, Interruption

FOREVER_S = 3_600.0


@pytest.fixture
def asked() -> list[str]:
    return []


async def forever() -> None:
    await asyncio.Event().wait()


async def test_without_a_signal_work_returns_what_it_returns_or_raises(asked: list[str]) -> None:
    async def failing() -> None:
        raise ValueError("its own")

    with Interruption(lambda: asked.append("")) as interruption:
        assert await interruption.unless(asyncio.sleep(0, "done")) == "done"
        with pytest.raises(ValueError, match="its own"):
            await interruption.unless(failing(), grace_s=FOREVER_S)
    assert (asked, interruption.number) == ([], 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_work_within_its_grace_is_done_and_other_work_ends(asked: list[str], number: signal.Signals) -> None:
    async def ending() -> str:
        while not asked:
            await asyncio.sleep(0.001)
        return "done"

    with Interruption(lambda: asked.append("")) as interruption:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), number)
        assert await interruption.unless(ending(), grace_s=FOREVER_S) == "done"
        with pytest.raises(Interrupted):
            await interruption.unless(forever())
        with pytest.raises(Interrupted):
            await interruption.unless(forever(), grace_s=0.01)
    assert (asked, interruption.number) == ([""], number)


async def test_a_second_signal_ends_the_grace_and_the_work_with_it(asked: list[str]) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.append("")

    def again() -> None:
        asked.append("")
        os.kill(os.getpid(), signal.SIGTERM)

    with Interruption(again) as interruption:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            await interruption.unless(work(), grace_s=FOREVER_S)
    assert (asked, ended, interruption.number) == ([""], [""], signal.SIGINT)


async def test_what_the_process_ignores_stays_ignored(asked: list[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption(lambda: asked.append("")) as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.01)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert (asked, interruption.number) == ([], 0)


#: Prints until the pipe is full and nobody reads on: the loop hears nothing more.
_STUCK = """
import asyncio, os, sys
from exchange.cli.interruption import Interruption

async def printing():
    while True:
        os.write(1, b"x" * 4096)
        await asyncio.sleep(0)

async def job():
    with Interruption(lambda: None, deaf_s=float(sys.argv[1])) as interruption:
        os.write(2, b"listens")
        await interruption.unless(printing(), grace_s=3600)

asyncio.run(job())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("asked_twice", [True, False])
def test_what_nobody_reads_on_ends_all_the_same(number: signal.Signals, asked_twice: bool) -> None:
    command = [sys.executable, "-c", _STUCK, "3600" if asked_twice else "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stuck:
        assert stuck.stderr is not None
        assert stuck.stderr.read(7) == b"listens"
        code = None
        while code is None:
            stuck.send_signal(number)
            try:
                code = stuck.wait(1.5 if asked_twice else 30)
            except subprocess.TimeoutExpired:
                assert asked_twice
    assert code == -number


async def test_whoever_had_the_signals_before_has_them_again(asked: list[str]) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with Interruption(lambda: asked.append("")) as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            await interruption.unless(forever())
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
