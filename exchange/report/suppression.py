"""Keeping small numbers back, so that nobody can be told apart, and none of them can be worked out from the rest.

A total is divided into parts: signals by label, say. A part below the least number that is shown is kept back, and with
it the smallest other parts until at least three are: else the total would tell it. What those are together is said, for
the total tells it anyway. Where nearly all that is kept back would have to be ones, or each as large as it can be,
nothing is said of the parts at all.

Who knows this rule must not learn more by it: of every publication there are several sets of numbers that would have
come to it, in which each small number that is kept back differs. tests/unit/report/test_suppression.py tries them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: So many parts are kept back together, where there are so many.
TOGETHER = 3
#: With less than this, "fewer" would be one.
SMALLEST_LEAST = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """What may be said of the parts of a total."""

    #: Each part that may be named, with its number; None where it is kept back.
    shown: tuple[tuple[str, int | None], ...]
    #: What the parts that are kept back come to; 0 where there are none.
    together: int
    #: Whether every part that is kept back is said to be a small one.
    all_few: bool


def is_few(number: int, least: int) -> bool:
    """Whether a number is too small to be shown; none at all is not."""
    return 0 < number < least


def parts_of(numbers: Mapping[str, int], least: int) -> Parts | None:
    """Return what may be said of the parts of a total, in their order; None where nothing may."""
    if is_few(sum(numbers.values()), least):
        return None
    few = {name for name, number in numbers.items() if is_few(number, least)}
    # Small ones that are each as large as they can be would be told by what they come to.
    told = bool(few) and sum(numbers[name] for name in few) == len(few) * (least - 1)
    kept = few | _kept_with(numbers, max(TOGETHER - len(few), int(told)) if few else 0, least)
    together = sum(numbers[name] for name in kept)
    only_few = kept == few and not told
    if 0 < together < 2 * len(kept) or (kept == few and told and len(few) > TOGETHER):
        return None
    shown = tuple((name, None if name in kept else number) for name, number in numbers.items())
    return Parts(shown, together, only_few)


def _kept_with(numbers: Mapping[str, int], count: int, least: int) -> set[str]:
    """Return which others are kept back: the smallest, and all that are as small, for their order would tell."""
    others = sorted(number for number in numbers.values() if number >= least)
    if count <= 0 or not others:
        return set()
    limit = others[min(count, len(others)) - 1]
    return {name for name, number in numbers.items() if least <= number <= limit}
