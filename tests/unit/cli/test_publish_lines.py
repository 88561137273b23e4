"""What `exchange publish` reads: line by line, whatever is in them, to the end or to the failure; and what a line gives."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.cli.lines import BULK, BULK_BYTES, MAX_LINE_BYTES, Lines
from exchange.errors import Reason, Rejected
from exchange_client.json_lines import line_of, object_of
from exchange_client.jsonl import signal_from_json


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: the end to read, and the end to write, which a test may close."""
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue


async def taken(lines: Lines) -> list[bytes]:
    return [line async for bulk in lines.bulks() for _, line in bulk]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\n\n  \ntwo\r\nlast", [b"one", b"two\r", b"last"]),
        (b"one\n\xff\xfe\ntwo\n", [b"one", b"\xff\xfe", b"two"]),
        (b"", []),
        (b"x" * 200_000 + b"\nend", [b"x" * 200_000, b"end"]),
    ],
)
async def test_lines_come_whole_and_in_order_and_empty_ones_are_left_out(
    tmp_path: Path, pipe: tuple[int, int], data: bytes, lines: list[bytes]
) -> None:
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert await taken(Lines(file.fileno())) == lines
    reading = asyncio.create_task(taken(Lines(pipe[0])))
    await asyncio.to_thread(os.write, pipe[1], data[:7])
    await asyncio.to_thread(os.write, pipe[1], data[7:])
    os.close(pipe[1])
    assert await reading == lines


async def test_a_line_knows_its_place_in_the_source(tmp_path: Path) -> None:
    text = "".join(f"{number}\n" if number % 3 else "\n" for number in range(1, 2 * BULK + 1))
    (tmp_path / "file").write_text(text)
    with (tmp_path / "file").open("rb") as file:
        found = [(place, int(line)) async for bulk in Lines(file.fileno()).bulks() for place, line in bulk]
    assert found == [(number, number) for number in range(1, 2 * BULK + 1) if number % 3]


async def test_nothing_and_a_terminal_are_read_too() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    ours, theirs = os.openpty()
    try:
        assert await taken(Lines(nothing)) == []
        lines = Lines(theirs)
        bulks = lines.bulks()
        os.write(ours, b"typed\n")
        assert await anext(bulks) == [(1, b"typed")]
        os.write(ours, b"\x04")
        with pytest.raises(StopAsyncIteration):
            await anext(bulks)
    finally:
        for end in (nothing, ours, theirs):
            os.close(end)


async def test_a_file_comes_in_bulks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes((b"x" * 99 + b"\n") * (2 * BULK))
    with (tmp_path / "file").open("rb") as file:
        sizes = [len(bulk) async for bulk in Lines(file.fileno()).bulks()]
    assert sum(sizes) == 2 * BULK
    assert len(sizes) == 2
    assert BULK <= sizes[0] < BULK + 1_000


async def test_a_bulk_of_long_lines_is_short(tmp_path: Path) -> None:
    line = b"x" * (MAX_LINE_BYTES - 1) + b"\n"
    with (tmp_path / "file").open("wb") as file:
        file.writelines([line] * 40)
    with (tmp_path / "file").open("rb") as file:
        sizes = [len(bulk) async for bulk in Lines(file.fileno()).bulks()]
    assert sum(sizes) == 40
    assert max(sizes) * MAX_LINE_BYTES <= BULK_BYTES + MAX_LINE_BYTES


async def test_a_line_without_end_is_cut_and_the_next_one_comes_whole(tmp_path: Path, pipe: tuple[int, int]) -> None:
    data = b"one\n" + b"x" * 10_000_000 + b"\ntwo\n" + b"y" * (MAX_LINE_BYTES + 2)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        lines = Lines(file.fileno())
        found = await taken(lines)
    assert [len(line) for line in found] == [3, MAX_LINE_BYTES + 1, 3, MAX_LINE_BYTES + 1]
    assert (found[0], found[2]) == (b"one", b"two")
    assert lines.taken == len(data)
    whole = b"x" * MAX_LINE_BYTES
    reading = asyncio.create_task(taken(Lines(pipe[0])))
    with os.fdopen(os.dup(pipe[1]), "wb") as writing:
        await asyncio.to_thread(writing.write, whole + b"\n")
    os.close(pipe[1])
    assert await reading == [whole]


async def test_a_pipe_that_stays_open_is_read_as_it_comes_and_left_when_told(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[0])
    with closing(os.fdopen(os.dup(pipe[1]), "wb", buffering=0)) as writing:
        bulks = lines.bulks()
        for number in range(1, 4):
            writing.write(b"line %d\n" % number)
            assert await anext(bulks) == [(number, b"line %d" % number)]
        writing.write(b"half a li")
        last = asyncio.ensure_future(anext(bulks))
        while not lines.unfinished:
            await asyncio.sleep(0.001)
        lines.stop()
        with pytest.raises(StopAsyncIteration):
            await last
        assert lines.unfinished


async def test_a_source_that_fails_is_told_behind_what_it_gave(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"one\n")
    lines = Lines(pipe[0])
    bulks = lines.bulks()
    assert await anext(bulks) == [(1, b"one")]
    lines.descriptor = os.open("/proc/self/mem", os.O_RDONLY)  # its first page cannot be read
    try:
        with pytest.raises(Rejected, match="Input/output error"):
            await anext(bulks)
    finally:
        os.close(lines.descriptor)


@pytest.mark.parametrize(
    ("line", "gives"),
    [
        (b'{"label": "x"}\n', {"label": "x"}),
        (b"nonsense\r\n", "nonsense"),
        (b"[1]", "[1]"),
        (b"\xff\xfe\n", "not UTF-8: \\xff\\xfe"),
        (b'{"label": "\\\xff"}', 'not UTF-8: {"label": "\\\\xff"}'),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b'{"a": 1e999}', '{"a": 1e999}'),
        (b'{"a": ' + b"[" * 50 + b"]" * 50 + b"}", '{"a": ' + "[" * 50 + "]" * 50 + "}"),
        (b'{"line": {"label": "x"}, "error": {"reason": "invalid"}}', {"label": "x"}),
        (b'{"line": "{\\"label\\": \\"x\\"}", "error": {}}', {"label": "x"}),
        (b'{"line": "nonsense", "error": {}}', "nonsense"),
        (b'{"line": [1], "error": null}', "[1]"),
        (b'{"line": {"label": "x"}}', {"line": {"label": "x"}}),
    ],
)
def test_what_a_line_gives(line: bytes, gives: object) -> None:
    assert line_of(line) == gives


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]",:0eE.-\\abNaI ', max_size=40).map(str.encode))
def test_what_is_no_object_is_malformed_and_can_be_mended_in_its_place(line: bytes) -> None:
    gives = line_of(line)
    assert line_of(json.dumps({"line": gives, "error": {}}).encode()) == gives
    with pytest.raises(Rejected) as caught:
        signal_from_json(object_of(gives), now_ms=0)
    assert caught.value.reason is (Reason.MALFORMED if isinstance(gives, str) else Reason.INVALID)
