"""Signatures checked beside the hub: what holds is known, nothing else is, and nobody waits for a process that is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exchange.publish import signatures as module
from exchange.publish.signatures import (
    FEWEST,
    MAX_LINE_BYTES,
    TURN_BYTES,
    TURN_SIGNATURES,
    Signatures,
    _turns_of,
)
from exchange.signatures.batch import Batch, Signed
from exchange.signatures.child import Child
from tests.unit.builders import ALPHA

SOME = 2 * FEWEST


def signed(number: int, *holds: bool) -> Signed:
    """Return a message with signatures of alpha's, over it or over another one."""
    message = f"message {number}".encode()
    key = ALPHA.key
    return Signed(message, tuple((key.public_key, key.sign(message if each else b"another")) for each in holds))


GOOD = [signed(number, True) for number in range(SOME)]


@asynccontextmanager
async def running(again_s: float = 0.05) -> AsyncIterator[Signatures]:
    signatures = Signatures(again_s=again_s)
    task = asyncio.create_task(signatures.run())
    try:
        async with asyncio.timeout(60):
            yield signatures
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert signatures.child is None


async def started(signatures: Signatures) -> Child:
    """Return the process, once there is one; the test's own timeout ends the waiting."""
    while signatures.child is None:
        assert await signatures.holding("alpha", GOOD) == [bytes(SOME)]
        await asyncio.sleep(0.01)
    return signatures.child


