"""A platform's own accounts by their pseudonyms: one SQLite file for each key epoch, made once and kept up.

What must stay true: making it can be interrupted anywhere and goes on; an account that is there is not evaluated again;
the file holds no identifier, only the platform's own references and keyed digests that mean nothing without the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import apsw

from exchange.errors import Fatal, Reason
from exchange.normal.accounts import Account
from exchange_client.pseudonyms import BATCH, UNDER_WAY, Pseudonyms
from exchange_client.state import open_private

#: Accounts looked up, evaluated and committed together.
STEP = BATCH * UNDER_WAY

_SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE about (epoch INTEGER NOT NULL, public_key BLOB NOT NULL, digest_key BLOB NOT NULL) STRICT;
CREATE TABLE accounts (
    digest BLOB PRIMARY KEY, pseudonym BLOB NOT NULL, reference TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX by_pseudonym ON accounts (pseudonym);
CREATE INDEX by_reference ON accounts (reference);
"""


@dataclass(frozen=True, slots=True)
class Own:
    """One of a platform's accounts: its own reference, opaque to everyone else, and one identifier of it."""

    reference: str
    account: Account


@dataclass(frozen=True, slots=True)
class Progress:
    """How far indexing has come."""

    read: int
    evaluated: int


class AccountIndex:
    """The index of one key epoch."""

    def __init__(self, path: Path, pseudonyms: Pseudonyms) -> None:
        """Open the file, or make it. Raises `Fatal` (CONFIG) when it is another epoch's, or cannot be used."""
        self._pseudonyms = pseudonyms
        epoch = pseudonyms.epoch
        try:
            self._connection = open_private(path)
            version = self._connection.pragma("user_version")
            if version == 0:
                with self._connection:
                    self._connection.execute(_TABLES)
                    about = (epoch.number, epoch.public_key, os.urandom(32))
                    self._connection.execute("INSERT INTO about VALUES (?, ?, ?)", about)
                    self._connection.pragma("user_version", _SCHEMA_VERSION)
            elif version != _SCHEMA_VERSION:
                raise Fatal(f"{path}: schema version {version} is not known to this release", reason=Reason.CONFIG)
            rows = self._connection.execute("SELECT epoch, public_key, digest_key FROM about").fetchall()
        except (apsw.Error, OSError) as error:
            raise Fatal(f"{path}: {error}", reason=Reason.CONFIG) from error
        if len(rows) != 1 or tuple(rows[0][:2]) != (epoch.number, epoch.public_key):
            raise Fatal(f"{path}: is the index of another key epoch", reason=Reason.CONFIG)
        self._digest_key = bytes(cast("bytes", rows[0][2]))

    async def add(
        self, accounts: AsyncIterable[Own], progress: Callable[[Progress], None] = lambda _: None
    ) -> Progress:
        """Index accounts that are not there yet; ``progress`` hears of each step that is on disk.

        Raises as `Pseudonyms.of`; what was committed before stays, and the next call goes on from there.
        """
        read = evaluated = 0
        async for step in _steps(accounts):
            digests = [self._digest(own) for own in step]
            known = await asyncio.to_thread(self._known, digests)
            new = {digest: own for digest, own in zip(digests, step, strict=True) if digest not in known}
            if new:
                made = await self._pseudonyms.of([own.account for own in new.values()])
                rows = [(d, p, own.reference) for (d, own), p in zip(new.items(), made, strict=True)]
                await asyncio.to_thread(self._insert, rows)
            read, evaluated = read + len(step), evaluated + len(new)
            progress(Progress(read, evaluated))
        return Progress(read, evaluated)

    async def remove(self, reference: str) -> int:
        """Forget an account of the platform; return how many identifiers of it there were."""
        return await asyncio.to_thread(self._remove, reference)

    async def find(self, pseudonym: bytes) -> list[str]:
        """Return the references of the platform's accounts with this pseudonym."""
        return await asyncio.to_thread(self._find, pseudonym)

    async def size(self) -> int:
        """Return how many identifiers are indexed."""
        return await asyncio.to_thread(self._size)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _digest(self, own: Own) -> bytes:
        """Return what tells that this identifier of this account is indexed."""
        reference = own.reference.encode()
        said = len(reference).to_bytes(4, "big") + reference + own.account.to_bytes()
        return hmac.digest(self._digest_key, said, hashlib.sha256)

    def _known(self, digests: Sequence[bytes]) -> set[bytes]:
        query = "SELECT 1 FROM accounts WHERE digest = ?"
        return {digest for digest in digests if self._connection.execute(query, (digest,)).fetchone() is not None}

    def _insert(self, rows: Sequence[tuple[bytes, bytes, str]]) -> None:
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", rows)

    def _remove(self, reference: str) -> int:
        with self._connection:
            self._connection.execute("DELETE FROM accounts WHERE reference = ?", (reference,))
        return self._connection.changes()

    def _find(self, pseudonym: bytes) -> list[str]:
        query = "SELECT DISTINCT reference FROM accounts WHERE pseudonym = ? ORDER BY reference"
        return [str(row[0]) for row in self._connection.execute(query, (pseudonym,))]

    def _size(self) -> int:
        return int(next(self._connection.execute("SELECT count(*) FROM accounts"))[0])


async def _steps(accounts: AsyncIterable[Own]) -> AsyncIterator[list[Own]]:
    step: list[Own] = []
    async for own in accounts:
        step.append(own)
        if len(step) == STEP:
            yield step
            step = []
    if step:
        yield step
