"""What the communities' ledgers say of the service's key epochs, and telling them what they do not say yet.

A ledger is asked before anything is said to it, and what it has is never said again: so a crash between saying and
noting costs nothing. An epoch is served once a ledger has it. Where one has its number with another key, by another
member, or as destroyed while the key is still here, the epoch is not served at all: members would not believe it, and
somebody has to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from exchange.domain.bodies import DataVersion, KeyEpoch, State
from exchange.domain.key_epochs import EpochState, KeyEpochEntry, KeyEpochs
from exchange.pseudonyms.epochs import Epoch
from exchange.pseudonyms.ledgers import Ledgers

_TO_COME = (EpochState.COMING, EpochState.LIVE)


def announcement(epoch: Epoch) -> KeyEpoch:
    """Return what a ledger is told of a new epoch."""
    versions = tuple(DataVersion(name, epoch.data_versions[name]) for name in sorted(epoch.data_versions))
    return KeyEpoch(epoch.number, State.ACTIVE, epoch.public_key, epoch.begins_ms, epoch.ends_ms, versions)


def owed(own: Mapping[int, Epoch], known: KeyEpochs, publisher: str, now_ms: int) -> Iterator[KeyEpoch]:
    """Yield what a ledger is to be told of epochs that it does not contradict, in the order in which it takes it."""
    for number in sorted(own):
        epoch, entry = own[number], known.entries.get(number)
        if contradiction(epoch, known, publisher, now_ms):
            continue
        if entry is None:
            if epoch.state(now_ms) in _TO_COME:
                yield announcement(epoch)
        elif epoch.destroyed and entry.destroyed_at is None:
            yield KeyEpoch(number, State.ENDED, entry.epoch.public_key)


def contradiction(epoch: Epoch, known: KeyEpochs, publisher: str, now_ms: int) -> str:
    """Return what a ledger says against an epoch of ours; empty when it says nothing against it."""
    entry = known.entries.get(epoch.number)
    if entry is not None:
        return _difference(epoch, entry, publisher)
    if epoch.number < known.newest and epoch.state(now_ms) in _TO_COME:
        return f"it was never announced, and the ledger has key epoch {known.newest} already"
    return ""


def _difference(epoch: Epoch, entry: KeyEpochEntry, publisher: str) -> str:
    if entry.publisher != publisher:
        return f"the ledger has it from {entry.publisher}"
    if epoch.public_key and entry.epoch.public_key != epoch.public_key:
        return "the ledger has another public key for it"
    if entry.destroyed_at is not None and not epoch.destroyed:
        return "the ledger says that its key is destroyed, but here it is"
    return ""


class Announcements:
    """What each community's ledger has of our epochs."""

    def __init__(self, ledgers: Ledgers, publisher: str, communities: Sequence[str]) -> None:
        """Nothing is known yet; ``publisher`` is the service's own member."""
        self._ledgers = ledgers
        self._publisher = publisher
        self._known: dict[str, KeyEpochs | None] = dict.fromkeys(communities)
        #: What was said and has its receipt: the hub's list of it may lag a moment.
        self._said: set[tuple[str, int, int]] = set()

    async def tell(self, origin: str, own: Mapping[int, Epoch], now_ms: int) -> list[KeyEpoch]:
        """Read a community's ledger, and tell it what it lacks; return what was said. Raises `ExchangeError`."""
        known = self._known[origin] = await self._ledgers.key_epochs(origin)
        said = []
        for body in owed(own, known, self._publisher, now_ms):
            what = (origin, body.number, body.state)
            if what not in self._said:
                await self._ledgers.say(origin, body)
                self._said.add(what)
                said.append(body)
        return said

    def settled(self, own: Mapping[int, Epoch], now_ms: int) -> bool:
        """Whether every ledger has been read, and shows all that it is to be told."""
        return all(
            known is not None and next(owed(own, known, self._publisher, now_ms), None) is None
            for known in self._known.values()
        )

    def contradictions(self, own: Mapping[int, Epoch], now_ms: int) -> dict[int, str]:
        """Return what ledgers say against our epochs, by number."""
        found = {}
        for number, epoch in sorted(own.items()):
            for origin, known in self._known.items():
                if known is not None and (what := contradiction(epoch, known, self._publisher, now_ms)):
                    found[number] = f"{origin}: {what}"
        return found

    def missing(self, own: Mapping[int, Epoch], now_ms: int) -> list[int]:
        """Return the epochs of ours that some ledger has as live or coming, and whose keys are not here."""
        return sorted(
            number
            for known in self._known.values()
            for number, entry in (known.entries.items() if known is not None else ())
            if entry.publisher == self._publisher and entry.destroyed_at is None and now_ms < entry.epoch.ends_ms
            if number not in own
        )

    def served(self, own: Mapping[int, Epoch], now_ms: int) -> dict[int, Epoch]:
        """Return the epochs that may be evaluated under while they are live."""
        against = self.contradictions(own, now_ms)
        announced = {number for known in self._known.values() if known is not None for number in known.entries}
        return {
            number: epoch
            for number, epoch in own.items()
            if number in announced and number not in against and not epoch.destroyed
        }
