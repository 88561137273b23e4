"""Client configuration files, written for a workload when it is set up."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange.ops import certificates
from exchange_client.json_words import bytes32

_CLIENT_TOML = """\
# Who we are towards {exchange}, and where its hub is. Paths are relative to this file.
# docs/client-configuration.md has every key.
addresses = {addresses}
exchange = "{exchange}"
member = "{member}"
role = "{role}"
certificate = {certificate}
key = {key}
authority = {authority}
signing_key = "signing.seed"
# Leaf hash of entry 0 of the exchange's directory: what everything else is checked from.
genesis = "{genesis}"
state = "state"
"""


@dataclass(frozen=True, slots=True)
class Connecting:
    """How a workload reaches its hub: addresses, its own certificate and key, the authority of the hub's."""

    addresses: Sequence[str]
    certificate: Path
    key: Path
    authority: Path


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet. Raises `Rejected` (CONFIG)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Rejected(Reason.CONFIG, f"{path}: exists already; nothing was changed") from error
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{path}: {error.strerror}") from error


def toml_text(value: str) -> str:
    """Return a text as TOML writes it: as JSON does, but for what only one of them escapes."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def public_key(text: str) -> bytes:
    """Return a public key from its hexadecimal characters. Raises `Rejected` (INVALID)."""
    key = bytes32(text)
    if not key:
        raise Rejected(Reason.INVALID, f"{text[:80]!r}: a public key is 64 hexadecimal characters")
    return key


def client_toml(path: Path, exchange: str, member: str, role: Role, address: str, pki: Path, genesis: bytes) -> Path:
    """Write a client's configuration, with a certificate of a development authority; return its path."""
    files = certificates.issued_files(pki, member, role.word)
    authority = certificates.authority_files(pki).certificate
    connecting = Connecting((address,), files.certificate, files.key, authority)
    return write_client(path, exchange, member, role, connecting, genesis)


def write_client(path: Path, exchange: str, member: str, role: Role, connecting: Connecting, genesis: bytes) -> Path:
    """Write a client's configuration beside its signing key; return its path."""
    base = path.parent.resolve()  # as who reads it takes it

    def relative(target: Path) -> str:
        # Links are left as they are: they may lead to another certificate tomorrow.
        return toml_text(os.path.relpath(target, base))

    write_new(
        path,
        _CLIENT_TOML.format(
            exchange=exchange,
            addresses=f"[{', '.join(map(toml_text, connecting.addresses))}]",
            member=member,
            role=role.word,
            certificate=relative(connecting.certificate),
            key=relative(connecting.key),
            authority=relative(connecting.authority),
            genesis=genesis.hex(),
        ),
    )
    return path
