"""Certificates and keys as they lie on disk: whether they fit together, are in date, and private."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from exchange.cli.doctor.finding import BAD, GOOD, WARN, Finding
from exchange.ops.certificates import read_certificate
from exchange.ops.tls_files import Material, TLSFiles
from exchange_client.identity import RENEW_AFTER

_USAGES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "clients (clientAuth)",
    ExtendedKeyUsageOID.SERVER_AUTH: "servers (serverAuth)",
}


def look_at_files(whose: str, files: TLSFiles, usage: ObjectIdentifier) -> Iterator[Finding]:
    """Look at one side's three files; the certificate must be made for a usage."""
    what = f"{whose} certificate"
    try:
        material = files.load()
    except ValueError as error:
        yield Finding(what, BAD, str(error), "certificate, key and authority are PEM files that belong together")
        return
    yield _dates(what, files.certificate, material)
    certificate = material.chain[0]
    if not _made_for(certificate, usage):
        yield Finding(what, BAD, f"is not made for {_USAGES[usage]}", "have one issued with that extended key usage")
    yield from look_at_mode(f"{whose} key", files.key)
    yield from _authorities(files.authority, material)


def look_at_mode(what: str, path: Path) -> Iterator[Finding]:
    """Say whether others on this machine may read a key."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            what, WARN, f"{path} may be read by others on this machine (mode {mode & 0o777:o})", f"chmod 600 {path}"
        )


def _dates(what: str, path: Path, material: Material) -> Finding:
    now = datetime.now(UTC)
    begin, end = material.not_before, material.not_after
    summary = read_certificate(path)
    who = ", ".join(summary.hosts) or summary.uri or summary.subject
    clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC: is it right? If so, "
    if now > end:
        return Finding(
            what,
            BAD,
            f"{who}: has expired on {end:%Y-%m-%d %H:%M} UTC",
            f"{clock}replace it; it is taken up while running",
        )
    if now < begin:
        return Finding(
            what, BAD, f"{who}: is not valid before {begin:%Y-%m-%d %H:%M} UTC", f"{clock}wait, or replace it"
        )
    left = end - now
    detail = f"{who}, {left.days} days left" if left.days else f"{who}, {left.seconds // 3600} hours left"
    if now >= begin + (end - begin) * RENEW_AFTER:
        return Finding(what, WARN, detail, "two thirds of its life are over: renew it, or see why that does not happen")
    return Finding(what, GOOD, detail)


def _made_for(certificate: x509.Certificate, usage: ObjectIdentifier) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _authorities(path: Path, material: Material) -> Iterator[Finding]:
    now = datetime.now(UTC)
    names = [
        f"{each.subject.rfc4514_string()} until {each.not_valid_after_utc:%Y-%m-%d}" for each in material.authorities
    ]
    expired = [each for each in material.authorities if each.not_valid_after_utc < now]
    if len(expired) == len(material.authorities):
        yield Finding("authority", BAD, f"{path}: has expired: {'; '.join(names)}", "put the present authority there")
    elif expired:
        yield Finding("authority", WARN, f"{path}: one of several has expired: {'; '.join(names)}", "take it out")
    else:
        yield Finding("authority", GOOD, "; ".join(names))
