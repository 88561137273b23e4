"""How a notice goes out: to a webhook over HTTPS, signed, and as e-mail over TLS. Neither sends anything in clear.

A failure is `Unavailable`: the notice is kept, and sent again. Everything has a deadline. What can never work is told
before anything is sent: it would fail at each notice, or end the watch in the middle of one.
"""

from __future__ import annotations

import asyncio
import hmac
import http.client
import json
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from exchange.cli.referrals.noticing import Notice
from exchange.errors import Reason, Rejected, Unavailable

T = TypeVar("T")

#: What an address may hold that goes out in a request: nothing that needs another spelling.
_VISIBLE = re.compile(r"[!-~]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", re.ASCII)
#: For each step of a conversation, and for the whole of it.
_STEP_S, _WHOLE_S = 10.0, 30.0
_CUT_AGAIN_S = 0.05
_LEAST_SECRET_BYTES = 16
#: What a web server answers that may take it in a moment: too slow, too early, too much.
_PASSING = frozenset({408, 425, 429})
#: From this answer of a mail server's on, trying again is no use.
_FINAL = 500
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)


class Declined(Unavailable):
    """The other side said no, and would again: a wrong password tried often locks an account."""


class Channel(Protocol):
    """Where notices go."""

    @property
    def name(self) -> str:
        """What it is remembered as."""
        ...

    async def send(self, notice: Notice, *, now_s: int) -> Collection[str]:
        """Send a notice; return who of several it cannot be sent to.

        Raises `Unavailable` where it has not arrived, or nobody can tell.
        """
        ...


def is_host(text: str) -> bool:
    """Whether a text is a name or an address that can be connected to: no empty label, and none that is too long."""
    return _HOST.fullmatch(text) is not None and (":" in text or all(0 < len(part) < 64 for part in text.split(".")))


def secret_of(path: Path) -> bytes:
    """Return the secret in a file, without the end of its line. Raises `Rejected` (CONFIG)."""
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{path}: {error.strerror}") from error


def trusting(authority: Path | None) -> ssl.SSLContext:
    """Return TLS that trusts the system's authorities, or those in a file. Raises `Rejected` (CONFIG)."""
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise Rejected(Reason.CONFIG, f"{authority}: no certificates of an authority: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_hook(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    alone = parts.username is None and not parts.fragment
    return parts.scheme == "https" and alone and port != 0 and is_host(parts.hostname or "")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts JSON. ``Exchange-Signature`` is the HMAC-SHA256 of ``Exchange-Timestamp``, a dot, and the body."""

    url: str
    secret: bytes
    context: ssl.SSLContext

    def __post_init__(self) -> None:
        """Raise `Rejected` (CONFIG) for what cannot be used."""
        if _VISIBLE.fullmatch(self.url) is None or not _is_hook(self.url):
            raise Rejected(Reason.CONFIG, "a webhook is an https address, without a user or a space in it")
        if len(self.secret) < _LEAST_SECRET_BYTES:
            raise Rejected(Reason.CONFIG, f"a webhook's secret has at least {_LEAST_SECRET_BYTES} bytes")

    @property
    def name(self) -> str:
        """See `Channel.name`."""
        # Not the whole address, which may hold a token.
        return f"webhook {urlsplit(self.url).hostname} {sha256(self.url.encode()).hexdigest()[:8]}"

    async def send(self, notice: Notice, *, now_s: int) -> Collection[str]:
        """See `Channel.send`."""
        body = json.dumps({"notice": notice.id, "community": notice.origin, **notice.counts}).encode()
        signature = hmac.digest(self.secret, b"%d." % now_s + body, sha256).hex()
        headers = {
            "Content-Type": "application/json",
            "Exchange-Timestamp": str(now_s),
            "Exchange-Signature": f"sha256={signature}",
        }
        parts = urlsplit(self.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPSConnection(
            str(parts.hostname), parts.port or 443, timeout=_STEP_S, context=self.context
        )

        def post() -> int:
            connection.request("POST", target, body, headers)
            return connection.getresponse().status

        try:
            status = await _in_time(post, lambda: _cut(connection.sock))
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the webhook cannot be reached: {error}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            sort = Declined if 400 <= status < 500 and status not in _PASSING else Unavailable
            raise sort(f"the webhook answered {status}")
        return ()


@dataclass(frozen=True, slots=True)
class Mail:
    """Sends e-mail through one server, over TLS from the start or by STARTTLS."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    context: ssl.SSLContext
    from_the_start: bool = False
    user: str = ""
    password: str = ""

    def __post_init__(self) -> None:
        """Raise `Rejected` (CONFIG) for what cannot be used."""
        for address in (self.sender, *self.recipients):
            if _ADDRESS.fullmatch(address) is None:
                raise Rejected(Reason.CONFIG, f"{address!r} is no address of a mailbox")
        if not (is_host(self.host) and 0 < self.port < 1 << 16):
            raise Rejected(Reason.CONFIG, "the mail server's name is none")
        if _VISIBLE.fullmatch(self.user) is None or not (self.password.isascii() and self.password.isprintable()):
            # Not what it holds: this is shown.
            raise Rejected(Reason.CONFIG, "the mail server's user and password must be printable ASCII")

    @property
    def name(self) -> str:
        """See `Channel.name`."""
        return f"mail {' '.join(sorted(self.recipients))}"

    async def send(self, notice: Notice, *, now_s: int) -> Collection[str]:
        """See `Channel.send`."""
        message = self._message(notice, now_s)
        opened: list[smtplib.SMTP] = []
        refused: dict[str, object] = {}

        def deliver() -> None:
            with self._connect(opened) as server:
                if not self.from_the_start:
                    server.starttls(context=self.context)
                if self.user:
                    server.login(self.user, self.password)
                # Raises where nobody takes it; where some do, it has arrived: again would be twice for those.
                refused.update(server.send_message(message))

        try:
            await _in_time(deliver, lambda: _cut(opened[0].sock if opened else None))
        except (OSError, smtplib.SMTPException) as error:
            sort = Declined if _is_final(error) else Unavailable
            raise sort(f"the mail server did not take it: {_why(error)}") from error
        return sorted(refused)

    def _connect(self, opened: list[smtplib.SMTP]) -> smtplib.SMTP:
        if self.from_the_start:
            return _SecureServer(opened, self.host, self.port, self.context)
        return _Server(opened, self.host, self.port)

    def _message(self, notice: Notice, now_s: int) -> EmailMessage:
        community = notice.origin.partition("/")[2]
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Subject"] = f"Referrals in {community}: {notice.words}"
        message["Date"] = formatdate(now_s)
        message["Message-ID"] = f"<{notice.id}@{self.sender.partition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(
            f"Referrals in {notice.origin}: {notice.words}.\n\n"
            f"See them with: exchange referrals list --open --community {community}\n\n"
            "This message holds nothing of what they say.\n"
        )
        return message


