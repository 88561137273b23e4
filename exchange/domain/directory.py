"""The directory: who the members are, which keys speak for them, which communities they share. A pure fold.

`Directory.apply` takes the directory log's entries in order; nothing else changes it. Hub, SDK and auditor run this
same fold over the same leaves and so come to the same answer. Entries of kinds unknown to this release are counted
and otherwise ignored. What must stay true: every question about someone unknown is answered with "no".
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import sha256

from exchange.domain.bodies import (
    Body,
    Community,
    Genesis,
    Key,
    Member,
    Membership,
    Quota,
    State,
    Suspension,
)
from exchange.domain.contacts import Contact
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.statement import Header

_ROLES = {role.value: role for role in Role}
_CLASSES = frozenset(MemberClass)


def named_member(body: Body | None) -> str:
    """Return the member whose entry a statement of the directory changes; empty where it changes none."""
    match body:
        case Member(id=name):
            return name
        case Key(member=name) | Membership(member=name) | Suspension(member=name) | Quota(member=name):
            return name
        case _:
            return ""


@dataclass(slots=True)
class KeyEntry:
    """A registered signing key, in force from one directory entry until (perhaps) another."""

    key_id: bytes
    member: str
    role: Role
    public_key: bytes
    #: Index of the directory entry that registered it.
    since: int
    #: Index of the entry that revoked it; None while it is in force.
    until: int | None = None

    @property
    def revoked(self) -> bool:
        """Whether it has been revoked."""
        return self.until is not None

    def in_force_at(self, directory_size: int) -> bool:
        """Whether it was in force for somebody who had read so many entries of the directory."""
        return self.since < directory_size and (self.until is None or self.until >= directory_size)


@dataclass(slots=True)
class MemberEntry:
    """What the directory knows of one member."""

    id: str
    display_name: str
    member_class: MemberClass
    roles: frozenset[Role]
    keys: dict[bytes, KeyEntry] = field(default_factory=dict)
    communities: set[str] = field(default_factory=set)
    #: Communities it has left, and when that was received.
    left: dict[str, int] = field(default_factory=dict)
    #: For each community, the directory entries that let it in, each with the one that ended that (or None).
    stays: dict[str, list[tuple[int, int | None]]] = field(default_factory=dict)
    suspended: bool = False
    #: When the present suspension was received; 0 when there is none.
    suspended_at_ms: int = 0
    revoked_roles: set[Role] = field(default_factory=set)
    quota: Quota | None = None
    contacts: tuple[Contact, ...] = ()

    def ever_in(self, origin: str) -> bool:
        """Whether it is in a community or has been."""
        return origin in self.communities or origin in self.left

    def in_between(self, origin: str, first_size: int, last_size: int | None = None) -> bool:
        """Whether it was in a community at any time from one size of the directory to another (or to now)."""
        return any(
            (until is None or until >= first_size) and (last_size is None or since < last_size)
            for since, until in self.stays.get(origin, ())
        )


class Directory:
    """The folded state. Read it freely between calls of `apply`; only `apply` writes."""

    def __init__(self) -> None:
        self.size = 0
        self.exchange = ""
        self.genesis: Genesis | None = None
        self.members: dict[str, MemberEntry] = {}
        self.keys: dict[bytes, KeyEntry] = {}
        self.communities: dict[str, Community] = {}
        #: Of each community whose log is closed, the one whose log has taken its place.
        self.successors: dict[str, str] = {}

    @property
    def origin(self) -> str:
        """The directory log's own origin."""
        return f"{self.exchange}/{Origin.DIRECTORY_LOG}"

    def apply(self, header: Header, received_at_ms: int) -> None:
        """Take the next entry of the log. A statement about an unknown member is counted and changes nothing."""
        self.size += 1
        match header.body:
            case Genesis() as genesis if self.size == 1:
                self._found(genesis)
            case Member() as member:
                self._describe(member)
            case Key() as key:
                self._set_key(key)
            case Membership() as membership if membership.member in self.members:
                self._join_or_leave(membership, received_at_ms)
            case Suspension() as suspension if suspension.member in self.members:
                self._suspend(suspension, received_at_ms)
            case Community() as community:
                self.put_community(community)
            case Quota() as quota if quota.member in self.members:
                self.members[quota.member].quota = quota
            case _:
                pass

    def foreseen(self, header: Header, received_at_ms: int) -> Directory:
        """Return what it would be with one entry more. It stays as it is itself."""
        after = Directory()
        after.size, after.exchange, after.genesis = self.size, self.exchange, self.genesis
        after.members, after.keys = dict(self.members), dict(self.keys)
        after.communities, after.successors = dict(self.communities), dict(self.successors)
        named = after.members.get(named_member(header.body))
        if named is not None:
            own = after.members[named.id] = deepcopy(named)
            after.keys.update(own.keys)
        after.apply(header, received_at_ms)
        return after

    def put_community(self, community: Community) -> None:
        """Take a community as it was last described; whose place it takes is what was said first."""
        if (known := self.communities.get(community.origin)) is not None:
            community = replace(
                community,
                succeeds=known.succeeds,
                succeeds_size=known.succeeds_size,
                succeeds_root=known.succeeds_root,
            )
        self.communities[community.origin] = community
        if community.succeeds:
            self.successors.setdefault(community.succeeds, community.origin)

    def _found(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.exchange = genesis.exchange
        roles = tuple(sorted({key.role for key in genesis.keys}))
        self._describe(Member(genesis.operator, genesis.operator_name, MemberClass.OPERATOR, roles))
        for key in genesis.keys:
            self._set_key(Key(genesis.operator, key.role, key.public_key, State.ACTIVE))

    def _describe(self, member: Member) -> None:
        roles = frozenset(_ROLES[role] for role in member.roles if role in _ROLES)
        known = self.members.get(member.id)
        if known is None:
            if member.member_class not in _CLASSES:
                return
            class_, contacts = MemberClass(member.member_class), member.contacts
            self.members[member.id] = MemberEntry(member.id, member.display_name, class_, roles, contacts=contacts)
            return
        known.display_name = member.display_name
        known.roles = roles
        known.contacts = member.contacts

    def _set_key(self, key: Key) -> None:
        owner = self.members.get(key.member)
        if owner is None or key.role not in _ROLES:
            return
        key_id = sha256(key.public_key).digest()
        known = self.keys.get(key_id)
        if known is None:
            known = KeyEntry(key_id, key.member, Role(key.role), key.public_key, since=self.size - 1)
            self.keys[key_id] = known
            owner.keys[key_id] = known
        if known.member == key.member and key.state == State.ENDED and known.until is None:
            known.until = self.size - 1

    def _join_or_leave(self, membership: Membership, received_at_ms: int) -> None:
        member, origin = self.members[membership.member], membership.community
        if membership.state == State.ACTIVE:
            if origin not in member.communities:
                member.stays.setdefault(origin, []).append((self.size - 1, None))
            member.communities.add(origin)
            member.left.pop(origin, None)
        elif origin in member.communities:
            since, _ = member.stays[origin][-1]
            member.stays[origin][-1] = (since, self.size - 1)
            member.communities.discard(origin)
            member.left[origin] = received_at_ms

    def _suspend(self, suspension: Suspension, received_at_ms: int) -> None:
        member = self.members[suspension.member]
        active = suspension.state == State.ACTIVE
        if suspension.role:
            role = _ROLES.get(suspension.role)
            if role is None:
                return
            member.revoked_roles.add(role) if active else member.revoked_roles.discard(role)
            return
        if active and not member.suspended:
            member.suspended_at_ms = received_at_ms
        elif not active:
            member.suspended_at_ms = 0
        member.suspended = active

    def key(self, key_id: bytes) -> KeyEntry | None:
        """Return a key by its id, revoked or not; None for an unknown one."""
        return self.keys.get(key_id)

    def live_keys(self, member: str, role: Role) -> Iterator[KeyEntry]:
        """Yield the member's unrevoked keys of a role, provided that the role itself is in force."""
        entry = self.members.get(member)
        if entry is None or role not in entry.roles or role in entry.revoked_roles:
            return
        for key in entry.keys.values():
            if key.role == role and not key.revoked:
                yield key

    def workload_is_live(self, member: str, role: Role) -> bool:
        """Whether a workload of that member and role may connect at all (a suspended member's may)."""
        return next(self.live_keys(member, role), None) is not None

    def is_suspended(self, member: str) -> bool:
        """Whether the member as a whole is suspended; an unknown member counts as suspended."""
        entry = self.members.get(member)
        return entry is None or entry.suspended

    def in_community(self, member: str, origin: str) -> bool:
        """Whether the member belongs to the community. Every member belongs to the directory."""
        entry = self.members.get(member)
        return entry is not None and (origin in entry.communities or origin == self.origin)

    def community_members(self, origin: str) -> Iterator[MemberEntry]:
        """Yield the members of a community."""
        return (entry for entry in self.members.values() if origin in entry.communities)

    def operator_keys(self) -> Iterator[KeyEntry]:
        """Yield the keys that can sign for an operator now."""
        for entry in self.members.values():
            if not entry.suspended:
                yield from self.live_keys(entry.id, Role.OPERATOR)

    @property
    def operator_threshold(self) -> int:
        """How many distinct operator keys a guarded change needs."""
        return self.genesis.operator_threshold if self.genesis else 1
