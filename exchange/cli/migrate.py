"""``exchange migrate``: a hub's logs from one kind of store to another, checked, and gone on with where it was cut off.

The order is what makes it safe to be killed anywhere. The source is checked before anything is written; what is
filled is withheld from hubs until all of it has been read back and compared; only then the source is withheld, saying
where its logs have moved; and last of all hubs may serve the target.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from exchange import config
from exchange.cli.audit import Audit
from exchange.cli.logs_here import LogHere, alone, in_store, log_here, where
from exchange.cli.output import config_option, emit, json_option, say, with_progress
from exchange.cli.released import released, remember
from exchange.config import Config
from exchange.domain.identifiers import Origin
from exchange.errors import Fatal, Reason, Rejected, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, log_verifier
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.note import Verifier
from exchange.opening import LEAST_BYTES
from exchange.ports import TreeHead
from exchange.stores.folders import read_key
from exchange.stores.moving import Filled, Source, fill
from exchange.stores.opened import stores_in
from exchange.stores.reading import Reading
from exchange.stores.sqlite_reader import LogState, RawEntry
from exchange.stores.withheld import Why, Withheld, refusal


@click.command()
@click.option(
    "--to",
    "to_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The hub's configuration as it will be, with the store that the logs are to lie in.",
)
@config_option
@json_option
def migrate(to_path: Path, config_path: Path, *, as_json: bool) -> None:
    """Move a hub's logs to the store that another configuration names. Every hub of either must be stopped.

    Every log is checked, copied byte for byte, read back and compared, with its root recomputed. Until all of that is
    done no hub serves the new store; from then on none serves the old one, which is left as it is. Killed half way,
    the same command goes on where it ended. The other way round it takes a hub back, with what came since.

    \b
    Examples:
      exchange migrate --config hub/hub.toml --to hub/redis.toml
      exchange migrate --config hub/redis.toml --to hub/hub.toml
    """
    source, target = config.load(config_path), config.load(to_path)
    if source.exchange != target.exchange:
        raise Rejected(Reason.CONFIG, f"{to_path}: is of {target.exchange}, not of {source.exchange}")
    if where(source) == where(target):
        raise Rejected(Reason.CONFIG, f"{to_path}: names the same store as {config_path}: {where(source)}")
    moves = [_Move(source, target, here, quiet=as_json) for here in in_store(source)]
    filled = _moved(moves)
    for move in moves:
        _say(move, filled.get(move.here.name), as_json=as_json)
    if not as_json:
        say(f"           {where(source)} still hold records, which nothing erases any more: see docs/redis.md")


def _moved(moves: Sequence[_Move]) -> dict[str, Filled]:
    """Move logs; return what was done for those that had not moved before."""
    with ExitStack() as held:
        for move in moves:
            held.enter_context(move.source_alone())
        open_ = [move for move in moves if move.check()]
        filled = {move.here.name: move.fill() for move in open_}
        for move in open_:
            move.compare()
            held.enter_context(move.target_alone())
        for move in open_:
            move.withhold_source()
        for move in open_:
            move.open_target()
    return filled


@dataclass(frozen=True, slots=True)
class _There:
    """Where the log stands in the target: nothing, where it is not there yet."""

    withheld: bytes
    heads: tuple[TreeHead, ...]
    floor: int


class _Move:
    """One log on its way."""

    def __init__(self, source: Config, target: Config, here: LogHere, *, quiet: bool) -> None:
        """Nothing is looked at yet."""
        self.here = here
        self.origin = Origin(source.exchange, here.name)
        self._source, self._target = source, target
        self._there = log_here(target, here.name)
        self._stores, self._new_stores = (stores_in(each.folders, each.place) for each in (source, target))
        self._key = _key(source, target, here.name)
        self._filling = Withheld(Why.FILLING, where(source)).encoded()
        self._moved = Withheld(Why.MOVED, where(target)).encoded()
        self._was = b""
        self._quiet = quiet
        self._before: _There | None = None
        self.state: LogState

    @property
    def head(self) -> TreeHead:
        """The head that the source has."""
        return TreeHead(self.state.durable_size, self.state.durable_root)

    def _watched(self, entries: Iterator[RawEntry], doing: str) -> Iterator[RawEntry]:
        return with_progress(entries, self.state.durable_size, f"{self.origin}: {doing}", quiet=self._quiet)

    def source_alone(self) -> AbstractContextManager[None]:
        """Have the source to ourselves."""
        return alone(self._source, self.here.name)

    def target_alone(self) -> AbstractContextManager[None]:
        """Have the target to ourselves."""
        return alone(self._target, self.here.name)

    def check(self) -> bool:
        """Check the source, and that the target may be filled from it. False where that is done already. Raises."""
        origin = str(self.origin)
        self._was = asyncio.run(self._stores.withheld(self.origin))
        if self._was not in (b"", self._moved):
            raise refusal(origin, self._was)
        there = self._before = self._stands()
        marks = {self._source.folders.mark(self.here.name), self._target.folders.mark(self.here.name)}
        known = [TreeHead(each.size, each.root) for each in released((), marks, origin, self._key)]
        with closing(self.here.read()) as log:
            self.state = log.state()
            if self._was:
                if there is None:
                    raise Fatal(f"{origin}: has moved to {where(self._target)}, and is not there any more")
                if not there.withheld:
                    return False
            _require_ours(origin, self.state, there, self._target)
            self._require_released(known)
            known += there.heads if there is not None else ()
            self._audit(log, known)
        return True

    def _audit(self, log: Reading, known: Sequence[TreeHead]) -> None:
        """Check the whole source, and that these trees are on its way. Raises `Rejected` and `VerificationFailed`."""
        audit = Audit(log, self.state, self._verifier, None, {each.size for each in known})
        for entry in self._watched(log.entries(self.state.durable_size), "check"):
            audit.take(entry)
        audit.finish()
        for each in known:
            if audit.root(each.size) != each.root:
                raise Rejected(
                    Reason.CONFLICT,
                    f"{self.origin}: its first {each.size} entries are not those of {where(self._target)} or a mark",
                    hint="nothing was changed; look at both with `exchange verify`",
                )

    @property
    def _verifier(self) -> Verifier:
        return log_verifier(str(self.origin), self._key.public_key)

    def _stands(self) -> _There | None:
        """Return where the log stands in the target; None where it is not there."""
        try:
            log = self._there.read()
        except Rejected as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise
        with closing(log):
            state = log.state()
        with self.target_alone():
            withheld = asyncio.run(self._new_stores.withheld(self.origin))
        durable = TreeHead(state.durable_size, state.durable_root)
        return _There(withheld, (durable, TreeHead(state.sealed_size, state.sealed_root)), state.floor)

    def _require_released(self, known: Sequence[TreeHead]) -> None:
        """Return if the source holds all that was released. Raises `Fatal` (ROLLED_BACK)."""
        size = self.state.durable_size
        if size and not known:
            raise Fatal(
                f"{self.origin}: this machine has no record of the log's last checkpoint",
                reason=Reason.ROLLED_BACK,
                hint="serve it first, as `exchange serve --adopt` does, then stop the hub and move it",
            )
        most = max((each.size for each in known), default=0)
        if most > size:
            raise Fatal(
                f"{self.origin}: ends at {size} in {where(self._source)}, but {most} was released",
                reason=Reason.ROLLED_BACK,
                hint="this is an old copy: `exchange recover` brings back what is missing",
            )

    def fill(self) -> Filled:
        """Make the target hold what the source does, withheld from hubs."""
        return asyncio.run(self._fill())

    async def _fill(self) -> Filled:
        stores, origin = self._new_stores, self.origin
        before = self._before
        if before is None:
            await stores.make(origin, withheld=self._filling)
        else:
            await stores.withhold(origin, before.withheld, self._filling, before.heads[0])
        store = await stores.open(origin, recent_bytes=LEAST_BYTES, withheld=self._filling)
        try:
            source = Source(
                self.here.read, self.state.durable_size, self.state.floor, partial(self._watched, doing="copy")
            )
            return await fill(store, source, str(origin), self._key, stores.erase_at_once)
        finally:
            await store.aclose()

    def compare(self) -> None:
        """Read the target back, and hold it against the source entry by entry. Raises `VerificationFailed`."""
        size = self.state.durable_size
        with closing(self.here.read()) as ours, closing(self._there.read()) as theirs:
            state = theirs.state()
            if (state.durable_size, state.sealed_size, state.floor) != (size, size, self.state.floor):
                raise self._differs(f"ends at {state.sealed_size}, with the floor at {state.floor}")
            audit = Audit(theirs, state, self._verifier, None)
            for one, other in zip(ours.entries(size), self._watched(theirs.entries(size), "compare"), strict=True):
                audit.take(other)
                if (one.leaf, one.frame) != (other.leaf, other.frame):
                    raise self._differs(f"has another entry {one.index}")
            audit.finish()
            if state.durable_root != self.state.durable_root:
                raise self._differs("makes another root")

    def _differs(self, how: str) -> VerificationFailed:
        return VerificationFailed(Reason.BAD_PROOF, f"{self.origin}: {where(self._target)} {how}; nothing was moved")

    def withhold_source(self) -> None:
        """From now on no hub serves the source."""
        asyncio.run(self._stores.withhold(self.origin, self._was, self._moved, self.head))

    def open_target(self) -> None:
        """From now on hubs may serve the target."""
        asyncio.run(self._open_target())

    async def _open_target(self) -> None:
        head = self.head
        if head.size:
            reached = Checkpoint(str(self.origin), head.size, head.root)
            await remember(self._target.folders.mark(self.here.name), reached, self._key)
        await self._new_stores.withhold(self.origin, self._filling, b"", head)


def _key(source: Config, target: Config, name: str) -> SigningKey:
    """Return the log's key, which both hubs must have."""
    key = read_key(source.folders.key(name))
    if read_key(target.folders.key(name)).public_key != key.public_key:
        raise Rejected(
            Reason.CONFIG,
            f"{target.folders.key(name)}: is not the key that signs {name} now",
            hint="copy the `keys` folder, or name the same one in both files",
        )
    return key


