"""A log's entries out of its backup: every leaf, and the records whose keys are still there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from exchange import codec
from exchange.errors import Fatal
from exchange.stores.backup.frames import bare_frame
from exchange.stores.backup.layout import LogBackup, Part, leaves
from exchange.stores.backup.record_keys import RecordKeys, decrypt
from exchange.stores.backup.writing import about_part


class BackedUp:
    """One log in a backup."""

    def __init__(self, folder: Path, held: LogBackup, keys: RecordKeys) -> None:
        """``folder`` is the log's in the backup."""
        self._folder = folder
        self._held = held
        self._keys = keys
        #: Days of which records are there, and their keys are not.
        self.without_key: set[str] = set()

    def frames(self) -> Iterator[bytes]:
        """Yield each entry's frame, in order. Raises `Fatal`, and `VerificationFailed` for what is damaged."""
        parts, part, found = list(self._held.parts), None, dict[int, bytes]()
        for index, leaf in enumerate(leaves(self._folder, self._held.size)):
            while parts and index >= parts[0].first:
                part = parts.pop(0)
                found = self._open(part)
            frame = found.pop(index, None)
            yield frame if frame is not None and codec.frame_leaf(frame) == leaf else bare_frame(leaf)

    def _open(self, part: Part) -> dict[int, bytes]:
        """Return the frames of a part by index: of two for one entry, the one with its records."""
        found: dict[int, bytes] = {}
        for day in part.days:
            key = self._keys.find(self._held.log, day)
            if key is None:
                self.without_key.add(day)
                continue
            path = self._folder / part.folder / day
            try:
                data = path.read_bytes()
            except OSError as error:
                raise Fatal(f"{path}: records are missing, or cannot be read") from error
            for frame in codec.frames_in(decrypt(key, data, about_part(self._held.origin, part, day))):
                entry = codec.decode_frame(frame)
                index = codec.decode_leaf(entry.leaf).index
                if entry.present or index not in found:
                    found[index] = frame
        return found