def pid(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


async def test_what_holds_is_known_and_nothing_else() -> None:
    batch = [*GOOD, signed(1, True, False), signed(3, False), signed(4, True, True)]
    async with running() as signatures:
        await started(signatures)
        assert await signatures.holding("alpha", batch) == [b"\1" * SOME + b"\0\0\1"]


async def test_more_than_a_turn_is_answered_in_order() -> None:
    batch = [signed(number, number % 3 != 0) for number in range(2 * TURN_SIGNATURES + 5)]
    async with running() as signatures:
        await started(signatures)
        pieces = await signatures.holding("alpha", batch)
        assert list(map(len, pieces)) == [TURN_SIGNATURES, TURN_SIGNATURES, 5]
        assert list(b"".join(pieces)) == [number % 3 != 0 for number in range(len(batch))]


async def test_a_process_is_started_when_there_is_something_to_check() -> None:
    async with running() as signatures:
        for _ in range(10):
            await signatures.holding("alpha", GOOD[: FEWEST - 1])
            await asyncio.sleep(0.05)
            assert signatures.child is None
        await started(signatures)


async def test_a_few_are_not_worth_the_way() -> None:
    async with running() as signatures:
        await started(signatures)
        assert await signatures.holding("alpha", GOOD[: FEWEST - 1]) == [bytes(FEWEST - 1)]


async def test_without_a_process_nothing_is_known_and_nobody_waits() -> None:
    holding = Signatures().holding("alpha", GOOD)
    assert holding.done()
    assert holding.result() == [bytes(SOME)]


async def test_after_a_kill_nothing_is_known_until_there_is_another() -> None:
    async with running() as signatures:
        first = await started(signatures)
        os.kill(pid(first), signal.SIGKILL)
        assert await signatures.holding("alpha", GOOD) == [bytes(SOME)]
        assert first.given_up
        second = await started(signatures)
        assert pid(second) != pid(first)
        assert await signatures.holding("alpha", GOOD) == [b"\1" * SOME]


async def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    async with running() as signatures:
        first = await started(signatures)
        os.kill(pid(first), signal.SIGSTOP)
        # Also what waits behind it is answered.
        answers = await asyncio.gather(*(signatures.holding(member, GOOD) for member in ("alpha", "beta")))
        assert answers == [[bytes(SOME)]] * 2
        with pytest.raises(ProcessLookupError):
            await gone(pid(first))
        # And the next one serves.
        await started(signatures)
        assert await signatures.holding("alpha", GOOD) == [b"\1" * SOME]


async def gone(number: int) -> None:
    """Raise ProcessLookupError once a process is gone."""
    while True:
        os.kill(number, 0)
        await asyncio.sleep(0.01)


async def test_one_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with running() as signatures:
        assert await signatures.holding("alpha", GOOD) == [bytes(SOME)]
        await asyncio.sleep(0.1)
        assert signatures.child is None
        monkeypatch.setattr(sys, "executable", python)
        await started(signatures)
        assert await signatures.holding("alpha", GOOD) == [b"\1" * SOME]


async def test_stopping_answers_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text('#!/bin/sh\nprintf "\\0\\0\\0\\1\\0\\0\\0\\1\\1"\nexec sleep 60\n')
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    async with running() as signatures:
        child = await started(signatures)
        waiting = [signatures.holding("alpha", GOOD) for _ in range(3)]
        waiting[1].cancel()
    assert waiting[0].result() == waiting[2].result() == [bytes(SOME)]
    assert child.process is not None
    assert child.process.returncode is not None


class _Told:
    """A process that says in which order it was asked."""

    def __init__(self) -> None:
        self.given_up = False
        self.asked: list[int] = []

    async def holding(self, batch: Batch, *, within_s: float) -> bytes:
        assert within_s > 0
        self.asked.append(len(batch))
        await asyncio.sleep(0)
        return bytes(len(batch))


async def test_members_take_turns() -> None:
    signatures, told = Signatures(), _Told()
    signatures.child = told  # type: ignore[assignment]
    flood = signatures.holding("flood", [signed(0, True)] * 5 * TURN_SIGNATURES)
    quiet = signatures.holding("quiet", GOOD)
    serving = asyncio.create_task(signatures._serve(told))  # type: ignore[arg-type]
    await asyncio.gather(quiet, flood)
    assert told.asked == [TURN_SIGNATURES, SOME, *[TURN_SIGNATURES] * 4]
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_what_fits_into_one_turn_is_asked_at_once_and_each_gets_its_own_answer() -> None:
    batches = [[signed(number, (number + at) % 3 != 0) for number in range(SOME + at)] for at in range(3)]
    async with running() as signatures:
        child = await started(signatures)
        asked = child._number
        waiting = [signatures.holding(member, batch) for member, batch in zip("abc", batches, strict=True)]
        waiting.append(signatures.holding("a", GOOD))
        waiting[1].cancel()
        answers = await asyncio.gather(*(each for each in waiting if not each.cancelled()))
        assert [list(b"".join(answer)) for answer in answers] == [
            [number % 3 != 0 for number in range(SOME)],
            [(number + 2) % 3 != 0 for number in range(SOME + 2)],
            [True] * SOME,
        ]
        assert child._number == asked + 1


def test_a_turn_is_cut_by_its_work() -> None:
    many, large = Signed(b"m", ((b"k", b"s"),) * 16), Signed(bytes(61_000), ((b"k", b"s"),))
    assert [len(turn) for turn in _turns_of([many] * 9)] == [4, 4, 1]
    assert [len(turn) for turn in _turns_of([large] * 9)] == [4, 4, 1]
    assert [len(turn) for turn in _turns_of([Signed(bytes(TURN_BYTES), ())] * 2)] == [1, 1]


async def test_what_is_cancelled_is_taken_back_whole_and_a_line_is_bounded() -> None:
    signatures, told = Signatures(), _Told()
    signatures.child = told  # type: ignore[assignment]
    large = [Signed(bytes(61_000), ((b"k", b"s"),))] * 16
    holding = [signatures.holding("flood", large) for _ in range(20)]
    assert signatures._lines.held("flood")[1] < MAX_LINE_BYTES + 2 * 16 * large[0].size
    refused = sum(each.done() for each in holding)
    assert refused > 10
    assert all(each.result() == [bytes(16)] for each in holding if each.done())
    for each in holding:
        each.cancel()
    quiet = signatures.holding("quiet", GOOD)
    serving = asyncio.create_task(signatures._serve(told))  # type: ignore[arg-type]
    await quiet
    assert told.asked == [SOME]
    assert not signatures._lines
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
