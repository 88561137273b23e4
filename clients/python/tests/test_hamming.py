"""The Hamming index finds what comparing with every hash finds, whatever was added and removed before, in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exchange_client import hamming
from exchange_client.hamming import HASH_BYTES, TABLES_REACH, HammingIndex
from exchange_client.owner_rows import MANY

#: So many unrelated rows keep the index from comparing all of them: it has tables.
NOISE = hamming._TABLED + 1000
CENTRES = (bytes(32), b"\xff" * 32, bytes(range(32)), b"\x00\xff" * 16)
NOISE_OWNER = b"noise"


def distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def apart(value: bytes, bits: Sequence[int]) -> bytes:
    number = int.from_bytes(value, "big")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(HASH_BYTES, "big")


def apart_in_order(value: bytes, bits: Sequence[int]) -> bytes:
    """As ``apart``, but bit 0 is the first block's: blocks are read from the front, the lower byte first."""
    return apart(value[::-1], bits)[::-1]


def noise(seed: int, count: int = NOISE) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(HASH_BYTES) for _ in range(count)]


def filled(values: Sequence[bytes], owner: bytes = NOISE_OWNER) -> HammingIndex:
    index = HammingIndex()
    index.add([owner] * len(values), values)
    return index


def both_ways(index: HammingIndex, asked: bytes, limit: int = TABLES_REACH) -> dict[bytes, int]:
    """Ask the tables and the comparison of all rows, each made to answer; they agree."""
    found = []
    for cost in (0, 1 << 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hamming, "_ENTRY_COST", cost)
            found.append(index.within(asked, limit))
    assert found[0] == found[1]
    assert index.within(asked, limit) == found[0]
    return found[0]


def nearest(known: Sequence[tuple[bytes, bytes]], asked: bytes, limit: int = TABLES_REACH) -> dict[bytes, int]:
    wanted: dict[bytes, int] = {}
    for owner, value in known:
        bits = distance(value, asked)
        if bits <= limit:
            wanted[owner] = min(bits, wanted.get(owner, bits))
    return wanted


#: Near a centre, up to where the edge lies and a little beyond: many buckets are shared, and many distances are 31 or 32.
some_bits = st.lists(st.integers(0, 255), max_size=40, unique=True)
a_hash = st.one_of(
    st.builds(apart, st.sampled_from(CENTRES), some_bits), st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)
)
an_owner = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])


class Interleaved(RuleBasedStateMachine):
    """Adding, removing and asking in any order, beside a list of pairs."""

    @initialize(seed=st.integers(0, 3), count=st.sampled_from([0, hamming._TABLED - 20, NOISE]))
    def begin(self, seed: int, count: int) -> None:
        values = noise(seed, count)
        self.index = filled(values)
        self.known = [(NOISE_OWNER, value) for value in values]

    @rule(pairs=st.lists(st.tuples(an_owner, a_hash), max_size=30))
    def add(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.index.add([owner for owner, _ in pairs], [value for _, value in pairs])
        self.known.extend(pairs)

    @rule(owner=an_owner, value=a_hash, times=st.integers(2, 20))
    def add_one_hash_many_times(self, owner: bytes, value: bytes, times: int) -> None:
        self.add([(owner, value)] * times)

    @rule(owner=st.one_of(an_owner, st.sampled_from([NOISE_OWNER, b"unknown"])))
    def remove(self, owner: bytes) -> None:
        self.index.remove(owner)
        self.known = [pair for pair in self.known if pair[0] != owner]

    @rule(asked=a_hash, limit=st.sampled_from([0, 1, 15, 30, 31, 32, 100, 256]))
    def ask(self, asked: bytes, limit: int) -> None:
        assert both_ways(self.index, asked, limit) == nearest(self.known, asked, limit)

    @rule(data=st.data(), bits=st.sampled_from([0, 1, 16, 30, 31, 32]))
    def ask_so_far_from_a_known_one(self, data: st.DataObject, bits: int) -> None:
        if self.known:
            _, value = data.draw(st.sampled_from(self.known[-50:]))
            asked = apart(value, data.draw(st.permutations(range(256)))[:bits])
            assert both_ways(self.index, asked) == nearest(self.known, asked)

    @invariant()
    def it_is_as_long_as_it_should_be(self) -> None:
        if hasattr(self, "known"):
            assert len(self.index) == len(self.known)


TestInterleaved = Interleaved.TestCase
TestInterleaved.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@settings(max_examples=150, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=16, max_size=16), seed=st.integers())
def test_31_bits_are_found_however_they_lie_over_the_blocks(counts: list[int], seed: int) -> None:
    source = random.Random(seed)
    while sum(counts) != TABLES_REACH:
        block = source.randrange(16)
        step = 1 if sum(counts) < TABLES_REACH else -1
        counts[block] = max(0, min(16, counts[block] + step))
    value = source.randbytes(HASH_BYTES)
    bits = [16 * block + bit for block, count in enumerate(counts) for bit in source.sample(range(16), count)]
    index = filled([*noise(1), value])
    assert both_ways(index, apart(value, bits))[NOISE_OWNER] == TABLES_REACH
    beyond = next(bit for bit in range(256) if bit not in bits)
    assert both_ways(index, apart(value, [*bits, beyond])) == {}


