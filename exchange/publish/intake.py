"""From bytes a caller sent to a statement that may be sequenced, or a typed refusal. Changes nothing.

Cheap checks come before dear ones: sizes, the strict reading of the header, whose key it is, the signatures, then
policy, the clock, the budget, and only then each record. The directory is a parameter: intake judges, it does not
look things up. The sequencer asks `Intake.judge` again when the statement's group is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exchange import codec
from exchange.codec_addressed import decode_addressed
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import (
    Acknowledgement,
    Budget,
    Community,
    Key,
    KeyEpoch,
    Life,
    SignalHeader,
    State,
)
from exchange.domain.directory import Directory, KeyEntry
from exchange.domain.directory_rules import DIRECTORY_REPLAY_DAYS, validate_directory_statement
from exchange.domain.elections import check_naming
from exchange.domain.guidance import Guidances, validate_guidance
from exchange.domain.guidance_body import Guidance
from exchange.domain.identifiers import IndicatorType
from exchange.domain.key_epochs import KeyEpochs, validate_budget, validate_key_epoch
from exchange.domain.kinds import KINDS, Kind, Role
from exchange.domain.life import ACKNOWLEDGE_EVERY_MS, LifeFacts, validate_life
from exchange.domain.policy import Workload, may_propose, may_publish
from exchange.domain.referrals import validate_addressed
from exchange.domain.statement import (
    HEADER_TYPE,
    Header,
    Statement,
    statement_id,
)
from exchange.domain.validation import (
    LEAF_OVERHEAD_BYTES,
    MAX_LEAF_BYTES,
    MAX_STATEMENT_BYTES,
    Findings,
    Rules,
    check_created,
    validate,
)
from exchange.errors import (
    Denied,
    InvalidStatement,
    OverQuota,
    Reason,
    Rejected,
    Unavailable,
    VerificationFailed,
    Violation,
)
from exchange.ledger import ed25519
from exchange.ledger.dsse import pae
from exchange.privacy.p256 import decode_point
from exchange.publish.quota import Quotas
from exchange.signatures.batch import Signed

MAX_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement that passed every check, waiting to be sequenced."""

    statement_id: bytes
    statement: Statement
    header: Header
    workload: Workload
    keys: tuple[KeyEntry, ...]
    late: bool
    #: Size of the directory that it was judged by; 0 where it was not.
    judged_at: int = 0

    @property
    def size(self) -> int:
        """Bytes of payload and records, the audience's too."""
        said = self.statement
        return len(said.payload) + len(said.audience_record) + sum(map(len, said.records))


@dataclass(frozen=True, slots=True)
class Admitted:
    """A statement that has been charged for and read; nothing is believed of it yet."""

    statement: Statement
    header: Header
    #: Whose signatures it claims to have, one for each.
    keys: tuple[KeyEntry, ...]

    @property
    def signed(self) -> Signed:
        """What must hold of its signatures."""
        signatures = zip(self.keys, self.statement.signatures, strict=True)
        return Signed(
            pae(self.statement.payload_type, self.statement.payload),
            tuple((key.public_key, signature.signature) for key, signature in signatures),
        )


def _no_guidance(_origin: str) -> Guidances:
    raise Unavailable("this hub does not fold guidance", retry_after_ms=1_000)


