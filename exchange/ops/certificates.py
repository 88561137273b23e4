"""A development authority for mTLS, and a reader for any certificate.

Who a peer is stands in one place: the URI ``spiffe://<domain>/member/<member>/<role>`` among a client certificate's
alternative names. The common name is for people. A server certificate names hosts instead. The authority's key lies
unencrypted beside its certificate: good for a laptop and for tests, **not for production**, which brings its own.

Nothing is ever overwritten: a key that is in use must not vanish. Bad input is a `ValueError`, an existing file a
`FileExistsError`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exchange.ops.tls_files import DAMAGED

AUTHORITY_DAYS = 365
LEAF_DAYS = 30
#: Certificates begin a little in the past, for machines whose clocks disagree.
BACKDATED = timedelta(minutes=5)

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_ROLE = re.compile(r"[a-z][a-z_]{0,30}")

Kind = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class Files:
    """Where a certificate and its private key lie, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class CertificateSummary:
    """What a person or ``doctor`` wants to know about a certificate."""

    #: The SPIFFE URI, or the empty string.
    uri: str
    #: Host names and addresses.
    hosts: tuple[str, ...]
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


def authority_files(folder: Path) -> Files:
    """Return where an authority lies in its folder."""
    return Files(folder / "ca.pem", folder / "ca-key.pem")


def issued_files(folder: Path, member: str, role: str, kind: Kind = "client") -> Files:
    """Return where `issue` puts a certificate."""
    stem = f"{member}-{role}" if kind == "client" else f"{member}-{role}-server"
    return Files(folder / f"{stem}.pem", folder / f"{stem}-key.pem")


def create_authority(folder: Path, domain: str, *, days: int = AUTHORITY_DAYS, now: datetime | None = None) -> Files:
    """Make a certificate authority for a SPIFFE trust domain. The folder is made, or must be private already."""
    _check_name(domain, "domain")
    _check_days(days)
    begin = _begin(now)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Development authority of {domain}"[:64])])
    certificate = (
        _builder(name, key.public_key(), begin, days)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")]), critical=False
        )
        .sign(key, SHA256())
    )
    _make_private_folder(folder)
    files = authority_files(folder)
    _write_pair(files, certificate, key)
    return files


def issue(
    folder: Path,
    member: str,
    role: str,
    *,
    kind: Kind = "client",
    hosts: Sequence[str] = (),
    days: int = LEAF_DAYS,
    now: datetime | None = None,
) -> Files:
    """Issue a certificate with the authority in the folder; a server's needs the names or addresses it answers to."""
    _check_request(member, role, kind, hosts)
    _check_days(days)
    authority, authority_key = _load_authority(folder)
    begin = _begin(now)
    if begin + timedelta(days=days) > authority.not_valid_after_utc:
        raise ValueError(f"days: the authority itself ends on {authority.not_valid_after_utc:%Y-%m-%d}")
    names = [_general_name(host) for host in hosts]
    if kind == "client":
        names.insert(0, x509.UniformResourceIdentifier(f"{_uri(authority)}/member/{member}/{role}"))
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if kind == "client" else ExtendedKeyUsageOID.SERVER_AUTH
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{member} {role}"[:64])])
    certificate = (
        _builder(subject, key.public_key(), begin, days)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, SHA256())
    )
    files = issued_files(folder, member, role, kind)
    _write_pair(files, certificate, key)
    return files


def read_certificate(path: Path) -> CertificateSummary:
    """Return the summary of the first certificate in a PEM file."""
    data = path.read_bytes()
    try:
        return _summary(x509.load_pem_x509_certificate(data))
    except DAMAGED as error:
        raise ValueError(f"{path}: holds no PEM certificate, or a damaged one") from error


def _summary(certificate: x509.Certificate) -> CertificateSummary:
    names = _alternative_names(certificate)
    hosts = names.get_values_for_type(x509.DNSName) if names else []
    addresses = names.get_values_for_type(x509.IPAddress) if names else []
    return CertificateSummary(
        uri=_uri(certificate),
        hosts=(*hosts, *(str(address) for address in addresses)),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _check_request(member: str, role: str, kind: str, hosts: Sequence[str]) -> None:
    _check_name(member, "member")
    if not _ROLE.fullmatch(role):
        raise ValueError(f"role: {role!r} is not a role: lower-case letters")
    if kind not in {"client", "server"}:
        raise ValueError(f"kind: {kind!r} is neither client nor server")
    if kind == "server" and not hosts:
        raise ValueError("hosts: a server certificate needs at least one host name or address")


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what}: {name!r} is not a name: up to 63 of a-z, 0-9, dot and dash, no dot or dash first")


def _check_days(days: int) -> None:
    if days < 1:
        raise ValueError(f"days: {days} is not a lifetime")


def _begin(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)) - BACKDATED


def _builder(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey, begin: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        _check_name(host, "hosts")
        return x509.DNSName(host)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _uri(certificate: x509.Certificate) -> str:
    names = _alternative_names(certificate)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    return next((uri for uri in uris if uri.startswith("spiffe://")), "")


def _load_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    files = authority_files(folder)
    if not files.certificate.exists() or not files.key.exists():
        raise ValueError(f"{folder}: holds no authority; make one first")
    pems = files.certificate.read_bytes(), files.key.read_bytes()
    try:
        certificate, key = x509.load_pem_x509_certificate(pems[0]), load_pem_private_key(pems[1], password=None)
        same, uri = key.public_key() == certificate.public_key(), _uri(certificate)
    except DAMAGED as error:
        raise ValueError(f"{folder}: its certificate or its key is damaged, or not of a kind that we make") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not same:
        raise ValueError(f"{files.key}: is not the key of {files.certificate}")
    if not uri:
        raise ValueError(f"{files.certificate}: names no SPIFFE trust domain")
    return certificate, key


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        raise ValueError(f"{folder}: is open to others (mode {mode:o}); chmod it to 700, or name a new folder")


def _write_pair(files: Files, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Write both files or neither, for the owner only."""
    for path in (files.certificate, files.key):
        if path.exists():
            raise FileExistsError(f"{path}: exists already; nothing is overwritten")
    _write_private(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        _write_private(files.certificate, certificate.public_bytes(Encoding.PEM))
    except OSError:
        files.key.unlink()
        raise


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
