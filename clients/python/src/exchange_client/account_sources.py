"""A platform's accounts as its files hold them: CSV or JSON lines, an account or one identifier of it a line.

The first line says which: an object, or the names of the columns. Either each line has ``reference``, ``type`` and
``value``, or it has ``reference`` and what its identifiers are in keys named by their types (``email``, ``phone``);
``country`` is where a telephone number without + was dialled. Whatever else there is, is ignored.

What must stay true: one bad line stops nobody; no message repeats an identifier; memory does not grow with the file.
"""

from __future__ import annotations

import asyncio
import csv
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from exchange.errors import ExchangeError, Reason, Rejected
from exchange.normal.accounts import AccountType
from exchange_client.account_indexing import Own
from exchange_client.json_lines import line_of, object_of
from exchange_client.jsonl import account_of

MAX_LINE_BYTES = 64 * 1024
MAX_REFERENCE_CHARACTERS = 256
_TYPES = tuple(AccountType)
#: Keys of a line that says one identifier, and of one that says those of an account.
_ONE_EACH = frozenset({"reference", "type", "value", "country"})
_BY_TYPE = frozenset({"reference", "country", *_TYPES})
_READ_LINES = 1_000
_BOM = b"\xef\xbb\xbf"
_FORMS = "either `reference`, `type` and `value`, or `reference` and types of identifiers such as `email` and `phone`"


@dataclass(frozen=True, slots=True, repr=False)
class Refused:
    """A line, or what one says of one identifier, and why it is refused. It holds the identifier: for nobody else."""

    line: object
    error: ExchangeError


class AccountLines:
    """Reads the lines of one source."""

    def __init__(self) -> None:
        """The first line is still to come."""
        #: None before the first line; empty for JSON lines.
        self._columns: list[str] | None = None
        #: Those that say something.
        self._wanted: AbstractSet[str] = frozenset()

    def read(self, line: bytes) -> list[Own | Refused]:
        """Return what a line says. Raises `Rejected` (INVALID) when the first one says nothing of the form."""
        if self._columns is None:
            line = line.removeprefix(_BOM)
            self._columns = [] if line.lstrip().startswith(b"{") else _columns(line)
            if self._columns:
                self._wanted = _ONE_EACH if _ONE_EACH - {"country"} <= set(self._columns) else _BY_TYPE
                return []
        try:
            return self._read(line)
        except ExchangeError as error:
            return [Refused(_kept(line), error.alone())]

    def _read(self, line: bytes) -> list[Own | Refused]:
        if len(line) > MAX_LINE_BYTES:
            raise Rejected(Reason.TOO_LARGE, f"a line may have {MAX_LINE_BYTES:,} bytes")
        return list(_identifiers(self._row(line) if self._columns else object_of(line_of(line))))

    def _row(self, line: bytes) -> dict[str, object]:
        columns = self._columns or []
        values = _values(line)
        if len(values) != len(columns):
            raise Rejected(Reason.INVALID, f"there are {len(values)} columns, and {len(columns)} in the first line")
        named = zip(columns, values, strict=True)
        return {name: value.strip() for name, value in named if name in self._wanted and value.strip()}


async def accounts_of(path: Path, refused: Callable[[Refused], None]) -> AsyncIterator[Own]:
    """Yield the accounts in a file; ``refused`` hears of what is not one.

    Raises `Rejected`: it cannot be read (CONFIG), or is of another form (INVALID).
    """
    lines = AccountLines()
    try:
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(_chunk, file.readline):
                for line in chunk:
                    for found in lines.read(line) if line.strip() else ():
                        if isinstance(found, Refused):
                            refused(found)
                        else:
                            yield found
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{path}: {error.strerror}") from error


def _chunk(readline: Callable[[int], bytes]) -> list[bytes]:
    """Return the next lines; of one that is too long, its beginning."""
    found: list[bytes] = []
    for _ in range(_READ_LINES):
        line = rest = readline(MAX_LINE_BYTES + 1)
        if not line:
            break
        while rest and not rest.endswith(b"\n"):
            rest = readline(MAX_LINE_BYTES)
        found.append(line)
    return found


def _kept(line: bytes) -> object:
    return line_of(line[:MAX_LINE_BYTES])


def _columns(line: bytes) -> list[str]:
    """Return the names of the columns. They are not repeated: a file without them begins with an account."""
    try:
        columns = [name.strip().lower() for name in _values(line)]
    except Rejected:
        columns = []
    known = [name for name in columns if name in _ONE_EACH | _BY_TYPE]
    form = _ONE_EACH - {"country"} <= set(known) or ("reference" in known and set(known) & set(_TYPES))
    if not form or len(set(known)) != len(known):
        raise Rejected(
            Reason.INVALID,
            f"the first line must name the columns, parted by commas and each once: {_FORMS}",
            hint="or give JSON lines, one object for each account",
        )
    return columns


def _values(line: bytes) -> list[str]:
    try:
        text = line.decode().rstrip("\r\n")
        return next(csv.reader([text], strict=True), [])
    except UnicodeDecodeError as error:
        raise Rejected(Reason.MALFORMED, "not UTF-8") from error
    except csv.Error as error:
        raise Rejected(Reason.MALFORMED, "not CSV with an account a line: quotes that do not close?") from error


def _identifiers(data: Mapping[str, object]) -> Iterator[Own | Refused]:
    """Yield what an account's object says, identifier by identifier. Raises `Rejected` when it is of no known form."""
    reference = _reference(data.get("reference"))
    country = data.get("country")
    given: list[tuple[object, object]] = [(type_, data[type_]) for type_ in _TYPES if data.get(type_) is not None]
    if "value" in data or ("type" in data and not given):
        given = [(data.get("type"), data.get("value"))]
    elif not data.keys() & set(_TYPES) and not data.keys() <= _BY_TYPE:
        raise Rejected(Reason.INVALID, f"names no identifier: {_FORMS}")
    for type_, value in given:
        try:
            yield Own(reference, account_of(type_, value, country))
        except ExchangeError as error:
            said = {"reference": reference, "type": type_, "value": value, "country": country}
            yield Refused({key: each for key, each in said.items() if each is not None}, error.alone())


def _reference(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise Rejected(Reason.INVALID, "`reference`, the platform's own name for the account, is missing")
    if len(value) > MAX_REFERENCE_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"`reference` may have {MAX_REFERENCE_CHARACTERS} characters")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise Rejected(Reason.INVALID, "`reference` must not hold control characters")
    return value
