"""What a process beside ours is asked."""

from __future__ import annotations

import pytest

from exchange.signatures.batch import Signed, pack, unpack

NONE = Signed(b"m", ())
LARGE = Signed(b"m" * 70_000, ((b"k" * 32, b""),))
MANY = Signed(b"", ((b"", b"s"),) * 3)


@pytest.mark.parametrize("batch", [[], [NONE], [LARGE, NONE, MANY]])
def test_a_batch_comes_out_as_it_went_in(batch: list[Signed]) -> None:
    assert list(unpack(pack(batch))) == batch
