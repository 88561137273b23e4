"""One flipped byte in each column of each table, in an entry bundle, in the index of ids, and in the mark.

Each is noticed by `exchange verify`, and by the hub: it does not start, or does not hand out what is damaged. With the
byte flipped back, everything goes on.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exchange import codec
from exchange.domain.statement import statement_id
from exchange.ledger.tiles import entries_path
from exchange.stores.sealed_mark import SLOT_BYTES
from tests.faults.file_bytes import Flip, columns, flip_column, flip_index
from tests.faults.scene import FLOOR, GROWN, Scene
from tests.faults.serving import served_by

pytestmark = pytest.mark.faults

SOME = 20
#: An entry of the table whose tile is whole.
PLACE = 300
ROWS = {"log": "id = 1", "entries": f"idx = {PLACE}", "tiles": f"level = 0 AND idx = {PLACE // 256}"}
COLUMNS = {
    "log": (
        "id",
        "origin",
        "durable_size",
        "durable_root",
        "sealed_size",
        "sealed_root",
        "checkpoint",
        "floor",
        "last_received_at_ms",
        "last_directory_size",
    ),
    "entries": ("idx", "statement_id", "leaf_hash", "received_at_ms", "frame", "checksum"),
    "tiles": ("level", "idx", "hashes", "root"),
}


def _column(table: str, column: str) -> Callable[[Scene], list[Flip]]:
    return lambda scene: [flip_column(scene.log / "ledger.sqlite", table, column, ROWS[table])]


def _bundle(at: int) -> Callable[[Scene], list[Flip]]:
    return lambda scene: [Flip.at(scene.log / entries_path(0), at)]


def _mark(*slots: int) -> Callable[[Scene], list[Flip]]:
    return lambda scene: [Flip.at(scene.exchange.folders.mark("uk"), slot * SLOT_BYTES + 40) for slot in slots]


FLIPS = {f"{table}.{column}": _column(table, column) for table, names in COLUMNS.items() for column in names}
FLIPS |= {"bundle leaf": _bundle(1_000), "bundle length": _bundle(0), "both slots of the mark": _mark(0, 1)}
SHORT = {"log.durable_root"}


async def served(scene: Scene, leaves: list[bytes]) -> list[str]:
    """Ask the scene's hub for everything; return what it would not give."""
    assert scene.hub is not None
    return await served_by(scene.hub, leaves, start=FLOOR, place=PLACE)


async def damaged(scene: Scene, leaves: list[bytes]) -> str:
    """Start the hub on a damaged file; return how it was noticed."""
    hub = await scene.launch()
    line = await hub._line()
    if line.startswith("error "):
        assert await hub.ended() == 1
        return f"refused to start ({line.split()[1]})"
    hub.port = int(line.removeprefix("port "))
    refused = await served(scene, leaves)
    await scene.stop()
    return f"not served: {refused[0].partition(':')[0]}" if refused else ""


@pytest.mark.parametrize("what", [pytest.param(w, marks=[pytest.mark.short] * (w in SHORT)) for w in FLIPS])
async def test_a_flipped_byte(old_scene: Scene, what: str) -> None:
    scene = old_scene
    await scene.serve()
    async with scene.under_load(start=FLOOR) as load:
        await load.more(SOME)
        await scene.stop()
        leaves = scene.leaves()
        flips = FLIPS[what](scene)
        code, said = await scene.verify()
        assert code != 0, said
        noticed = await damaged(scene, leaves)
        assert noticed, "the hub did not notice"
        scene.notes.append(noticed)
        for flip in flips:
            flip.undo()
        await scene.serve()
        assert await served(scene, leaves) == []
        await load.more(SOME)


async def test_a_flipped_byte_in_the_index_of_ids(old_scene: Scene) -> None:
    """The hub reads no entry by it, and cannot notice without reading the whole file: `exchange verify` does that."""
    await old_scene.serve()
    async with old_scene.under_load(start=FLOOR) as load:
        await load.more(SOME)
        await old_scene.stop()
        id_ = statement_id(codec.decode_leaf(old_scene.leaves()[PLACE]).payload)
        flip = flip_index(old_scene.log / "ledger.sqlite", id_, PLACE)
        code, said = await old_scene.verify()
        assert code != 0
        assert "the store is damaged beside its entries" in said
        old_scene.notes.append("found by verify")
        flip.undo()
        await old_scene.serve()
        await load.more(SOME)


@pytest.mark.parametrize("slot", [0, 1])
async def test_a_flipped_byte_in_one_slot_of_the_mark(old_scene: Scene, slot: int) -> None:
    """It looks like a write that the loss of power has cut short: the other slot stands, and the next record mends."""
    await old_scene.serve()
    async with old_scene.under_load(start=FLOOR) as load:
        await load.more(SOME)
        await old_scene.stop()
        _mark(slot)(old_scene)
        code, said = await old_scene.verify()
        assert code == 0, said
        assert "slots is damaged" in said
        await old_scene.serve()
        await load.more(SOME)
        assert "slots is damaged" not in (await old_scene.verify())[1]
        old_scene.notes.append("told by verify, mended by the next record")


async def test_every_column_has_a_case(old_scene: Scene) -> None:
    found = columns(old_scene.log / "ledger.sqlite")
    assert {table: tuple(names) for table, names in found.items()} == COLUMNS
    assert old_scene.state().durable_size == GROWN
