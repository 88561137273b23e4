"""What a progress report says, as values: the one thing that is signed. Pages, tables and plots are made of it alone.

The JSON of it has one form: keys sorted, no spaces, UTF-8. So the same report has the same bytes, and the same digest,
wherever it is made again.
"""

from __future__ import annotations

from datetime import date
from hashlib import sha256
from typing import Annotated

import msgspec

from exchange import __version__
from exchange.domain.identifiers import Origin as Logs
from exchange.errors import Reason, Rejected, format_refused
from exchange.ledger.checkpoint import Checkpoint, parse_checkpoint

FORMAT = 1
PAYLOAD_FILE = "report.json"
ENVELOPE_FILE = "report.dsse.json"
#: How somebody who holds the files checks them; every form of the report says so.
HOW = "exchange verify-report FOLDER --client FILE"
#: Far more than a report of years.
MAX_BYTES = 8 * 1024 * 1024

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
Origin = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}/[a-z0-9][a-z0-9.-]{0,62}$")]
Day = Annotated[str, msgspec.Meta(pattern=r"^[12][0-9]{3}-[01][0-9]-[0-3][0-9]$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^(plots/)?[a-z0-9-]{1,40}\.[a-z]{3,4}$")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(max_length=500)]
#: A number, or that there are few, or that it is not shown.
Cell = Count | Annotated[str, msgspec.Meta(max_length=40)]


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all of it is: values that cannot change, and no field that is not known."""


class Row(Plain, frozen=True):
    """One part of a total, perhaps divided again."""

    name: Text
    count: Cell
    parts: Division | None


class Division(Plain, frozen=True):
    """The parts of a total, as far as something may be said of them."""

    rows: tuple[Row, ...]
    #: What the parts that are kept back come to.
    together: Count
    #: Whether nothing may be said of the parts.
    withheld: bool


class Table(Plain, frozen=True):
    """A total, and its parts. ``id`` says of what: `exchange.report.wording` has the words."""

    id: Name
    total: Cell
    parts: Division


class MemberLine(Plain, frozen=True):
    """A member of the community, at the end of the period."""

    id: Name
    name: Text
    member_class: Name
    #: active, suspended or left.
    state: Name
    #: Whether its entries are flagged.
    flagged: bool


class LagLine(Plain, frozen=True):
    """How long one stage took; each bound is above what was measured, and at most twice that."""

    stage: Text
    #: A receiver, or a day or week; empty for all.
    of: Text
    #: How many were measured: a band, no number.
    measured: Text
    p50_ms: Count | None
    p95_ms: Count | None
    p99_ms: Count | None


class Plainly(Plain, frozen=True):
    """A count of what organisations did, which is not kept back."""

    name: Name
    count: Count


class Figures(Plain, frozen=True):
    """Everything that was counted."""

    members: tuple[MemberLine, ...]
    tables: tuple[Table, ...]
    #: Statements that are about the exchange and not about signals.
    running: tuple[Plainly, ...]
    lag: tuple[LagLine, ...]
    lag_by_receiver: tuple[LagLine, ...]
    lag_trend: tuple[LagLine, ...]


class Election(Plain, frozen=True):
    """The election that signals name; they alone are counted."""

    id: Digest
    name: Name
    title: Text
    begins_ms: Count
    polling_ends_ms: Count
    lag_target_ms: Count


class Signer(Plain, frozen=True):
    """Who vouches for it."""

    member: Name
    role: Name
    public_key: Digest


class _Stated(msgspec.Struct, frozen=True):
    """What every report says of itself, whichever release made it."""

    format: int


class Payload(Plain, frozen=True):
    """A report."""

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)]
    #: The release that made it: another one may set the same figures otherwise.
    release: Text
    verify: Text
    origin: Origin
    first_day: Day
    last_day: Day
    election: Election | None
    #: When what was not answered by then is open or overdue (Unix milliseconds).
    as_at_ms: Count
    least: Annotated[int, msgspec.Meta(ge=3, le=1000)]
    deadline_hours: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    #: The signed trees that it was counted from.
    checkpoint: Annotated[str, msgspec.Meta(max_length=2000)]
    directory_checkpoint: Annotated[str, msgspec.Meta(max_length=2000)]
    signer: Signer
    figures: Figures
    #: SHA-256 of each file that was made of this.
    files: dict[FileName, Digest]


def encoded(payload: Payload) -> bytes:
    """Return the one form of it as JSON."""
    return msgspec.json.encode(payload, order="sorted")


def decoded(data: bytes) -> Payload:
    """Return the report in its JSON. Raises `Rejected` (MALFORMED) for anything but the one form of one."""
    if len(data) > MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{PAYLOAD_FILE}: is more than {MAX_BYTES:,} bytes")
    try:
        number = msgspec.json.decode(data, type=_Stated).format
        if number > FORMAT:
            said, hint = format_refused(number, FORMAT)
            raise Rejected(Reason.CONFIG, f"{PAYLOAD_FILE}: {said}", hint=hint)
        found = msgspec.json.decode(data, type=Payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"{PAYLOAD_FILE}: {str(error)[:200]}") from error
    if encoded(found) != data:
        raise Rejected(Reason.MALFORMED, f"{PAYLOAD_FILE}: is not in the one form that a report has")
    _check_days(found)
    directory = f"{found.origin.partition('/')[0]}/{Logs.DIRECTORY_LOG}"
    if (stated(found.checkpoint).origin, stated(found.directory_checkpoint).origin) != (found.origin, directory):
        raise Rejected(Reason.MALFORMED, f"{PAYLOAD_FILE}: its checkpoints are of other logs than it names")
    return found


def stated(note: str) -> Checkpoint:
    """Return what a signed checkpoint states; by whom it is signed is another question. Raises `VerificationFailed`."""
    text, _, _ = note.partition("\n\n")
    return parse_checkpoint(f"{text}\n")


def _check_days(payload: Payload) -> None:
    try:
        days = [date.fromisoformat(each) for each in (payload.first_day, payload.last_day)]
    except ValueError as error:
        raise Rejected(Reason.MALFORMED, f"{PAYLOAD_FILE}: names a day that there is not") from error
    if days != sorted(days):
        raise Rejected(Reason.MALFORMED, f"{PAYLOAD_FILE}: ends before it begins")


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {name: sha256(data).hexdigest() for name, data in sorted(files.items())}


def release() -> str:
    """Return what this release is called."""
    return __version__
