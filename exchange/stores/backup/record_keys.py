"""Keys of the records in backups: one for each log and each day that records end with, in a folder kept apart.

Where a day's key is destroyed, what ended with that day can be read in no backup any more, however many copies of it
there are. So the folder is to have no copies that outlive a day: it is what makes erasure reach backups.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from exchange.errors import Fatal, Reason, VerificationFailed
from exchange.ops.durable import sync_folder, write_secret

_KEY_BYTES, _NONCE_BYTES = 32, 12
_MAGIC = b"signal-exchange backup records 1\n"


def day_of(at_ms: int) -> date:
    """Return the day (UTC) of a time in milliseconds since 1970; times beyond the calendar are its last day."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).date()
    except (OverflowError, ValueError, OSError):
        return date.max


def day_after(at_ms: int) -> date:
    """Return the first day on which what ends at a time is over."""
    day = day_of(at_ms)
    return day if day == date.max else day + timedelta(days=1)


class RecordKeys:
    """The folder of keys."""

    def __init__(self, folder: Path) -> None:
        """Use this folder; it need not exist yet."""
        self._folder = folder

    def find(self, log: str, day: str) -> bytes | None:
        """Return a day's key; None when there is none, or none any more. Raises `Fatal` (CONFIG)."""
        path = self._folder / log / day
        try:
            mode, data = path.stat().st_mode, path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Fatal(
                f"{path}: others on this machine may read this key", reason=Reason.CONFIG, hint=f"chmod 600 {path}"
            )
        try:
            key = bytes.fromhex(data.decode().strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise Fatal(f"{path}: is not a key of 64 hexadecimal characters", reason=Reason.CONFIG)
        return key

    def of(self, log: str, day: str) -> bytes:
        """Return a day's key, made now where there is none; it is durable before anything is encrypted with it."""
        found = self.find(log, day)
        if found is not None:
            return found
        with suppress(FileExistsError):
            write_secret(self._folder / log / day, f"{os.urandom(_KEY_BYTES).hex()}\n".encode())
        made = self.find(log, day)
        if made is None:
            raise Fatal(f"{self._folder / log / day}: a key that was made is gone")
        return made

    def destroy_over(self, today: date) -> int:
        """Destroy the keys of days that have come; return how many."""
        count = 0
        for path in list(self._days()):
            if path.name <= today.isoformat():
                path.unlink()
                sync_folder(path.parent)
                count += 1
        return count

    def _days(self) -> Iterator[Path]:
        for path in self._folder.glob("*/*"):
            with suppress(ValueError):
                date.fromisoformat(path.name)
                yield path


def encrypt(key: bytes, data: bytes, about: bytes) -> bytes:
    """Return data under a key (ChaCha20-Poly1305, RFC 8439), bound to what it is about."""
    nonce = os.urandom(_NONCE_BYTES)
    return _MAGIC + nonce + ChaCha20Poly1305(key).encrypt(nonce, data, about)


def decrypt(key: bytes, data: bytes, about: bytes) -> bytes:
    """Return what was encrypted. Raises `VerificationFailed` where it is not just that."""
    body = data.removeprefix(_MAGIC)
    try:
        return ChaCha20Poly1305(key).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as error:
        raise VerificationFailed(
            Reason.BAD_PROOF, "records in a backup are damaged, or are not under this key"
        ) from error
