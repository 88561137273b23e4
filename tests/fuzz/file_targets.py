"""Files that somebody else may have touched: the mark, keys, certificates, pictures, snapshots."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from PIL import Image

from exchange.domain.directory_rows import DirectoryRestore, directory_rows
from exchange.errors import Fatal, Reason, Rejected
from exchange.ledger.snapshot import Snapshot
from exchange.ops.certificates import authority_files, create_authority, issue, issued_files, read_certificate
from exchange.ops.tls_files import PEM, TLSFiles, trusted_until
from exchange.stores.folders import read_key
from exchange.stores.sealed_mark import SLOT_BYTES, _pack, read_mark
from exchange_client import pdq
from exchange_client.jsonl import indicator_of_image
from tests.contract.builders import KEY, ORIGIN
from tests.fuzz.target import Target
from tests.unit.builders import make_directory

_TEMPORARY = TemporaryDirectory(prefix="fuzz-")
FOLDER = Path(_TEMPORARY.name)
#: Small pictures are as good as large ones here, and quicker.
MAX_PIXELS = 1 << 20


def _file(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def read_mark_file(data: bytes) -> object:
    """The newest whole record, or a refusal; a record that is written next does not take the place of that one."""
    note = read_mark(_file("mark", data))
    assert note is not None
    assert note in data
    return note


def read_seed(data: bytes) -> object:
    """A key file holds a key or is refused."""
    key = read_key(_file("log.seed", data))
    assert len(key.public_key) == 32
    return key


def read_certificate_file(data: bytes) -> object:
    """What is no PEM is taken for the inside of one, so that changes reach the certificate itself."""
    if not data.startswith(b"-----"):
        data = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"
    found = read_certificate(_file("certificate.pem", data))
    assert found.not_before.tzinfo is not None
    return found


def use_authority(data: bytes) -> object:
    """An authority's two files, parted by an empty line; what cannot issue says so."""
    folder = FOLDER / "authority"
    rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    files = authority_files(folder)
    certificate, _, key = data.partition(b"\n\n")
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(key)
    return issue(folder, "alpha", "pipeline", days=1, now=BEGIN)


def use_tls_files(data: bytes) -> object:
    """Certificate, authorities and key, parted by empty lines: they fit together, or are refused as one set."""
    certificate, authority, key = (*data.split(b"\n\n", 2), b"", b"")[:3]
    material = TLSFiles(FOLDER / "a", FOLDER / "b", FOLDER / "c").check(PEM(certificate, key, authority))
    assert material.not_before.tzinfo is not None
    until = trusted_until(material.chain, material.authorities, BEGIN)
    assert until is None or until <= material.not_after
    return material


def read_picture(data: bytes) -> object:
    """A picture of any make costs no more memory than the largest that is let in."""
    with mock.patch.object(pdq, "MAX_PIXELS", MAX_PIXELS):
        indicator, quality = indicator_of_image(_file("picture", data))
    assert (len(indicator.value), 0 <= quality <= 100) == (32, True)
    return indicator


def read_snapshot(data: bytes) -> object:
    """Nothing is a snapshot but what the log's key has signed."""
    found = Snapshot.opened(data, KEY.public_key)
    assert found == SNAPSHOT
    assert found.sealed(KEY) == data
    return list(found.lines())


def restore_rows(data: bytes) -> object:
    """Rows are a directory, or are refused."""
    making = DirectoryRestore()
    try:
        rows = [json.loads(line) for line in data.split(b"\n")]
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, "no rows") from error
    for row in rows:
        making.put(row)
    return making.done()


def _pictures() -> tuple[bytes, ...]:
    """Return one noisy picture in every format that is read."""
    noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(np.kron(noise, np.ones((3, 3, 1), dtype=np.uint8)))
    found = []
    for form in pdq.FORMATS:
        file = BytesIO()
        picture.save(file, format=form)
        found.append(file.getvalue())
    return tuple(found)


def _authority() -> tuple[bytes, bytes, bytes, bytes]:
    """Return the two files of an authority, parted by an empty line, and certificates of both kinds."""
    folder = FOLDER / "pki"
    files = create_authority(folder, "exchange.example", now=BEGIN)
    issue(folder, "alpha", "pipeline", now=BEGIN)
    issue(folder, "hub", "server", kind="server", hosts=["localhost", "::1"], now=BEGIN)
    client, hub = issued_files(folder, "alpha", "pipeline"), issued_files(folder, "hub", "server", "server")
    both = files.certificate.read_bytes() + b"\n\n" + files.key.read_bytes()
    three = b"\n\n".join(each.read_bytes() for each in (hub.certificate, files.certificate, hub.key))
    return both, client.certificate.read_bytes(), hub.certificate.read_bytes(), three


def _inside(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
AUTHORITY, CLIENT, SERVER, THREE = _authority()
ROWS = "\n".join(map(json.dumps, directory_rows(make_directory()))).encode()
SNAPSHOT = Snapshot("directory", 1, "0.1.0", ORIGIN, 18, bytes(32), ROWS)

TARGETS = (
    Target(
        "mark",
        read_mark_file,
        (_pack(1, b"note one") + bytes(SLOT_BYTES), _pack(8, b"note eight") + _pack(7, b"note seven")),
        refuses=(Fatal,),
        max_bytes=2 * SLOT_BYTES,
    ),
    Target("signing-key", read_seed, (b"0f" * 32, b"0F" * 32 + b"\n"), refuses=(Fatal,), max_bytes=256),
    Target("certificate", read_certificate_file, (CLIENT, _inside(CLIENT), _inside(SERVER)), refuses=(ValueError,)),
    Target("authority", use_authority, (AUTHORITY,), refuses=(ValueError,), examples=30, counted=False),
    Target("tls-files", use_tls_files, (THREE,), refuses=(ValueError,)),
    Target(
        "picture",
        read_picture,
        _pictures(),
        examples=150,
        max_bytes=1 << 15,
        counted=False,
    ),
    Target("snapshot", read_snapshot, (SNAPSHOT.sealed(KEY),)),
    Target("directory-rows", restore_rows, (ROWS,)),
)
