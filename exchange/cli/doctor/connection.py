"""The way from a client to its hub, layer by layer: name, TCP, TLS, the hub's certificate, and whether it takes ours.

A gRPC client sees the same few words ("Socket closed") whatever of this is wrong. So nothing here uses gRPC: plain
sockets and Python's own TLS, first believing everything, then nothing. A hub that refuses a certificate hangs up
without an alert; that it does so is seen by its silence where its HTTP/2 settings should come. Where gRPC goes
through a proxy, this does.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from exchange.cli.doctor.finding import BAD, GOOD, Finding
from exchange.cli.doctor.proxy import Proxy, proxy_to
from exchange.config import split_address
from exchange.errors import ExchangeError
from exchange_client import ClientConfig

TIMEOUT_S = 5.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_CLOCK = "is this machine's clock right?"
_BROKE = (
    "it was there a moment ago: something in between hangs up, or the hub is just starting or stopping. Look again, "
    "and ask the operator if it stays so"
)
_EXPIRED, _EARLY = 10, 9


@dataclass(frozen=True, slots=True)
class _Way:
    """One address of the hub, and by which name it must be known."""

    settings: ClientConfig
    address: str
    host: str
    port: int
    proxy: Proxy | None

    @property
    def name(self) -> str:
        return self.settings.server_name or self.host


def look_at_address(settings: ClientConfig, address: str) -> Iterator[Finding]:
    """Walk the layers; the first one that does not hold is the last that is told."""
    try:
        host, port = split_address(address)
    except ExchangeError as error:
        yield Finding(f"address {address}", BAD, error.message, "`addresses` are of the form hub.example:7443")
        return
    way = _Way(settings, address, host, port, proxy_to(host, os.environ))
    for what, look in _LAYERS:
        found = _looked(f"{what} {address}", way, look)
        yield found
        if found.state == BAD:
            return


def _looked(what: str, way: _Way, look: Callable[[str, _Way], Finding]) -> Finding:
    """Look at a layer. Each makes connections of its own: what held a moment ago may break in any of them."""
    try:
        return look(what, way)
    except OSError as error:
        return Finding(what, BAD, f"the connection broke: {error}", _BROKE)
    except ValueError as error:
        return Finding(what, BAD, f"cannot be looked at: {error}", "are `addresses` and `server_name` names of hosts?")


def _connect(way: _Way) -> socket.socket:
    if way.proxy is not None:
        return way.proxy.tunnel(way.host, way.port, TIMEOUT_S)
    return socket.create_connection((way.host, way.port), TIMEOUT_S)


def _reach(what: str, way: _Way) -> Finding:
    if way.proxy is not None:
        return _reach_through(what, way, way.proxy)
    try:
        with _connect(way) as connection:
            return Finding(what, GOOD, f"reached {connection.getpeername()[0]}")
    except socket.gaierror as error:
        detail = f"the name {way.host!r} cannot be resolved: {error.strerror}"
        return Finding(what, BAD, detail, "check `addresses`, and DNS")
    except ConnectionRefusedError:
        return Finding(what, BAD, "nothing listens there", "is the hub running, and is this its `listen` port?")
    except TimeoutError:
        detail = f"no answer in {TIMEOUT_S:.0f} s"
        return Finding(what, BAD, detail, "a firewall, a wrong address, or a machine that is down")
    except OSError as error:
        return Finding(what, BAD, f"cannot be reached: {error.strerror}", "check the network and the address")


def _reach_through(what: str, way: _Way, proxy: Proxy) -> Finding:
    try:
        with _connect(way):
            return Finding(what, GOOD, f"reached through the proxy {proxy}")
    except OSError as error:
        detail = f"the proxy {proxy} does not lead there: {error}"
        return Finding(what, BAD, detail, f"have it connect to {way.address}, or name {way.host} in `no_proxy`")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _speak(what: str, way: _Way) -> Finding:
    """Make a handshake that believes everything: is this TLS 1.3, and gRPC behind it? Returns what it found."""
    try:
        with _connect(way) as raw, _context().wrap_socket(raw, server_hostname=way.name) as connection:
            version, protocol = connection.version(), connection.selected_alpn_protocol()
    except OSError as error:
        why = getattr(error, "reason", None) or str(error) or "hung up"
        return Finding(
            what,
            BAD,
            f"what listens there does not speak TLS as a hub does ({why})",
            "another program, a plain port of the hub (health, metrics, tiles), or a proxy that ends TLS",
        )
    if version != "TLSv1.3":
        return Finding(
            what,
            BAD,
            f"{version} was agreed on; a hub takes TLS 1.3 only",
            "what is in between (a proxy, a load balancer) must pass TLS through, or this is not a hub",
        )
    if protocol != "h2":
        return Finding(
            what, BAD, "no HTTP/2 behind it: this is not a hub", "check `addresses`; proxies must pass TLS through"
        )
    return Finding(what, GOOD, f"{version}, HTTP/2")


def _believe(what: str, way: _Way) -> Finding:
    """Make some that believe nothing: is this our hub's certificate, for this name, in date? Returns what it found."""
    shown = _shown(way)
    context = _context()
    context.load_verify_locations(way.settings.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    for check_name in (False, True):
        context.check_hostname = check_name
        try:
            with _connect(way) as raw, context.wrap_socket(raw, server_hostname=way.name):
                pass
        except ssl.SSLCertVerificationError as error:
            return _unbelievable(what, way, shown, error, of_the_name=check_name)
    left = (shown.not_valid_after_utc - datetime.now(UTC)).days
    return Finding(what, GOOD, f"for {_names(shown)}, by {shown.issuer.rfc4514_string()}, {left} days left")


def _shown(way: _Way) -> x509.Certificate:
    with _connect(way) as raw, _context().wrap_socket(raw, server_hostname=way.name) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def _unbelievable(
    what: str, way: _Way, shown: x509.Certificate, error: ssl.SSLCertVerificationError, *, of_the_name: bool
) -> Finding:
    begin, end = shown.not_valid_before_utc, shown.not_valid_after_utc
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC here"
    if of_the_name:
        return Finding(
            what,
            BAD,
            f"it is not for {way.name!r}, but for {_names(shown)}",
            "use one of these names in `addresses`, or say it in `server_name`",
        )
    if error.verify_code == _EXPIRED:
        return Finding(
            what,
            BAD,
            f"has expired: a part of it ended by {end:%Y-%m-%d %H:%M} UTC; it is {now}",
            f"{_CLOCK} Else tell the operator",
        )
    if error.verify_code == _EARLY:
        return Finding(
            what,
            BAD,
            f"is not valid before {begin:%Y-%m-%d %H:%M} UTC; it is {now}",
            f"{_CLOCK} Else tell the operator",
        )
    return Finding(
        what,
        BAD,
        f"it comes from another authority: {shown.issuer.rfc4514_string()} ({error.verify_message})",
        f"is this the right hub? Then get its authority's certificate from the operator, for {way.settings.authority}",
    )


def _names(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no name at all"
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return ", ".join(found) or "no host"


def _be_taken(what: str, way: _Way) -> Finding:
    """Make one with our certificate: does the hub go on? Returns what it found."""
    context = _context()
    context.load_cert_chain(way.settings.certificate, way.settings.key)
    try:
        with _connect(way) as raw, context.wrap_socket(raw, server_hostname=way.name) as connection:
            connection.sendall(_PREFACE)
            taken = bool(connection.recv(1))
    except OSError:
        taken = False
    if taken:
        return Finding(what, GOOD, "the hub takes it")
    own = x509.load_pem_x509_certificate(way.settings.certificate.read_bytes())
    return Finding(
        what,
        BAD,
        f"the hub hangs up on it. It comes from {own.issuer.rfc4514_string()}",
        "if nothing above is wrong with it: the hub does not trust that authority, misses an intermediate that "
        "belongs into `certificate`, sees another time, or is closed because it cannot read its own TLS files. Ask "
        "the operator",
    )


#: From the outermost on: each rests on those before it.
_LAYERS: Sequence[tuple[str, Callable[[str, _Way], Finding]]] = (
    ("address", _reach),
    ("TLS of", _speak),
    ("hub's certificate at", _believe),
    ("our certificate at", _be_taken),
)
