"""What the unit tests build with: an exchange's people, its directory, and valid statements to spoil.

Everything is deterministic. `signal_statement()` is valid as it stands; each keyword changes one thing, and what
depends on it (ids, types, signatures) follows, unless the test gives that too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from msgspec import structs

from exchange import codec
from exchange.codec_bodies import kind_of
from exchange.domain.bodies import (
    Audience,
    Body,
    Community,
    Confidence,
    Genesis,
    GenesisKey,
    Handling,
    Key,
    Member,
    Membership,
    Severity,
    SignalHeader,
    State,
)
from exchange.domain.directory import Directory, KeyEntry
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind, MemberClass, Role
from exchange.domain.labels import Label
from exchange.domain.life import LifeFacts, MemberFacts
from exchange.domain.policy import Workload
from exchange.domain.statement import HEADER_TYPE, Header, Signature, Statement, audience_id, signal_ids
from exchange.domain.validation import DAY_MS, Rules
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange_client.records import Indicator, Record

EXCHANGE = "test.exchange"
DIRECTORY = f"{EXCHANGE}/directory"
#: Alpha, beta, the police and the witness are in it.
UK = f"{EXCHANGE}/uk"
#: Only beta is in it.
SIDE = f"{EXCHANGE}/side"
NOW_MS = 1_760_000_000_000
RULES = Rules(now_ms=NOW_MS, max_expiry_days=90, replay_window_days=30)


def digest(text: str, size: int = 32) -> bytes:
    """Return bytes that look random and are the same each time."""
    return sha256(text.encode()).digest()[:size]


@dataclass(frozen=True)
class Actor:
    """A workload of a member, with its signing key."""

    member: str
    role: Role
    number: int = 0

    @cached_property
    def key(self) -> SigningKey:
        return SigningKey(digest(f"key {self.number} of {self.member}/{self.role.word}"))

    @property
    def workload(self) -> Workload:
        return Workload(self.member, self.role)

    def entry(self, directory: Directory) -> KeyEntry:
        """Return its key as the directory knows it."""
        found = directory.key(self.key.key_id)
        assert found is not None
        return found

    def sign(self, payload: bytes) -> Signature:
        return Signature(self.key.key_id, self.key.sign(pae(HEADER_TYPE, payload)))

    def key_body(self, state: int = State.ACTIVE) -> Key:
        return Key(self.member, self.role, self.key.public_key, state)


OPERATOR = Actor("operator", Role.OPERATOR)
SECOND_OPERATOR = Actor("operator", Role.OPERATOR, 1)
ALPHA = Actor("alpha", Role.PIPELINE)
ALPHA_LIAISON = Actor("alpha", Role.LIAISON)
BETA = Actor("beta", Role.PIPELINE)
BETA_LIAISON = Actor("beta", Role.LIAISON)
POLICE = Actor("police", Role.AUTHORITY)
WITNESS = Actor("witness", Role.WITNESS)
STRANGER = Actor("stranger", Role.PIPELINE)
ACTORS = (OPERATOR, ALPHA, ALPHA_LIAISON, BETA, BETA_LIAISON, POLICE, WITNESS)

MEMBERS = (
    Member("alpha", "Alpha", MemberClass.PLATFORM, (Role.PIPELINE, Role.LIAISON)),
    Member("beta", "Beta", MemberClass.PLATFORM, (Role.PIPELINE, Role.LIAISON)),
    Member("police", "The police", MemberClass.AUTHORITY, (Role.AUTHORITY,)),
    Member("witness", "A witness", MemberClass.WITNESS, (Role.WITNESS,)),
)


def community(origin: str = UK, **changes: Any) -> Community:
    """Return a community's rules."""
    made = Community(
        origin=origin,
        title="A community",
        log_public_key=SigningKey(digest(f"log key of {origin}")).public_key,
        last_size_under_old_key=0,
        retention_days=400,
        max_expiry_days=RULES.max_expiry_days,
        replay_window_days=RULES.replay_window_days,
        public_entries=True,
    )
    return replace(made, **changes)


def genesis(threshold: int = 1, **changes: Any) -> Genesis:
    """Return entry 0: two operator keys of one operator."""
    keys = tuple(GenesisKey(Role.OPERATOR, each.key.public_key) for each in (OPERATOR, SECOND_OPERATOR))
    log_key = SigningKey(digest(f"log key of {DIRECTORY}")).public_key
    return replace(Genesis(EXCHANGE, log_key, OPERATOR.member, "The operator", keys, threshold), **changes)


def directory_header(body: Body | None, **changes: Any) -> Header:
    """Return the header of a directory statement by the operator."""
    kind = Kind.MEMBER if body is None else kind_of(body)
    made = Header(DIRECTORY, kind, OPERATOR.member, NOW_MS, digest(repr(body), 16), (), body)
    return replace(made, **changes)


def directory_statement(body: Body, *signers: Actor, **changes: Any) -> Statement:
    """Return a directory statement, signed by the operator or by these."""
    payload = codec.encode_header(directory_header(body, **changes))
    return Statement(payload, tuple(each.sign(payload) for each in signers or (OPERATOR,)))


