"""A platform's profile for candidates as the ledger has it: its leaf proven, its signature checked.

The hub is believed in two things: that there is no newer one, and that it let nobody speak for a platform but those who
may. Whoever reads the ledger whole need not believe it: `exchange guide build --community` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exchange.codec import Delivered
from exchange.domain.directory import Directory
from exchange.domain.guidance import read_profile
from exchange.domain.guidance_body import Guidance
from exchange.errors import Reason, VerificationFailed
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_inclusion
from exchange_client.verify import check_entry
from exchange_client.wire import GuidanceAnswer


@dataclass(frozen=True, slots=True)
class PlatformGuidance:
    """A profile, and who said it."""

    platform: str
    version: int
    publisher: str
    #: Whether the publisher is the platform itself. Else the profile is compiled from public sources.
    confirmed: bool
    index: int
    received_at_ms: int
    profile: dict[str, Any]


def verified_guidance(
    origin: str, platform: str, directory: Directory, verifier: Verifier, answer: GuidanceAnswer
) -> PlatformGuidance:
    """Return the profile that is asked for, once it is in the tree. Raises `VerificationFailed` and `Rejected`."""
    proven = answer.leaf
    if proven is None:
        raise VerificationFailed(Reason.BAD_PROOF, "the hub sent no leaf with the profile")
    tree = open_checkpoint(answer.checkpoint, verifier)
    index = proven.index
    if index >= tree.size:
        raise VerificationFailed(Reason.BAD_PROOF, "the profile's leaf is not in the tree of the checkpoint")
    verify_inclusion(leaf_hash=leaf_hash(proven.leaf), index=index, size=tree.size, proof=proven.proof, root=tree.root)
    entry = check_entry(directory, origin, index, Delivered.bare(proven.leaf))
    body = entry.header.body
    if not isinstance(body, Guidance) or body.platform != platform:
        raise VerificationFailed(Reason.BAD_PROOF, "the leaf is not of the profile that was asked for")
    publisher = entry.header.publisher
    return PlatformGuidance(
        platform,
        body.version,
        publisher,
        bool(body.member) and publisher == body.member,
        index,
        entry.leaf.received_at_ms,
        read_profile(body),
    )
