"""``exchange restore`` and ``exchange recover``: bringing back a hub's logs, or the entries that one has lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from exchange import config
from exchange.cli.backup import check_apart
from exchange.cli.output import NOT_NOW, config_option, emit, json_option, with_progress
from exchange.cli.released import opened, released, remember
from exchange.config import Config
from exchange.domain.identifiers import Origin
from exchange.errors import Fatal, Reason, Rejected, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.tree import Tree
from exchange.opening import LEAST_BYTES, LIFE
from exchange.ops.clocks import wall_ms, worked_s
from exchange.ports import TreeHead
from exchange.publish.recovery import load_tree
from exchange.stores.backup.frames import bare_frame
from exchange.stores.backup.layout import CHECKPOINT, LogBackup, leaves, read_manifest
from exchange.stores.backup.reading import BackedUp
from exchange.stores.backup.record_keys import RecordKeys
from exchange.stores.facts import FactsFile
from exchange.stores.facts_beside import beside
from exchange.stores.folders import read_key
from exchange.stores.opened import Store, Stores, stores_in
from exchange.stores.refilling import check_leaves, refill
from exchange.views.erasing import Eraser
from exchange.views.life import LifeView

_POLL_S = 0.01


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--record-keys",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="Folder of the keys of records, as `exchange backup` was given it.",
)
@click.option(
    "--checkpoint",
    "notes",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A signed checkpoint of a log as a member, a witness or a mirror has it. Given once for each log.",
)
@click.option(
    "--adopt", is_flag=True, help="Nothing was released after the backup: believe it where no mark says more."
)
@config_option
@json_option
def restore(
    folder: Path, record_keys: Path, notes: tuple[Path, ...], config_path: Path, *, adopt: bool, as_json: bool
) -> None:
    """Make a hub's logs again from the backup in FOLDER, in an empty store. The hub must be stopped.

    Every entry is held against the log's signed checkpoint first. What was erased or is over since the backup was made
    is erased again, before any hub serves it. What has been released after the backup is known by this machine's mark,
    or by the --checkpoint of somebody who saw it: the hub then serves nothing until `exchange recover` has brought the
    missing entries back, because it would sign another tree.

    \b
    Examples:
      exchange restore /backups/hub --record-keys /keys/hub --config new/hub.toml --checkpoint seen-by-alpha
      exchange restore /backups/hub --record-keys /keys/hub --config new/hub.toml --adopt
    """
    settings = config.load(config_path)
    check_apart(folder, record_keys)
    held = read_manifest(folder)
    if held is None:
        raise Rejected(Reason.CONFIG, f"{folder}: holds no backup", hint="name the folder that `exchange backup` wrote")
    if held.exchange != settings.exchange:
        raise Rejected(Reason.CONFIG, f"{folder}: is the backup of {held.exchange}, not of {settings.exchange}")
    stores = stores_in(settings.folders, settings.place)
    given = [path.read_bytes() for path in notes]
    plans = [_plan(settings, folder, each, RecordKeys(record_keys), given, adopt=adopt) for each in held.logs]
    for plan in plans:
        _say(asyncio.run(_restored(settings, stores, plan, quiet=as_json)), as_json=as_json)
    if any(plan.highest.size > plan.held.size for plan in plans):
        sys.exit(NOT_NOW)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A log of a backup that has been checked."""

    held: LogBackup
    folder: Path
    key: SigningKey
    keys: RecordKeys
    #: The newest checkpoint that is known to have been released.
    highest: Checkpoint


@dataclass(frozen=True, slots=True)
class _Done:
    """What was done for a log, as it is told."""

    origin: str
    size: int
    released: int
    #: Entries that were written now.
    written: int
    erased: int = 0
    without_key: tuple[str, ...] = ()


def _plan(
    settings: Config, folder: Path, held: LogBackup, keys: RecordKeys, given: list[bytes], *, adopt: bool
) -> _Plan:
    """Check all that can be checked before anything is written. Raises `ExchangeError`."""
    folders, origin = settings.folders, str(Origin(settings.exchange, held.log))
    key = read_key(folders.key(held.log))
    checkpoint = opened(held.checkpoint.encode(), origin, key)
    if checkpoint.size != held.size or origin != held.origin:
        raise VerificationFailed(Reason.BAD_PROOF, f"{folder}: its list and the checkpoint of {held.log} differ")
    known = released(given, [folders.mark(held.log)], origin, key)
    if not known and not adopt:
        raise Fatal(
            f"{origin}: this machine has no record of the log's last checkpoint",
            reason=Reason.ROLLED_BACK,
            hint=f"each log takes a --checkpoint of its own, as `exchange checkpoint --community {held.log}` printed "
            "it to a member; --adopt, if nothing was released after the backup",
        )
    here = folder / "logs" / held.log
    check_leaves(leaves(here, held.size), checkpoint, [TreeHead(each.size, each.root) for each in known])
    return _Plan(held, here, key, keys, max((checkpoint, *known), key=lambda each: each.size))


