"""The one interceptor: who is calling, may it call, how does the call end, and what is written down about it.

Runs around every RPC, in this order: TLS version and identity, the certificate's date and authority, standing in the
directory, budget of calls and streams, the call, its status, metrics. A grpc.aio interceptor sees no peer, so the
identity is read from the context inside the wrapped handler; servicers get it from `caller()`.

grpcio has no revocation and keeps old connections, so identity is judged at every RPC, and a live stream is cut when
the directory takes something from its workload, or its certificate is no longer one that is let in. So is one whose
client has stopped reading. A call that is no stream has a deadline, whatever its caller asks for.
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
from typing import Any

import grpc
import structlog

from exchange.api import status
from exchange.api.messages import parsing
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

Context = grpc.aio.ServicerContext[Any, Any]


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

    def end(self, error: ExchangeError) -> None:
        """Cut it, once."""
        if self.cut is None:
            self.cut = error
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a call may take that is no stream, and one write to a stream, in seconds."""

    call_s: float
    stalled_s: float


class Guard(grpc.aio.ServerInterceptor):
    """Wraps every handler of the member-facing server."""

    def __init__(
        self,
        trust_domain: str,
        trust: Trust,
        directory: Callable[[], Directory],
        quotas: Quotas,
        metrics: Metrics,
        deadlines: Deadlines,
    ) -> None:
        """``directory`` returns the present view."""
        self._deadlines = deadlines
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
                session.end(error.with_traceback(None))

    def review_writes(self) -> None:
        """Cut every live stream whose client has stopped reading. Call twice a second."""
        limit = time.monotonic() - self._deadlines.stalled_s
        for session in self._sessions:
            if session.writing_since < limit:
                text = f"nothing was read from this stream for {self._deadlines.stalled_s:g} seconds"
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
        kind = {
            "request_deserializer": None,
            "response_serializer": handler.response_serializer,
        }
        behaviour = parsing(handler)
        if handler.response_streaming:
            wrapped = self._streaming(method, behaviour)
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_stream_rpc_method_handler)
            )
            return make(wrapped, **kind)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, behaviour), **kind)

    def _unary(self, method: str, behaviour: Any) -> Any:  # noqa: ANN401 - grpc's untyped behaviours
        async def call(request: Any, context: Context) -> Any:  # noqa: ANN401
            async with self._guarded(method, context, streaming=False):
                try:
                    async with asyncio.timeout(self._deadlines.call_s):
                        return await behaviour(request, context)
                except TimeoutError:
                    text = f"this call took longer than {self._deadlines.call_s:g} seconds"
                    raise Unavailable(text, hint="it may have had its effect: send it again, unchanged") from None

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:  # noqa: ANN401
        async def call(request: Any, context: Context) -> None:  # noqa: ANN401
            # Writing here, not yielding: a stream that is cut while its write is blocked must be cut by us.
            async with (
                self._guarded(method, context, streaming=True) as session,
                aclosing(behaviour(request, context)) as answers,
            ):
                async for response in answers:
                    session.writing_since = time.monotonic()
                    await context.write(response)
                    session.writing_since = math.inf

        return call

    @asynccontextmanager
    async def _guarded(self, method: str, context: Context, *, streaming: bool) -> AsyncIterator[_Session]:
        started = time.monotonic()
        code = grpc.StatusCode.OK.name
        try:
            workload, peer = self._admit(context)
            _CALLER.set(workload)
            async with self._session(workload, peer, streaming=streaming) as session:
                yield session
        except ExchangeError as error:
            code = status.STATUS[error.reason].name
            self._note(method, error)
            await status.abort(context, error)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            raise
        except (grpc.aio.AbortError, grpc.aio.UsageError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leak out of it unlabelled
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

    @asynccontextmanager
    async def _session(self, workload: Workload, peer: Peer, *, streaming: bool) -> AsyncIterator[_Session]:
        directory = self._directory()
        task = asyncio.current_task()
        assert task is not None
        session = _Session(workload, peer, _Standing.of(directory, workload), task)
        with self._quotas.call(directory, workload.member, stream=streaming):
            if streaming:
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
