"""What `exchange publish` reads: line by line, whatever is in them, to the end or to the failure."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

import pytest

from exchange.cli.publish import _chunks, _parse
from exchange.errors import Reason, Rejected


async def read(source: BinaryIO) -> list[bytes]:
    return [line async for bulk in _chunks(source) for line in bulk]


async def test_lines_come_whole_and_in_order_and_empty_ones_are_left_out() -> None:
    assert await read(io.BytesIO(b"one\n\n  \ntwo\r\nlast")) == [b"one\n", b"two\r\n", b"last"]


async def test_a_line_that_is_no_text_is_a_line() -> None:
    assert await read(io.BytesIO(b"one\n\xff\xfe\ntwo\n")) == [b"one\n", b"\xff\xfe\n", b"two\n"]
    with pytest.raises(Rejected) as caught:
        _parse(b"\xff\xfe\n", 0)
    assert caught.value.reason is Reason.MALFORMED


async def test_a_source_that_fails_is_told_behind_what_it_gave() -> None:
    def failing() -> Iterator[bytes]:
        yield b"one\n"
        raise OSError(errno.EIO, "Input/output error")

    found: list[bytes] = []
    with pytest.raises(Rejected, match="Input/output error"):
        async for bulk in _chunks(cast("BinaryIO", failing())):
            found += bulk
    assert found == [b"one\n"]
