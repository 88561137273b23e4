"""A pool makes catching up faster and changes nothing else: the same deliveries, the same refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import statement
from exchange import codec
from exchange.codec import Delivered
from exchange.domain.directory import Directory
from exchange.errors import Unavailable
from exchange_client import Delivery, Distrusted
from exchange_client.signature_pool import FEWEST, Known, SignaturePool
from exchange_client.wire import FeedMessage

COUNT = FEWEST + 8


@pytest.fixture
def hub() -> FakeHub:
    made = FakeHub()
    for _ in range(COUNT):
        made.commit(statement(made))
    return made


async def take(hub: FakeHub, folder: Path, *, processes: int) -> list[Delivery]:
    client, transport = client_of(hub, folder)
    transport.per_message = COUNT
    found: list[Delivery] = []
    async with client, asyncio.timeout(60), contextlib.aclosing(client.subscribe(UK, processes=processes)) as stream:
        async for delivery in stream:
            found.append(delivery)
            if len(found) == COUNT:
                break
    return found


def spoiled(entry: Delivered) -> Delivered:
    """Return an entry whose signature has one bit changed."""
    leaf = codec.decode_leaf(entry.leaf)
    (signature,) = leaf.signatures
    bits = bytearray(signature.signature)
    bits[40] ^= 1
    return replace(
        entry, leaf=codec.encode_leaf(replace(leaf, signatures=(replace(signature, signature=bytes(bits)),)))
    )


async def test_a_pool_hands_on_the_same(hub: FakeHub, tmp_path: Path) -> None:
    alone, together = await take(hub, tmp_path / "a", processes=0), await take(hub, tmp_path / "b", processes=1)
    assert len(together) == COUNT
    assert together == alone


async def test_a_signature_that_does_not_hold_is_found_with_a_pool_too(hub: FakeHub, tmp_path: Path) -> None:
    entries = hub.logs[UK].entries
    entries[COUNT - 3] = spoiled(entries[COUNT - 3])
    with pytest.raises(Distrusted, match=f"entry {COUNT - 3} does not hold"):
        await take(hub, tmp_path, processes=1)


def folded(hub: FakeHub) -> Directory:
    directory = Directory()
    for entry in hub.directory.entries:
        leaf = codec.decode_leaf(entry.leaf)
        directory.apply(codec.decode_header(leaf.payload, strict=False), leaf.received_at_ms)
    return directory


async def known_of(pool: SignaturePool, directory: Directory, message: FeedMessage) -> Known:
    """Return what a pool says of one message."""

    async def one() -> AsyncIterator[FeedMessage]:
        yield message
        raise Unavailable("the end of the test", retry_after_ms=0)

    async with asyncio.timeout(60), contextlib.aclosing(pool.ahead(one(), lambda: directory)) as read:
        found, known = await anext(read)
        assert found is message
        with pytest.raises(Unavailable, match="the end of the test"):
            await anext(read)
    return known


async def test_what_holds_is_known_and_nothing_else(hub: FakeHub) -> None:
    entries = list(hub.logs[UK].entries)
    entries[3], entries[5] = spoiled(entries[3]), replace(entries[5], leaf=b"no leaf")
    pool, directory = SignaturePool(1), folded(hub)
    known = await known_of(pool, directory, FeedMessage(entries=tuple(entries)))
    assert known == {at: codec.decode_leaf(entries[at].leaf) for at in range(COUNT) if at not in {3, 5}}
    assert not await known_of(pool, directory, FeedMessage(entries=tuple(entries[: FEWEST - 1])))
    await pool.aclose()


async def test_of_keys_that_the_directory_does_not_hold_yet_nothing_is_known(hub: FakeHub) -> None:
    pool, directory = SignaturePool(1), folded(hub)
    message = FeedMessage(entries=tuple(hub.logs[UK].entries))
    assert await known_of(pool, directory, message)
    directory.keys.clear()
    assert not await known_of(pool, directory, message)
    await pool.aclose()


async def test_a_pool_whose_processes_are_killed_leaves_the_checks_to_us(hub: FakeHub) -> None:
    pool, directory = SignaturePool(1), folded(hub)
    message = FeedMessage(entries=tuple(hub.logs[UK].entries))
    assert await known_of(pool, directory, message)
    (child,) = pool.children
    assert child.process is not None
    os.kill(child.process.pid, signal.SIGKILL)
    assert not await known_of(pool, directory, message)
    assert not await known_of(pool, directory, message)
    await pool.aclose()


async def messages(*, error: Exception | None = None) -> AsyncIterator[FeedMessage]:
    yield FeedMessage()
    if error is not None:
        raise error


async def test_whatever_reading_raises_is_raised_and_its_end_is_the_end() -> None:
    pool = SignaturePool(1)
    async with asyncio.timeout(60):
        with pytest.raises(OSError, match="no more files"):
            _ = [found async for found in pool.ahead(messages(error=OSError("no more files")), Directory)]
        assert len([found async for found in pool.ahead(messages(), Directory)]) == 1
    await pool.aclose()


@pytest.mark.parametrize("program", ["/no/such/python", "/bin/true", "/bin/false"])
async def test_a_process_that_cannot_be_had_leaves_the_checks_to_us(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    pool, directory = SignaturePool(1), folded(hub)
    message = FeedMessage(entries=tuple(hub.logs[UK].entries))
    for _ in range(3):
        assert not await known_of(pool, directory, message)
    await pool.aclose()


async def test_answers_to_something_else_are_not_believed(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = tmp_path / "liar"
    liar.write_text(f"#!/bin/sh\nhead -c {COUNT + 9} /dev/zero | tr '\\0' '\\1'\ncat >/dev/null\n")
    liar.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(liar))
    pool = SignaturePool(1)
    assert not await known_of(pool, folded(hub), FeedMessage(entries=tuple(hub.logs[UK].entries)))
    await pool.aclose()


async def test_closing_ends_the_processes_also_in_the_middle(hub: FakeHub) -> None:
    pool, directory = SignaturePool(2), folded(hub)
    message = FeedMessage(entries=tuple(hub.logs[UK].entries))
    assert await known_of(pool, directory, message)
    waiting = [pool._begin(directory, message) for _ in range(4)]
    await asyncio.sleep(0)
    await pool.aclose()
    await pool.aclose()
    assert all(task is not None and task.done() for task in waiting)
    started = [child.process for child in pool.children if child.process is not None]
    assert started
    for process in started:
        assert process.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


UNGUARDED = f"""
import asyncio, contextlib, pathlib, sys
from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import statement

print("begun", flush=True)

async def main():
    hub = FakeHub()
    for _ in range({COUNT}):
        hub.commit(statement(hub))
    client, transport = client_of(hub, pathlib.Path(sys.argv[1]))
    transport.per_message = {COUNT}
    count = 0
    async with client, contextlib.aclosing(client.subscribe(UK, processes=1)) as stream:
        async for _ in stream:
            count += 1
            if count == {COUNT}:
                break
    print("delivered", count)

asyncio.run(main())
"""


async def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, script, tmp_path / "client"),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert said.decode().split("\n") == ["begun", f"delivered {COUNT}", ""]
    assert process.returncode == 0
