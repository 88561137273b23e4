"""Plots as a few plain shapes, which the page draws as SVG and the paper as PDF: the same picture in both.

A plot repeats what a table beside it says, so it needs no words of its own but a title and a description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Literal

WIDTH, HEIGHT = 640.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 32.0, 14.0, 52.0
INK, QUIET, RULE = "#1a1a1a", "#4a4a4a", "#d0d0d0"
FIRST, SECOND = "#0b6e4f", "#2d6cdf"
SIZE = 13.0
#: So many labels fit under a plot.
_LABELS = 6
_WIDEST = 48.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A filled box; one that is hollow stands for what is not shown."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """A short text."""

    x: float
    y: float
    text: str
    #: start, middle or end.
    anchor: Literal["start", "middle", "end"] = "middle"
    colour: str = QUIET


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot. ``y`` grows downwards."""

    id: str
    title: str
    description: str
    shapes: tuple[Line | Box | Label, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot over time; a gap where nothing was measured."""

    name: str
    values_ms: Sequence[int | None]
    colour: str
    dashed: bool = False


def bars(id_: str, title: str, description: str, numbers: Sequence[tuple[str, int | None]]) -> Picture:
    """Return a bar for each number; a hollow one for what is not shown."""
    most = max((number for _, number in numbers if number), default=0)
    top = _round_up(most)
    shapes = _rules([(_height(top * mark / 4, top), f"{top * mark // 4:,}") for mark in range(5)])
    step = (WIDTH - LEFT - RIGHT) / max(1, len(numbers))
    width = min(0.7 * step, _WIDEST)
    for place, (name, number) in enumerate(numbers):
        middle = LEFT + (place + 0.5) * step
        if number is None:
            shapes.append(Box(middle - width / 2, _height(0, top) - 10, width, 10, FIRST, hollow=True))
        elif number:
            y = _height(number, top)
            shapes.append(Box(middle - width / 2, y, width, HEIGHT - BOTTOM - y, FIRST))
        shapes += _under(place, len(numbers), middle, name)
    return Picture(id_, title, description, tuple(shapes))


def curves(id_: str, title: str, description: str, names: Sequence[str], lines: Sequence[Curve]) -> Picture:
    """Return times on a scale of tens, over days or weeks."""
    known = [value for line in lines for value in line.values_ms if value]
    low = _power_below(min(known, default=1))
    high = max(10 * low, _power_below(max(known, default=1) - 1) * 10)
    steps = round(log10(high / low))
    shapes = _rules([(_on_scale(low * 10**step, low, high), _time(low * 10**step)) for step in range(steps + 1)])
    width = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    for place, name in enumerate(names):
        shapes += _under(place, len(names), LEFT + (place + 0.5) * width, name)
    for number, line in enumerate(lines):
        for run in _runs(line.values_ms):
            points = tuple((LEFT + (at + 0.5) * width, _on_scale(value, low, high)) for at, value in run)
            shapes.append(Line(points, line.colour, 2.0, line.dashed))
            shapes += [Box(x - 3, y - 3, 6, 6, line.colour, hollow=line.dashed) for x, y in points]
        x = LEFT + number * 160
        shapes.append(Line(((x, HEIGHT - 10), (x + 26, HEIGHT - 10)), line.colour, 2.0, line.dashed))
        shapes.append(Label(x + 32, HEIGHT - 6, line.name, "start", INK))
    return Picture(id_, title, description, tuple(shapes))


def _runs(values: Sequence[int | None]) -> list[list[tuple[int, int]]]:
    """Return the stretches without a gap, each as places and values."""
    found: list[list[tuple[int, int]]] = [[]]
    for place, value in enumerate(values):
        if value:
            found[-1].append((place, value))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _rules(marks: Sequence[tuple[float, str]]) -> list[Line | Box | Label]:
    """Return the lines across a plot, each with what it stands for."""
    found: list[Line | Box | Label] = []
    for y, text in marks:
        found += [Line(((LEFT, y), (WIDTH - RIGHT, y)), RULE), Label(LEFT - 6, y + 4, text, "end")]
    return found


def _round_up(number: int) -> int:
    """Return a number not below this one that four steps divide well."""
    unit = 1
    while 40 * unit < number:
        unit *= 10
    return next(step * unit for step in (4, 8, 12, 16, 20, 24, 32, 40) if step * unit >= number)


def _power_below(number: int) -> int:
    return int(10 ** (len(str(max(1, number))) - 1))


def _height(number: float, top: float) -> float:
    return float(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * number / top)


def _on_scale(value: float, low: float, high: float) -> float:
    return float(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * log10(value / low) / log10(high / low))


def _time(milliseconds: int) -> str:
    """Return a power of ten of milliseconds."""
    return f"{milliseconds // 1_000:,} s" if milliseconds >= 1_000 else f"{milliseconds} ms"


def _under(place: int, count: int, x: float, name: str) -> list[Label]:
    every = -(-count // _LABELS)
    return [Label(x, HEIGHT - BOTTOM + 16, name)] if place % every == 0 else []
