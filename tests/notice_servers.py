"""A real mail server and a real web server on this machine, over TLS, for what tells people of referrals."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from exchange.ops.certificates import authority_files, create_authority, issue, issued_files

NAME, PASSWORD = "exchange", "a long password"


@dataclass
class Authority:
    """A development authority, and a server's certificate for this machine."""

    folder: Path
    file: Path = field(init=False)

    def __post_init__(self) -> None:
        create_authority(self.folder, "notices.test")
        issue(self.folder, "hub", "server", kind="server", hosts=("localhost", "127.0.0.1"))
        self.file = authority_files(self.folder).certificate

    @property
    def serving(self) -> ssl.SSLContext:
        """TLS for a server."""
        files = issued_files(self.folder, "hub", "server", "server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        return context


@dataclass
class Mailbox:
    """What a mail server has taken."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    #: Whether each came over TLS, and by whom.
    secured: list[tuple[bool, bool]] = field(default_factory=list)
    #: What it answers instead of taking a message.
    refusal: str = ""
    #: Whom it knows nothing of.
    unknown: frozenset[str] = frozenset()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient."""
        if address in self.unknown:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Take a message."""
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        assert server.transport is not None
        over_tls = session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        self.secured.append((over_tls, bool(session.authenticated)))
        return "250 taken"


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (NAME.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=right)


@contextmanager
def mail_server(authority: Authority, *, starttls: bool = True, from_the_start: bool = False) -> Iterator[Mailbox]:
    """Run a mail server; one with STARTTLS wants a name and a password."""
    box = Mailbox()
    settings: dict[str, Any] = {}
    if starttls:
        settings = {"tls_context": authority.serving, "require_starttls": True, "auth_required": True}
        settings |= {"authenticator": _authenticate, "auth_require_tls": True}
    context = authority.serving if from_the_start else None
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Server:
        return await loop.create_server(
            lambda: SMTP(box, hostname="localhost", loop=loop, **settings), "127.0.0.1", 0, ssl=context
        )

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        asyncio.run_coroutine_threadsafe(_ended(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended(server: asyncio.Server) -> None:
    """Close a server, and let what it was saying end."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@dataclass
class Hook:
    """What a web server has been posted."""

    port: int = 0
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: What it answers.
    status: int = 204
    #: Not set while it leaves what it was posted unanswered.
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Answer at once."""
        self.answers.set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self.port}/referrals?of=us"


@contextmanager
def web_server(authority: Authority) -> Iterator[Hook]:
    """Run a web server that takes posts."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.posts.append((dict(self.headers.items()) | {"target": self.path}, body))
            hook.answers.wait()
            self.send_response(hook.status)
            self.send_header("Location", f"https://localhost:{hook.port}/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = authority.serving.wrap_socket(server.socket, server_side=True)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        hook.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