class Intake:
    """Checks statements for every log of one exchange."""

    def __init__(
        self,
        directory: Callable[[], Directory],
        key_epochs: Callable[[str], KeyEpochs],
        life: Callable[[str], LifeFacts],
        quotas: Quotas,
        now_ms: Callable[[], int],
        *,
        guidance: Callable[[str], Guidances] = _no_guidance,
        protected: frozenset[tuple[int, bytes]] = frozenset(),
    ) -> None:
        """Give the current views: the directory's; of a community its key epochs, life of signals and guidance.

        They raise `Unavailable` where there is none to judge by. ``protected`` are indicators, as type and value, that
        may not be signalled.
        """
        self._protected = protected
        #: When each member last acknowledged each log.
        self._acknowledged: dict[tuple[str, str], int] = {}
        self._directory = directory
        self._key_epochs = key_epochs
        self._life = life
        self._guidance = guidance
        self._quotas = quotas
        self._now_ms = now_ms

    def admit(self, workload: Workload, statement: Statement) -> Admitted:
        """Return a statement read, once it is charged for. Raises `Rejected`, `OverQuota` or `Unavailable`."""
        directory = self._directory()
        # Charged before anything is looked at: refusing costs the hub as much as accepting.
        self._quotas.take(directory, workload.member, records=len(statement.records))
        _check_sizes(statement)
        header = codec.decode_header(statement.payload, strict=True)
        return Admitted(statement, header, _keys(directory, statement))

    def identify(self, workload: Workload, admitted: Admitted, *, signed: bool = False) -> int:
        """Return the size of the directory that lets this workload say it, once it really did. Raises like `admit`.

        ``signed`` tells that the signatures are known to hold.
        """
        directory = self._directory()
        if not signed:
            said = admitted.signed
            for key, signature in said.signatures:
                ed25519.verify(key, signature, said.message)
        may_publish(directory, workload, admitted.header, admitted.keys)
        return directory.size

    def check(self, workload: Workload, admitted: Admitted, judged_at: int) -> Candidate:
        """Return the candidate, of a statement that has been identified. Raises like `admit`."""
        directory = self._directory()
        statement, header, keys = admitted.statement, admitted.header, admitted.keys
        if header.origin == directory.origin:
            late = self._check_directory(directory, header, statement)
        else:
            late = self._check_in_community(directory, header, statement, workload.role)
        return Candidate(statement_id(statement.payload), statement, header, workload, keys, late, judged_at)

    def author(self, workload: Workload, admitted: Admitted) -> None:
        """Return if this workload has signed the statement, be it with a key that is revoked by now.

        Only a statement that is in the ledger already may be answered on it. Raises like `admit`.
        """
        key = admitted.keys[0]
        if admitted.header.publisher != workload.member or (key.member, key.role) != (workload.member, workload.role):
            raise VerificationFailed(Reason.WRONG_KEY, "the first signature is not by a key of the calling workload")
        if self._directory().is_suspended(workload.member) and admitted.header.kind != Kind.DISPOSITION:
            raise Denied("this member may not publish now")

    def read_unsigned(self, member: str, payload: bytes) -> Header:
        """Return what bytes say that are to be signed, charged to a member as a statement is. Raises like `admit`."""
        self._quotas.take(self._directory(), member, records=0)
        _check_payload(payload)
        return codec.decode_header(payload, strict=True)

    def foresee(self, publisher: Workload, header: Header, payload: bytes, before: Directory | None) -> Directory:
        """Return the directory as it would be after this has been said, if it could be, once it is signed.

        ``before`` is the directory after what is to be said first; None: as it is now. Raises like `check`.
        """
        directory = before or self._directory()
        may_propose(directory, publisher, header)
        unsigned = Statement(payload, (), resubmission=True)
        if header.origin != directory.origin:
            self._check_in_community(directory, header, unsigned, publisher.role)
            return directory
        self._check_directory(directory, header, unsigned)
        return directory.foreseen(header, self._now_ms())

    def now_ms(self) -> int:
        """Return the time that statements are judged by. Raises `Unavailable` where the clock cannot be trusted."""
        return self._now_ms()

    def judge(self, candidate: Candidate) -> int:
        """Judge policy again, at the present directory; return its size. Raises like `check`."""
        directory = self._directory()
        if directory.size == candidate.judged_at:
            return directory.size  # nothing has come in between: the same questions have the same answers
        may_publish(directory, candidate.workload, candidate.header, candidate.keys)
        if candidate.header.origin == directory.origin:
            validate_directory_statement(candidate.header, directory)
        return directory.size

    def _check_directory(self, directory: Directory, header: Header, statement: Statement) -> bool:
        rules = Rules(self._now_ms(), 0, DIRECTORY_REPLAY_DAYS)
        late = check_created(header, rules, resubmission=statement.resubmission)
        if statement.records or statement.audience_record:
            raise Rejected(Reason.INVALID, "a directory statement has no records")
        validate_directory_statement(header, directory)
        _check_new_key(header)
        return late

    def _check_in_community(self, directory: Directory, header: Header, statement: Statement, role: Role) -> bool:
        community = directory.communities[header.origin]
        now_ms, body = self._now_ms(), header.body
        rules = Rules(
            now_ms,
            community.max_expiry_days,
            community.replay_window_days,
            key_epochs=self._live_epochs(header.origin, body, now_ms),
        )
        late = check_created(header, rules, resubmission=statement.resubmission)
        if isinstance(body, Life):
            self._check_life(directory, header, body, statement, now_ms, role)
        elif isinstance(body, Guidance):
            if statement.records or statement.audience_record:
                raise Rejected(Reason.INVALID, "guidance is public, and has no records")
            validate_guidance(header, body, self._guidance(header.origin), directory)
        elif isinstance(body, KeyEpoch | Budget):
            self._check_of_pseudonyms(directory, header, body, statement, now_ms)
        elif isinstance(body, Addressed):
            self._check_addressed(directory, header, body, statement, now_ms, role)
        else:
            self._check_signal(header, statement, rules)
        return late

    def _check_life(
        self, directory: Directory, header: Header, body: Life, statement: Statement, now_ms: int, role: Role
    ) -> None:
        if statement.records or statement.audience_record:
            raise Rejected(Reason.INVALID, f"a {KINDS[header.kind].name} has no records")
        validate_life(header, body, role, self._life(header.origin), directory, now_ms=now_ms)
        if isinstance(body, Acknowledgement):
            self._space_out(header, now_ms)

    def _check_addressed(
        self, directory: Directory, header: Header, body: Addressed, statement: Statement, now_ms: int, role: Role
    ) -> None:
        record = decode_addressed(header.kind, statement.records, strict=True)
        audience = codec.decode_audience(statement.audience_record, strict=True)
        facts = self._life(header.origin)
        said = statement.records, record, statement.audience_record, audience
        validate_addressed(header, body, *said, role, facts, directory, now_ms=now_ms)

    def _space_out(self, header: Header, now_ms: int) -> None:
        """Let a member acknowledge once a minute, also where its last one has not been read yet. Raises `OverQuota`."""
        place = (header.origin, header.publisher)
        early_ms = self._acknowledged.get(place, 0) + ACKNOWLEDGE_EVERY_MS - now_ms
        if early_ms > 0:
            raise OverQuota("a member acknowledges at most once a minute", retry_after_ms=early_ms)
        self._acknowledged[place] = now_ms

    def _live_epochs(self, origin: str, body: object, now_ms: int) -> Mapping[int, int] | None:
        """Return when the key epochs end that a signal may name; None for what names none."""
        if not isinstance(body, SignalHeader) or IndicatorType.PSEUDONYM not in body.indicator_types:
            return None
        return self._key_epochs(origin).ends_of_live(now_ms)

    def _check_of_pseudonyms(
        self, directory: Directory, header: Header, body: KeyEpoch | Budget, statement: Statement, now_ms: int
    ) -> None:
        if statement.records or statement.audience_record:
            raise Rejected(Reason.INVALID, "what the pseudonym service says has no records")
        if isinstance(body, Budget):
            validate_budget(header, body, directory.members, now_ms=now_ms)
            return
        validate_key_epoch(header, body, self._key_epochs(header.origin))
        try:
            decode_point(body.public_key)
        except Rejected as error:
            raise InvalidStatement((Violation("key_epoch.public_key", error.message),)) from error

    def _check_signal(self, header: Header, statement: Statement, rules: Rules) -> None:
        audience = codec.decode_audience(statement.audience_record, strict=True)
        validate(header, statement.records, codec.decode_strict_records, statement.audience_record, audience, rules)
        if self._protected:
            self._check_protected(statement.records)
        body = header.body
        if isinstance(body, SignalHeader) and body.election:
            findings, elections = Findings(), self._life(header.origin).elections
            check_naming(findings, body, elections.get(body.election), now_ms=rules.now_ms)
            findings.raise_if_any()

    def _check_protected(self, records: Sequence[bytes]) -> None:
        findings = Findings()
        for place, record in enumerate(codec.decode_records(records, strict=True)):
            hit = any((indicator.type, indicator.value) in self._protected for indicator in record.indicators)
            findings.check(not hit, f"records[{place}]", "names what may not be signalled here")
        findings.raise_if_any()


