"""The hub's side of mutual TLS: what it shows, whom it trusts now, and that it trusts nobody when it cannot tell.

The files are replaced while the hub runs. Twice a second they are read and compared; what has changed, and was the
same at two looks, is checked whole and taken up by the next handshake. A set that cannot be used is given a few
seconds, for whoever is writing it; then the hub is closed: handshakes meet an authority that has issued nothing, calls
are refused and live streams cut, until the files are good again. grpcio keeps a connection whatever becomes of its
certificate or authority, so every call's peer is judged against the present authorities and the present time.
([why](docs/adr/0008-a-reload-that-fails-closes-the-hub.md))
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from exchange.api.handover import unfinished_handshake
from exchange.errors import Fatal, Reason, Unauthenticated, Unavailable
from exchange.ops.tls_files import DAMAGED, FollowedFiles, Material, TLSFiles, trusted_until

LOOK_EVERY_S = 0.5
#: How long a set of files may be unusable: whoever replaces three files needs a moment between them.
GRACE_S = 5.0
#: Verdicts remembered at once; beyond it all are judged anew.
MAX_VERDICTS = 4_096

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Peer:
    """What a connection's other side has shown: its certificate, and what it sent along. PEM."""

    certificate: bytes
    others: bytes

    @classmethod
    def of(cls, auth: Mapping[str, Iterable[bytes]]) -> Peer:
        """Return the peer of a call, from gRPC's auth context."""
        certificate, others = auth.get("x509_pem_cert", ()), auth.get("x509_pem_cert_chain", ())
        return cls(b"".join(certificate), b"".join(others))


class Trust:
    """The files in force. Used from one event loop; handshakes read what `look` has left for them."""

    def __init__(self, files: TLSFiles, wall_s: Callable[[], float], monotonic_s: Callable[[], float]) -> None:
        """Read the files. Raises `Fatal` (CONFIG) when they cannot be used."""
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        try:
            self._files = FollowedFiles(files)
        except ValueError as error:
            raise Fatal(
                str(error), reason=Reason.CONFIG, hint="`exchange doctor --config` looks at all three"
            ) from error
        #: What is in force.
        self._material = self._files.material
        #: Unix seconds until which a peer may stay, for peers that were judged by the present authorities.
        self._until: dict[Peer, float] = {}
        self._failing_since_s: float | None = None
        #: Why the files cannot be used; empty while they can.
        self.failure = ""
        #: Whether everybody is refused for that.
        self.closed = False
        self._offer = self._given = self._configuration(self._material.pem.authority)
        #: For the next handshake to take, on a thread of gRPC's; never more than one.
        self._pending: deque[grpc.ServerCertificateConfiguration] = deque()

    @property
    def material(self) -> Material:
        """The newest files that could be used."""
        return self._material

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that demand a client certificate, and change at `hand_over`."""

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            # Each change goes to one handshake. None keeps what is in use.
            try:
                return self._pending.pop()
            except IndexError:
                return None

        return grpc.dynamic_ssl_server_credentials(self._offer, fetch, require_client_authentication=True)  # type: ignore[arg-type]

    async def hand_over(self, host: str, port: int) -> None:
        """Let the handshakes of a port, ours, have what `look` has changed."""
        offer = self._offer
        if offer is self._given:
            return
        self._given = offer
        async with AsyncExitStack() as held:
            try:
                await held.enter_async_context(unfinished_handshake(host, port))
            except OSError as error:
                _log.warning("tls_change_unguarded", reason=str(error))
            self._give(offer)
            with suppress(OSError):
                await held.enter_async_context(unfinished_handshake(host, port))
            # Whoever was making a handshake when the change came is done with it by far.
            await asyncio.sleep(LOOK_EVERY_S)

    def _give(self, offer: grpc.ServerCertificateConfiguration) -> None:
        self._pending.clear()
        self._pending.append(offer)

    def look(self) -> None:
        """Take up what has changed in the files. Call every `LOOK_EVERY_S`."""
        try:
            material = self._files.look()
            if material is not None:
                self._take_up(material)
        except ValueError as error:
            self._fail(str(error))

    def _take_up(self, material: Material) -> None:
        changed = material is not self._material
        self._material, self._failing_since_s, self.failure = material, None, ""
        if changed or self.closed:
            self.closed = False
            self._until.clear()
            self._offer = self._configuration(material.pem.authority)
            _log.info("tls_reloaded", authorities=len(material.authorities), not_after=material.not_after.isoformat())

    def _fail(self, why: str) -> None:
        now = self._monotonic_s()
        if self._failing_since_s is None:
            self._failing_since_s = now
        if why != self.failure:
            self.failure = why
            _log.warning("tls_reload_failed", reason=why, grace_seconds=GRACE_S)
        if not self.closed and now - self._failing_since_s >= GRACE_S:
            self.closed = True
            self._offer = self._configuration(_nobodys_authority())
            _log.error("tls_closed", reason=why)

    def _configuration(self, authority: bytes) -> grpc.ServerCertificateConfiguration:
        pair = (self._material.pem.key, self._material.pem.certificate)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

    def check(self, peer: Peer) -> None:
        """Return if a peer that was let in once may still be here.

        Raises `Unavailable` while the hub is closed, and `Unauthenticated` for one that has expired or whose authority
        is trusted no more.
        """
        if self.closed:
            raise Unavailable(
                "this hub cannot read whom to trust, and serves nobody until it can", retry_after_ms=5_000
            )
        now = self._wall_s()
        if self._until.get(peer, 0.0) < now and self._judge(peer, now) < now:
            raise Unauthenticated(
                "the client certificate of this connection has expired, or its authority is trusted no more",
                hint="connect anew with a certificate that is in force; the old connection is of no use",
            )

    def _judge(self, peer: Peer, now: float) -> float:
        if len(self._until) >= MAX_VERDICTS:
            self._until.clear()
        try:
            chain = x509.load_pem_x509_certificates(peer.certificate + peer.others)
        except DAMAGED:
            return 0.0
        end = trusted_until(chain, self._material.authorities, datetime.fromtimestamp(now, UTC))
        if end is None:
            return 0.0
        self._until[peer] = end.timestamp()
        return self._until[peer]


def _nobodys_authority() -> bytes:
    """Return an authority that has issued nothing and cannot: its key is gone when this returns."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
