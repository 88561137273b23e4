"""The directory's state as rows of plain values, and back: what a snapshot of the fold holds.

A row is a list of text, numbers, lists and None, its first element saying what it is; bytes are hexadecimal text.
What must stay true: the same fold makes the same rows, in the same order, however it came about (read from leaf 0, or
restored and read on); restoring the rows of a directory gives that directory; and **whoever changes what the fold
holds, or how it reads a leaf, raises `FORMAT`**.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

from exchange.domain.bodies import (
    Community,
    Genesis,
    GenesisKey,
    Quota,
)
from exchange.domain.contacts import Contact
from exchange.domain.directory import Directory, KeyEntry, MemberEntry
from exchange.domain.kinds import MemberClass, Role
from exchange.errors import Reason, Rejected

FORMAT = 4

#: Plain values, as `json` reads and writes them.
Row = list[Any]


def directory_rows(directory: Directory) -> Iterator[Row]:
    """Yield a directory's state: itself, its communities, its members, and its keys in the order of registration."""
    yield ["directory", directory.size, directory.exchange]
    genesis = directory.genesis
    if genesis is not None:
        keys = [[int(key.role), key.public_key.hex()] for key in genesis.keys]
        names = [genesis.exchange, genesis.operator, genesis.operator_name]
        yield ["genesis", *names, genesis.log_public_key.hex(), keys, genesis.operator_threshold]
    for community in directory.communities.values():
        yield [
            "community",
            community.origin,
            community.title,
            community.log_public_key.hex(),
            community.last_size_under_old_key,
            community.retention_days,
            community.max_expiry_days,
            community.replay_window_days,
            community.public_entries,
            community.succeeds,
            community.succeeds_size,
            community.succeeds_root.hex(),
        ]
    for member in directory.members.values():
        quota = member.quota
        yield [
            "member",
            member.id,
            member.display_name,
            int(member.member_class),
            sorted(map(int, member.roles)),
            sorted(member.communities),
            [[origin, at_ms] for origin, at_ms in member.left.items()],
            [[origin, list(map(list, stays))] for origin, stays in member.stays.items()],
            member.suspended,
            member.suspended_at_ms,
            sorted(map(int, member.revoked_roles)),
            quota and [quota.records_per_minute, quota.statements_per_minute, quota.streams],
            [[each.purpose, each.address, each.hours, list(each.languages)] for each in member.contacts],
        ]
    for key in directory.keys.values():
        yield ["key", key.member, int(key.role), key.public_key.hex(), key.since, key.until]


class DirectoryRestore:
    """Makes a directory of its rows, one at a time. What is not a row of ours raises `Rejected` (MALFORMED)."""

    def __init__(self) -> None:
        self._directory = Directory()

    def put(self, row: Row) -> None:
        """Take the next row."""
        try:
            self._put(row)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise Rejected(Reason.MALFORMED, f"not a row of a directory: {error!r}") from error

    def _put(self, row: Row) -> None:
        match row:
            case ["member", str(id_), *_]:
                self._directory.members[id_] = _member(row)
            case ["key", str(member), int(role), str(key), int(since), until]:
                self._put_key(member, Role(role), bytes.fromhex(key), since, until)
            case ["directory", int(size), str(exchange)]:
                self._directory.size, self._directory.exchange = size, exchange
            case ["genesis", exchange, operator, name, log_key, keys, threshold]:
                own = tuple(GenesisKey(role, bytes.fromhex(key)) for role, key in keys)
                self._directory.genesis = Genesis(exchange, bytes.fromhex(log_key), operator, name, own, threshold)
            case ["community", str(origin), title, log_key, *rules, str(succeeds), int(size), str(root)]:
                plain = Community(origin, title, bytes.fromhex(log_key), *rules)
                known = replace(plain, succeeds=succeeds, succeeds_size=size, succeeds_root=bytes.fromhex(root))
                self._directory.put_community(known)
            case _:
                raise ValueError(row[:1])

    def _put_key(self, member: str, role: Role, public_key: bytes, since: int, until: int | None) -> None:
        entry = KeyEntry(sha256(public_key).digest(), member, role, public_key, since, until)
        self._directory.keys[entry.key_id] = entry
        self._directory.members[member].keys[entry.key_id] = entry

    def done(self) -> Directory:
        """Return the directory."""
        return self._directory


def _member(row: Row) -> MemberEntry:
    _, id_, name, class_, roles, communities, left, stays, suspended, suspended_at_ms, revoked, quota, contacts = row
    return MemberEntry(
        id=id_,
        display_name=name,
        member_class=MemberClass(class_),
        roles=frozenset(map(Role, roles)),
        communities=set(communities),
        left=dict(left),
        stays={origin: [(since, until) for since, until in spans] for origin, spans in stays},
        suspended=suspended,
        suspended_at_ms=suspended_at_ms,
        revoked_roles=set(map(Role, revoked)),
        quota=quota and Quota(id_, *quota),
        contacts=tuple(Contact(purpose, address, hours, tuple(words)) for purpose, address, hours, words in contacts),
    )
