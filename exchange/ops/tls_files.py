"""The three files that one side of mutual TLS is set up from: read whole, and checked before anything relies on them.

Somebody replaces these files while we run, one after the other, and a reader may come between. So what is read is
compared as bytes, and believed only when it fits together: the chain parses, the key is the certificate's own, and the
authorities are authorities. Hub and SDK check in the same way. What is wrong is a `ValueError` that names the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

#: What the library raises for a certificate or key that is not as it should be; a TypeError for one with a passphrase.
DAMAGED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
#: No chain that anybody uses is longer.
MAX_CHAIN = 8


@dataclass(frozen=True, slots=True)
class PEM:
    """The bytes of the three files."""

    certificate: bytes
    key: bytes
    authority: bytes


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold, checked."""

    pem: PEM
    #: Our own certificate and what came with it.
    chain: tuple[x509.Certificate, ...]
    authorities: tuple[x509.Certificate, ...]

    @property
    def not_before(self) -> datetime:
        """When our certificate begins."""
        return self.chain[0].not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """When our certificate ends."""
        return self.chain[0].not_valid_after_utc


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Where they lie: our certificate (with its intermediates), its key, and the authorities of the other side."""

    certificate: Path
    key: Path
    authority: Path

    def read(self) -> PEM:
        """Return the bytes as they are now. Raises `ValueError` when a file cannot be read."""
        return PEM(_bytes(self.certificate), _bytes(self.key), _bytes(self.authority))

    def check(self, pem: PEM) -> Material:
        """Return what the bytes hold. Raises `ValueError` unless all of it fits together."""
        chain = _certificates(self.certificate, pem.certificate)
        try:
            key = load_pem_private_key(pem.key, password=None)
        except DAMAGED as error:
            raise ValueError(f"{self.key}: holds no private key in PEM without a passphrase") from error
        if _public_bytes(key.public_key()) != _key_of(self.certificate, chain[0]):
            raise ValueError(f"{self.key}: is not the key of {self.certificate}")
        authorities = _certificates(self.authority, pem.authority)
        for number, authority in enumerate(authorities, 1):
            if not is_authority(authority):
                raise ValueError(f"{self.authority}: certificate {number} is not an authority's")
        return Material(pem, chain, authorities)

    def load(self) -> Material:
        """Read and check. Raises `ValueError`."""
        return self.check(self.read())


class FollowedFiles:
    """Files that somebody replaces: what they hold now, as far as it can be used."""

    def __init__(self, files: TLSFiles) -> None:
        """Read them. Raises `ValueError` when they cannot be used."""
        self._files = files
        #: The newest that could be used.
        self.material = files.load()
        #: What the last look has read.
        self._seen = self.material.pem

    def look(self) -> Material | None:
        """Return what is there, once two looks have seen the same; None until then.

        Raises `ValueError` when it cannot be used; `material` stays what it was.
        """
        pem = self._files.read()
        settled, self._seen = pem == self._seen, pem
        if pem == self.material.pem:
            return self.material
        if not settled:
            return None
        self.material = self._files.check(pem)
        return self.material


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *DAMAGED):
        return False


def trusted_until(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], at: datetime
) -> datetime | None:
    """Return until when the chain, leaf first, is surely in date; None where it leads to none of these authorities.

    A second look at a chain that a TLS handshake has accepted once: names, usages and constraints were judged there.
    Asked again is what can change afterwards: the set of authorities, and the time.
    """
    anchors = [authority for authority in authorities if _in_date(authority, at)]
    others = [other for other in chain[1:MAX_CHAIN] if _in_date(other, at) and is_authority(other)]
    ways = [(leaf, leaf.not_valid_after_utc) for leaf in chain[:1] if _in_date(leaf, at)]
    while ways:
        certificate, until = ways.pop()
        for anchor in anchors:
            if certificate == anchor or _issued(certificate, anchor):
                return min(until, anchor.not_valid_after_utc)
        issuers = [other for other in others if _issued(certificate, other)]
        # Each is gone through once, so that a chain of many that issue each other costs no more than its length.
        others = [other for other in others if other not in issuers]
        ways += [(issuer, min(until, issuer.not_valid_after_utc)) for issuer in issuers]
    return None


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *DAMAGED):
        return False
    return True


def _in_date(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or 'cannot be read'}") from error


def _certificates(path: Path, data: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except DAMAGED as error:
        raise ValueError(f"{path}: holds no PEM certificate, or a damaged one") from error


def _key_of(path: Path, certificate: x509.Certificate) -> bytes:
    try:
        return _public_bytes(certificate.public_key())
    except DAMAGED as error:
        raise ValueError(f"{path}: holds a key of no kind that we know") from error


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]