@pytest.mark.parametrize("first", range(16))
@pytest.mark.parametrize("counts", [(1, 2, 2), (0, 3, 2)])
def test_31_bits_are_found_also_where_one_table_alone_tells(first: int, counts: tuple[int, ...]) -> None:
    # All other blocks differ in two bits: no probe reaches those, and this one's entry is as far off as one may be.
    source = random.Random(first)
    value = source.randbytes(HASH_BYTES)
    index = filled([*noise(6), value])
    assert index._tabled
    for flipped in range(16):
        bits = []
        for step, count in enumerate([*counts, *[2] * 13]):
            chosen = [flipped, *source.sample([bit for bit in range(16) if bit != flipped], 15)][:count]
            bits += [16 * ((first - step) % 16) + bit for bit in chosen]
        assert both_ways(index, apart_in_order(value, bits)) == {NOISE_OWNER: TABLES_REACH}


def test_an_index_filled_at_once_is_one_that_was_filled_bit_by_bit() -> None:
    values = noise(2, 2 * MANY)
    owners = [number.to_bytes(4, "big") for number in range(len(values))]
    at_once, slowly = HammingIndex(), HammingIndex()
    at_once.add(owners, values)
    for start in range(0, len(values), 100):
        slowly.add(owners[start : start + 100], values[start : start + 100])
    for number in (0, 99, 100, MANY - 1, MANY, len(values) - 1):
        asked = apart(values[number], range(7, 7 + TABLES_REACH))
        assert both_ways(at_once, asked) == both_ways(slowly, asked) == {owners[number]: TABLES_REACH}


def test_a_bucket_that_moves_takes_what_it_holds_along() -> None:
    index = filled(noise(3))
    for number in range(300):
        index.add([number.to_bytes(4, "big")], [CENTRES[2]])
    assert len(both_ways(index, CENTRES[2])) == 300
    for number in range(0, 300, 2):
        index.remove(number.to_bytes(4, "big"))
    assert set(both_ways(index, CENTRES[2])) == {number.to_bytes(4, "big") for number in range(1, 300, 2)}


def test_rows_that_were_left_are_used_again() -> None:
    index = HammingIndex()
    values = noise(4)
    for _ in range(5):
        index.add([b"owner"] * len(values), values)
        index.remove(b"owner")
    assert len(index) == 0
    assert index._rows.end == len(values)
    assert index._pool_end <= 16 * len(values) * 8
    assert both_ways(index, values[0]) == {}


def test_nothing_is_found_in_an_empty_one() -> None:
    index = HammingIndex()
    index.add([], [])
    index.remove(b"unknown")
    assert both_ways(index, bytes(HASH_BYTES)) == {}
    assert index.within(bytes(HASH_BYTES), 256) == {}


@pytest.mark.parametrize("values", [[b"short"], [bytes(32), bytes(33)], [bytes(16), bytes(48)], [bytes(32)] * 3])
def test_what_is_no_hash_or_has_no_owner_changes_nothing(values: list[bytes]) -> None:
    index = filled(noise(5, 10))
    with pytest.raises(ValueError, match="32 bytes"):
        index.add([b"a", b"b"][: len(values)], values)
    assert len(index) == 10
    with pytest.raises(ValueError, match="32 bytes"):
        index.within(b"short", 31)


