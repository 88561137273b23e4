"""Reading takes work and memory in proportion to what is read, whatever it is; told by counting, not by the clock."""

from __future__ import annotations

import sys
import tracemalloc
from types import CodeType, FrameType
from typing import Any, Self

import pytest

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

#: A message of the wire has at most so many bytes.
WIRE_BYTES = 1 << 20
SMALL, LARGE = 1 << 12, 1 << 14
#: Lines of our own code that any input may cost, and bytes that any input may take, beside its share.
FIXED_LINES, FIXED_BYTES = 2_000, 1 << 20
#: What is repeated until an input is long: parts of every format that is read.
UNITS: dict[str, bytes] = {
    "zeros": b"\x00",
    "ones": b"\xff",
    "continued numbers": b"\x80",
    "empty fields": b"\x0a\x00",
    "lines": b"\n",
    "signatures": "\u2014 a AAAAAAA=\n".encode(),
    "letters": b"a",
    "digits": b"9",
    "brackets": b"[",
    "quotes": b'"",',
    "tables": b"[a.b]\n",
    "path": b"/x000",
    "escapes": b"%41&",
    "pluses": b"+",
}
#: Where the repeated part goes: alone, or between the halves of a valid input.
PLACES = ("alone", "inside")

CASES = [pytest.param(target, id=target.name) for target in TARGETS.values() if target.counted]


class Lines:
    """Counts the lines of our own packages that run."""

    def __init__(self) -> None:
        self.count = 0
        self._ours: dict[CodeType, bool] = {}

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code not in self._ours:
            self._ours[code] = "/exchange/" in code.co_filename or "/exchange_client/" in code.co_filename
        return self._line if self._ours[code] else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.count += 1
        return self._line

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)


def grown(target: Target, unit: bytes, place: str, size: int) -> bytes:
    seed = b"" if place == "alone" else target.seeds[-1]
    many = unit * ((size - len(seed)) // len(unit))
    half = len(seed) // 2 if place == "inside" else len(seed)
    return seed[:half] + many + seed[half:]


def cost(target: Target, data: bytes) -> tuple[int, int]:
    tracemalloc.start()
    try:
        with Lines() as lines:
            target.accepts(data)
        return lines.count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("target", CASES)
def test_work_and_memory_grow_with_the_input_and_no_faster(target: Target) -> None:
    for name, unit in UNITS.items():
        for place in PLACES:
            (few, _), (many, memory) = (cost(target, grown(target, unit, place, size)) for size in (SMALL, LARGE))
            assert many <= FIXED_LINES + few * LARGE // SMALL * 5 // 4, (name, place)
            assert memory <= FIXED_BYTES + 64 * LARGE, (name, place, memory)


@pytest.mark.parametrize("target", CASES)
def test_as_much_as_the_wire_carries_is_read_or_refused(target: Target) -> None:
    for name in ("ones", "empty fields", "brackets"):
        target.accepts(grown(target, UNITS[name], "after", WIRE_BYTES))
