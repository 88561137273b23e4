"""The pseudonym service's keys on disk, one file for each key epoch, readable by its owner only.

<folder>/<number>.json   public part, times, and the secret scalar: zeros once it is destroyed

Destroying writes zeros over the secret where it lies, in one write, and syncs. What a file system or a drive has copied
elsewhere is out of reach: keep the folder on an encrypted volume, and out of backups.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exchange.errors import Conflict, Fatal, OtherFormat, Reason, Rejected
from exchange.ops.durable import write_secret
from exchange.privacy.voprf import EvaluationKey
from exchange.pseudonyms.epochs import Epoch

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_DESTROYED = bytes(32)
#: What a file without a number is in; another one would carry its own.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EpochKey:
    """A key epoch, and its key unless that is destroyed."""

    epoch: Epoch
    key: EvaluationKey | None


class EpochKeys:
    """All key epochs of a service."""

    def __init__(self, folder: Path) -> None:
        """Use this folder; it is made when the first key is."""
        self._folder = folder

    def load(self) -> dict[int, EpochKey]:
        """Return all epochs by number. Raises `Fatal`: a file is damaged, or others on this machine may read it."""
        if not self._folder.is_dir():
            return {}
        found = {}
        for path in sorted(self._folder.glob("*.json")):
            held = _read(path)
            if path != self._path(held.epoch.number):
                hint = "a copy of a key outlives it when it is destroyed: remove it"
                raise Fatal(f"{path}: is not named as its key epoch", reason=Reason.CONFIG, hint=hint)
            found[held.epoch.number] = held
        return found

    def stamp(self) -> frozenset[tuple[str, int, int, int]]:
        """Return what differs whenever a file has changed."""
        found = set()
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):
                state = path.stat()
                found.add((path.name, state.st_mode, state.st_size, state.st_mtime_ns))
        return frozenset(found)

    def create(self, number: int, begins_ms: int, ends_ms: int, data_versions: dict[str, str]) -> Epoch:
        """Make a new key, durably. Raises `Conflict` when there is an epoch of that number."""
        key = EvaluationKey.generate(os.urandom)
        return self._write(Epoch(number, key.public_key, begins_ms, ends_ms, data_versions), key.secret())

    def destroy(self, number: int) -> Epoch:
        """Destroy an epoch's key for good; again is no error. Raises `Rejected` (NOT_FOUND): there is no file of it."""
        path = self._path(number)
        if not path.exists():
            raise Rejected(Reason.NOT_FOUND, f"there is no key epoch {number}")
        epoch, _ = _parsed(path)
        # Over the whole file, however it was laid out: the secret must not be left behind the end of ours.
        zeros = _encoded(epoch, _DESTROYED).ljust(path.stat().st_size)
        descriptor = os.open(path, os.O_WRONLY)
        try:
            if os.pwrite(descriptor, zeros, 0) != len(zeros):
                raise Fatal(f"{path}: was not written whole; try again")
            os.fsync(descriptor)
        except OSError as error:
            raise Fatal(f"{path}: {error.strerror}; try again") from error
        finally:
            os.close(descriptor)
        return _read(path).epoch

    def bury(self, number: int) -> Epoch:
        """Note that an epoch's key is lost, which is as good as destroyed. Raises `Conflict`: there is a file of it."""
        return self._write(Epoch(number, b"", 0, 0, {}, destroyed=True), _DESTROYED)

    def _write(self, epoch: Epoch, secret: bytes) -> Epoch:
        path = self._path(epoch.number)
        try:
            write_secret(path, _encoded(epoch, secret))
        except FileExistsError as error:
            raise Conflict(f"{path}: exists already; keys are never overwritten") from error
        return epoch

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"


class FollowedKeys:
    """A folder of keys under a running service: new epochs, and destroyed ones, are taken up as their files change."""

    def __init__(self, keys: EpochKeys) -> None:
        """Read all files. Raises `Fatal` as `EpochKeys.load`."""
        self._keys = keys
        self._stamp = keys.stamp()
        self._failed: object = None
        #: What is in force.
        self.held = keys.load()

    def look(self) -> bool:
        """Take up what has changed, and tell whether anything has.

        What cannot be read at two looks raises `Fatal`, at one it may still be being written. What was held is held on.
        """
        stamp = self._keys.stamp()
        if stamp == self._stamp:
            return False
        try:
            self.held = self._keys.load()
        except Fatal:
            if self._failed == stamp:
                raise
            self._failed = stamp
            return False
        self._stamp, self._failed = stamp, None
        return True

    def destroy(self, number: int) -> None:
        """Destroy a key, and hold it no more. Raises `Fatal`."""
        self.held[number] = EpochKey(self._keys.destroy(number), None)


def _encoded(epoch: Epoch, secret: bytes) -> bytes:
    return json.dumps(
        {
            "number": epoch.number,
            "public_key": epoch.public_key.hex(),
            "begins_ms": epoch.begins_ms,
            "ends_ms": epoch.ends_ms,
            "data_versions": dict(epoch.data_versions),
            "secret": secret.hex(),
        },
        indent=1,
    ).encode()


def _parsed(path: Path) -> tuple[Epoch, bytes]:
    """Return the public part and the secret, which is not checked."""
    try:
        mode, data = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG) from error
    if mode & _OTHERS:
        raise Fatal(f"{path}: others on this machine may read this key", reason=Reason.CONFIG, hint=f"chmod 600 {path}")
    try:
        row = json.loads(data)
        stated = row.get("format", _FORMAT)
        if stated != _FORMAT:
            raise OtherFormat(path, stated if isinstance(stated, int) else "?", _FORMAT)
        secret = bytes.fromhex(row["secret"])
        epoch = Epoch(
            int(row["number"]),
            bytes.fromhex(row["public_key"]),
            int(row["begins_ms"]),
            int(row["ends_ms"]),
            {str(name): str(version) for name, version in row["data_versions"].items()},
            destroyed=secret == _DESTROYED,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not chained: the error may hold parts of the secret.
        raise Fatal(f"{path}: is not a key epoch, or is damaged") from None
    return epoch, secret


def _read(path: Path) -> EpochKey:
    epoch, secret = _parsed(path)
    if epoch.destroyed:
        return EpochKey(epoch, None)
    try:
        key = EvaluationKey(secret)
    except Rejected:
        raise Fatal(f"{path}: its secret is not a key") from None
    if key.public_key != epoch.public_key:
        raise Fatal(f"{path}: the secret is not that of the public key")
    return EpochKey(epoch, key)
