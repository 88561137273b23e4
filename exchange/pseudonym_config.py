"""The pseudonym service's configuration: one TOML file, checked whole. Unknown keys are errors.

As `exchange.config`: the comments on the fields are the manual, and `docs/pseudonym-configuration.md` repeats them.
Only what members may use is followed while the service runs (`FollowedTerms`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from exchange import config
from exchange.config import TLS, Connections, Drain, Ops, Section
from exchange.domain.identifiers import is_name
from exchange.errors import Reason, Rejected
from exchange.pseudonyms import budget

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Terms(Section, frozen=True):
    """What a member may use of each key epoch that has no terms of its own. Followed while the service runs."""

    #: Accounts that it has declared: it may index each once.
    users: _Count = 0
    #: Evaluations a day besides; what is not used is kept for a week.
    daily: _Count = 1_000


class MemberTerms(Section, frozen=True):
    """One member's own terms, by its id. Followed while the service runs."""

    #: As in [terms], where it is left out.
    users: _Count | None = None
    #: As in [terms], where it is left out.
    daily: _Count | None = None


class Calls(Section, frozen=True):
    """Limits of a member's calls. Evaluations are limited by its terms."""

    #: Calls opened, whatever becomes of them.
    per_minute: _Positive = 6_000
    #: Calls at once. Its batches are evaluated `processes` at a time; the others wait.
    at_once: _Positive = 64


class Config(Section, frozen=True):
    """The whole file."""

    #: Client file of the workload with the role `pseudonyms` in whose name the service announces and tells.
    client: Path
    #: Folder of the epochs' keys: on an encrypted volume, and in no backup. Relative to this file.
    keys: Path
    #: Folder of the budget book, which is the service's memory of what members have used.
    data: Path
    #: Address of the member-facing gRPC port.
    listen: str
    #: The communities whose members may ask, by their origins or the last parts of those.
    communities: tuple[str, ...]
    tls: TLS
    #: Trust domain of members' SPIFFE ids. Empty: the exchange's name.
    trust_domain: str = ""
    #: Processes that evaluate: about two thousand identifiers a second each.
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    #: debug, info, warning or error.
    log_level: str = "info"
    terms: Terms = Terms()
    members: dict[str, MemberTerms] = msgspec.field(default_factory=dict)
    calls: Calls = Calls()
    ops: Ops = Ops()
    connections: Connections = Connections()
    drain: Drain = Drain()

    def terms_of(self, member: str) -> budget.Terms:
        """Return what a member may use."""
        own = self.members.get(member, MemberTerms())
        users = self.terms.users if own.users is None else own.users
        return budget.Terms(users, self.terms.daily if own.daily is None else own.daily)

    @property
    def book(self) -> Path:
        """The file of the budget book."""
        return self.data / "budget.sqlite"

    def resolved(self) -> Config:
        """Return it with whole paths."""
        client, keys, data = (path.resolve() for path in (self.client, self.keys, self.data))
        return msgspec.structs.replace(self, client=client, keys=keys, data=data, tls=self.tls.resolved())


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises `Rejected` (CONFIG) that names the key at fault."""
    found = config.read(path, Config, lambda what: _wrong(path, what), "EXCHANGE_PSEUDONYMS")
    others = {"ops.listen": found.ops.listen, "ops.grpc_listen": found.ops.grpc_listen}
    config.check_shared(found.log_level, found.listen, others, lambda what: _wrong(path, what))
    if not found.communities:
        raise _wrong(path, "`communities`: must name one at least")
    for member in found.members:
        if not is_name(member):
            raise _wrong(path, f"`members`: {member!r} is not the id of a member")
    base = path.resolve().parent
    client, keys, data = (base / each for each in (found.client, found.keys, found.data))
    return msgspec.structs.replace(found, client=client, keys=keys, data=data, tls=found.tls.under(base))


def _wrong(path: Path, what: str) -> Rejected:
    return Rejected(
        Reason.CONFIG,
        f"{path}: {what}",
        hint="`exchange pseudonyms check-config` prints what is in force; see docs/pseudonym-configuration.md",
    )


class FollowedTerms:
    """The terms of members, as their file has them while the service runs."""

    def __init__(self, path: Path, found: Config) -> None:
        """Begin with what was read from this file."""
        self._path = path
        self._found = found
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_size, state.st_mtime_ns

    def look(self) -> bool:
        """Read the file again if it has changed, and tell whether terms have. Raises `Rejected`, once for a change.

        A file that is wrong leaves the terms as they are.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        found, before = load(self._path), self._found
        self._found = msgspec.structs.replace(before, terms=found.terms, members=found.members)
        return self._found != before

    def of(self, member: str) -> budget.Terms:
        """Return what a member may use."""
        return self._found.terms_of(member)