def test_adding_and_removing_for_long_takes_no_more_memory() -> None:
    # Unrelated hashes, then the near duplicates of another picture each time: buckets grow and empty elsewhere.
    source = random.Random(70)
    index, taken = filled(noise(7)), []
    for number in range(20):
        centre = source.randbytes(HASH_BYTES)
        near = [apart(centre, source.sample(range(256), 3)) for _ in range(300)]
        owner = number.to_bytes(4, "big")
        for start in range(0, len(near), 50):
            index.add([owner] * 50, near[start : start + 50])
        index.add([owner] * 150, noise(100 + number, 150))
        assert owner in both_ways(index, centre)
        index.remove(owner)
        assert both_ways(index, centre) == {}
        taken.append((index._pool_end, len(index._pool), len(index._words)))
    assert taken[-1][0] <= 2 * 16 * (NOISE + 450)
    assert taken[-1][0] <= 1.1 * taken[5][0]
    assert taken[-1][1:] == taken[12][1:]


def test_owners_that_come_and_go_are_not_kept() -> None:
    index = filled(noise(8))
    values = noise(9, 150)
    for number in range(8):
        owners = [(1000 * number + each).to_bytes(4, "big") for each in range(len(values))]
        index.add(owners, values)
        assert set(index.within(values[0], 0)) == {owners[0]}
        for owner in owners:
            index.remove(owner)
    assert index._rows.end == NOISE + len(values)
    assert set(index._rows._first_row) == set(index._rows._further_rows) == {NOISE_OWNER}


def test_few_are_still_found_when_very_many_have_come_after_them() -> None:
    few, many = noise(12, 10), noise(13, 9_000)
    index = HammingIndex()
    for number, value in enumerate(few):
        index.add([number.to_bytes(4, "big")], [value])
    index.add([NOISE_OWNER] * len(many), many)
    assert [both_ways(index, value) for value in few] == [{number.to_bytes(4, "big"): 0} for number in range(len(few))]
    assert both_ways(index, many[-1]) == {NOISE_OWNER: 0}


def test_many_in_rows_that_others_left_and_in_new_ones_are_all_found() -> None:
    old, kept, new = noise(14, 3_000), noise(15, 100), noise(16, 5_000)
    index = HammingIndex()
    index.add([b"old"] * len(old), old)
    index.add([b"kept"] * len(kept), kept)
    index.remove(b"old")
    owners = [number.to_bytes(4, "big") for number in range(len(new))]
    index.add(owners, new)
    assert index._rows.end == len(new) + len(kept)
    asked = (0, 1, 1_023, 1_024, 2_999, 3_000, 4_095, 4_096, 4_999)
    assert [both_ways(index, new[number]) for number in asked] == [{owners[number]: 0} for number in asked]
    assert both_ways(index, kept[-1]) == {b"kept": 0}
    assert both_ways(index, old[0]) == {}


@pytest.mark.parametrize("rows_are_free", [False, True])
def test_what_cannot_be_joined_changes_nothing(*, rows_are_free: bool) -> None:
    index = filled(noise(17, 10))
    index.add([b"b"] * 3, noise(18, 3))
    if rows_are_free:
        index.remove(b"b")
    before = index.within(bytes(HASH_BYTES), 256), len(index)
    with pytest.raises(TypeError):
        index.add([b"a", b"a"], cast("list[bytes]", ["x" * HASH_BYTES, bytes(HASH_BYTES)]))
    assert (index.within(bytes(HASH_BYTES), 256), len(index)) == before


def test_an_owner_of_many_and_of_later_hashes_loses_all_of_them() -> None:
    values = noise(10, 2 * MANY)
    owners = [number.to_bytes(4, "big") for number in range(len(values))]
    index = HammingIndex()
    index.add(owners, values)
    more = noise(11, 3)
    index.add([owners[5]] * 3, more)
    index.remove(owners[5])
    assert all(both_ways(index, value) == {} for value in (values[5], *more))
    # The rows that it left are others' now, or its own again: neither is taken for what it was.
    index.add([b"other", owners[5]], [values[5], more[0]])
    index.remove(owners[5])
    assert both_ways(index, values[5]) == {b"other": 0}
    assert len(index) == len(values)
    index.add(owners[:MANY], values[:MANY])
    index.remove(owners[0])
    assert both_ways(index, values[0]) == {}
    assert len(index) == len(values) + MANY - 2


def test_more_than_it_can_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    index = filled(noise(12, 10))
    monkeypatch.setattr(hamming, "_MOST_ROWS", 11)
    with pytest.raises(ValueError, match="at most 11"):
        index.add([b"a", b"b"], noise(13, 2))
    index.add([b"a"], noise(13, 1))
    assert len(index) == 11