def tell(directory: Directory, *bodies: Body, at_ms: int = NOW_MS) -> Directory:
    """Apply statements to a directory, which is returned."""
    for body in bodies:
        directory.apply(directory_header(body), at_ms)
    return directory


def make_directory(*, threshold: int = 1) -> Directory:
    """Return a new directory: the operator, two platforms, an authority and a witness; two communities."""
    keys = [each.key_body() for each in ACTORS if each is not OPERATOR]
    joined = [Membership(member.id, UK, State.ACTIVE) for member in MEMBERS]
    return tell(
        Directory(),
        genesis(threshold),
        *MEMBERS,
        *keys,
        community(UK),
        community(SIDE),
        *joined,
        Membership("beta", SIDE, State.ACTIVE),
    )


def pdq_record(seed: str = "a photograph", **changes: Any) -> Record:
    """Return the record of one photograph."""
    made = Record(
        digest(f"salt of {seed}", 16),
        (Indicator(IndicatorType.PDQ, digest(seed)),),
        case_ref=f"case {seed}",
        quality=90,
    )
    return structs.replace(made, **changes)


def signal_body(**changes: Any) -> SignalHeader:
    """Return the body of a signal for everyone."""
    made = SignalHeader(
        label=Label.HARASSMENT_TARGETED,
        confidence=Confidence.HIGH,
        severity=Severity.SEVERE,
        handling=Handling.AMBER,
        audience=Audience.EVERYONE,
        expires_at_ms=NOW_MS + 30 * DAY_MS,
        indicator_types=(IndicatorType.PDQ,),
    )
    return replace(made, **changes)


@dataclass(frozen=True)
class Said:
    """A statement as bytes and as values."""

    statement: Statement
    header: Header
    records: tuple[Record, ...]
    audience: tuple[str, ...] = ()
    signers: tuple[Actor, ...] = field(default=(ALPHA,))

    @property
    def body(self) -> SignalHeader:
        assert isinstance(self.header.body, SignalHeader)
        return self.header.body

    def signed_by(self, *signers: Actor) -> Said:
        """Return the same payload with other signatures."""
        signatures = tuple(each.sign(self.statement.payload) for each in signers)
        return replace(self, statement=replace(self.statement, signatures=signatures), signers=signers)

    def keys(self, directory: Directory) -> list[KeyEntry]:
        return [each.entry(directory) for each in self.signers]


def signal_statement(
    by: Actor = ALPHA,
    *,
    records: Sequence[Record] | None = None,
    raw: Sequence[bytes] | None = None,
    audience: Iterable[str] | None = None,
    audience_record: bytes | None = None,
    signers: tuple[Actor, ...] = (),
    seed: str = "",
    resubmission: bool = False,
    header: dict[str, Any] | None = None,
    **body: Any,
) -> Said:
    """Return a valid signal statement, changed by what is given.

    ``audience`` restricts it to these members; ``header`` holds fields of the header, further keywords are fields of
    its body; ``raw`` replaces the record bytes; another ``seed`` gives another nonce and other records.
    """
    said = tuple([pdq_record(f"photograph {seed}")] if records is None else records)
    encoded = tuple(map(codec.encode_record, said) if raw is None else raw)
    head = {"origin": UK, "kind": Kind.SIGNAL, "publisher": by.member, "created_at_ms": NOW_MS, **(header or {})}
    members = tuple(audience or ())
    if audience is not None:
        if audience_record is None:
            audience_record = codec.encode_audience(digest(f"audience {seed}", 16), members)
        restricted = {
            "audience": Audience.RESTRICTED,
            "audience_id": audience_id(head["origin"], head["publisher"], audience_record),
        }
        body = restricted | body
    types = tuple(sorted({indicator.type for record in said for indicator in record.indicators}))
    made = Header(
        **{
            "nonce": digest(f"nonce {seed}", 16),
            "signal_ids": tuple(signal_ids(head["origin"], head["publisher"], encoded)),
            "body": signal_body(**{"indicator_types": types, **body}),
            **head,
        }
    )
    payload = codec.encode_header(made)
    statement = Statement(payload, (), encoded, audience_record or b"", resubmission)
    return Said(statement, made, said, members).signed_by(*(signers or (by,)))


def no_life(_origin: str) -> LifeFacts:
    """Return what is known of a log that says nothing of any signal."""
    return LifeFacts(0, lambda _: {}, lambda _: MemberFacts(), {})


def community_header(body: Body, by: Actor = BETA, **changes: Any) -> Header:
    """Return the header of a statement without records."""
    made = Header(UK, kind_of(body), by.member, NOW_MS, digest(f"{by} {body!r}", 16), (), body)
    return replace(made, **changes)


def community_statement(body: Body, by: Actor = BETA, *signers: Actor, **changes: Any) -> Statement:
    """Return a statement without records, signed."""
    payload = codec.encode_header(community_header(body, by, **changes))
    return Statement(payload, tuple(each.sign(payload) for each in signers or (by,)))
