"""Who a client is, where its hub is, and what it trusts: one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from exchange.domain.identifiers import is_name
from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange.ledger.ed25519 import SigningKey

_GENESIS_BYTES = 32
_LISTS = {"addresses": '["hub.example:7443"]', "renew_command": '["step", "ca", "renew", "--force", ...]'}
_PATHS = ("certificate", "key", "authority", "signing_key", "state")


def _wrong(path: Path, what: str) -> Rejected:
    return Rejected(Reason.CONFIG, f"{path}: {what}")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The client's side of an exchange. Relative paths in the file are relative to it."""

    #: Hubs as "host:port"; the next one is tried when one does not answer.
    addresses: tuple[str, ...]
    #: The exchange's name, which begins every origin.
    exchange: str
    #: Our member id.
    member: str
    #: Which of our workloads this is: "pipeline", "liaison", "authority", "operator", "pseudonyms", "automation" or
    #: "witness".
    role: str
    #: The workload's client certificate (PEM file).
    certificate: Path
    #: The certificate's private key (PEM file).
    key: Path
    #: The authority of the hub's certificate (PEM file).
    authority: Path
    #: File with the Ed25519 seed, 64 hexadecimal characters.
    signing_key: Path
    #: Leaf hash of entry 0 of the directory, 32 bytes: the root of everything that is checked.
    genesis: bytes
    #: Folder for outbox, cursors and evidence.
    state: Path
    #: Name in the hub's certificate, where it differs from the address.
    server_name: str = ""
    #: The pseudonym service as "host:port", for who names accounts.
    pseudonyms: str = ""
    #: Name in the pseudonym service's certificate, where that differs from the address.
    pseudonyms_name: str = ""
    #: What brings a newer certificate into the files at two thirds of its life, such as ["step", "ca", "renew", ...].
    #: It finds their names in EXCHANGE_CERTIFICATE, EXCHANGE_KEY and EXCHANGE_AUTHORITY. Empty: somebody else does.
    renew_command: tuple[str, ...] = ()
    #: Age of the signing key, by its file, from which `exchange doctor` asks for a new one.
    signing_key_days: int = 180
    #: Folder of the file that this was read from, no key of it: where `renew_command` runs.
    folder: Path = Path()

    @classmethod
    def load(cls, path: Path) -> ClientConfig:
        """Read and check a file. Raises `Rejected` (CONFIG) that names the key at fault."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            refused = _wrong(path, f"cannot be read: {error.strerror}")
            if isinstance(error, FileNotFoundError) and not path.is_absolute():
                refused.hint = "--client or EXCHANGE_CLIENT names it, from the folder that you are in"
            raise refused from error
        except (ValueError, RecursionError) as error:  # beside its own, what a number or a nesting without end raises
            raise _wrong(path, f"is not TOML: {error}") from error
        known = {field.name for field in fields(cls)} - {"folder"}
        for key in raw:
            if key not in known:
                raise _wrong(path, f"`{key}` is not a known key")
        missing = {field.name for field in fields(cls) if field.default is MISSING} - raw.keys()
        if missing:
            raise _wrong(path, f"`{min(missing)}` is missing")
        return cls(**_typed(path, raw))

    @property
    def of_pseudonyms(self) -> ClientConfig:
        """The same workload towards the pseudonym service. Raises `Rejected` (CONFIG) when none is named."""
        if not self.pseudonyms:
            raise Rejected(
                Reason.CONFIG,
                "this client's file names no pseudonym service, and accounts are shared as pseudonyms only",
                hint='add a line such as pseudonyms = "pseudonyms.example:7445"',
            )
        return replace(self, addresses=(self.pseudonyms,), server_name=self.pseudonyms_name)

    @property
    def directory(self) -> str:
        """Origin of the exchange's directory."""
        return f"{self.exchange}/directory"

    @property
    def role_number(self) -> Role:
        """The role, as the ledger's words have it. Raises `Rejected` (CONFIG)."""
        try:
            return Role[self.role.upper()]
        except KeyError as error:
            raise Rejected(Reason.CONFIG, f"role {self.role!r} is not known") from error

    @property
    def next_signing_key(self) -> Path:
        """File of the key that is to follow: beside the first, with ".next" behind its name."""
        return self.signing_key.with_name(f"{self.signing_key.name}.next")

    def load_signing_key(self, path: Path | None = None) -> SigningKey:
        """Read the signing key, or another in this file. Raises `Rejected` (CONFIG)."""
        file = path or self.signing_key
        try:
            return SigningKey(bytes.fromhex(file.read_text().strip()))
        except OSError as error:
            raise _wrong(file, error.strerror or "cannot be read") from error
        except ValueError as error:
            raise _wrong(file, "is not a key of 64 hexadecimal characters") from error


def _typed(path: Path, raw: dict[str, object]) -> dict[str, Any]:
    typed: dict[str, Any] = {**raw, **_lists(path, raw)}
    days = raw.get("signing_key_days", 1)
    if not isinstance(days, int) or isinstance(days, bool) or days < 1:
        raise _wrong(path, "`signing_key_days` must be a number of days")
    for key, value in raw.items():
        if key not in (*_LISTS, "signing_key_days") and not isinstance(value, str):
            raise _wrong(path, f"`{key}` must be text")
        if key in _PATHS and "\0" in str(value):
            raise _wrong(path, f"`{key}` must be the path of a file")
    base = path.resolve().parent
    typed.update({key: base / str(raw[key]) for key in _PATHS}, folder=base)
    try:
        typed["genesis"] = bytes.fromhex(str(raw["genesis"]))
    except ValueError as error:
        raise _wrong(path, "`genesis` must be 64 hexadecimal characters") from error
    if len(typed["genesis"]) != _GENESIS_BYTES:
        raise _wrong(path, "`genesis` must be 64 hexadecimal characters")
    for key in ("exchange", "member"):
        if not is_name(typed[key]):
            raise _wrong(path, f"`{key}` must be a name of a-z, 0-9, dots and hyphens, at most 63")
    if typed["role"] not in {role.word for role in Role}:
        raise _wrong(path, f"`role` must be one of {', '.join(role.word for role in Role)}")
    return typed


def _lists(path: Path, raw: dict[str, object]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, example in _LISTS.items():
        listed = raw.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise _wrong(path, f"`{key}` must be a list such as {example}")
        found[key] = tuple(listed)
    if not found["addresses"]:
        raise _wrong(path, f"`addresses` must be a list such as {_LISTS['addresses']}")
    return found