async def _restored(settings: Config, stores: Stores, plan: _Plan, *, quiet: bool) -> _Done:
    held, folders = plan.held, settings.folders
    origin = Origin(settings.exchange, held.log)
    try:
        await stores.make(origin)
    except Rejected as error:
        raise Rejected(
            error.reason, error.message, hint="a log is restored where there is none: move it away"
        ) from error
    store = await stores.open(origin, recent_bytes=LEAST_BYTES)
    erased, backed_up = 0, BackedUp(plan.folder, held, plan.keys)
    try:
        frames = with_progress(backed_up.frames(), held.size, str(origin), quiet=quiet)
        await refill(store, Tree(), frames, str(origin), plan.key)
        if held.floor:
            await store.archive(held.floor)
        if not origin.is_directory:
            erased = await _erase(store, folders.fold(held.log, LIFE), str(origin))
    finally:
        await store.aclose()
    await remember(folders.mark(held.log), plan.highest, plan.key)
    days = tuple(sorted(backed_up.without_key))
    return _Done(str(origin), held.size, plan.highest.size, held.size, erased, days)


async def _erase(store: Store, fold: Path, origin: str) -> int:
    """Erase again what its own leaves say is erased or over; return how many entries held something of it."""
    size, count = (await store.head()).sealed.size, 0

    async def erased(indices: Sequence[int]) -> None:
        nonlocal count
        count += len(indices)

    facts = await FactsFile.open(fold)
    view = LifeView(store, store, facts, worked_s, making=lambda: beside(facts, asyncio.Lock()))
    following = asyncio.create_task(view.run())
    try:
        while facts.place().size < size:
            if following.done():
                following.result()
            await asyncio.sleep(_POLL_S)
        eraser = Eraser(origin, store, facts, erased, wall_ms, ready=view.placed, moving=view.moving)
        while await eraser.erase():
            pass
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await facts.aclose()
    return count


def _say(done: _Done, *, as_json: bool) -> None:
    missing = done.released - done.size
    lines = [f" {done.origin}: {done.size} entries, {done.written} of them written now"]
    if done.erased:
        lines.append(f"        erased again in {done.erased} entries")
    if done.without_key:
        lines.append(
            f"        the keys of {len(done.without_key)} days are not there: records that end then stay erased"
        )
    if missing > 0:
        lines.append(
            f"        {missing} released entries are missing: no hub serves it until `exchange recover` has them"
        )
    emit(
        {
            "origin": done.origin,
            "size": done.size,
            "written": done.written,
            "erased": done.erased,
            "missing": max(0, missing),
            "days_without_key": list(done.without_key),
        },
        as_json=as_json,
        lines=lines,
        mark=("behind ", "yellow") if missing > 0 else ("restored", "green"),
    )


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="A newer backup, or a mirror of one log: a folder with its `checkpoint` and `tile/entries`.",
)
@click.option("--log", "name", help="The one log that a mirror is of, such as uk-elections.")
@config_option
@json_option
def recover(source: Path, name: str | None, config_path: Path, *, as_json: bool) -> None:
    """Bring back entries that were released and that the hub's store has lost. The hub must be stopped.

    Leaves are put back byte for byte from anybody's copy, and only if they make a checkpoint that the log's own key
    has signed, which continues what is left here and what this machine released. Records do not come back with them:
    their publishers send them again, from their outboxes and by themselves, once the hub serves.

    \b
    Examples:
      exchange recover --from /backups/hub --config hub/hub.toml
      exchange recover --from mirrors/uk-elections --log uk-elections --config hub/hub.toml
    """
    settings = config.load(config_path)
    behind = False
    for log, folder in _sources(source, name):
        done = asyncio.run(_recovered(settings, log, folder, quiet=as_json))
        behind |= done.released > done.size
        _say(done, as_json=as_json)
    if behind:
        sys.exit(NOT_NOW)


def _sources(source: Path, name: str | None) -> Iterator[tuple[str, Path]]:
    """Yield logs and where their leaves lie."""
    held = read_manifest(source)
    if held is None and name is None:
        raise click.UsageError("--from is no backup: say with --log which log it mirrors")
    if held is None:
        assert name is not None
        yield name, source
        return
    if name is not None and held.log(name) is None:
        raise Rejected(Reason.CONFIG, f"{source}: holds no log {name}")
    yield from ((each.log, source / "logs" / each.log) for each in held.logs if name in (None, each.log))


async def _recovered(settings: Config, log: str, folder: Path, *, quiet: bool) -> _Done:
    origin, folders = Origin(settings.exchange, log), settings.folders
    key = read_key(folders.key(log))
    try:
        note = (folder / CHECKPOINT).read_bytes()
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{folder / CHECKPOINT}: {error.strerror}") from error
    theirs = opened(note, str(origin), key)
    known = released([], [folders.mark(log)], str(origin), key)
    store = await stores_in(folders, settings.place).open(origin, recent_bytes=LEAST_BYTES)
    try:
        head = await store.head()
        ours, written = head.durable, max(0, theirs.size - head.durable.size)
        heads = [ours, *(TreeHead(each.size, each.root) for each in known)]
        check_leaves(leaves(folder, theirs.size), theirs, heads)
        if written:
            if head.sealed != ours:
                await store.seal(ours, sign_checkpoint(Checkpoint(str(origin), ours.size, ours.root), key))
            tree = await load_tree(str(origin), await store.head(), store)
            frames = (bare_frame(leaf) for leaf in leaves(folder, theirs.size, ours.size))
            await refill(store, tree, with_progress(frames, written, str(origin), quiet=quiet), str(origin), key)
        size = (await store.head()).durable.size
    finally:
        await store.aclose()
    highest = max((theirs, *known), key=lambda each: each.size)
    if written:
        await remember(folders.mark(log), highest, key)
    return _Done(str(origin), size, max(size, highest.size), written)
