"""How a notice goes out: to a webhook over HTTPS, signed, and as e-mail over TLS. Neither sends anything in clear.

A failure is `Unavailable`: the notice is kept, and sent again. Everything has a deadline.
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
from collections.abc import Callable
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

#: For each step of a conversation, and for the whole of it.
_STEP_S, _WHOLE_S = 10.0, 30.0
_LEAST_SECRET_BYTES = 16
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)


class Channel(Protocol):
    """Where notices go."""

    @property
    def name(self) -> str:
        """What it is remembered as."""
        ...

    async def send(self, notice: Notice, *, now_s: int) -> None:
        """Send a notice. Raises `Unavailable` where it has not arrived, or nobody can tell."""
        ...


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


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts JSON. ``Exchange-Signature`` is the HMAC-SHA256 of ``Exchange-Timestamp``, a dot, and the body."""

    url: str
    secret: bytes
    context: ssl.SSLContext

    def __post_init__(self) -> None:
        """Raise `Rejected` (CONFIG) for what cannot be used."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.fragment:
            raise Rejected(Reason.CONFIG, "a webhook is an https address, without a user in it")
        if len(self.secret) < _LEAST_SECRET_BYTES:
            raise Rejected(Reason.CONFIG, f"a webhook's secret has at least {_LEAST_SECRET_BYTES} bytes")

    @property
    def name(self) -> str:
        """See `Channel.name`."""
        # Not the whole address, which may hold a token.
        return f"webhook {urlsplit(self.url).hostname} {sha256(self.url.encode()).hexdigest()[:8]}"

    async def send(self, notice: Notice, *, now_s: int) -> None:
        """See `Channel.send`."""
        counts = {"new": notice.new, "asked": notice.asked, "overdue": notice.overdue}
        body = json.dumps({"notice": notice.id, "community": notice.origin, **counts}).encode()
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
            raise Unavailable(f"the webhook answered {status}")


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

    @property
    def name(self) -> str:
        """See `Channel.name`."""
        return f"mail {' '.join(sorted(self.recipients))}"

    async def send(self, notice: Notice, *, now_s: int) -> None:
        """See `Channel.send`."""
        message = self._message(notice, now_s)
        opened: list[smtplib.SMTP] = []

        def deliver() -> None:
            server = self._connect()
            opened.append(server)
            with server:
                if not self.from_the_start:
                    server.starttls(context=self.context)
                if self.user:
                    server.login(self.user, self.password)
                # Raises where nobody takes it; where some do, it has arrived: again would be twice for those.
                server.send_message(message)

        try:
            await _in_time(deliver, lambda: _cut(opened[0].sock if opened else None))
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(f"the mail server did not take it: {_why(error)}") from error

    def _connect(self) -> smtplib.SMTP:
        if self.from_the_start:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=_STEP_S, context=self.context)
        return smtplib.SMTP(self.host, self.port, timeout=_STEP_S)

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


def _why(error: Exception) -> str:
    """Return what is wrong, without what a server may have repeated of a name or password."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {error.smtp_code}"
    return str(error) or type(error).__name__


def _cut(connection: socket.socket | None) -> None:
    with suppress(OSError):
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)


async def _in_time(work: Callable[[], T], cut: Callable[[], None]) -> T:
    """Do something that blocks, beside the loop; past its deadline the connection is cut, which ends it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    done, _ = await asyncio.wait({task}, timeout=_WHOLE_S)
    if not done:
        cut()
        done, _ = await asyncio.wait({task}, timeout=_STEP_S)
    if not done:
        raise Unavailable("it took too long")
    return task.result()
