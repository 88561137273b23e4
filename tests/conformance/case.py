"""A case of the kit: a bug that users of a peer have reported, what we promise, and our own product with that bug."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.conformance.place import Place

Run = Callable[[Place], Awaitable[None]]
Mutant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Bug:
    """The product with a peer's bug put into it."""

    put_in: Mutant
    #: How the case ends on it, where that is not an assertion of the case: the SDK or the hub itself notices.
    noticed: type[Exception] = AssertionError

    @property
    def name(self) -> str:
        """Its name on the page."""
        return getattr(self.put_in, "__name__", "")


@dataclass(frozen=True, slots=True)
class Case:
    """One case. What is promised is the first line of ``run``'s docstring."""

    name: str
    #: Whose bug it is: product and number of the issue, or where it was seen.
    peer: str
    #: What happens there.
    happens: str
    run: Run
    bugs: tuple[Bug, ...]

    @property
    def promise(self) -> str:
        """What holds with us."""
        return (self.run.__doc__ or "").partition("\n")[0]
