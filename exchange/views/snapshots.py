"""Taking a snapshot of a fold and making the fold of it again, with pauses where others want the loop."""

from __future__ import annotations

from exchange import __version__
from exchange.errors import Reason, Rejected
from exchange.ledger.snapshot import Snapshot, joined, row_line
from exchange.ports import TreeHead
from exchange.views.replay import F, Pace, Recipe


def about(recipe: Recipe[F], origin: str) -> tuple[str, int, str, str]:
    """Return what a snapshot must be of, to be used: this fold of this log, written by this very release."""
    return recipe.name, recipe.format, __version__, origin


async def take(recipe: Recipe[F], origin: str, fold: F, head: TreeHead, pace: Pace) -> Snapshot:
    """Return the snapshot of a fold that stays as it is meanwhile."""
    lines: list[str] = []
    for row in recipe.rows(fold):
        lines.append(row_line(row))
        await pace.breathe()
    return Snapshot(*about(recipe, origin), head.size, head.root, joined(lines))


async def restore(recipe: Recipe[F], snapshot: Snapshot, pace: Pace | None = None) -> F:
    """Return the fold in a snapshot. Raises `Rejected` when its rows do not make one."""
    making = recipe.restore()
    for row in snapshot.lines():
        making.put(row)
        if pace is not None:
            await pace.breathe()
    fold = making.done()
    if fold.size != snapshot.size:
        raise Rejected(Reason.MALFORMED, "a snapshot's fold has another size than its tree")
    return fold
