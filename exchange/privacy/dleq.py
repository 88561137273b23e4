"""The proof that one key made all evaluations of a batch, and that it is the published one: RFC 9497 section 2.2.

Why: without it a service could use another key for each member, and know later whose a pseudonym was. Two elements of
a proof are weighed sums over the batch, with weights that hash the batch itself, so one proof holds for all of it and
none can be exchanged, moved or left out.

Prover and verifier both read the batch as pairs (blinded element, evaluated element), in the order of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.privacy.p256 import (
    ORDER,
    SCALAR_BYTES,
    Multiplier,
    Point,
    add,
    decode_scalar,
    encode_point,
    encode_scalar,
)
from exchange.privacy.suite import CONTEXT, hash_to_scalar, prefixed

PROOF_BYTES = 2 * SCALAR_BYTES

#: Blinded and evaluated element.
Pair = tuple[Point, Point]

_SEED_DST = b"Seed-" + CONTEXT


def refusal() -> VerificationFailed:
    """Return the one error for whatever is wrong with an evaluation: it does not tell what."""
    return VerificationFailed(Reason.BAD_PROOF, "the evaluation was not made with the published key")


def _weights(public_key: Point, pairs: Sequence[Pair]) -> Iterator[int]:
    seed = prefixed(sha256(prefixed(encode_point(public_key)) + prefixed(_SEED_DST)).digest())
    for index, (blinded, evaluated) in enumerate(pairs):
        both = prefixed(encode_point(blinded)) + prefixed(encode_point(evaluated))
        yield hash_to_scalar(seed + index.to_bytes(2, "big") + both + b"Composite")


def _composites(public_key: Point, pairs: Sequence[Pair], *, both: bool) -> tuple[Point, Point | None]:
    """Return the weighed sums over the blinded elements and, where both are asked for, over the evaluated ones.

    The prover asks for one: it has the other from its key. Raises `VerificationFailed` where a sum is the identity.
    """
    blinded_sum: Point | None = None
    evaluated_sum: Point | None = None
    for weight, (blinded, evaluated) in zip(_weights(public_key, pairs), pairs, strict=True):
        if weight:
            multiplier = Multiplier(weight)
            blinded_sum = add(blinded_sum, multiplier.times(blinded))
            evaluated_sum = add(evaluated_sum, multiplier.times(evaluated)) if both else None
    if blinded_sum is None or (both and evaluated_sum is None):
        raise refusal()
    return blinded_sum, evaluated_sum


def _challenge(public_key: Point, *elements: Point | None) -> int:
    """Return the challenge. Raises `VerificationFailed` where an element is the identity, which has no encoding."""
    transcript = prefixed(encode_point(public_key))
    for element in elements:
        if element is None:
            raise refusal()
        transcript += prefixed(encode_point(element))
    return hash_to_scalar(transcript + b"Challenge")


def prove(*, secret: int, key: Multiplier, pairs: Sequence[Pair], nonce: int) -> bytes:
    """Return the proof for a batch (GenerateProof): challenge and response, 64 bytes.

    ``key`` is ``secret`` ready to multiply. The nonce is a scalar from `random_scalar`, used for this proof and never
    again: two proofs with one nonce give the key away.
    """
    public_key = key.times_base()
    blinded, _ = _composites(public_key, pairs, both=False)
    once = Multiplier(nonce)
    challenge = _challenge(public_key, blinded, key.times(blinded), once.times_base(), once.times(blinded))
    return encode_scalar(challenge) + encode_scalar((nonce - challenge * secret) % ORDER)


def verify(*, public_key: Point, pairs: Sequence[Pair], proof: bytes) -> None:
    """Return if the proof holds for all pairs, in this order, under this key (VerifyProof).

    Raises `VerificationFailed` (BAD_PROOF), always with the same words.
    """
    try:
        challenge, response = decode_scalar(proof[:SCALAR_BYTES]), decode_scalar(proof[SCALAR_BYTES:])
    except Rejected:
        raise refusal() from None
    blinded, evaluated = _composites(public_key, pairs, both=True)
    assert evaluated is not None, "both were asked for"
    by_response, by_challenge = Multiplier(response), Multiplier(challenge)
    base = add(by_response.times_base(), by_challenge.times(public_key))
    commitment = add(by_response.times(blinded), by_challenge.times(evaluated))
    if _challenge(public_key, blinded, evaluated, base, commitment) != challenge:
        raise refusal()
