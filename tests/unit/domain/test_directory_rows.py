"""The directory as rows: what is written down is all that there is, and is read back as it was."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.bodies import (
    Body,
    Key,
    Member,
    Membership,
    Quota,
    State,
    Suspension,
)
from exchange.domain.contacts import Contact
from exchange.domain.directory import Directory
from exchange.domain.directory_rows import DirectoryRestore, Row, directory_rows
from exchange.domain.kinds import MemberClass, Role
from exchange.errors import Rejected
from tests.unit.builders import NOW_MS, SIDE, UK, community, digest, directory_header, genesis, make_directory, tell

IDS = st.sampled_from(["alpha", "beta", "operator", "police", "nobody"])
ORIGINS = st.sampled_from([UK, SIDE, "test.exchange/new"])
ROLES = st.sampled_from([*map(int, Role), 99])
STATES = st.sampled_from(State)
COUNTS = st.integers(0, 2**32 - 1)
CONTACTS = st.builds(
    Contact, st.integers(0, 9), st.text(max_size=8), st.text(max_size=8), st.lists(st.text(max_size=3)).map(tuple)
)
BODIES = st.one_of(
    st.builds(
        Member,
        IDS,
        st.text(max_size=8),
        st.sampled_from([*map(int, MemberClass), 77]),
        st.lists(ROLES, max_size=4).map(tuple),
        st.lists(CONTACTS, max_size=3).map(tuple),
    ),
    st.builds(Key, IDS, ROLES, st.integers(0, 9).map(lambda number: digest(f"key {number}")), STATES),
    st.builds(Membership, IDS, ORIGINS, STATES),
    st.builds(Suspension, IDS, st.one_of(st.just(0), ROLES), STATES, st.text(max_size=4)),
    st.builds(Quota, IDS, COUNTS, COUNTS, COUNTS),
    st.builds(
        community,
        ORIGINS,
        title=st.text(max_size=8),
        retention_days=COUNTS,
        public_entries=st.booleans(),
        succeeds=st.just("") | ORIGINS,
        succeeds_size=COUNTS,
        succeeds_root=st.binary(max_size=4),
    ),
    st.none(),
)
#: Statements with the times at which they were received.
SAID = st.lists(st.tuples(BODIES, st.integers(0, 10_000)), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def apply(directory: Directory, said: Sequence[tuple[Body | None, int]]) -> Directory:
    for body, after_ms in said:
        directory.apply(directory_header(body), NOW_MS + after_ms)
    return directory


def written(directory: Directory) -> list[Row]:
    """Return the rows as they come back from a file."""
    return [json.loads(json.dumps(row)) for row in directory_rows(directory)]


def restored(rows: Sequence[Row]) -> Directory:
    making = DirectoryRestore()
    for row in rows:
        making.put(row)
    return making.done()


def all_of(directory: Directory) -> dict[str, Any]:
    """Return everything that it holds, with the order of what it holds."""
    orders = [list(each) for each in (directory.members, directory.keys, directory.communities)]
    keys = [list(member.keys) for member in directory.members.values()]
    left = [list(member.left.items()) for member in directory.members.values()]
    return {**vars(directory), "orders": orders, "keys of members": keys, "left": left}


@given(SAID)
def test_what_is_restored_is_what_was_written(said: list[tuple[Body | None, int]]) -> None:
    directory = apply(make_directory(), said)
    again = restored(written(directory))
    assert all_of(again) == all_of(directory)
    assert written(again) == written(directory)
    for member in again.members.values():
        for key_id, key in member.keys.items():
            assert key is again.keys[key_id], "a key that is revoked is revoked for its member too"


@given(SAID)
def test_wherever_it_is_cut_the_fold_comes_out_the_same(said: list[tuple[Body | None, int]]) -> None:
    whole = [(genesis(), 0), *said]
    expected = all_of(apply(Directory(), whole))
    for cut in range(len(whole) + 1):
        again = restored(written(apply(Directory(), whole[:cut])))
        assert all_of(apply(again, whole[cut:])) == expected


@given(st.lists(st.lists(VALUES, max_size=12), max_size=4))
def test_any_rows_are_a_directory_or_refused(rows: list[Row]) -> None:
    with contextlib.suppress(Rejected):
        restored(rows)


@pytest.mark.parametrize("name", ["directory", "genesis", "community", "member", "key"])
@given(row=st.lists(VALUES, max_size=11))
def test_any_row_that_begins_like_ours_is_taken_or_refused(name: str, row: Row) -> None:
    making = DirectoryRestore()
    with contextlib.suppress(Rejected):
        making.put([name, *row])


def test_rows_of_every_sort_are_written() -> None:
    directory = tell(make_directory(), Quota("beta", 1, 2, 3))
    assert {row[0] for row in directory_rows(directory)} == {"directory", "genesis", "community", "member", "key"}


def test_a_key_without_its_member_is_refused() -> None:
    with pytest.raises(Rejected):
        restored([row for row in written(make_directory()) if row[0] != "member"])
