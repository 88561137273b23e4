"""What each step costs, alone and warm, in microseconds a statement: where the hub's and a receiver's time goes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exchange import codec
from exchange.domain.bodies import (
    Body,
    Community,
    Genesis,
    GenesisKey,
    Key,
    Member,
    Membership,
    State,
)
from exchange.domain.directory import Directory
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.kinds import Kind, MemberClass, Role
from exchange.domain.policy import Workload
from exchange.domain.statement import Header, Leaf, Statement
from exchange.fanout.item import item_of
from exchange.ledger import ed25519
from exchange.ledger.checkpoint import Checkpoint, log_verifier, sign_checkpoint
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.tree import Tree
from exchange.publish.intake import Candidate, Intake
from exchange.publish.quota import Limits, Quotas
from exchange.publish.sequencer import _entry
from exchange.v1 import publish_pb2
from exchange_client.delivery import delivery_of
from exchange_client.verify import FeedVerifier
from tests.bench.workload import draft, repeated
from tests.unit.builders import no_life

_NAME = "cost.example"
_UK = f"{_NAME}/uk"
_ROUNDS = 7


def _directory(key: SigningKey, operator: SigningKey) -> Directory:
    directory = Directory()
    community = Community(_UK, "uk", operator.public_key, 0, 400, 365, 30, public_entries=False)
    bodies: list[tuple[Kind, Body]] = [
        (
            Kind.GENESIS,
            Genesis(_NAME, operator.public_key, "op", "Op", (GenesisKey(Role.OPERATOR, operator.public_key),), 1),
        ),
        (Kind.COMMUNITY, community),
        (Kind.MEMBER, Member("publisher", "P", MemberClass.PLATFORM, (Role.PIPELINE,))),
        (Kind.KEY, Key("publisher", Role.PIPELINE, key.public_key, State.ACTIVE)),
        (Kind.MEMBERSHIP, Membership("publisher", _UK, State.ACTIVE)),
    ]
    for kind, body in bodies:
        directory.apply(Header(f"{_NAME}/directory", kind, "op", 1, bytes(16), (), body), 1)
    return directory


@dataclass(frozen=True, slots=True)
class _Subject:
    """Statements of one size, at every stage of their way."""

    directory: Directory
    intake: Intake
    workload: Workload
    key: SigningKey
    messages: list[bytes]
    statements: list[Statement]
    candidates: list[Candidate]

    @classmethod
    def of(cls, records: int, count: int) -> _Subject:
        key, operator = SigningKey(secrets.token_bytes(32)), SigningKey(secrets.token_bytes(32))
        directory = _directory(key, operator)
        quotas = Quotas(Limits(10**9, 10**9), lambda: time.monotonic_ns() // 1_000_000)
        intake = Intake(lambda: directory, lambda _: KeyEpochs(), no_life, quotas, lambda: time.time_ns() // 1_000_000)
        workload = Workload("publisher", Role.PIPELINE)
        messages = [repeated([draft("publisher", _UK, records).sign(key).SerializeToString()]) for _ in range(count)]
        parsed = [publish_pb2.PublishStreamRequest.FromString(message) for message in messages]
        statements = [codec.statement_from_wire(message.statements[0]) for message in parsed]
        admitted = [intake.admit(workload, statement) for statement in statements]
        candidates = [intake.check(workload, said, intake.identify(workload, said)) for said in admitted]
        return cls(directory, intake, workload, key, messages, statements, candidates)


def _microseconds(step: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Return the best of a few rounds, per call."""
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for argument in arguments:
            step(argument)
        best = min(best, time.perf_counter() - started)
    return best / len(arguments) * 1e6


def _received(subject: _Subject) -> Callable[[object], None]:
    """Return what a receiver does with all of the statements, once."""
    entries = []
    for index, candidate in enumerate(subject.candidates):
        signed = candidate.statement
        leaf = Leaf(index, 1, late=False, directory_size=5, payload=signed.payload, signatures=signed.signatures)
        entries.append(codec.decode_frame(codec.full_frame(codec.encode_leaf(leaf), signed.records, b"")))
    verifier = log_verifier(_UK, subject.key.public_key)

    def receive(_: object) -> None:
        feed = FeedVerifier.from_start(_UK, verifier)
        for entry in entries:
            verified = feed.entry(subject.directory, entry)
            assert verified is not None
            delivery = delivery_of(_UK, verified, entry, delivered_at_ms=1, covered=True)
            assert all(signal.indicators for signal in delivery.signals)

    return receive


def costs(records: int, count: int) -> dict[str, float]:
    """Return the microseconds that each step takes for one statement of so many records."""
    subject = _Subject.of(records, count)
    intake, workload, key = subject.intake, subject.workload, subject.key
    built = [_entry(candidate, index, 1, 5) for index, candidate in enumerate(subject.candidates)]
    tree = Tree().extend([secrets.token_bytes(32) for _ in range(100_000)]).tree
    prove = tree.extend([entry.leaf_hash for _, entry in built]).tree.prover()
    admitted = [intake.admit(workload, statement) for statement in subject.statements]

    def verify(statement: Statement) -> None:
        signature = statement.signatures[0].signature
        ed25519.verify(key.public_key, signature, pae(statement.payload_type, statement.payload))

    def read(message: bytes) -> None:
        codec.statement_from_wire(publish_pb2.PublishStreamRequest.FromString(message).statements[0])

    return {
        "hub: read the message": _microseconds(read, subject.messages),
        "hub: verify the signature": _microseconds(verify, subject.statements),
        "hub: header, key, quota": _microseconds(lambda s: intake.admit(workload, s), subject.statements),
        "hub: policy": _microseconds(lambda x: intake.identify(workload, x, signed=True), admitted),
        "hub: check header and records": _microseconds(lambda x: intake.check(workload, x, 5), admitted),
        "hub: build leaf and frame": _microseconds(lambda c: _entry(c, 7, 1, 5), subject.candidates),
        "hub: extend the tree by one": _microseconds(lambda b: tree.extend([b[1].leaf_hash]), built),
        "hub: inclusion proof": _microseconds(lambda b: prove(100_000), built),
        "hub: sign a checkpoint (once a group)": _microseconds(
            lambda b: sign_checkpoint(Checkpoint(_UK, 1001, bytes(32)), key), built
        ),
        "hub: route to subscribers (once for all)": _microseconds(lambda b: item_of(b[1]), built),
        "receiver: verify everything": _microseconds(_received(subject), [None]) / count,
    }
