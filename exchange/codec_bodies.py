"""The bodies of headers, kind by kind: one reader and one writer each, in one table.

The body of kind n is header field 100 + n. A new kind adds its entry to `_BODIES`; nothing else in the codec changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exchange.domain.addressed import Note, Referral, ReferralUpdate
from exchange.domain.bodies import (
    Acknowledgement,
    Body,
    Budget,
    BudgetTotal,
    Community,
    DataVersion,
    Disposition,
    Election,
    Erasure,
    Genesis,
    GenesisKey,
    Key,
    KeyEpoch,
    LagCell,
    Member,
    Membership,
    Opinion,
    Quarantine,
    Quota,
    Release,
    Retraction,
    SignalHeader,
    Suspension,
)
from exchange.domain.contacts import Contact
from exchange.domain.guidance_body import Guidance
from exchange.domain.kinds import Kind
from exchange.v1 import statement_pb2 as pb

#: The number of a body's field is that of its kind and this.
_BODY = 100


@dataclass(frozen=True, slots=True)
class _BodyRow:
    field: str
    type: type[Body]
    read: Callable[[Any], Body]
    write: Callable[[Any], Any]


def _read_signal(m: pb.SignalHeader) -> SignalHeader:
    return SignalHeader(
        label=m.label,
        confidence=m.confidence,
        severity=m.severity,
        handling=m.handling,
        audience=m.audience,
        audience_id=m.audience_id,
        election=m.election,
        target_class=m.target_class,
        expires_at_ms=m.expires_at_ms,
        observed_at_ms=m.observed_at_ms,
        actioned_at_ms=m.actioned_at_ms,
        source_action=m.source_action,
        guidance_clause=m.guidance_clause,
        lawful_basis=m.lawful_basis,
        backfill=m.backfill,
        indicator_types=tuple(m.indicator_types[:]),
        replaces=tuple(m.replaces[:]),
        derived_from=tuple(m.derived_from[:]),
    )


def _read_genesis(m: pb.Genesis) -> Genesis:
    return Genesis(
        exchange=m.exchange,
        log_public_key=m.log_public_key,
        operator=m.operator,
        operator_name=m.operator_name,
        keys=tuple(GenesisKey(key.role, key.public_key) for key in m.keys),
        operator_threshold=m.operator_threshold,
    )


def _write_genesis(b: Genesis) -> pb.Genesis:
    keys = [pb.GenesisKey(role=key.role, public_key=key.public_key) for key in b.keys]  # type: ignore[arg-type]
    return pb.Genesis(**{**_fields(b), "keys": keys})


def _read_acknowledgement(m: pb.Acknowledgement) -> Acknowledgement:
    cells = [LagCell(c.publisher, c.label, c.election, c.retraction, tuple(c.counts)) for c in m.cells]
    return Acknowledgement(m.processed_through, m.clock_offset_ms, m.clock_error_ms, tuple(cells))


def _write_acknowledgement(b: Acknowledgement) -> pb.Acknowledgement:
    cells = [
        pb.LagCell(
            publisher=cell.publisher,
            label=cell.label,  # type: ignore[arg-type]
            election=cell.election,
            retraction=cell.retraction,
            counts=cell.counts,
        )
        for cell in b.cells
    ]
    return pb.Acknowledgement(
        processed_through=b.processed_through,
        clock_offset_ms=b.clock_offset_ms,
        clock_error_ms=b.clock_error_ms,
        cells=cells,
    )


def _read_budget(m: pb.Budget) -> Budget:
    return Budget(m.day, tuple(BudgetTotal(each.member, each.key_epoch, each.evaluations) for each in m.totals))


def _write_budget(b: Budget) -> pb.Budget:
    totals = [pb.BudgetTotal(member=t.member, key_epoch=t.key_epoch, evaluations=t.evaluations) for t in b.totals]
    return pb.Budget(day=b.day, totals=totals)


def _read_key_epoch(m: pb.KeyEpoch) -> KeyEpoch:
    versions = tuple(DataVersion(each.name, each.version) for each in m.data_versions)
    return KeyEpoch(m.number, m.state, m.public_key, m.begins_ms, m.ends_ms, versions)


def _write_key_epoch(b: KeyEpoch) -> pb.KeyEpoch:
    versions = [pb.DataVersion(name=each.name, version=each.version) for each in b.data_versions]
    return pb.KeyEpoch(**{**_fields(b), "data_versions": versions})


def _read_member(m: pb.Member) -> Member:
    contacts = tuple(Contact(each.purpose, each.address, each.hours, tuple(each.languages)) for each in m.contacts)
    return Member(m.id, m.display_name, m.member_class, tuple(m.roles), contacts)


def contact_message(contact: Contact) -> pb.Contact:
    """Return the message of a contact."""
    return pb.Contact(
        purpose=contact.purpose,  # type: ignore[arg-type]
        address=contact.address,
        hours=contact.hours,
        languages=contact.languages,
    )


def _write_member(b: Member) -> pb.Member:
    return pb.Member(**{**_fields(b), "contacts": map(contact_message, b.contacts)})


def _fields(body: Body) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.__slots__}


def plain(message: type[Any], body: type[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return reader and writer of a body whose fields are the message's own, one to one."""
    names = tuple(body.__slots__)

    def read(m: Any) -> Any:  # noqa: ANN401 - a generated message
        values = {name: getattr(m, name) for name in names}
        return body(**{n: v if isinstance(v, str | bytes | int) else tuple(v) for n, v in values.items()})

    def write(b: Any) -> Any:  # noqa: ANN401 - a body
        return message(**_fields(b))

    return read, write


