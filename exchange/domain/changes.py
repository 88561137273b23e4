"""What a statement would change in the directory, in words: each value before and after, for those who sign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from exchange.domain.bodies import Body, Community
from exchange.domain.contacts import ContactPurpose
from exchange.domain.directory import Directory, MemberEntry, named_member
from exchange.domain.statement import Header

_PURPOSES: dict[int, str] = {purpose.value: purpose.name.lower() for purpose in ContactPurpose}


@dataclass(frozen=True, slots=True)
class Change:
    """One value; empty where there is none."""

    what: str
    before: str
    after: str


def changes(before: Directory, header: Header) -> tuple[Change, ...]:
    """Return what would be another in the directory with this entry; nothing for what is said in a community."""
    if header.origin != before.origin:
        return ()
    after = before.foreseen(header, header.created_at_ms)
    old, new = dict(_values(before, header.body)), dict(_values(after, header.body))
    return tuple(
        Change(what, old.get(what, ""), new.get(what, ""))
        for what in {**old, **new}
        if old.get(what, "") != new.get(what, "")
    )


def _values(directory: Directory, body: Body | None) -> Iterator[tuple[str, str]]:
    """Yield what the directory knows of what a body names."""
    if isinstance(body, Community):
        known = directory.communities.get(body.origin)
        if known is not None:
            yield from ((f"{body.origin}: {each.name}", _text(getattr(known, each.name))) for each in fields(known))
        if body.succeeds:
            yield f"{body.succeeds}: successor", directory.successors.get(body.succeeds, "")
        return
    entry = directory.members.get(named_member(body))
    if entry is not None:
        yield from ((f"{entry.id}: {what}", text) for what, text in _of_member(entry))


def _of_member(entry: MemberEntry) -> Iterator[tuple[str, str]]:
    yield "name", entry.display_name
    yield "class", entry.member_class.name.lower()
    yield "roles", _words(role.word for role in entry.roles)
    yield "communities", _words(entry.communities)
    yield "suspended", "yes" if entry.suspended else "no"
    yield "suspended roles", _words(role.word for role in entry.revoked_roles)
    for key in entry.keys.values():
        yield f"key {key.public_key.hex()} ({key.role.word})", "revoked" if key.revoked else "in force"
    if (quota := entry.quota) is not None:
        limits = quota.records_per_minute, quota.statements_per_minute, quota.streams
        yield "quota", "{} records and {} statements a minute, {} streams".format(*limits)
    for desk in entry.contacts:
        yield (
            f"desk for {_PURPOSES.get(desk.purpose, desk.purpose)} {desk.address}",
            _words([desk.hours, *desk.languages]) or "at any hour",
        )


def _words(items: Iterable[str]) -> str:
    return ", ".join(sorted(each for each in items if each))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
