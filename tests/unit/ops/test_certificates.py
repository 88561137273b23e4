"""The development authority: what it issues works in a real handshake, and nothing is ever overwritten."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from exchange.ops.certificates import (
    Files,
    authority_files,
    create_authority,
    issue,
    issued_files,
    read_certificate,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_authority(tmp_path / "pki", "exchange.example")
    return tmp_path / "pki"


def _context(purpose: int, own: Files | None, authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(authority)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    if purpose == ssl.PROTOCOL_TLS_SERVER:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    assert not waiting
    return ends


def test_client_and_server_certificates_make_a_handshake(folder: Path) -> None:
    authority = authority_files(folder).certificate
    server = issue(folder, "hub", "operator", kind="server", hosts=["localhost", "127.0.0.1", "::1"])
    client = issue(folder, "acme", "pipeline")
    for host in ("localhost", "127.0.0.1"):
        _, seen = _handshake(
            _context(ssl.PROTOCOL_TLS_SERVER, server, authority),
            _context(ssl.PROTOCOL_TLS_CLIENT, client, authority),
            host,
        )
        certificate = seen.getpeercert()
        assert certificate is not None
        assert ("URI", "spiffe://exchange.example/member/acme/pipeline") in certificate["subjectAltName"]


def test_a_client_certificate_cannot_serve(folder: Path) -> None:
    authority = authority_files(folder).certificate
    client = issue(folder, "acme", "pipeline", hosts=["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        _handshake(
            _context(ssl.PROTOCOL_TLS_SERVER, client, authority),
            _context(ssl.PROTOCOL_TLS_CLIENT, client, authority),
            "localhost",
        )


def test_another_authority_is_not_believed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    create_authority(other, "exchange.example")
    server = issue(folder, "hub", "operator", kind="server", hosts=["localhost"])
    stranger = issue(other, "acme", "pipeline")
    with pytest.raises(ssl.SSLError):
        _handshake(
            _context(ssl.PROTOCOL_TLS_SERVER, server, authority_files(folder).certificate),
            _context(ssl.PROTOCOL_TLS_CLIENT, stranger, authority_files(other).certificate),
            "localhost",
        )


def test_profile_of_what_is_issued(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    root = x509.load_pem_x509_certificate(
        create_authority(folder, "exchange.example", now=NOW).certificate.read_bytes()
    )
    client = x509.load_pem_x509_certificate(issue(folder, "acme", "liaison", now=NOW).certificate.read_bytes())
    client.verify_directly_issued_by(root)
    assert root.not_valid_after_utc - root.not_valid_before_utc == timedelta(days=365)
    assert client.not_valid_after_utc - client.not_valid_before_utc == timedelta(days=30)
    assert client.not_valid_before_utc < NOW
    usage = client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not client.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    key = client.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_files_are_for_the_owner_only(folder: Path) -> None:
    files = issue(folder, "acme", "pipeline")
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in (*_both(files), *_both(authority_files(folder))):
        assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(folder: Path) -> None:
    files = issue(folder, "acme", "pipeline")
    before = [path.read_bytes() for path in (*_both(files), *_both(authority_files(folder)))]
    with pytest.raises(FileExistsError, match=r"acme-pipeline.pem: exists already"):
        issue(folder, "acme", "pipeline")
    with pytest.raises(FileExistsError, match=r"ca.pem: exists already"):
        create_authority(folder, "exchange.example")
    assert before == [path.read_bytes() for path in (*_both(files), *_both(authority_files(folder)))]


def test_half_a_pair_is_not_completed(folder: Path) -> None:
    issued_files(folder, "acme", "pipeline").key.write_text("mine")
    with pytest.raises(FileExistsError):
        issue(folder, "acme", "pipeline")
    assert not issued_files(folder, "acme", "pipeline").certificate.exists()


def test_an_open_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(ValueError, match="mode 755"):
        create_authority(folder, "exchange.example")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"member": "Acme"}, "member"),
        ({"member": "acme/evil"}, "member"),
        ({"role": "pipe line"}, "role"),
        ({"kind": "both"}, "kind"),
        ({"kind": "server"}, "hosts"),
        ({"hosts": ["not a host"]}, "hosts"),
        ({"days": 0}, "days"),
        ({"days": 400}, "the authority itself ends"),
    ],
)
def test_bad_input_is_named(folder: Path, arguments: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"member": "acme", "role": "pipeline"}
    with pytest.raises(ValueError, match=message):
        issue(folder, **{**good, **arguments})  # type: ignore[arg-type]


def test_issuing_needs_an_authority_and_its_key(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no authority"):
        issue(tmp_path, "acme", "pipeline")
    other = create_authority(tmp_path / "other", "exchange.example")
    authority_files(folder).key.write_bytes(other.key.read_bytes())
    with pytest.raises(ValueError, match="is not the key of"):
        issue(folder, "acme", "pipeline")


def test_summary_of_a_certificate(folder: Path) -> None:
    server = read_certificate(issue(folder, "hub", "operator", kind="server", hosts=["hub.example", "::1"]).certificate)
    assert server.hosts == ("hub.example", "::1")
    assert server.uri == ""
    client = read_certificate(issue(folder, "acme", "pipeline").certificate)
    assert client.uri == "spiffe://exchange.example/member/acme/pipeline"
    assert client.issuer == "CN=Development authority of exchange.example"
    assert client.not_before < datetime.now(UTC) < client.not_after


def test_a_key_is_no_certificate(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        read_certificate(authority_files(folder).key)


def _both(files: Files) -> tuple[Path, Path]:
    return files.certificate, files.key
