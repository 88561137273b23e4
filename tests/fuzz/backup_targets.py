"""A backup's files, which lie where others may reach them: its list, its encrypted records, the frames in these."""

from __future__ import annotations

import msgspec

from exchange import codec
from exchange.errors import VerificationFailed
from exchange.stores.backup.layout import FORMAT, LogBackup, Manifest, Part, decoded
from exchange.stores.backup.record_keys import decrypt, encrypt
from tests.fuzz.target import Target
from tests.unit.builders import UK

KEY, ABOUT, RECORDS = bytes(range(32)), b"example/uk\n0-3\n2026-11-29\n", b"records of three entries"
LIST = msgspec.json.encode(
    Manifest(
        FORMAT,
        "test.exchange",
        1,
        (LogBackup("uk", UK, 3, 0, f"{UK}\n3\n", (Part(0, 3, ("2026-11-29", "2027-01-01")),)),),
    )
)
SEALED = encrypt(KEY, RECORDS, ABOUT)
FRAMES = codec.full_frame(b"leaf one", [b"record"], b"") + codec.erased_frame(b"leaf two", b"audience")


def read_list(data: bytes) -> object:
    """What a list names lies in the backup's own folder."""
    found = decoded(data)
    for each in found.logs:
        for name in (each.log, *(day for part in each.parts for day in part.days)):
            assert "/" not in name
            assert name not in ("", ".", "..")
    return found


def open_records(data: bytes) -> object:
    """Nothing but what was encrypted comes out."""
    found = decrypt(KEY, data, ABOUT)
    assert found == RECORDS, "records came out that nobody put in"
    return found


def split_frames(data: bytes) -> object:
    """What is taken apart is all that was there."""
    found = list(codec.frames_in(data))
    assert b"".join(found) == data
    return found


TARGETS = (
    Target("backup-list", read_list, (LIST,)),
    Target("backup-records", open_records, (SEALED,), refuses=(VerificationFailed,), counted=False),
    Target("joined-frames", split_frames, (FRAMES,)),
)
