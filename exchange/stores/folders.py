"""Where a hub's logs, keys and marks lie on disk.

<data>/logs/<log>/       the log's database, lock and entry bundles
<data>/logs/<log>/folds/ folds of the log and snapshots of them; they can be made again
<bundles>/<log>/         its entry bundles, where several hubs share a store: the same folder for all of them
<marks>/<log>            this machine's mark of the last sealed checkpoint: apart, so that bringing back an old
                         copy of a log does not bring back an old mark with it
<data>/proposals         what waits at this hub for operators' signatures
<keys>/<log>.seed        the log's signing key: 64 hexadecimal characters, readable by its owner only
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from exchange.errors import Fatal, Reason
from exchange.ledger.ed25519 import SigningKey
from exchange.ops.durable import write_secret

_SEED_BYTES = 32
_NO_KEY = (
    "signing keys, of which each log has its own, are no part of a backup: put them back from the copy that is kept "
    "apart (docs/backup.md)"
)


@dataclass(frozen=True, slots=True)
class Folders:
    """The places of one hub."""

    data: Path
    keys: Path
    #: None: "marks" inside data.
    marks: Path | None = None
    #: None: beside each log.
    bundles: Path | None = None

    def log(self, name: str) -> Path:
        """Return the folder of a log."""
        return self.data / "logs" / name

    def bundle_files(self, name: str) -> Path:
        """Return the folder of a log's entry bundles, where the log itself lies in a store that several hubs share."""
        return self.log(name) if self.bundles is None else self.bundles / name

    def fold(self, log: str, name: str) -> Path:
        """Return the file of a log's fold, or of a snapshot of it."""
        return self.log(log) / "folds" / name

    @property
    def proposals(self) -> Path:
        """The file of what waits for operators' signatures."""
        return self.data / "proposals"

    def mark(self, name: str) -> Path:
        """Return the file of a log's mark."""
        return (self.marks or self.data / "marks") / name

    def key(self, name: str) -> Path:
        """Return the file of a log's signing key."""
        return self.keys / f"{name}.seed"


def read_key(path: Path) -> SigningKey:
    """Return the signing key in a file. Raises `Fatal` (CONFIG) when it is missing, open to others, or not a key."""
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        hint = _NO_KEY if isinstance(error, FileNotFoundError) else ""
        raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG, hint=hint) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Fatal(f"{path}: others on this machine may read this key", reason=Reason.CONFIG, hint=f"chmod 600 {path}")
    try:
        return SigningKey(bytes.fromhex(data.decode().strip()))
    except ValueError as error:
        raise Fatal(f"{path}: is not a key of 64 hexadecimal characters", reason=Reason.CONFIG) from error


def make_key(path: Path) -> SigningKey:
    """Make a new signing key in a file that must not exist yet. Raises `Fatal` (CONFIG) when it does, or cannot be."""
    seed = os.urandom(_SEED_BYTES)
    try:
        write_secret(path, f"{seed.hex()}\n".encode())
    except OSError as error:
        what = f"{path}: exists already; keys are never overwritten"
        raise Fatal(what if path.exists() else str(error), reason=Reason.CONFIG) from error
    return SigningKey(seed)
