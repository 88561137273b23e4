"""A community's ledger read into a file of facts of our own: every leaf checked, nothing taken on the hub's word.

Only leaves of the period are taken, so that the same period gives the same facts whenever it is counted. The file may
be kept for the next report, which then reads on from there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from exchange import codec
from exchange.cli.output import visible, watched
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import Audience, Election, SignalHeader
from exchange.domain.directory import Directory
from exchange.domain.elections import Elections
from exchange.domain.statement import statement_id
from exchange.domain.validation import DAY_MS
from exchange.errors import Rejected
from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange.ops.durable import replace
from exchange.ports import ToldEntry
from exchange.stores.facts import FactsFile
from exchange_client.auditor import Auditor, Tree
from exchange_client.cursors import Position
from exchange_client.verify import VerifiedEntry

Also = Callable[[Sequence[VerifiedEntry], Directory], None]


@dataclass(slots=True)
class Ledger:
    """What was read: the facts of the period, and where its days begin."""

    facts: FactsFile
    position: Position = field(default_factory=Position)
    #: Of each day (since 1970, UTC) with an entry, the index of its first one.
    days: dict[int, int] = field(default_factory=dict)
    #: Of each election, the index of its entry and what was signed.
    elections: dict[int, bytes] = field(default_factory=dict)

    def folded_elections(self) -> Elections:
        """Return the elections that were taken."""
        folded = Elections()
        for index, payload in self.elections.items():
            body = codec.decode_header(payload, strict=False).body
            if isinstance(body, Election):
                folded.apply(index, statement_id(payload), body)
        return folded

    @property
    def size(self) -> int:
        """How many entries were taken."""
        return self.position.range.size

    def since(self, day: int) -> int:
        """Return the index of the first entry of this day or a later one."""
        return min((index for each, index in self.days.items() if each >= day), default=self.size)


@asynccontextmanager
async def read_ledger(
    auditor: Auditor,
    tree: Tree,
    kept: Path | None,
    *,
    until_ms: int | None,
    quiet: bool,
    also: Also | None = None,
    processes: int = 1,
) -> AsyncIterator[Ledger]:
    """Read a tree's entries that were received before ``until_ms``, into a folder that is kept, or a passing one.

    ``also`` is given every page that is read, with the directory; of what was kept it hears nothing.
    Raises `VerificationFailed` when anything does not hold; then nothing of it is kept.
    """
    with TemporaryDirectory(prefix="exchange-report-") as passing:
        folder = Path(passing) if kept is None else kept / auditor.origin.replace("/", "_")
        facts = await FactsFile.open(folder / "facts")
        try:
            ledger = await _kept(Ledger(facts), folder, tree, until_ms)
            (folder / "read.json").unlink(missing_ok=True)
            await _read(ledger, auditor, tree, until_ms, quiet=quiet, also=also, processes=processes)
            replace(folder / "read.json", _noted(ledger))
            yield ledger
        finally:
            await facts.aclose()


async def _kept(ledger: Ledger, folder: Path, tree: Tree, until_ms: int | None) -> Ledger:
    """Return what an earlier report has kept, where it is of use; else begin again."""
    found: Ledger | None = None
    with suppress(OSError, ValueError, TypeError, KeyError, Rejected):
        found = _of_note(ledger.facts, json.loads((folder / "read.json").read_bytes()))
    if (
        found is not None
        and found.position.range == ledger.facts.place()
        and found.size <= tree.size
        and (until_ms is None or found.position.received_at_ms < until_ms)
    ):
        return found
    await ledger.facts.forget(None)
    return ledger


def _noted(ledger: Ledger) -> bytes:
    place = ledger.position
    data: dict[str, Any] = {
        "size": place.range.size,
        "hashes": b"".join(place.range.hashes).hex(),
        "received_at_ms": place.received_at_ms,
        "directory_size": place.directory_size,
        "days": {str(day): index for day, index in ledger.days.items()},
        "elections": {str(index): payload.hex() for index, payload in ledger.elections.items()},
    }
    return json.dumps(data).encode()


def _of_note(facts: FactsFile, data: dict[str, Any]) -> Ledger:
    hashes = bytes.fromhex(data["hashes"])
    parts = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    place = Position(
        CompactRange.of(int(data["size"]), parts),
        received_at_ms=int(data["received_at_ms"]),
        directory_size=int(data["directory_size"]),
    )
    elections = {int(index): bytes.fromhex(payload) for index, payload in data["elections"].items()}
    return Ledger(facts, place, {int(day): int(index) for day, index in data["days"].items()}, elections)


async def _read(
    ledger: Ledger,
    auditor: Auditor,
    tree: Tree,
    until_ms: int | None,
    *,
    quiet: bool,
    also: Also | None,
    processes: int,
) -> None:
    hidden = quiet or not watched()
    start = ledger.position
    pages = auditor.entries(tree, start=start, until_ms=until_ms, processes=processes)
    with click.progressbar(
        length=tree.size - start.range.size, label=visible(auditor.origin), file=sys.stderr, hidden=hidden
    ) as bar:
        async for page in pages:
            await _take(ledger, page, auditor.position)
            if also is not None:
                also(page, auditor.directory)
            bar.update(len(page))


async def _take(ledger: Ledger, page: Sequence[VerifiedEntry], position: Position) -> None:
    for entry in page:
        ledger.days.setdefault(entry.leaf.received_at_ms // DAY_MS, entry.leaf.index)
        if isinstance(entry.header.body, Election):
            ledger.elections[entry.leaf.index] = entry.leaf.payload
    await ledger.facts.take([_told(entry) for entry in page], position.range)
    ledger.position = position


def _told(entry: VerifiedEntry) -> ToldEntry:
    """Return an entry as facts take it. The ledger does not say who a restricted one is for: nobody is known."""
    leaf, body = entry.leaf, entry.header.body
    restricted = isinstance(body, Addressed) or (isinstance(body, SignalHeader) and body.audience != Audience.EVERYONE)
    return ToldEntry(
        leaf.index,
        entry.header,
        leaf.received_at_ms,
        leaf.late,
        leaf.directory_size,
        frozenset() if restricted else None,
    )