class _Server(smtplib.SMTP):
    """Told of before it is connected: what never ends to greet us can be cut too."""

    def __init__(self, opened: list[smtplib.SMTP], host: str, port: int) -> None:
        opened.append(self)
        super().__init__(host, port, timeout=_STEP_S)


class _SecureServer(smtplib.SMTP_SSL):
    """The same, over TLS from the start."""

    def __init__(self, opened: list[smtplib.SMTP], host: str, port: int, context: ssl.SSLContext) -> None:
        opened.append(self)
        super().__init__(host, port, timeout=_STEP_S, context=context)


def _why(error: Exception) -> str:
    """Return what is wrong, without what a server may have repeated of a name or password."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {error.smtp_code}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "of " + ", ".join(f"{who} it answered {code}" for who, (code, _) in sorted(error.recipients.items()))
    return str(error) or type(error).__name__


def _is_final(error: Exception) -> bool:
    """Whether a mail server's answer is one of the 500s: of all recipients, where it is about those."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= _FINAL for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= _FINAL


def _cut(connection: socket.socket | None) -> None:
    with suppress(OSError):
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)


async def _in_time(work: Callable[[], T], cut: Callable[[], None]) -> T:
    """Do something that blocks, beside the loop; past its deadline the connection is cut, which ends it."""
    loop = asyncio.get_running_loop()
    # A future, not a task: a loop that closes cancels tasks, and would think that the thread had ended.
    future = loop.run_in_executor(None, work)

    def cut_till_done() -> None:
        # Again and again: the connection may be one that is only just being made.
        if future.done():
            future.exception()  # Nobody waits for it any more: asked for, or the loop complains of it.
            return
        cut()
        loop.call_later(_CUT_AGAIN_S, cut_till_done)

    try:
        done, _ = await asyncio.wait({future}, timeout=_WHOLE_S)
        if not done:
            cut_till_done()
            done, _ = await asyncio.wait({future}, timeout=_STEP_S)
    except asyncio.CancelledError:
        # The thread would go on, and the process could not end before it.
        cut_till_done()
        raise
    if not done:
        raise Unavailable("it took too long")
    return future.result()
