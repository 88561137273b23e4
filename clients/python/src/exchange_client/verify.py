"""Every subscriber is an auditor: what a feed delivers is checked entry by entry and root by root. No I/O here.

For each entry: its place, the format of its leaf, the publisher's signature by a key that the directory had in force
when the leaf was made, and that each record hashes to its signal id. For each checkpoint: the log's signature, and
that the root over everything delivered so far is the root that was signed. Nothing is skipped silently; a bad entry
can be passed only on purpose, and even then its leaf counts in the root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exchange import codec
from exchange.codec import Delivered
from exchange.codec_addressed import decode_addressed
from exchange.domain.addressed import Addressed, AddressedRecord
from exchange.domain.bodies import Audience, SignalHeader
from exchange.domain.directory import Directory, KeyEntry
from exchange.domain.kinds import CLASS_ROLES, KINDS, Kind, Log, Role
from exchange.domain.statement import (
    Header,
    Leaf,
    RecordView,
    audience_id,
    signal_ids,
)
from exchange.domain.validation import MAX_LEAF_BYTES
from exchange.errors import ExchangeError, Reason, Rejected, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint
from exchange.ledger.dsse import pae
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_consistency
from exchange_client.cursors import Position
from exchange_client.wire import Hello


@dataclass(frozen=True, slots=True)
class VerifiedEntry:
    """An entry that holds, as values. ``records`` is empty unless they came with it."""

    leaf_bytes: bytes
    leaf: Leaf
    header: Header
    records: Sequence[RecordView]
    #: Whether operators signed it, as many as what it says needs.
    by_operators: bool
    #: What is said to named members, where it came with it.
    addressed: AddressedRecord | None = None


class Distrusted(VerificationFailed):
    """What the hub shows does not hold, so we have stopped listening to it.

    ``index`` is the next index that was wanted; ``evidence`` the file with what was shown, where one was written.
    """

    def __init__(
        self, reason: Reason, message: str, *, hint: str = "", index: int = 0, evidence: Path | None = None
    ) -> None:
        super().__init__(reason, message, hint=hint)
        self.index = index
        self.evidence = evidence


class BadEntry(VerificationFailed):
    """An entry that does not hold. Carries it, for evidence."""

    def __init__(self, index: int, entry: Delivered, cause: ExchangeError) -> None:
        super().__init__(
            Reason.BAD_SIGNATURE if cause.reason is Reason.INVALID else cause.reason,
            f"entry {index} does not hold: {cause.message}",
            hint="keep the evidence and show it to other members; `skip` goes past this entry on purpose",
        )
        self.index = index
        self.entry = entry


def check_signatures(directory: Directory, leaf: Leaf, header: Header, *, known: bool = False) -> None:
    """Return if the leaf is signed by keys in force when it was made, the first of them its publisher's.

    Raises `VerificationFailed`. The directory must have been read up to the size that the leaf names. ``known`` says
    that each signature was found to be by the key that it names; whose key that is, is judged all the same.
    """
    if not leaf.signatures:
        raise VerificationFailed(Reason.BAD_SIGNATURE, "there is no signature")
    if len({signature.key_id for signature in leaf.signatures}) != len(leaf.signatures):
        raise VerificationFailed(Reason.WRONG_KEY, "a key signed twice")
    if leaf.directory_size > directory.size:
        raise VerificationFailed(Reason.BAD_PROOF, "it names a directory larger than the one that there is")
    # The genesis registers the key that signs it.
    judged_at = 1 if header.kind == Kind.GENESIS else leaf.directory_size
    for position, signature in enumerate(leaf.signatures):
        key = directory.key(signature.key_id)
        if key is None or not key.in_force_at(judged_at):
            raise VerificationFailed(Reason.WRONG_KEY, "a signing key was not in force")
        if position == 0:
            _check_publisher(directory, key, header)
            _check_threshold(directory, key, header, len(leaf.signatures))
        elif key.role is not Role.OPERATOR:
            raise VerificationFailed(Reason.WRONG_KEY, "a further signature is not by an operator's key")
        if not known:
            ed25519.verify(key.public_key, signature.signature, pae(leaf.payload_type, leaf.payload))


def _check_publisher(directory: Directory, key: KeyEntry, header: Header) -> None:
    """Return if a key's owner is the publisher, and its role may say this kind of thing at all."""
    if key.member != header.publisher:
        raise VerificationFailed(Reason.WRONG_KEY, "it is signed by another member than its header names")
    row = KINDS.get(header.kind)
    if row is None:
        return
    member = directory.members[key.member]
    if key.role not in row.publishers or key.role not in CLASS_ROLES[member.member_class]:
        raise VerificationFailed(Reason.WRONG_KEY, f"the role {key.role.word} may not publish a {row.name}")
    if row.log is Log.COMMUNITY and key.role is not Role.OPERATOR and not member.ever_in(header.origin):
        raise VerificationFailed(Reason.WRONG_KEY, "its publisher has never been in this community")


