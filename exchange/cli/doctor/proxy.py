"""The HTTP proxy that gRPC takes to a hub, and the way through it.

gRPC reads the environment by rules of its own, which other programs only resemble: lower case alone, a proxy for
localhost too, names of hosts by their ends (gRPC core, ``http_proxy_mapper.cc``). What is inside the tunnel is the same
TLS from end to end.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, InvalidURL
from urllib.parse import unquote, urlsplit

#: In this order: the first that is there counts, even where it is empty.
_NAMES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
#: Where a proxy's URL names none: not that of `http`, as other programs take it.
_PORT = 443


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the environment."""

    host: str
    port: int
    #: The variable that names it.
    variable: str
    #: User and password, as they are sent.
    credentials: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (`{self.variable}`)"

    def tunnel(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Return a connection to a host through this proxy. Raises OSError, where the proxy refuses too."""
        # An IPv6 address in brackets (RFC 9112 3.2): no Python puts them there by itself in both places.
        bracketed = f"[{host}]" if ":" in host else host
        headers = {"Host": f"{bracketed}:{port}"}
        if self.credentials:
            headers["Proxy-Authorization"] = self.credentials
        try:
            connection = HTTPConnection(self.host, self.port, timeout=timeout_s)
        except InvalidURL as error:
            raise OSError(f"its name can be no host's: {error}") from error
        connection.set_tunnel(bracketed, port, headers)
        try:
            connection.connect()
        except (OSError, HTTPException) as error:
            connection.close()
            if isinstance(error, OSError):
                raise
            raise OSError(f"what listens there answers as no proxy does: {error!r}") from error
        return connection.sock


def proxy_to(host: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that gRPC takes to a host; None where it goes directly, as where the URL is of no use to it."""
    variable = next((name for name in _NAMES if name in environment), "")
    exceptions = next((environment[name] for name in _EXCEPTIONS if name in environment), "")
    try:
        url = urlsplit(environment.get(variable, ""))
        port = url.port or _PORT
    except ValueError:
        return None
    if url.scheme != "http" or not url.hostname or _excepted(host, exceptions):
        return None
    login = unquote(url.netloc.rpartition("@")[0])
    credentials = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
    return Proxy(url.hostname, port, variable, credentials)


def _excepted(host: str, exceptions: str) -> bool:
    entries = [entry.strip().lower() for entry in exceptions.split(",") if entry]
    return any(host.lower().endswith(entry) or _within(host, entry) for entry in entries)


def _within(host: str, network: str) -> bool:
    with suppress(ValueError):
        return "/" in network and ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    return False
