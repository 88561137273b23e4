"""What operators sign together: whose signatures count, when it is complete, and until when it may be said. Pure.

A proposal is statements of one member, in the order in which they are to be said: a key signs all of them, or none. Its
id is a hash of the very bytes that are signed, so whoever names it over another channel has said what is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from exchange.domain.directory import Directory, KeyEntry
from exchange.domain.directory_rules import DIRECTORY_REPLAY_DAYS
from exchange.domain.policy import signatures_needed
from exchange.domain.statement import Header, Signature, Statement, statement_id
from exchange.domain.validation import DAY_MS
from exchange.errors import OverQuota, Reason, Rejected

MAX_STATEMENTS = 64
#: Signatures that one statement may have.
MAX_SIGNERS = 16
#: What may wait at a hub, and of that for each member; in proposals, and in bytes to sign.
MAX_PROPOSALS, MAX_PROPOSALS_OF_MEMBER = 128, 32
MAX_PROPOSED_BYTES, MAX_PROPOSED_BYTES_OF_MEMBER = 2 * 1024 * 1024, 512 * 1024
#: When to come again where there is no room: signatures are a matter of people.
FULL_MS = 60_000


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, and its signature under each statement of a proposal, in their order."""

    key_id: bytes
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One or more statements that wait for signatures: the bytes to sign, and what they say."""

    payloads: tuple[bytes, ...]
    headers: tuple[Header, ...]
    #: In the order in which they signed.
    signers: tuple[Signer, ...] = ()

    @property
    def id(self) -> bytes:
        """SHA-256 of the statements' ids, one after the other."""
        return sha256(b"".join(map(statement_id, self.payloads))).digest()

    @property
    def publisher(self) -> str:
        """In whose name it is said."""
        return self.headers[0].publisher

    @property
    def created_at_ms(self) -> int:
        """When it was made."""
        return self.headers[0].created_at_ms

    @property
    def size(self) -> int:
        """How many bytes are signed."""
        return sum(map(len, self.payloads))

    def signatures(self, place: int) -> tuple[Signature, ...]:
        """Return the signatures under one of its statements, in the order of the signers."""
        return tuple(Signature(each.key_id, each.signatures[place]) for each in self.signers)


def require_room(held: Sequence[Proposal], publisher: str, payloads: Sequence[bytes]) -> None:
    """Return if one proposal more may wait. Raises `OverQuota`, and `Rejected` for one that is too large or empty."""
    size = sum(map(len, payloads))
    if not payloads:
        raise Rejected(Reason.INVALID, "a proposal holds at least one statement")
    if len(payloads) > MAX_STATEMENTS or size > MAX_PROPOSED_BYTES_OF_MEMBER:
        most = f"{MAX_STATEMENTS} statements and {MAX_PROPOSED_BYTES_OF_MEMBER} bytes"
        raise Rejected(Reason.TOO_LARGE, f"a proposal holds at most {most}", hint="make several of it")
    own = [each for each in held if each.publisher == publisher]
    for what, proposals, most_proposals, most_bytes in (
        ("of yours", own, MAX_PROPOSALS_OF_MEMBER, MAX_PROPOSED_BYTES_OF_MEMBER),
        ("in all", held, MAX_PROPOSALS, MAX_PROPOSED_BYTES),
    ):
        full = len(proposals) >= most_proposals or sum(each.size for each in proposals) + size > most_bytes
        if full:
            text = f"{len(proposals)} proposals {what} wait for signatures, and no more may: withdraw what is over"
            raise OverQuota(text, retry_after_ms=FULL_MS)


def signer_of(proposal: Proposal, signatures: Sequence[Signature]) -> Signer:
    """Return who has signed a proposal with these, one for each statement. Raises `Rejected`; verifies nothing."""
    keys = {each.key_id for each in signatures}
    if len(keys) != 1 or len(signatures) != len(proposal.payloads):
        count = len(proposal.payloads)
        raise Rejected(Reason.INVALID, f"it takes {count} signatures, one for each statement, by one key")
    return Signer(keys.pop(), tuple(each.signature for each in signatures))


def counting(directory: Directory, proposal: Proposal) -> Iterator[tuple[Signer, KeyEntry]]:
    """Yield the signers whose keys are operators' and in force, with those keys."""
    live = {key.key_id: key for key in directory.operator_keys()}
    yield from ((each, live[each.key_id]) for each in proposal.signers if each.key_id in live)


def needed(directory: Directory, proposal: Proposal) -> int:
    """Return how many operator keys must have signed it."""
    return max(signatures_needed(directory, header) for header in proposal.headers)


def missing(directory: Directory, proposal: Proposal) -> str:
    """Return what it lacks before it can be said, in words; empty where it is complete."""
    keys = [key for _, key in counting(directory, proposal)]
    few = needed(directory, proposal) - len(keys)
    if few > 0:
        return f"{few} more operator key{'s' if few > 1 else ''} must sign it"
    if all(key.member != proposal.publisher for key in keys):
        return f"{proposal.publisher}, in whose name it is said, must sign it too"
    return ""


def to_say(directory: Directory, proposal: Proposal) -> tuple[Statement, ...]:
    """Return the statements of a complete proposal, in order, with the signatures that count.

    They are the same whoever of its publisher asks: its first signature stands first, the others as they came.
    """
    signers = list(counting(directory, proposal))
    first = next(signer for signer, key in signers if key.member == proposal.publisher)
    order = [first, *(signer for signer, _ in signers if signer is not first)]
    return tuple(
        Statement(payload, tuple(Signature(each.key_id, each.signatures[place]) for each in order), resubmission=True)
        for place, payload in enumerate(proposal.payloads)
    )


def expires_at_ms(directory: Directory, proposal: Proposal) -> int:
    """Return until when it may be said: for as long as a log of its takes a statement that is sent again."""
    return min(header.created_at_ms + _replay_days(directory, header.origin) * DAY_MS for header in proposal.headers)


def _replay_days(directory: Directory, origin: str) -> int:
    if origin == directory.origin:
        return DIRECTORY_REPLAY_DAYS
    community = directory.communities.get(origin)
    return 0 if community is None else community.replay_window_days
