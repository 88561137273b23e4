"""What can be said of a report's files by themselves, without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from exchange.errors import ExchangeError, Reason, Rejected
from exchange.report.envelope import Envelope, opened
from exchange.report.payload import ENVELOPE_FILE, PAYLOAD_FILE, Payload, decoded, digests

#: What a report always has.
FORMS = frozenset({"report.html", "report.csv", "report.pdf"})


class State(Enum):
    """What came of a check."""

    HOLDS = "holds"
    FAILED = "FAILED"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a reader relies on, and whether it is so."""

    what: str
    state: State
    detail: str


def failed(what: str, error: ExchangeError) -> Check:
    """Return that something does not hold."""
    return Check(what, State.FAILED, error.message)


@dataclass(frozen=True, slots=True)
class Opened:
    """A report as its files have it."""

    payload: Payload
    envelope: Envelope


def open_report(files: Mapping[str, bytes]) -> Opened:
    """Return the report in its files, signed by the key that it names. Raises `Rejected`."""
    for name in (ENVELOPE_FILE, PAYLOAD_FILE):
        if name not in files:
            raise Rejected(Reason.NOT_FOUND, f"there is no {name}")
    envelope = opened(files[ENVELOPE_FILE])
    if envelope.payload != files[PAYLOAD_FILE]:
        raise Rejected(Reason.BAD_SIGNATURE, f"{PAYLOAD_FILE} is not what was signed")
    payload = decoded(envelope.payload)
    envelope.check(bytes.fromhex(payload.signer.public_key))
    return Opened(payload, envelope)


def check_files(payload: Payload, files: Mapping[str, bytes]) -> Check:
    """Say whether each file is the one that was signed."""
    what = "each file is the one that was signed"
    there = digests({name: data for name, data in files.items() if name in payload.files})
    missing = sorted((payload.files.keys() | FORMS) - there.keys())
    altered = sorted(name for name, digest in there.items() if payload.files[name] != digest)
    if missing or altered:
        parts = [f"altered: {', '.join(altered)}"] if altered else []
        parts += [f"missing: {', '.join(missing)}"] if missing else []
        return Check(what, State.FAILED, "; ".join(parts))
    others = sorted(files.keys() - payload.files.keys() - {PAYLOAD_FILE, ENVELOPE_FILE})
    more = f"; not part of it, and not vouched for: {', '.join(others)}" if others else ""
    return Check(what, State.HOLDS, f"{len(there)} files{more}")
