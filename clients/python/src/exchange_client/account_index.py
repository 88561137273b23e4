"""A platform's own accounts by their pseudonyms: one SQLite file for each key epoch, made once and kept up.

What must stay true: making it can be interrupted anywhere and goes on; an account that is there is not evaluated again;
the file holds no identifier, only the platform's own references, pseudonyms, and digests that tell what is there. Those
are made with a key in a file beside it (``.key``). Without the key the index can be asked and nothing can be guessed
from it; with both, whoever takes them can try guesses as on a plain hash. So the key goes into no backup.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

from exchange.errors import Fatal, Reason, Rejected
from exchange.ops.durable import write_secret
from exchange.ops.transactions import all_rows, first_row
from exchange_client.account_indexing import Own, Progress, index_accounts
from exchange_client.private_database import PrivateDatabase
from exchange_client.pseudonyms import EpochKey, Pseudonyms
from exchange_client.state import checked

_SCHEMA_VERSION = 2
_TABLES = """
CREATE TABLE about (epoch INTEGER NOT NULL, public_key BLOB NOT NULL, key_check BLOB NOT NULL) STRICT;
CREATE TABLE accounts (
    digest BLOB PRIMARY KEY, pseudonym BLOB NOT NULL, reference TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX by_pseudonym ON accounts (pseudonym);
CREATE INDEX by_reference ON accounts (reference);
"""
_KEY_BYTES = 32
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class IndexSize:
    """How much an index holds."""

    identifiers: int
    accounts: int


class AccountIndex:
    """The index of one key epoch."""

    def __init__(self, path: Path, pseudonyms: Pseudonyms | None = None) -> None:
        """Open the file, or make it. Without ``pseudonyms``, one that is there is opened, and nothing added.

        Raises `Fatal` (CONFIG) when it is another epoch's, has lost its key, or cannot be used.
        """
        self._pseudonyms = pseudonyms
        self._key = b"" if pseudonyms is None else _key_beside(path)

        def make(connection: apsw.Connection) -> None:
            assert pseudonyms is not None
            epoch = pseudonyms.epoch
            connection.execute(_TABLES)
            about = (epoch.number, epoch.public_key, self._check())
            connection.execute("INSERT INTO about VALUES (?, ?, ?)", about)

        self._file = PrivateDatabase(path, _SCHEMA_VERSION, None if pseudonyms is None else make)
        try:
            self.epoch = self._about()
        except BaseException:
            self._file.close()
            raise

    def _about(self) -> EpochKey:
        rows = self._file.now(lambda connection: all_rows(connection, "SELECT * FROM about"))
        if len(rows) != 1:
            raise Fatal(f"{self.path}: is no index of accounts", reason=Reason.CONFIG)
        number, public_key, check = checked(rows[0], int, bytes, bytes)
        epoch = EpochKey(number, public_key)
        if self._pseudonyms is not None and epoch != self._pseudonyms.epoch:
            raise Fatal(f"{self.path}: is the index of another key epoch", reason=Reason.CONFIG)
        if self._pseudonyms is not None and not hmac.compare_digest(check, self._check()):
            raise Fatal(
                f"{self.path}: the key beside it is not the one that it was made with",
                reason=Reason.CONFIG,
                hint=f"bring {self.path.with_suffix('.key').name} back, or delete both to index all accounts anew",
            )
        return epoch

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    async def add(
        self, accounts: AsyncIterable[Own], progress: Callable[[Progress], None] = lambda _: None
    ) -> Progress:
        """Index accounts that are not there yet. Raises as `index_accounts`."""
        return await index_accounts([self], accounts, progress)

    async def missing(self, accounts: Sequence[Own]) -> list[Own]:
        """Return which of these are not indexed yet, each once."""
        by_digest = {self._digest(own): own for own in accounts}
        known = await self._file.run(lambda connection: _known(connection, by_digest))
        return [own for digest, own in by_digest.items() if digest not in known]

    async def insert(self, accounts: Sequence[Own]) -> None:
        """Have these evaluated, and keep their pseudonyms, durably. Raises as `Pseudonyms.of`."""
        if self._pseudonyms is None:
            raise Rejected(Reason.CONFIG, "this index was opened to be asked, not to be added to")
        made = await self._pseudonyms.of([own.account for own in accounts])
        rows = [(self._digest(own), p, own.reference) for own, p in zip(accounts, made, strict=True)]
        query = "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)"
        await self._file.run(lambda connection: connection.executemany(query, rows))

    async def remove(self, references: Collection[str]) -> int:
        """Forget accounts of the platform; return how many identifiers of them there were.

        They are gone from the file's rows and from its log when this returns; `PrivateDatabase` says of copies of rows.
        """

        def job(connection: apsw.Connection) -> int:
            before = connection.total_changes()
            rows = [(reference,) for reference in references]
            connection.executemany("DELETE FROM accounts WHERE reference = ?", rows)
            return connection.total_changes() - before

        removed = await self._file.run(job)
        await self._file.purge()
        return removed

    async def find(self, pseudonym: bytes) -> list[str]:
        """Return the references of the platform's accounts with this pseudonym."""
        return (await self.find_all([pseudonym])).get(pseudonym, [])

    async def find_all(self, pseudonyms: Iterable[bytes]) -> dict[bytes, list[str]]:
        """Return the references of the platform's accounts with these pseudonyms, for those that have any."""
        asked = set(pseudonyms)
        query = "SELECT DISTINCT reference FROM accounts WHERE pseudonym = ? ORDER BY reference"

        def job(connection: apsw.Connection) -> dict[bytes, list[str]]:
            found = {each: [str(row[0]) for row in all_rows(connection, query, (each,))] for each in asked}
            return {each: references for each, references in found.items() if references}

        return await self._file.run(job)

    async def size(self) -> IndexSize:
        """Return how many identifiers are indexed, and of how many accounts."""
        query = "SELECT count(*), count(DISTINCT reference) FROM accounts"
        (row,) = await self._file.run(lambda connection: all_rows(connection, query))
        return IndexSize(*checked(row, int, int))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _digest(self, own: Own) -> bytes:
        """Return what tells that this identifier of this account is indexed."""
        reference = own.reference.encode()
        said = len(reference).to_bytes(4, "big") + reference + own.account.to_bytes()
        return hmac.digest(self._key, said, hashlib.sha256)[:_DIGEST_BYTES]

    def _check(self) -> bytes:
        return hmac.digest(self._key, b"the key of an index of accounts", hashlib.sha256)


def _key_beside(index: Path) -> bytes:
    """Return the key of an index; made with a new one. Raises `Fatal` (CONFIG)."""
    path = index.with_suffix(".key")
    try:
        if not index.exists():
            with suppress(FileExistsError):  # an earlier run may have come no further
                write_secret(path, os.urandom(_KEY_BYTES))
        key = path.read_bytes()
    except FileNotFoundError as error:
        hint = "bring it back, or delete the index to make it anew: every account is evaluated again then"
        raise Fatal(f"{path}: the index has lost its key", reason=Reason.CONFIG, hint=hint) from error
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG) from error
    if len(key) != _KEY_BYTES:
        raise Fatal(f"{path}: is not the key of an index", reason=Reason.CONFIG)
    return key


def _known(connection: apsw.Connection, digests: Iterable[bytes]) -> set[bytes]:
    query = "SELECT 1 FROM accounts WHERE digest = ?"
    return {digest for digest in digests if first_row(connection, query, (digest,)) is not None}
