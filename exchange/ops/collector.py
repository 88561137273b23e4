"""Python's garbage collector, made calm for a process that serves.

A full collection stops everything for as long as it takes to look at every object: 50 to 80 ms in a hub, whose newest
entries are many objects that are no garbage. Left alone it comes every few seconds under load, and is the whole p99.
Nearly all garbage is freed without the collector, or by its quick young collections, which go on.

A young collection comes when so many more objects were made than freed, and looks at all that were made: where old
ones are let go of as new ones come, it comes late and looks at hundreds of thousands. So what a hub holds by the ten
thousand are structs that the collector does not follow (`StoredEntry`, `exchange.fanout.item.Item`).
"""

from __future__ import annotations

import gc

#: Objects made before a young collection; young ones before a middle one; middle ones before a full one.
THRESHOLDS = (5_000, 20, 100)


def calm() -> None:
    """Leave what has been made up to now out of every later collection, and make full ones rare. Once, when serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