def _check_threshold(directory: Directory, key: KeyEntry, header: Header, signatures: int) -> None:
    """Return if as many operators signed as what they say needs."""
    row = KINDS.get(header.kind)
    guarded = row is not None and row.operator_threshold and key.role is Role.OPERATOR
    if guarded and signatures < directory.operator_threshold:
        raise VerificationFailed(Reason.WRONG_KEY, "too few operators signed it")


def check_records(header: Header, entry: Delivered) -> Sequence[RecordView]:
    """Return the records that came with an entry, each hashing to its signal id. Raises `VerificationFailed`."""
    if not entry.present or header.kind != Kind.SIGNAL:
        return ()
    ids = signal_ids(header.origin, header.publisher, entry.records)
    if tuple(ids) != header.signal_ids and not _differ_only_where_erased(ids, header, entry.records):
        raise VerificationFailed(Reason.BAD_PROOF, "a record does not hash to its signal id")
    body = header.body
    restricted = isinstance(body, SignalHeader) and body.audience != Audience.EVERYONE
    committed = body.audience_id if isinstance(body, SignalHeader) else b""
    if restricted and audience_id(header.origin, header.publisher, entry.audience_record) != committed:
        raise VerificationFailed(Reason.BAD_PROOF, "the audience record does not hash to its id")
    return codec.decode_records(entry.records, strict=False)


def check_addressed(header: Header, entry: Delivered) -> AddressedRecord | None:
    """Return what is said to named members, hashing to its id as its audience does. Raises `VerificationFailed`."""
    body = header.body
    if not entry.present or not isinstance(body, Addressed):
        return None
    if tuple(signal_ids(header.origin, header.publisher, entry.records)) != header.signal_ids:
        raise VerificationFailed(Reason.BAD_PROOF, "a record does not hash to its id")
    if audience_id(header.origin, header.publisher, entry.audience_record) != body.audience_id:
        raise VerificationFailed(Reason.BAD_PROOF, "the audience record does not hash to its id")
    return decode_addressed(header.kind, entry.records, strict=False)


def _differ_only_where_erased(ids: Sequence[bytes], header: Header, records: Sequence[bytes]) -> bool:
    """Whether each record that is there is what the header says; an empty one has been erased alone."""
    if len(ids) != len(header.signal_ids):
        return False
    return all(ours == said or not raw for ours, said, raw in zip(ids, header.signal_ids, records, strict=True))


def check_entry(
    directory: Directory, origin: str, index: int, entry: Delivered, *, known: Leaf | None = None
) -> VerifiedEntry:
    """Return an entry as values once everything about it holds. Raises `BadEntry`.

    ``known`` is its leaf, where that was read already and its signatures were found to hold (`check_signatures`).
    """
    try:
        if len(entry.leaf) > MAX_LEAF_BYTES:
            raise VerificationFailed(Reason.TOO_LARGE, "its leaf is too large")
        leaf = codec.decode_leaf(entry.leaf) if known is None else known
        header = codec.decode_header(leaf.payload, strict=False)
        if leaf.index != index or header.origin != origin:
            raise VerificationFailed(Reason.BAD_PROOF, f"it says it is {header.origin[:80]!r} number {leaf.index}")
        check_signatures(directory, leaf, header, known=known is not None)
        first = directory.key(leaf.signatures[0].key_id)
        by_operators = first is not None and first.role is Role.OPERATOR
        records = check_records(header, entry)
        return VerifiedEntry(entry.leaf, leaf, header, records, by_operators, check_addressed(header, entry))
    except BadEntry:
        raise
    except ExchangeError as error:
        raise BadEntry(index, entry, error) from error