def _check_sizes(statement: Statement) -> None:
    if statement.payload_type != HEADER_TYPE:
        raise Rejected(Reason.MALFORMED, f"payload type {statement.payload_type[:80]!r} is not {HEADER_TYPE}")
    _check_payload(statement.payload)
    total = len(statement.payload) + len(statement.audience_record) + sum(map(len, statement.records))
    if total > MAX_STATEMENT_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"the statement is {total} bytes; at most {MAX_STATEMENT_BYTES} are allowed")
    if not 0 < len(statement.signatures) <= MAX_SIGNATURES:
        raise VerificationFailed(Reason.BAD_SIGNATURE, f"a statement has 1 to {MAX_SIGNATURES} signatures")


def _check_payload(payload: bytes) -> None:
    if not payload:
        raise Rejected(Reason.MALFORMED, "the statement has no payload")
    if len(payload) > MAX_LEAF_BYTES - LEAF_OVERHEAD_BYTES:
        raise Rejected(Reason.TOO_LARGE, "the header does not fit into a leaf of 65,535 bytes")


def _keys(directory: Directory, statement: Statement) -> tuple[KeyEntry, ...]:
    found = [directory.key(signature.key_id) for signature in statement.signatures]
    keys = tuple(key for key in found if key is not None)
    if len(keys) != len(found):
        raise VerificationFailed(Reason.WRONG_KEY, "a signing key is not registered")
    if len({key.key_id for key in keys}) != len(keys):
        raise VerificationFailed(Reason.WRONG_KEY, "a key signed twice")
    return keys


def _check_new_key(header: Header) -> None:
    """Refuse to register a key that libraries judge differently. Raises `InvalidStatement`."""
    match header.body:
        case Key(state=State.ACTIVE, public_key=key):
            where = "key.public_key"
        case Community(log_public_key=key):
            where = "community.log_public_key"
        case _:
            return
    try:
        ed25519.check_public_key(key)
    except VerificationFailed as error:
        raise InvalidStatement((Violation(where, error.message),)) from error
