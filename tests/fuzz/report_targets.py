"""A progress report's files, which come from somebody else: read, shown and held against each other."""

from __future__ import annotations

from exchange.report.building import files_of, forms_of
from exchange.report.checking import open_report
from exchange.report.envelope import opened
from exchange.report.payload import ENVELOPE_FILE, PAYLOAD_FILE, decoded, encoded
from tests.fuzz.target import Target
from tests.unit.report.example import KEY, payload

FILES = files_of(payload(), KEY)


def read_payload(data: bytes) -> object:
    """Whatever is read has one form, and every form of it can be made."""
    found = decoded(data)
    assert encoded(found) == data
    assert b"<script" not in forms_of(found, pdf=False)["report.html"]
    return found


def read_envelope(data: bytes) -> object:
    """Nothing but what the member signed is opened with its key."""
    found = opened(data)
    said = open_report({PAYLOAD_FILE: found.payload, ENVELOPE_FILE: data})
    assert found.payload == FILES[PAYLOAD_FILE], "a report was opened that nobody signed"
    return said


TARGETS = (
    Target("report-payload", read_payload, (FILES[PAYLOAD_FILE],), max_bytes=1 << 15, examples=30, counted=False),
    Target("report-envelope", read_envelope, (FILES[ENVELOPE_FILE],), max_bytes=1 << 15, counted=False),
)
