"""Client certificates that no honest authority would issue, or that another one did."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from exchange.ops.certificates import Files, authority_files


def forge(
    pki: Path,
    uris: Sequence[str],
    *,
    common_name: str = "forged",
    usage: ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    begin: timedelta = timedelta(minutes=-5),
    end: timedelta = timedelta(days=1),
) -> Files:
    """Issue a certificate for these URIs with the authority's key, whatever they are."""
    authority = authority_files(pki)
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    signer = load_pem_private_key(authority.key.read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names = names or [x509.DNSName("client.example")]
    certificate = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(signer, SHA256())
    stem = f"forged-{secrets.token_hex(8)}"
    files = Files(pki / f"{stem}.pem", pki / f"{stem}-key.pem")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
