"""A platform's indices of its accounts: one file for each key epoch, in one folder, all asked together.

In an overlap of two epochs a signal names an account under both, and one from before it under the older one alone. So
the older index serves on while the newer one is made, and neither has to be complete for the other to answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Collection, Iterable
from pathlib import Path

from exchange.domain.identifiers import KEY_EPOCH_BYTES, key_epoch_of, pseudonym_value
from exchange.errors import Fatal, Reason, Unavailable
from exchange_client.account_index import AccountIndex
from exchange_client.account_indexing import Own, Progress, index_accounts
from exchange_client.account_pseudonyms import AccountPseudonyms
from exchange_client.pseudonyms import EpochKey, Pseudonyms

#: How often it is looked for a new epoch.
LOOK_EVERY_S = 60.0

_LOG = logging.getLogger("exchange_client")


class AccountIndexes:
    """All indices in a folder. Communities that share a pseudonym service share them."""

    def __init__(self, folder: Path) -> None:
        """Open what is there, to be asked. Raises `Fatal` (CONFIG) when a file cannot be used."""
        self.folder = folder
        #: To ask, and to add to: two connections, so that asking never waits for what is being added.
        self._asked: dict[EpochKey, AccountIndex] = {}
        self._growing: dict[Pseudonyms, AccountIndex] = {}
        if folder.exists() and not folder.is_dir():
            raise Fatal(f"{folder}: is not a folder; indices are files in one", reason=Reason.CONFIG)
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Open what has come into the folder."""
        open_already = {index.path for index in self._asked.values()}
        for path in sorted(self.folder.glob("epoch-*.sqlite")):
            if path not in open_already:
                index = AccountIndex(path)
                self._asked[index.epoch] = index

    def close(self) -> None:
        """Close the files."""
        for index in (*self._asked.values(), *self._growing.values()):
            index.close()

    @property
    def all(self) -> list[AccountIndex]:
        """Return the indices, by the number of their epoch."""
        return sorted(self._asked.values(), key=lambda index: index.epoch.number)

    def under(self, pseudonyms: Pseudonyms) -> AccountIndex:
        """Return the index of an epoch, to be added to; made where it is not there. Raises `Fatal` (CONFIG)."""
        if pseudonyms not in self._growing:
            known = self._asked.get(pseudonyms.epoch)
            path = self.folder / file_name(pseudonyms.epoch) if known is None else known.path
            self._growing[pseudonyms] = AccountIndex(path, pseudonyms)
            if known is None:
                self._asked[pseudonyms.epoch] = AccountIndex(path)
        return self._growing[pseudonyms]

    async def add(
        self,
        making: AccountPseudonyms,
        accounts: AsyncIterable[Own],
        progress: Callable[[Progress], None] = lambda _: None,
        *,
        epochs: Collection[int] = (),
    ) -> Progress:
        """Index accounts under each live epoch, or under these ones.

        Raises as `index_accounts`, and `Rejected` (NOT_FOUND) for an epoch that is not live.
        """
        numbers = epochs or [entry.epoch.number for entry in await making.live()]
        indexes = [self.under(await making.under(number)) for number in sorted(numbers)]
        return await index_accounts(indexes, accounts, progress)

    async def keep(
        self,
        making: AccountPseudonyms,
        accounts: Callable[[], AsyncIterable[Own]],
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Index all accounts under each epoch as it becomes live, until cancelled: a task beside what asks.

        ``accounts`` begins a pass over all of them. What is left for lack of budget is taken up when there is more.
        Raises what waiting cannot mend.
        """
        whole: set[int] = set()
        while True:
            wait_s = LOOK_EVERY_S
            try:
                new = {entry.epoch.number for entry in await making.live()} - whole
                if new:
                    await self.add(making, accounts(), progress, epochs=new)
                    whole |= new
            except Unavailable as error:
                wait_s = max(wait_s, error.retry_after_ms / 1000)
                _LOG.warning("indexing accounts goes on in %.0f s: %s", wait_s, error.message)
            await asyncio.sleep(wait_s)

    async def remove(self, references: Collection[str]) -> int:
        """Forget accounts of the platform, in every index; return how many identifiers of them there were."""
        return sum([await index.remove(references) for index in self.all])

    async def find(self, values: Iterable[bytes]) -> dict[bytes, list[str]]:
        """Return the platform's references for pseudonyms as signals have them (36 bytes), for those that have any."""
        by_epoch: defaultdict[int, set[bytes]] = defaultdict(set)
        for value in values:
            by_epoch[key_epoch_of(value)].add(value[KEY_EPOCH_BYTES:])
        if not by_epoch.keys() <= {index.epoch.number for index in self.all}:
            self._look()  # another process may have begun the index of a new epoch
        found: dict[bytes, list[str]] = {}
        for index in self.all:
            number = index.epoch.number
            for output, references in (await index.find_all(by_epoch[number])).items() if number in by_epoch else ():
                value = pseudonym_value(number, output)
                found[value] = sorted({*found.get(value, ()), *references})
        return found


def file_name(epoch: EpochKey) -> str:
    """Return the name of an epoch's index: two services' epochs of one number have two files."""
    return f"epoch-{epoch.number}-{epoch.public_key[1:9].hex()}.sqlite"
