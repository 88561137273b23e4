"""The port of the tiles when a log cannot be read: whoever asks learns that, and this hub's log what is wrong."""

from __future__ import annotations

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from exchange.api.logs import Log
from exchange.api.ops import tiles_app
from exchange.errors import Conflict, ExchangeError, Fatal, Reason, Rejected, Unavailable
from exchange.fanout.tail import Tail
from exchange.ledger.tiles import entries_path, tile_path
from tests.contract.faulty_store import FaultyStore
from tests.unit import asgi
from tests.unit.builders import UK
from tests.unit.fanout.fakes import Shelf

PATH = "/srv/exchange/logs/uk/ledger.sqlite"
PAGES = {"checkpoint": "head", tile_path(0, 0, 5): "tiles", entries_path(0, 5): "bundle"}


async def get(page: str, fails: str = "", error: Exception | None = None) -> tuple[int, bytes]:
    """Return a page of a log of five entries, one method of whose store fails."""
    shelf = Shelf.new()
    await shelf.add_plain(5)
    store = FaultyStore(shelf.store, lambda name: (True, error if name == fails else None))
    log = Log(UK, cast("Any", None), store, store, cast("Any", None), Tail(shelf.store, lambda: 0.0))
    return await asgi.get(tiles_app({UK: log}, lambda _: True), f"/{UK}/{page}")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("error", "status", "level"),
    [
        (Fatal(f"{PATH}: a row is missing"), 500, "error"),
        (Unavailable(f"{PATH}: no answer"), 503, "warning"),
        (Conflict(f"{PATH}: another head"), 503, "warning"),
    ],
)
async def test_what_is_wrong_with_a_log_is_told_to_its_operator_alone(
    page: str, error: ExchangeError, status: int, level: str
) -> None:
    with capture_logs() as logs:
        answered, body = await get(page, PAGES[page], error)
    assert answered == status
    assert body.startswith(b"this log cannot be read")
    assert b"/" not in body
    assert error.reason.value.encode() not in body
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("tiles_failed", level)
    assert (told["path"], told["message"]) == (f"/{UK}/{page}", error.message)


@pytest.mark.parametrize("page", PAGES)
async def test_a_log_that_can_be_read_is_told_of_nowhere(page: str) -> None:
    with capture_logs() as logs:
        status, body = await get(page)
        missing, _ = await get(page, PAGES[page], Rejected(Reason.NOT_FOUND, "no such leaf"))
    assert (status, missing, logs) == (200, 404, [])
    assert body
