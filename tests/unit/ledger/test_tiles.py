"""Tile names, tile arithmetic and entry bundles."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected
from exchange.ledger.merkle import CompactRange
from exchange.ledger.tiles import (
    MAX_ENTRY_BYTES,
    TILE_WIDTH,
    HashTile,
    TileName,
    decode_bundle,
    encode_bundle,
    entries_path,
    parse_tile_path,
    right_edge,
    tile_path,
    tile_width,
    tiles_for_size,
)

WIDTHS = st.integers(1, TILE_WIDTH)
INDEXES = st.integers(0, 2**55)


@given(level=st.integers(0, 63), index=INDEXES, width=WIDTHS)
def test_a_tile_path_names_one_tile(level: int, index: int, width: int) -> None:
    """Paths of hash tiles and bundles round trip."""
    assert parse_tile_path(tile_path(level, index, width)) == TileName(level, index, width)
    bundle = parse_tile_path(entries_path(index, width))
    assert bundle.is_bundle
    assert (bundle.index, bundle.width) == (index, width)


@given(st.integers(1, 256), st.data())
def test_the_nodes_of_a_tile_are_those_of_its_leaves(width: int, data: st.DataObject) -> None:
    hashes = [sha256(bytes((at,))).digest() for at in range(width)]
    tile = HashTile(b"".join(hashes))
    step = data.draw(st.integers(0, width.bit_length() - 1))
    number = data.draw(st.integers(0, (width >> step) - 1))
    below = hashes[number << step : (number + 1) << step]
    assert tile.node(step, number) == CompactRange().extend(below).root()
    fewer = data.draw(st.integers(1, width))
    assert tile.first(fewer).hashes == b"".join(hashes[:fewer])
    for beyond in (width >> step, -1):
        with pytest.raises(Rejected):
            tile.node(step, beyond)


def test_a_whole_tile_is_one_that_makes_its_root() -> None:
    hashes = [sha256(bytes((at,))).digest() for at in range(256)]
    root = CompactRange().extend(hashes).root()
    assert HashTile(b"".join(hashes)).is_whole(root)
    assert not HashTile(b"".join(hashes[:255])).is_whole(root)
    assert not HashTile(b"".join([hashes[1], hashes[0], *hashes[2:]])).is_whole(root)
    for cut in (1, 31, 33):
        with pytest.raises(Rejected) as caught:
            HashTile(b"".join(hashes)[:-cut])
        assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
        "tile/entries/../000",
        "tile/data/000",
        "tile/0/" + "x001/" * 2000 + "001",
    ],
)
def test_any_other_spelling_is_refused(path: str) -> None:
    """One spelling per tile: caches and folders hold no aliases. The last one is beyond Python's digit limit."""
    with pytest.raises(Rejected) as caught:
        parse_tile_path(path)
    assert caught.value.reason is Reason.MALFORMED


@given(st.one_of(st.text(), st.from_regex(r"tile/(entries|[0-9]{1,3})/[x0-9/]{3,20}(\.p/[0-9]{1,4})?")))
def test_any_text_is_a_name_or_refused(path: str) -> None:
    """What parses is spelled as we would spell it."""
    try:
        name = parse_tile_path(path)
    except Rejected:
        return
    assert path in (tile_path(name.level, name.index, name.width), entries_path(name.index, name.width))


@given(size=st.integers(0, 200_000))
def test_tiles_of_a_size_add_up(size: int) -> None:
    """At each level the widths add up to the hashes the level has; only the last tile of a level is partial."""
    widths: Counter[int] = Counter()
    for level, index, width in tiles_for_size(size):
        assert width == tile_width(size, level, index)
        widths[level] += width
    assert all(total == size // 256**level for level, total in widths.items())
    assert [tile for tile in tiles_for_size(size) if tile[2] < TILE_WIDTH] == list(right_edge(size))


@given(st.lists(st.binary(max_size=600), max_size=TILE_WIDTH))
def test_a_bundle_round_trips(entries: list[bytes]) -> None:
    """Entries of any bytes, also empty ones."""
    assert decode_bundle(encode_bundle(entries)) == tuple(entries)


def test_the_longest_entry_fits_and_the_next_does_not() -> None:
    """A leaf has at most 65,535 bytes."""
    assert decode_bundle(encode_bundle([bytes(MAX_ENTRY_BYTES)])) == (bytes(MAX_ENTRY_BYTES),)
    with pytest.raises(Rejected) as caught:
        encode_bundle([bytes(MAX_ENTRY_BYTES + 1)])
    assert caught.value.reason is Reason.TOO_LARGE


@given(st.binary(max_size=300))
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    """What decodes encodes to the same bytes."""
    try:
        entries = decode_bundle(data)
    except Rejected:
        return
    assert encode_bundle(entries) == data


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x01", b"\x00\x05abcd", b"\x00\x00" * 257])
def test_a_cut_or_overfull_bundle_is_refused(data: bytes) -> None:
    """Cut in the length, cut in the entry, more than 256 entries."""
    with pytest.raises(Rejected):
        decode_bundle(data)
