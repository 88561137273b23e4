"""The one interceptor: who is calling, may it call, how does the call end, and what is written down about it.

Runs around every RPC, in this order: TLS version and identity, the certificate's date and authority, standing in the
directory, budget of calls and streams, the call, its status, metrics. A grpc.aio interceptor sees no peer, so the
identity is read from the context inside the wrapped handler; servicers get it from `caller()`.

grpcio has no revocation and keeps old connections, so identity is judged at every RPC, and a live stream is cut when
the directory takes something from its workload, or its certificate is no longer one that is let in. So is one whose
client has stopped reading. A call that is no stream has a deadline, whatever its caller asks for.

Nothing is free between the first byte of a call and its last: it is admitted with its headers, and counted against its
member until it is over on the wire: cut and answered calls too, which grpc holds for as long as nobody reads them.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any

import grpc
import structlog

from exchange.api import status
from exchange.api.messages import GONE_S, Context, each, first, fitting, only
from exchange.api.tls import Peer, Trust
from exchange.domain.directory import Directory
from exchange.domain.kinds import Role
from exchange.domain.policy import Workload
from exchange.errors import Denied, ExchangeError, Fatal, Reason, Unauthenticated, Unavailable
from exchange.ops.metrics import Metrics
from exchange.publish.quota import Quotas

_CALLER: ContextVar[Workload] = ContextVar("caller")
_SPIFFE = re.compile(r"spiffe://(?P<domain>[a-z0-9.-]+)/member/(?P<member>[a-z0-9][a-z0-9.-]{0,62})/(?P<role>[a-z]+)")
_TLS = "TLSv1.3"
_log = structlog.get_logger()


def caller() -> Workload:
    """Return the workload whose call is being served. Only servicers ask."""
    return _CALLER.get()


def identify(auth: dict[str, list[bytes]] | Any, trust_domain: str) -> Workload:  # noqa: ANN401 - grpc's mapping
    """Return who the TLS peer is, by its one SPIFFE URI. Raises `Unauthenticated`."""
    versions = [value.decode() for value in auth.get("ssl_tls_version", ())]
    if versions != [_TLS]:
        raise Unauthenticated("this hub speaks TLS 1.3 only", hint="raise the client's TLS version")
    uris = [value.decode(errors="replace") for value in auth.get("peer_spiffe_id", ())]
    match = _SPIFFE.fullmatch(uris[0]) if len(uris) == 1 else None
    role = Role.__members__.get(match["role"].upper()) if match else None
    if match is None or role is None or match["domain"] != trust_domain:
        raise Unauthenticated(
            "the client certificate names no workload of this exchange",
            hint=f"it needs one URI SAN spiffe://{trust_domain}/member/<id>/<role>",
        )
    return Workload(match["member"], role)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the directory grants a workload, as far as a live stream depends on it."""

    live: bool
    suspended: bool
    communities: frozenset[str]

    @classmethod
    def of(cls, directory: Directory, workload: Workload) -> _Standing:
        entry = directory.members.get(workload.member)
        live = directory.workload_is_live(workload.member, workload.role)
        return cls(live, directory.is_suspended(workload.member), frozenset(entry.communities if entry else ()))

    def loses_to(self, now: _Standing) -> bool:
        return (
            (self.live and not now.live)
            or (now.suspended and not self.suspended)
            or not self.communities <= now.communities
        )


