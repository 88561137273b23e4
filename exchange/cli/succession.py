"""A log of which entries are lost for good, and the last checkpoint that is known of it: what its successor names."""

from __future__ import annotations

from contextlib import closing

from exchange.cli.logs_here import log_here
from exchange.config import Config
from exchange.domain.bodies import Community
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin
from exchange.errors import Reason, Rejected
from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint
from exchange.stores.sealed_mark import read_mark


def last_of_lost(settings: Config, community: Community) -> Checkpoint:
    """Return the last checkpoint that this machine released of a log.

    Raises `Rejected` where nothing of it is lost, and as reading it does.
    """
    origin = Origin.parse(community.origin)
    assert origin is not None
    note = read_mark(settings.folders.mark(origin.log))
    if note is None:
        raise Rejected(
            Reason.NOT_FOUND,
            f"{origin}: this machine has no record of the log's last checkpoint",
            hint="say this on a hub's machine that has served the log",
        )
    last = open_checkpoint(note, log_verifier(community.origin, community.log_public_key))
    size = _held(settings, origin)
    if size >= last.size:
        raise Rejected(
            Reason.CONFLICT,
            f"{origin}: all {last.size} entries that were released are here; nothing was changed",
            hint="only a log of which entries are lost for good has a successor: `exchange doctor` tells what is wrong",
        )
    return last


def succession_of(directory: Directory, origin: str) -> Community:
    """Return the community that is to have a successor. Raises `Rejected` where there is none, or it has one."""
    community = directory.communities.get(origin)
    if community is None:
        raise Rejected(Reason.NOT_FOUND, f"{origin} is not a community")
    if origin in directory.successors:
        raise Rejected(Reason.CONFLICT, f"{origin} is closed already: its successor is {directory.successors[origin]}")
    return community


def _held(settings: Config, origin: Origin) -> int:
    """Return how many entries the store has. Raises `Fatal` where it is damaged, `Unavailable` where it is away."""
    try:
        with closing(log_here(settings, origin.log).read()) as log:
            return log.state().durable_size
    except Rejected as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
        return 0
