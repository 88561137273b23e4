"""What a process beside ours is asked."""

from __future__ import annotations

import pytest

from exchange.signatures.batch import Check, pack, unpack


@pytest.mark.parametrize("batch", [[], [[]], [[], [(b"k" * 32, b"", b"m" * 70_000)], [(b"", b"s", b"")] * 3]])
def test_a_batch_comes_out_as_it_went_in(batch: list[list[Check]]) -> None:
    assert list(unpack(pack(batch))) == batch
