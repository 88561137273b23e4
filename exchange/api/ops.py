"""The plain HTTP sides: health and metrics for operators, tiles for anyone who wants to check the ledger.

Both are small Starlette applications without state of their own. The tiles follow C2SP tlog-tiles: checkpoint and
hash tiles are public; entry bundles (headers, never records) only where the community says so. Of what is wrong with a
log its readers learn only that something is: what it is names files of this machine, and goes into the hub's own log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from exchange.api.logs import Log
from exchange.errors import ExchangeError, Fatal, Reason, Rejected
from exchange.ledger.tiles import TILE_WIDTH, decode_bundle, encode_bundle, parse_tile_path
from exchange.ops.health import Health
from exchange.ops.metrics import Metrics, render

_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_SECONDS = {"cache-control": "public, max-age=2"}
_BINARY = "application/octet-stream"
_log = structlog.get_logger()


def ops_app(health: Health, metrics: Metrics, refresh: Callable[[], None]) -> Starlette:
    """Return the application of the ops port; ``refresh`` brings gauges up to date before they are read."""

    async def livez(_: Request) -> Response:
        answer = health.livez()
        return JSONResponse(dict(answer.body), answer.status)

    async def readyz(_: Request) -> Response:
        answer = health.readyz()
        return JSONResponse(dict(answer.body), answer.status)

    async def show_metrics(_: Request) -> Response:
        refresh()
        body, content_type = render(metrics)
        return Response(body, headers={"content-type": content_type})

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", show_metrics)],
    )


def tiles_app(logs: Mapping[str, Log], entries_are_public: Callable[[str], bool]) -> Starlette:
    """Return the application that serves ``/<exchange>/<log>/checkpoint`` and ``/<exchange>/<log>/tile/...``."""

    async def checkpoint(request: Request) -> Response:
        log = logs.get(_origin(request))
        if log is None:
            raise Rejected(Reason.NOT_FOUND, "no such log")
        head = await log.store.head()
        return PlainTextResponse(head.checkpoint, headers=_SECONDS)

    async def tile(request: Request) -> Response:
        origin = _origin(request)
        log = logs.get(origin)
        name = parse_tile_path(f"tile/{request.path_params['path']}")
        if log is None or (name.is_bundle and not entries_are_public(origin)):
            raise Rejected(Reason.NOT_FOUND, "no such tile")
        if name.is_bundle:
            data = _narrow(await log.history.bundle(name.index), name.width)
        else:
            (tile,) = await log.history.tiles([(name.level, name.index, name.width)])
            data = tile.hashes
        return Response(data, media_type=_BINARY, headers=_FOREVER)

    return Starlette(
        routes=[
            Route("/{exchange}/{log}/checkpoint", checkpoint),
            Route("/{exchange}/{log}/tile/{path:path}", tile),
        ],
        exception_handlers={ExchangeError: _failed},
    )


async def _failed(request: Request, error: Exception) -> Response:
    """Say what is wrong with a request; what is wrong with the log is for the log of this hub."""
    assert isinstance(error, ExchangeError)
    if isinstance(error, Rejected):
        return PlainTextResponse(f"{error.message}\n", 404)
    broken = isinstance(error, Fatal)
    tell = _log.error if broken else _log.warning
    tell("tiles_failed", path=request.url.path, reason=error.reason.value, message=error.message)
    if broken:
        return PlainTextResponse("this log cannot be read: its operator has to look at it\n", 500)
    return PlainTextResponse("this log cannot be read now: come again\n", 503)


def _origin(request: Request) -> str:
    return f"{request.path_params['exchange']}/{request.path_params['log']}"


def _narrow(bundle: bytes, width: int) -> bytes:
    """Return the first ``width`` entries of a bundle. Raises `Rejected` when it has fewer."""
    entries = decode_bundle(bundle)
    if len(entries) < width:
        raise Rejected(Reason.NOT_FOUND, "the sealed tree has fewer entries")
    return bundle if len(entries) == width == TILE_WIDTH else encode_bundle(entries[:width])