_BODIES: dict[Kind, _BodyRow] = {
    Kind.SIGNAL: _BodyRow("signal", SignalHeader, _read_signal, lambda b: pb.SignalHeader(**_fields(b))),
    Kind.RETRACTION: _BodyRow("retraction", Retraction, *plain(pb.Retraction, Retraction)),
    Kind.OPINION: _BodyRow("opinion", Opinion, *plain(pb.Opinion, Opinion)),
    Kind.DISPOSITION: _BodyRow("disposition", Disposition, *plain(pb.Disposition, Disposition)),
    Kind.ACKNOWLEDGEMENT: _BodyRow("acknowledgement", Acknowledgement, _read_acknowledgement, _write_acknowledgement),
    Kind.NOTE: _BodyRow("note", Note, *plain(pb.Note, Note)),
    Kind.REFERRAL: _BodyRow("referral", Referral, *plain(pb.Referral, Referral)),
    Kind.REFERRAL_UPDATE: _BodyRow("referral_update", ReferralUpdate, *plain(pb.ReferralUpdate, ReferralUpdate)),
    Kind.ELECTION: _BodyRow("election", Election, *plain(pb.Election, Election)),
    Kind.GUIDANCE: _BodyRow("guidance", Guidance, *plain(pb.Guidance, Guidance)),
    Kind.QUARANTINE: _BodyRow("quarantine", Quarantine, *plain(pb.Quarantine, Quarantine)),
    Kind.RELEASE: _BodyRow("release", Release, *plain(pb.Release, Release)),
    Kind.ERASURE: _BodyRow("erasure", Erasure, *plain(pb.Erasure, Erasure)),
    Kind.BUDGET: _BodyRow("budget", Budget, _read_budget, _write_budget),
    Kind.KEY_EPOCH: _BodyRow("key_epoch", KeyEpoch, _read_key_epoch, _write_key_epoch),
    Kind.GENESIS: _BodyRow("genesis", Genesis, _read_genesis, _write_genesis),
    Kind.MEMBER: _BodyRow("member", Member, _read_member, _write_member),
    Kind.KEY: _BodyRow("key", Key, *plain(pb.Key, Key)),
    Kind.MEMBERSHIP: _BodyRow("membership", Membership, *plain(pb.Membership, Membership)),
    Kind.SUSPENSION: _BodyRow("suspension", Suspension, *plain(pb.Suspension, Suspension)),
    Kind.COMMUNITY: _BodyRow("community", Community, *plain(pb.Community, Community)),
    Kind.QUOTA: _BodyRow("quota", Quota, *plain(pb.Quota, Quota)),
}
_KIND_OF = {row.type: kind for kind, row in _BODIES.items()}


def kind_of(body: Body) -> Kind:
    """Return the kind whose body this is."""
    return _KIND_OF[type(body)]


def present(message: pb.Header) -> list[int]:
    """Return the kinds whose bodies a header message holds."""
    return [field.number - _BODY for field, _ in message.ListFields() if field.number > _BODY]


def read(message: pb.Header, kind: int) -> Body | None:
    """Return the body of a kind, or None where there is none or the kind is not read by this release."""
    row = _BODIES.get(kind)  # type: ignore[call-overload]
    if row is None or not message.HasField(row.field):
        return None
    body: Body = row.read(getattr(message, row.field))
    return body


def message_of(body: Body) -> Any:  # noqa: ANN401 - a generated message
    """Return the message of a body."""
    return _BODIES[kind_of(body)].write(body)


def write(message: pb.Header, body: Body) -> None:
    """Put a body into its field of a header message."""
    row = _BODIES[kind_of(body)]
    getattr(message, row.field).CopyFrom(row.write(body))
