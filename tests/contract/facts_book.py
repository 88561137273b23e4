"""A file of facts, and the log that it was told of: what its tests stand on."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.domain.bodies import Body, Retraction, RetractionReason
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.lag import Stage
from exchange.domain.statement import Header
from exchange.domain.validation import DAY_MS
from exchange.ports import Period, ToldEntry
from exchange.stores.facts import FactsFile
from exchange.stores.facts_reports import FactsReports
from tests.unit.builders import NOW_MS, UK, community_header, digest

ONE, TWO = digest("one"), digest("two")
DAY = NOW_MS // DAY_MS
LABEL = Label.HARASSMENT_TARGETED


ERROR = Retraction((ONE,), RetractionReason.ERROR, NOW_MS)


class Book:
    """A file of facts, and the log that it was told of."""

    def __init__(self, facts: FactsFile) -> None:
        self.facts = facts
        self.reports = FactsReports(facts)
        self.told: list[ToldEntry] = []

    async def tell(
        self,
        body: Body | None,
        by: str = "alpha",
        *,
        ids: Sequence[bytes] = (),
        late: bool = False,
        audience: frozenset[str] | None = None,
        after_ms: int = 0,
    ) -> ToldEntry:
        """Tell it the next entry."""
        index = len(self.told)
        plain = community_header(body) if body is not None and not ids else None
        header = Header(UK, plain.kind if plain else Kind.SIGNAL, by, NOW_MS, bytes(16), tuple(ids), body)
        entry = ToldEntry(index, header, NOW_MS + after_ms, late, 10, audience)
        await self.facts.take([entry], self.facts.place().extend((digest(f"leaf {index}"),)))
        self.told.append(entry)
        return entry

    async def lag(self) -> dict[tuple[Stage, str, str], tuple[int, ...]]:
        """Return its lag, by stage, publisher and receiver: the buckets that hold something."""
        rows = await self.reports.lag(Period(), b"")
        return {
            (Stage(row.stage), row.publisher, row.receiver): tuple(
                b for b, n in enumerate(row.counts) for _ in range(n)
            )
            for row in rows
        }