def _require_ours(origin: str, state: LogState, there: _There | None, target: Config) -> None:
    """Return if what is in the target may be gone on with. Raises `Rejected` (CONFLICT)."""
    if state.origin != origin:
        raise Rejected(Reason.CONFIG, f"the store holds the log {state.origin} in the place of {origin}")
    if there is None:
        return
    if not there.withheld:
        raise Rejected(
            Reason.CONFLICT,
            f"{origin}: {where(target)} holds this log already, and hubs may serve it there",
            hint="nothing was changed; move to an empty store, or remove that log",
        )
    if there.heads[0].size > state.durable_size or there.floor > state.floor:
        raise Rejected(
            Reason.CONFLICT,
            f"{origin}: {where(target)} holds more than is to be moved there",
            hint="nothing was changed; look at both with `exchange verify`",
        )


def _say(move: _Move, filled: Filled | None, *, as_json: bool) -> None:
    size = move.state.durable_size
    written, erased = (0, 0) if filled is None else (filled.written, filled.erased)
    lines = [f" {move.origin}: {size} entries, {written} of them written now"]
    if erased:
        lines.append(f"        erased in {erased} entries that were there already")
    emit(
        {
            "origin": str(move.origin),
            "size": size,
            "root": move.state.durable_root.hex(),
            "written": written,
            "erased": erased,
            "moved_before": filled is None,
        },
        as_json=as_json,
        lines=lines,
        mark=("moved", "green"),
    )
