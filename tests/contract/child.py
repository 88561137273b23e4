"""A process of its own to be killed: ``python -m tests.contract.child MODE PATH`` tells what it did, line by line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exchange.stores.sealed_mark import SealedMarkFile
from exchange.stores.sqlite import SqliteStore
from tests.contract.builders import ORIGIN, Chain, commit, erased, seal

#: Sizes of the groups, in turn.
GROUPS = (1, 7, 40, 256, 3, 600)


def say(word: str, number: int) -> None:
    """Tell the parent; the line is in the pipe when this returns."""
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


async def hold(path: Path) -> None:
    """Keep a log open."""
    await SqliteStore.open(path, origin=ORIGIN)
    say("open", 0)
    await asyncio.Event().wait()


async def append(path: Path) -> None:
    """Append and seal groups until killed."""
    store = await SqliteStore.open(path, origin=ORIGIN)
    chain = Chain()
    for turn in range(1_000_000):
        grown, group = chain.grow(GROUPS[turn % len(GROUPS)])
        await store.append(chain.head, group)
        say("durable", grown.size)
        await seal(store, grown.head)
        say("sealed", grown.size)
        chain = grown


async def archive(path: Path) -> None:
    """As `append`; the first of each group is erased, and what is older than one group archived."""
    store = await SqliteStore.open(path, origin=ORIGIN)
    chain = Chain()
    for turn in range(1_000_000):
        grown, group = chain.grow(GROUPS[turn % len(GROUPS)])
        await store.append(chain.head, group)
        await seal(store, grown.head)
        await store.erase({chain.size: erased(group.entries[0])})
        say("erased", chain.size)
        say("floor", await store.archive(chain.size))
        chain = grown


async def archive_the_last(path: Path) -> None:
    """Archive from the last group too, whose seal is in memory only; then wait to be killed."""
    store = await SqliteStore.open(path, origin=ORIGIN)
    chain = await commit(store, await commit(store, Chain(), 10), 300)
    say("floor", await store.archive(chain.size))
    await asyncio.Event().wait()


async def mark(path: Path) -> None:
    """Record one note after another until killed."""
    file = SealedMarkFile(path)
    for number in range(1, 1_000_000):
        await file.record(b"%d" % number * 100)
        say("recorded", number)


if __name__ == "__main__":
    modes = {mode.__name__: mode for mode in (hold, append, archive, archive_the_last, mark)}
    asyncio.run(modes[sys.argv[1]](Path(sys.argv[2])))