class FeedVerifier:
    """Follows one log from a position."""

    def __init__(self, origin: str, verifier: Verifier, position: Position) -> None:
        """Start after everything in ``position``."""
        self._origin = origin
        self._verifier = verifier
        self._range = position.range
        self._checkpoint = position.checkpoint
        self._covered_size = 0
        #: The signed checkpoint of the hello, with its note, as long as we have not read up to it.
        self._ahead: tuple[Checkpoint, bytes] | None = None
        self._received_at_ms = position.received_at_ms
        self._directory_size = position.directory_size

    @classmethod
    def from_start(cls, origin: str, verifier: Verifier) -> FeedVerifier:
        """Return a verifier of the whole log, from entry 0."""
        return cls(origin, verifier, Position())

    @property
    def index(self) -> int:
        """The next index."""
        return self._range.size

    @property
    def position(self) -> Position:
        """Where we are now."""
        return Position(self._range, self._checkpoint, self._received_at_ms, self._directory_size)

    @property
    def covered_size(self) -> int:
        """Size of the last tree whose recomputed root was the signed one."""
        return self._covered_size

    def start_at(self, cursor: int, hello: Hello) -> None:
        """Start in the middle of a log that we have not read: at the compact range that the hub states.

        What the hub states is held against the next checkpoint's root like everything that follows.
        """
        self._range = _stated_range(cursor, hello)

    def hello(self, hello: Hello) -> Checkpoint:
        """Check the first message of a feed; return the checkpoint in it. Raises `VerificationFailed`."""
        now = open_checkpoint(hello.checkpoint, self._verifier)
        if now.size < self._range.size:
            raise VerificationFailed(
                Reason.ROLLED_BACK,
                f"the hub's log ends at {now.size}, and we have read {self._range.size} entries of it",
                hint="the hub has lost entries: keep your copy and tell its operators",
            )
        if _stated_range(self._range.size, hello) != self._range:
            raise VerificationFailed(
                Reason.BAD_PROOF, "the hub's tree differs from the one that we have read: a fork or a rolled-back log"
            )
        if self._checkpoint:
            before = open_checkpoint(self._checkpoint, self._verifier)
            verify_consistency(
                old_size=before.size,
                new_size=now.size,
                old_root=before.root,
                new_root=now.root,
                proof=hello.consistency_proof,
            )
        self._ahead = (now, hello.checkpoint)
        self._range, self._ahead = self._met(self._range)
        return now

    def entry(
        self, directory: Directory, entry: Delivered, *, skip: bool = False, known: Leaf | None = None
    ) -> VerifiedEntry | None:
        """Take the next entry; None when it does not hold and is skipped on purpose. Raises `BadEntry`.

        ``known`` is its leaf, where its signatures were checked already (`check_entry`). Nothing moves when it raises.
        """
        verified: VerifiedEntry | None = None
        try:
            verified = check_entry(directory, self._origin, self._range.size, entry, known=known)
            self._check_order(entry, verified.leaf)
        except BadEntry:
            if not skip:
                raise
            verified = None
        self._range, self._ahead = self._met(self._range.extend((leaf_hash(entry.leaf),)))
        if verified is not None:
            self._received_at_ms = verified.leaf.received_at_ms
            self._directory_size = verified.leaf.directory_size
        return verified

    def _check_order(self, entry: Delivered, leaf: Leaf) -> None:
        """Nothing goes back in time: else a key that is revoked by now could be made to look as if in force."""
        if leaf.received_at_ms < self._received_at_ms or leaf.directory_size < self._directory_size:
            backwards = VerificationFailed(Reason.BAD_PROOF, "it goes back in time")
            raise BadEntry(leaf.index, entry, backwards)

    def _met(self, range_: CompactRange) -> tuple[CompactRange, tuple[Checkpoint, bytes] | None]:
        """Hold a range against the hello's checkpoint once it is as long; return both. Raises `VerificationFailed`."""
        ahead = self._ahead
        if ahead is None or range_.size < ahead[0].size:
            return range_, ahead
        _check_root(ahead[0], range_)
        self._checkpoint, self._covered_size = ahead[1], range_.size
        return range_, None

    def checkpoint(self, note: bytes) -> None:
        """Hold a signed checkpoint against everything taken so far. Raises `VerificationFailed`."""
        checkpoint = open_checkpoint(note, self._verifier)
        _check_root(checkpoint, self._range)
        self._checkpoint, self._covered_size = note, checkpoint.size


def _check_root(checkpoint: Checkpoint, range_: CompactRange) -> None:
    if checkpoint.size != range_.size or checkpoint.root != range_.root():
        raise VerificationFailed(
            Reason.BAD_CHECKPOINT,
            f"the signed root of size {checkpoint.size} is not the root of the {range_.size} entries we read",
            hint="the hub has shown two histories: keep the evidence and show it to other members",
        )


def _stated_range(size: int, hello: Hello) -> CompactRange:
    try:
        return CompactRange.of(size, hello.compact_range)
    except Rejected as error:
        raise VerificationFailed(Reason.BAD_PROOF, error.message) from error