@dataclass(eq=False, slots=True)
class _Session:
    """A live stream."""

    workload: Workload
    peer: Peer
    standing: _Standing
    task: asyncio.Task[Any]
    #: When the write began that is under way.
    writing_since: float = math.inf
    #: Why it was cut.
    cut: ExchangeError | None = None
    opened: bool = False

    async def open(self, context: Context) -> None:
        """Send the headers; only then may it be cut. A call whose headers are on their way can be given no status."""
        await context.send_initial_metadata(())
        self.opened = True
        if self.cut is not None:
            raise self.cut

    def end(self, error: ExchangeError) -> None:
        """Cut it, once."""
        if self.cut is None:
            self.cut = error
            if self.opened:
                self.task.cancel()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a call may take that is no stream, and one write to a stream, in seconds; how many calls may live."""

    call_s: float
    stalled_s: float
    calls: int


class Guard(grpc.aio.ServerInterceptor):
    """Wraps every handler of the member-facing server."""

    def __init__(
        self,
        trust_domain: str,
        trust: Trust,
        directory: Callable[[], Directory],
        quotas: Quotas,
        metrics: Metrics,
        bounds: Bounds,
    ) -> None:
        """``directory`` returns the present view."""
        self._bounds = bounds
        self._trust_domain = trust_domain
        self._trust = trust
        self._directory = directory
        self._quotas = quotas
        self._metrics = metrics
        self._sessions: set[_Session] = set()

    def review(self) -> None:
        """Cut every live stream whose workload has lost something. Call at each change of the directory."""
        directory = self._directory()
        for session in self._sessions:
            if session.standing.loses_to(_Standing.of(directory, session.workload)):
                session.end(Denied("the directory has ended this stream", hint="subscribe again to learn what is left"))

    def review_peers(self) -> None:
        """Cut every live stream whose certificate would not be let in now. Call twice a second."""
        for session in self._sessions:
            try:
                self._trust.check(session.peer)
            except ExchangeError as error:
                session.end(error.alone())

    def review_writes(self) -> None:
        """Cut every live stream whose client has stopped reading. Call twice a second."""
        limit = time.monotonic() - self._bounds.stalled_s
        for session in self._sessions:
            if session.writing_since < limit:
                text = f"nothing was read from this stream for {self._bounds.stalled_s:g} seconds"
                session.end(Unavailable(text, reason=Reason.STALLED, hint="come again from your cursor"))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - a handler of any shape
        """Return the handler, wrapped according to its shape."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = str(handler_call_details.method).rpartition("/")[2]
        # To grpc each is a stream of requests, which begins with the headers: so do admission, quota and deadline.
        if handler.response_streaming:
            serializer = handler.response_serializer
            return grpc.stream_stream_rpc_method_handler(self._streaming(method, handler), None, serializer)
        return grpc.stream_unary_rpc_method_handler(self._unary(method, handler))

    def _unary(self, method: str, handler: Any) -> Any:  # noqa: ANN401 - grpc's untyped handlers
        read, behaviour, write = handler.request_deserializer, handler.unary_unary, handler.response_serializer

        async def call(requests: Any, context: Context) -> Any:  # noqa: ANN401, ARG001
            async with self._guarded(method, context, streaming=False), self._deadline():
                # As bytes: grpc would keep the message beside them until they have left.
                return fitting(write(await behaviour(await first(read, context), context)))

        return call

    def _streaming(self, method: str, handler: Any) -> Any:  # noqa: ANN401
        read, behaviour = handler.request_deserializer, handler.stream_stream or handler.unary_stream

        async def request(requests: Any, context: Context) -> Any:  # noqa: ANN401
            if handler.request_streaming:
                return each(read, requests)
            async with self._deadline():
                return await only(read, context)

        async def call(requests: Any, context: Context) -> None:  # noqa: ANN401
            async with self._guarded(method, context, streaming=True) as who, self._session(*who) as session:
                await session.open(context)
                # Writing here, not yielding: a stream that is cut while its write is blocked must be cut by us.
                async with aclosing(behaviour(await request(requests, context), context)) as answers:
                    async for response in answers:
                        session.writing_since = time.monotonic()
                        await context.write(response)
                        session.writing_since = math.inf

        return call

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._bounds.call_s):
                yield
        except TimeoutError:
            text = f"this call took longer than {self._bounds.call_s:g} seconds"
            raise Unavailable(text, hint="it may have had its effect: send it again, unchanged") from None

    @asynccontextmanager
    async def _guarded(self, method: str, context: Context, *, streaming: bool) -> AsyncIterator[tuple[Workload, Peer]]:
        started = time.monotonic()
        code = grpc.StatusCode.OK.name
        try:
            workload, peer = self._admit(context)
            self._hold(context, workload, streaming=streaming)
            _CALLER.set(workload)
            yield workload, peer
        except ExchangeError as error:
            code = status.STATUS[error.reason].name
            self._note(method, error)
            # grpc and the frames of a call hold each other: what these hold would stay until it is collected.
            clear_frames(error.__traceback__)
            await status.abort(context, error.alone())
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            raise
        except (grpc.aio.AbortError, grpc.aio.UsageError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leak out of it unlabelled
            if isinstance(error, grpc.aio.InternalError):
                # So a write ends whose client has gone; grpc cancels the call a moment later.
                code = grpc.StatusCode.CANCELLED.name
                await asyncio.sleep(GONE_S)
            code = grpc.StatusCode.INTERNAL.name
            incident = secrets.token_hex(6)
            _log.error("unexpected_error", method=method, incident=incident, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, f"unexpected error, incident {incident}")
        finally:
            self._metrics.rpcs.labels(method, code).inc()
            if not streaming:
                self._metrics.rpc_seconds.labels(method).observe(time.monotonic() - started)

    def _note(self, method: str, error: ExchangeError) -> None:
        self._metrics.rejected.labels(error.reason.value).inc()
        if isinstance(error, Fatal):
            _log.error("fatal_error", method=method, reason=error.reason.value, message=error.message)

    def _admit(self, context: Context) -> tuple[Workload, Peer]:
        auth = context.auth_context()
        workload, peer = identify(auth, self._trust_domain), Peer.of(auth)
        self._trust.check(peer)
        if not self._directory().workload_is_live(workload.member, workload.role):
            raise Denied(
                "this workload is not in force in the directory",
                hint="the member must be registered, with this role and at least one live key for it",
            )
        return workload, peer

    def _hold(self, context: Context, workload: Workload, *, streaming: bool) -> None:
        """Count a call until it is over on the wire: its answer has left, or its client has gone. Raises `Unavailable`.

        Not until its handler ends: a client that reads nothing keeps a call and its memory beyond that.
        """
        give_back = self._quotas.hold(self._directory(), workload.member, stream=streaming)
        context.add_done_callback(lambda _: give_back())  # type: ignore[arg-type]
        # Not grpc's own limit: that one counts refused calls too, and so is filled by who has no quota left.
        if self._quotas.held > self._bounds.calls:
            raise Unavailable("this hub serves as many calls as it may", hint="come again, or to another hub")

    @asynccontextmanager
    async def _session(self, workload: Workload, peer: Peer) -> AsyncIterator[_Session]:
        task = asyncio.current_task()
        assert task is not None
        session = _Session(workload, peer, _Standing.of(self._directory(), workload), task)
        self._sessions.add(session)
        try:
            yield session
        except asyncio.CancelledError:
            if session.cut is None:
                raise
            task.uncancel()
            raise session.cut from None
        finally:
            self._sessions.discard(session)
