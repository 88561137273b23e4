"""Client configuration files, written for a workload when it is set up."""

from __future__ import annotations

import os
from pathlib import Path

from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange.ops import certificates

_CLIENT_TOML = """\
# Who we are towards {exchange}, and where its hub is. Paths are relative to this file.
addresses = ["{address}"]
exchange = "{exchange}"
member = "{member}"
role = "{role}"
certificate = "{certificate}"
key = "{key}"
authority = "{authority}"
signing_key = "signing.seed"
# Leaf hash of entry 0 of the exchange's directory: what everything else is checked from.
genesis = "{genesis}"
state = "state"
"""


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet. Raises `Rejected` (CONFIG)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise Rejected(Reason.CONFIG, f"{path}: exists already; nothing was changed") from error


def client_toml(path: Path, exchange: str, member: str, role: Role, address: str, pki: Path, genesis: bytes) -> Path:
    """Write a client's configuration beside its signing key; return its path."""
    files = certificates.issued_files(pki, member, role.word)
    base = path.parent.resolve()

    def relative(target: Path) -> str:
        return os.path.relpath(target.resolve(), base)

    write_new(
        path,
        _CLIENT_TOML.format(
            exchange=exchange,
            address=address,
            member=member,
            role=role.word,
            certificate=relative(files.certificate),
            key=relative(files.key),
            authority=relative(certificates.authority_files(pki).certificate),
            genesis=genesis.hex(),
        ),
    )
    return path
