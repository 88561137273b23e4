"""The life of a process that serves, the hub or the pseudonym service: its plain ports, and how it ends.

SIGTERM or SIGINT drains what serves; a second one does not wait. A service manager hears of it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Protocol, TypeVar

import structlog
import uvicorn
from starlette.applications import Starlette

from exchange.api.guard import Guard
from exchange.api.listening import cannot_listen
from exchange.api.tls import LOOK_EVERY_S, Trust
from exchange.config import split_address
from exchange.ops import collector, service_manager, threads
from exchange.ops.grpc_ops import ops_server
from exchange.ops.health import Health
from exchange.ops.metrics import Metrics

_log = structlog.get_logger()


class Serving(Protocol):
    """What a process runs."""

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        """Open everything, and start the work as tasks of this group."""
        ...

    async def aclose(self) -> None:
        """Drain and close what has been opened. Idempotent."""
        ...


S = TypeVar("S", bound=Serving)


class _Done(Exception):
    """All is closed; what still runs is to be cancelled."""


@asynccontextmanager
async def running(serving: S) -> AsyncIterator[S]:
    """Run it for the length of a ``with`` block."""
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                await serving.open(tasks)
                yield serving
            finally:
                await serving.aclose()
            raise _Done
    except* _Done:
        pass


async def until_told(serving: AbstractAsyncContextManager[S], ready: Callable[[S], None] = lambda _: None) -> None:
    """Run it until SIGTERM or SIGINT; drain, then return. A second signal ends it at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with serving as opened:
        collector.calm()
        threads.give_way()
        ready(opened)
        service_manager.tell(service_manager.READY)
        alive = asyncio.create_task(service_manager.show_alive())
        try:
            await stop.wait()
            _log.info("draining")
            service_manager.tell(service_manager.STOPPING)
        finally:
            alive.cancel()
    _log.info("stopped")


async def http_port(
    tasks: asyncio.TaskGroup, app: Starlette, address: str, setting: str
) -> Callable[[], Awaitable[None]]:
    """Serve plain HTTP on the address of a setting; return what stops it. Raises `Fatal` (CONFIG) when it cannot be."""
    host, port = split_address(address)
    # Signals are ours: uvicorn would take them for itself.
    settings = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, lifespan="off", log_config=None
    )
    http = uvicorn.Server(settings)
    http.capture_signals = nullcontext  # type: ignore[assignment, method-assign]
    serving = tasks.create_task(_serve_http(http, address, setting))
    while not http.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)

    async def stop() -> None:
        http.should_exit = True
        await asyncio.wait((serving,))

    return stop


async def _serve_http(http: uvicorn.Server, address: str, setting: str) -> None:
    try:
        await http.serve()
    except SystemExit as error:  # uvicorn has told the log why
        raise cannot_listen(address, setting) from error


async def grpc_port(
    address: str, services: Sequence[str], ready: Callable[[], bool]
) -> Callable[[float | None], Awaitable[None]]:
    """Serve health and reflection without TLS; return what stops it. Raises `Fatal` (CONFIG) when it cannot be."""
    try:
        return (await ops_server(address, services, ready)).stop
    except RuntimeError as error:
        raise cannot_listen(address, "`[ops] grpc_listen`", error) from error


async def follow_tls_files(trust: Trust, guard: Guard, health: Health, host: str, port: int) -> None:
    """Follow the TLS files: what they hold now, who is let in no more, and whether everybody is to be refused."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        trust.look()
        guard.review_peers()
        guard.review_writes()
        if trust.closed:
            health.not_serving("tls", f"closed: {trust.failure}")
        else:
            health.serving("tls")
        await trust.hand_over(host, port)


def show_process(metrics: Metrics, health: Health, trust: Trust, certificate: str) -> None:
    """Bring up to date what every process shows of itself."""
    metrics.ready.set(1 if health.ready else 0)
    metrics.certificate_expiry.labels(certificate).set(trust.material.not_after.timestamp() - time.time())
    metrics.tls_files_failing.set(1 if trust.failure else 0)
    metrics.tls_closed.set(1 if trust.closed else 0)
