"""The process beside ours that takes a long log into the file of a fold. `exchange.stores.facts_beside` asks it.

It is told which file, then page after page of a log. What it is given is committed, with its place, when a place comes
with it. It decides nothing: a file that is not whole, a full disk, an entry that it cannot read end it, and whoever
asked goes on from what is committed.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from exchange import codec
from exchange.ops.child_process import serve
from exchange.ports import ToldEntry
from exchange.stores import facts_schema
from exchange.stores.facts_page import unpack
from exchange.stores.facts_sayings import Sayings
from exchange.stores.facts_taking import take
from exchange.views.telling import told

#: It has a minute's work that nobody waits for, beside a hub that is waited for.
_NICENESS = 5


class _Making:
    """One file, once it is opened."""

    def __init__(self, opening: bytes) -> None:
        most_newest, path = opening.split(b" ", 1)
        self._connection = facts_schema.open_again(Path(os.fsdecode(path)))
        self._sayings = Sayings(self._connection, int(most_newest))
        self._entries: list[ToldEntry] = []

    def take(self, data: bytes) -> None:
        """Take the next page."""
        page = unpack(data)
        for index, (leaf, frame) in enumerate(page.entries, start=page.first):
            self._entries.append(told(index, leaf or codec.frame_leaf(frame), frame))
        if page.place is not None:
            take(self._connection, self._sayings, self._entries, page.place)
            self._entries.clear()


def main() -> None:
    """Answer until the input ends: with nothing, once what was asked is done."""
    os.nice(_NICENESS)
    gc.disable()  # nothing here makes cycles, and the entries of a commit are many to look through
    making: _Making | None = None

    def answer(asked: bytes) -> bytes:
        nonlocal making
        if making is None:
            making = _Making(asked)
        else:
            making.take(asked)
        return b""

    serve(answer)


if __name__ == "__main__":
    main()
