"""What a client's own machine can tell: its files and keys, the way to the hub, and how the hub knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from exchange.cli.connect import as_client
from exchange.cli.doctor.connection import look_at_address
from exchange.cli.doctor.files import look_at_files, look_at_mode
from exchange.cli.doctor.finding import BAD, GOOD, WARN, Finding, guarded
from exchange.cli.key import age_days, standing
from exchange.domain.directory import Directory
from exchange.errors import Denied, ExchangeError, Unauthenticated, Unavailable
from exchange.ops.clocks import wall_ms
from exchange.ops.tls_files import TLSFiles
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.identity import spiffe_uri

SKEW_MS = 2_000
#: More than this, and the hub refuses what we sign.
MAX_SKEW_MS = 300_000


def look_from_client(settings: ClientConfig) -> Iterator[Finding]:
    """Look at everything, as far as one thing rests on another."""
    files = TLSFiles(settings.certificate, settings.key, settings.authority)
    found = list(look_at_files("our", files, ExtendedKeyUsageOID.CLIENT_AUTH))
    yield from found
    if found[0].state == BAD and len(found) == 1:
        return
    yield _identity(settings)
    keys = list(_signing_keys(settings))
    yield from keys
    reached: list[str] = []
    for address in settings.addresses:
        layers = list(look_at_address(settings, address))
        yield from layers
        if layers[-1].state != BAD:
            reached.append(address)
    if reached and not any(key.state == BAD for key in keys):
        yield from _hub(replace(settings, addresses=tuple(reached)))


def _identity(settings: ClientConfig) -> Finding:
    what = "our identity"
    uri = spiffe_uri(x509.load_pem_x509_certificate(settings.certificate.read_bytes()))
    wanted = f"spiffe://{settings.exchange}/member/{settings.member}/{settings.role}"
    if uri == wanted:
        return Finding(what, GOOD, uri)
    if uri.endswith(f"/member/{settings.member}/{settings.role}"):
        return Finding(
            what, WARN, uri, f"right if the hub's `trust_domain` is not {settings.exchange}, but that of the URI"
        )
    return Finding(
        what,
        BAD,
        f"the certificate names {uri or 'no SPIFFE URI'}, the client file says {wanted}",
        "have a certificate issued with this one URI among its alternative names, or correct `member` and `role`",
    )


def _signing_keys(settings: ClientConfig) -> Iterator[Finding]:
    what = "signing key"
    try:
        settings.load_signing_key()
        days = age_days(settings.signing_key)
    except ExchangeError as error:
        yield Finding(what, BAD, error.message, "`signing_key` must name the file that the key was made in")
        return
    yield from look_at_mode(what, settings.signing_key)
    if days >= settings.signing_key_days and not settings.next_signing_key.exists():
        yield Finding(what, WARN, f"{days} days old", "make the next one: exchange key next")
    else:
        yield Finding(what, GOOD, f"{days} days old")


def _hub(settings: ClientConfig) -> Iterator[Finding]:
    finding = guarded("hub", lambda: _hello(settings))
    yield finding
    if finding.state == BAD:
        return
    try:
        directory = as_client(settings, _read_directory)
    except ExchangeError as error:
        yield Finding("directory", BAD, error.message, error.hint)
        return
    yield Finding("directory", GOOD, f"verified from the pinned genesis, {directory.size} entries")
    yield from _registered(settings, directory)


async def _read_directory(client: ExchangeClient, _: ClientConfig) -> Directory:
    return await client.directory()


def _hello(settings: ClientConfig) -> Finding:
    async def job(client: ExchangeClient, _: ClientConfig) -> Finding:
        before = wall_ms()
        me = await client.who_am_i()
        after = wall_ms()
        skew = me.hub_time_ms - (before + after) // 2
        detail = f"reached as {me.member}/{me.role} in {after - before} ms, clock differs by {skew} ms"
        if me.suspended:
            return Finding("hub", BAD, f"{detail}; this member is suspended", "it gets leaves only; ask the operator")
        if abs(skew) > MAX_SKEW_MS:
            return Finding(
                "hub", BAD, detail, "the hub refuses what is signed more than five minutes off: set the clock"
            )
        if abs(skew) > SKEW_MS:
            return Finding("hub", WARN, detail, "set the clock, or have it kept by NTP")
        return Finding("hub", GOOD, detail)

    try:
        return as_client(settings, job)
    except Denied as error:
        return Finding(
            "hub",
            BAD,
            f"{settings.member}/{settings.role}: {error.message}",
            "the member is not registered, has not this role, or no key in force for it: an operator looks with "
            "`exchange member list`",
        )
    except Unauthenticated as error:
        return Finding("hub", BAD, error.message, error.hint)
    except Unavailable as error:
        return Finding("hub", BAD, f"connects, but does not serve: {error.message}", error.hint)


def _registered(settings: ClientConfig, directory: Directory) -> Iterator[Finding]:
    what = "signing key in the directory"
    said = standing(directory, settings, settings.load_signing_key())
    following = settings.next_signing_key.exists()
    after = standing(directory, settings, settings.load_signing_key(settings.next_signing_key)) if following else ""
    public = settings.load_signing_key().public_key.hex()
    command = f"exchange member key add {settings.member} --role {settings.role} --public-key {public}"
    if said == "in force":
        yield Finding(what, GOOD, said)
    elif after == "in force":
        yield Finding(what, GOOD, f"{said}; the next one is in force", "exchange key promote")
    else:
        yield Finding(
            what,
            BAD,
            said,
            f"an operator registers it: {command}" if said == "not registered" else "make another: exchange key next",
        )
    if following and after == "in force":
        yield Finding("next signing key", GOOD, "in force, and in use", "exchange key promote")
    elif following:
        yield Finding("next signing key", WARN, after, "`exchange key status` shows what an operator registers")
