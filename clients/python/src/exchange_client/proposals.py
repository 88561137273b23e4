"""What waits at a hub for operators' signatures, and how it is held against the very bytes before it is signed or said.

The hub's word counts for nothing here: what a proposal says is read from the bytes, its id is made of them again, and
whose signatures count is judged by the directory that this client has verified itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exchange import codec
from exchange.domain.bodies import Body
from exchange.domain.directory import Directory
from exchange.domain.proposals import Proposal, Signer, missing, to_say
from exchange.domain.statement import HEADER_TYPE, Signature, Statement
from exchange.domain.validation import SKEW_MS
from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.dsse import pae
from exchange.signatures.signed import Signer as SigningKey


@dataclass(frozen=True, slots=True)
class ProposalReport:
    """A proposal in the hub's list, as the hub tells it."""

    id: bytes
    publisher: str
    created_at_ms: int
    expires_at_ms: int
    #: Numbers of `Kind`, one for each statement.
    kinds: tuple[int, ...]
    needed: int
    #: Ids of the keys that have signed and count, in that order.
    signers: tuple[bytes, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A statement to be written: what it says, and in which log."""

    origin: str
    body: Body


def read_proposal(
    payloads: Sequence[bytes], signatures: Sequence[Sequence[Signature]], wanted: bytes = b""
) -> Proposal:
    """Return what these bytes say, and who is said to have signed them. Verifies no signature.

    Raises `Rejected` where something stands in them that nobody would be shown, and `VerificationFailed` where they are
    not those of the id that was asked for.
    """
    headers = tuple([codec.decode_header(payload, strict=True) for payload in payloads])
    keys = [each.key_id for each in signatures[0]] if signatures else []
    if not headers or len({header.publisher for header in headers}) != 1:
        raise VerificationFailed(Reason.BAD_PROOF, "the hub shows a proposal that is not of one member")
    if any([each.key_id for each in one] != keys for one in signatures):
        raise VerificationFailed(Reason.BAD_PROOF, "the hub shows a proposal whose statements others have signed each")
    signers = tuple(
        [Signer(key, tuple([one[place].signature for one in signatures])) for place, key in enumerate(keys)]
    )
    proposal = Proposal(tuple(payloads), headers, signers)
    if wanted and proposal.id != wanted:
        raise VerificationFailed(
            Reason.BAD_PROOF, "the hub shows another proposal than the one of this id: do not sign it"
        )
    return proposal


def require_ours(proposal: Proposal, publisher: str, said: Sequence[Written], now_ms: int) -> None:
    """Return if what the hub has made of our drafts says what they say, and no more. Raises `VerificationFailed`."""
    found = [(header.origin, header.body, header.signal_ids) for header in proposal.headers]
    drafts = [(each.origin, each.body, ()) for each in said]
    ours = all(
        header.publisher == publisher and header.kind == codec.kind_of(draft.body)
        for header, draft in zip(proposal.headers, said, strict=False)
    )
    if found != drafts or not ours:
        text = "the hub has made something else of what was to be said: nothing is signed"
        raise VerificationFailed(Reason.BAD_PROOF, text)
    if any(abs(header.created_at_ms - now_ms) > SKEW_MS for header in proposal.headers):
        text = "the hub's clock and ours are more than five minutes apart: nothing is signed"
        raise VerificationFailed(
            Reason.CLOCK_SKEW, text, hint="set the one right that is wrong, then withdraw this proposal"
        )


def signatures_by(key: SigningKey, proposal: Proposal) -> tuple[Signature, ...]:
    """Return a key's signatures under all of a proposal."""
    return tuple(Signature(key.key_id, key.sign(pae(HEADER_TYPE, payload))) for payload in proposal.payloads)


def verify_signers(directory: Directory, proposal: Proposal) -> None:
    """Return if every signature holds, by a key that the directory knows. Raises `VerificationFailed`."""
    for signer in proposal.signers:
        key = directory.key(signer.key_id)
        if key is None:
            raise VerificationFailed(Reason.WRONG_KEY, f"no key {signer.key_id.hex()[:16]} is in the directory")
        for payload, signature in zip(proposal.payloads, signer.signatures, strict=True):
            ed25519.verify(key.public_key, signature, pae(HEADER_TYPE, payload))


def statements_to_say(directory: Directory, publisher: str, proposal: Proposal) -> tuple[Statement, ...]:
    """Return the statements to publish, in order, every signature verified. Raises `Rejected` while it lacks any."""
    verify_signers(directory, proposal)
    if proposal.publisher != publisher:
        raise Rejected(
            Reason.WRONG_KEY,
            f"it is said in the name of {proposal.publisher}, which alone can publish it",
        )
    lacking = missing(directory, proposal)
    if lacking:
        raise Rejected(Reason.NOT_PERMITTED, f"it cannot be said yet: {lacking}")
    return to_say(directory, proposal)
