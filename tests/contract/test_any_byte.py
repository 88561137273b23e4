"""One flipped bit anywhere in the embedded store's file: what is read is right, or a typed error says that it is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from exchange.errors import ExchangeError
from exchange.ports import StoredEntry
from exchange.stores.sqlite import FILE_NAME, SqliteStore
from tests.contract.builders import ORIGIN, Chain, commit, naive_tile, read_all, tile

FLIPS = 40


@pytest.fixture(scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Chain]:
    folder = tmp_path_factory.mktemp("whole") / "news"
    store = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    chain = await commit(store, Chain(), 400)
    await store.aclose()
    return (folder / FILE_NAME).read_bytes(), chain


async def read(folder: Path) -> tuple[list[StoredEntry], bytes, bytes]:
    store = await SqliteStore.open(folder, origin=ORIGIN)
    try:
        entries = await read_all(store)
        return entries, await tile(store, 0, 0, 256), await tile(store, 0, 1, 144)
    finally:
        await store.aclose()


async def check(good: bytes, chain: Chain, folder: Path, at: int, bit: int) -> None:
    """Flip a bit, and read everything."""
    bad = bytearray(good)
    bad[at] ^= 1 << bit
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(bad)
    try:
        entries, *tiles = await read(folder)
    except ExchangeError:
        return
    assert entries == list(chain.entries), (at, bit)
    assert tiles == [naive_tile(chain.leaf_hashes, 0, 0, 256), naive_tile(chain.leaf_hashes, 0, 1, 144)], (at, bit)


@pytest.mark.parametrize("part", range(8))
async def test_what_is_read_is_right_or_refused(whole: tuple[bytes, Chain], tmp_path: Path, part: int) -> None:
    good, chain = whole
    chance = random.Random(part)
    # The head of each page is where structure lies; the rest is taken anywhere.
    places = [4096 * chance.randrange(len(good) // 4096) + chance.randrange(64) for _ in range(FLIPS // 2)]
    places += [chance.randrange(len(good)) for _ in range(FLIPS // 2)]
    for number, at in enumerate(places):
        await check(good, chain, tmp_path / str(number), at, chance.randrange(8))


@pytest.mark.parametrize("row", ["head", "entry"])
async def test_the_types_in_a_row_may_be_damaged_too(whole: tuple[bytes, Chain], tmp_path: Path, row: str) -> None:
    """They lie before the values: a blob becomes a text that is none, a number nothing."""
    good, chain = whole
    entry = chain.entries[300]
    value = {"head": ORIGIN.encode() + chain.size.to_bytes(2, "big"), "entry": entry.statement_id + entry.leaf_hash}[
        row
    ]
    assert good.count(value) == 1
    for before in range(1, 16):
        for bit in range(8):
            await check(good, chain, tmp_path / f"{before}-{bit}", good.index(value) - before, bit)
