"""Our own certificate: taken up when somebody replaces its files, and renewed before it ends.

grpcio cannot change a channel's certificate, so `Transport` makes a new channel when `look` says so. A set of files
that does not fit together, or is another workload's, or has not begun, changes nothing: the old one stays in use. At
two thirds of a certificate's life the renewal is due: `renew` is run, again and again with pauses, until there is a
newer one. Where there is nothing to run, somebody else has to act, and is told so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

import grpc
from cryptography import x509

from exchange.errors import Reason, Rejected
from exchange.ops.tls_files import DAMAGED, FollowedFiles, Material, TLSFiles
from exchange_client.config import ClientConfig

LOOK_EVERY_S = 2.0
#: How much of a certificate's life passes before it is renewed.
RENEW_AFTER = 2 / 3
RENEWAL_S = 120.0
#: Pause after a renewal that brought nothing: doubled each time, from the first to the longest.
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 3_600.0
#: How much of what a command says is read, from its end.
_TAIL_BYTES = 4_096

_log = logging.getLogger("exchange_client")

#: Brings a newer certificate (and key) into the files of the configuration. May raise anything: it is run again.
Renew = Callable[[ClientConfig], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class IdentityState:
    """What to watch and to alarm on."""

    not_after: datetime
    #: When the renewal is, or was, due.
    renew_at: datetime
    #: Whether it is due and there is no newer certificate yet.
    overdue: bool
    #: How often a newer one has been taken up.
    renewals: int
    #: What is wrong with the files, or what the last renewal failed with; empty when all is well.
    problem: str


class Identity:
    """The certificate in use, and how it is kept from ending."""

    def __init__(self, config: ClientConfig, now_ms: Callable[[], int], renew: Renew | None = None) -> None:
        """Read the files. Raises `Rejected` (CONFIG) when they cannot be used."""
        self._config = config
        self._now_ms = now_ms
        self._renew = renew or (run_command if config.renew_command else None)
        try:
            self._files = FollowedFiles(TLSFiles(config.certificate, config.key, config.authority))
        except ValueError as error:
            raise Rejected(
                Reason.CONFIG, str(error), hint="`exchange doctor --client` looks at all three files"
            ) from error
        self._material = self._files.material
        self._renewals = 0
        self._file_problem = self._renewal_problem = self._other_problem = ""
        self._pause_s = FIRST_PAUSE_S
        self._again_at_ms = 0

    @property
    def state(self) -> IdentityState:
        """How things stand."""
        return IdentityState(
            self._material.not_after,
            self._renew_at,
            self._overdue,
            self._renewals,
            self._file_problem or self._other_problem or (self._renewal_problem if self._overdue else ""),
        )

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """What a new channel shows, and whom it believes."""
        pem = self._material.pem
        return grpc.ssl_channel_credentials(pem.authority, pem.key, pem.certificate)

    def look(self) -> bool:
        """Whether there are newer files that can be used: they are in use from now on."""
        try:
            found = self._files.look()
            if found is None:
                return False
            if found is self._material:
                self._file_problem = ""
                return False
            self._check(found)
        except ValueError as error:
            if str(error) != self._file_problem:
                _log.error("the certificate's files cannot be used, the old ones are: %s", error)
            self._file_problem = str(error)
            return False
        self._material = found
        self._renewals += 1
        self._file_problem = self._renewal_problem = ""
        self._begin_pauses()
        _log.info("a new certificate is in use, until %s", found.not_after.isoformat())
        return True

    def _begin_pauses(self) -> None:
        """Begin with the shortest pause; for a certificate that comes overdue, with one that fits its life."""
        self._pause_s, self._again_at_ms = FIRST_PAUSE_S, 0
        if self._overdue:
            left_s = (self._material.not_after - self._now()).total_seconds()
            self._pause_s = min(max(left_s / 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            self._again_at_ms = self._now_ms() + round(self._pause_s * 1000)

    def note(self, error: Exception | None) -> None:
        """Tell what following the files and keys has met beside all that is expected; None when it goes well."""
        problem = "" if error is None else f"following certificates and keys failed: {error!r}"
        if problem and problem != self._other_problem:
            _log.error("%s", problem, exc_info=error)
        self._other_problem = problem

    def _check(self, material: Material) -> None:
        """Refuse what the hub would refuse, while there is something better. Raises `ValueError`."""
        now = self._now()
        if not material.not_before <= now <= material.not_after:
            raise ValueError(f"{self._config.certificate}: is valid from {material.not_before} to {material.not_after}")
        wanted = f"/member/{self._config.member}/{self._config.role}"
        if not spiffe_uri(material.chain[0]).endswith(wanted):
            raise ValueError(f"{self._config.certificate}: is not for {wanted}")

    async def keep(self) -> None:
        """Renew if it is due. Call after each `look`."""
        if not self._overdue or self._now_ms() < self._again_at_ms:
            return
        if self._renew is None:
            self._renewal_problem = "renewal is due, and no newer certificate has come"
        else:
            await self._run(self._renew)
        if self._renewal_problem:
            _log.error("%s: ends at %s: %s", self._config.certificate, self._material.not_after, self._renewal_problem)
        self._again_at_ms = self._now_ms() + round(self._pause_s * 1000)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    async def _run(self, renew: Renew) -> None:
        try:
            async with asyncio.timeout(RENEWAL_S):
                await renew(self._config)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old certificate is good for a while
            self._renewal_problem = f"the renewal failed: {error!r}"
        else:
            self._renewal_problem = ""

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._now_ms() / 1000, UTC)

    @property
    def _renew_at(self) -> datetime:
        begin, end = self._material.not_before, self._material.not_after
        return begin + (end - begin) * RENEW_AFTER

    @property
    def _overdue(self) -> bool:
        return self._now() >= self._renew_at


async def run_command(config: ClientConfig) -> None:
    """Run the ``renew_command`` in its folder, with the files' names in its environment. Raises `OSError`."""
    places = {
        "EXCHANGE_CERTIFICATE": str(config.certificate),
        "EXCHANGE_KEY": str(config.key),
        "EXCHANGE_AUTHORITY": str(config.authority),
    }
    # A file and no pipe: a child that the command leaves behind may hold a pipe open for as long as it likes.
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *config.renew_command,
            cwd=config.folder,
            env=os.environ | places,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what it has started
            await process.wait()
            raise
        if code:
            raise OSError(f"{config.renew_command[0]} ended with {code}: {_last_line(said)}")


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return " ".join(said.read().decode(errors="replace").strip().splitlines()[-1:])[:200]


def spiffe_uri(certificate: x509.Certificate) -> str:
    """Return the certificate's SPIFFE URI, or the empty string. Raises `ValueError` when its names cannot be read."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    except DAMAGED as error:
        raise ValueError(f"the certificate's names cannot be read: {error}") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return next((uri for uri in uris if uri.startswith("spiffe://")), "")
