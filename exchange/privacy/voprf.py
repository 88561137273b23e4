"""The verifiable oblivious function behind pseudonyms: RFC 9497, suite P256-SHA256, mode 0x01 (section 3.3.2).

A plain hash of an account identifier is reversed by trying all candidates. Here the member blinds its input, the
service evaluates what it cannot read with a key that no member has, and the member checks the proof and takes the blind
off: equal inputs give equal outputs under one key, and nobody makes one alone.

    member   blinds = blind(inputs)                                 -> [blind.element for blind in blinds]
    service  evaluation = blind_evaluate(key, elements)             -> elements and one proof for all of them
    member   outputs = finalize(blinds, evaluation, public_key)     -> 32 bytes each

What must stay true: an output is given only after the proof held; a refusal says what was asked wrongly and nothing
about why an answer did not hold. Randomness is a parameter: give `secrets.token_bytes`, anything else is for tests.

OpenSSL multiplies in constant time. Python's integers, with which the service makes a proof's response and the member
hashes, blinds and unblinds, are not, and no secret here can be wiped from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from exchange.errors import Fatal, Reason, Rejected
from exchange.privacy import dleq
from exchange.privacy.p256 import (
    ORDER,
    Multiplier,
    Point,
    Randomness,
    decode_point,
    decode_scalar,
    encode_point,
    encode_scalar,
    random_scalar,
)
from exchange.privacy.suite import CONTEXT, hash_to_group, hash_to_scalar, prefixed

MAX_BATCH = 1024
MAX_INPUT_BYTES = 65_535
SEED_BYTES = 32
OUTPUT_BYTES = 32

_DERIVE_DST = b"DeriveKeyPair" + CONTEXT


class EvaluationKey:
    """The service's key for one key epoch. It shows neither itself nor its secret, but by `secret`."""

    __slots__ = ("_multiplier", "_scalar", "public_key")

    def __init__(self, secret: bytes) -> None:
        """Take the secret scalar, 32 bytes big-endian. Raises `Rejected` (MALFORMED) unless it is 1 to order - 1."""
        self._scalar = decode_scalar(secret)
        self._multiplier = Multiplier(self._scalar)
        #: What the ledger publishes: a compressed point, 33 bytes.
        self.public_key = encode_point(self._multiplier.times_base())

    @classmethod
    def generate(cls, randomness: Randomness) -> Self:
        """Return a new key (RFC 9497 section 3.2, GenerateKeyPair). Raises `Fatal` for a broken source."""
        return cls(encode_scalar(random_scalar(randomness)))

    @classmethod
    def derive(cls, seed: bytes, info: bytes) -> Self:
        """Return the key of a seed (32 secret bytes) and a public text (section 3.2.1, DeriveKeyPair).

        Raises `Rejected` (MALFORMED) for another length of the seed or a text of more than 65,535 bytes.
        """
        if len(seed) != SEED_BYTES or len(info) > MAX_INPUT_BYTES:
            raise Rejected(Reason.MALFORMED, f"a key is derived from {SEED_BYTES} bytes and a text")
        for counter in range(256):
            scalar = hash_to_scalar(seed + prefixed(info) + bytes([counter]), _DERIVE_DST)
            if scalar:
                return cls(encode_scalar(scalar))
        raise Fatal("no key can be derived from this seed")

    def secret(self) -> bytes:
        """Return the secret scalar, 32 bytes big-endian: to be kept where only the service can read it."""
        return encode_scalar(self._scalar)

    def evaluate(self, blinded: Point) -> Point:
        """Return the product of the key with one blinded element."""
        return self._multiplier.times(blinded)

    def prove(self, pairs: Sequence[dleq.Pair], randomness: Randomness) -> bytes:
        """Return the proof that this key made all evaluated elements of the pairs. Raises `Fatal`: a broken source."""
        nonce = random_scalar(randomness)
        return dleq.prove(secret=self._scalar, key=self._multiplier, pairs=pairs, nonce=nonce)


@dataclass(frozen=True, slots=True)
class Blind:
    """What a member keeps of one input until the answer comes. Input and scalar are secret, and not shown."""

    input: bytes = field(repr=False)
    scalar: int = field(repr=False)
    point: Point = field(repr=False)

    @property
    def element(self) -> bytes:
        """What is sent: the blinded element, a compressed point of 33 bytes. It says nothing about the input."""
        return encode_point(self.point)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The service's answer to a batch: an evaluated element (33 bytes) for each blinded one, and one proof (64)."""

    elements: tuple[bytes, ...]
    proof: bytes


def _check_batch(count: int) -> None:
    if not 0 < count <= MAX_BATCH:
        reason = Reason.TOO_LARGE if count else Reason.MALFORMED
        raise Rejected(reason, f"a batch has from 1 to {MAX_BATCH:,} elements")


def blind(inputs: Sequence[bytes], randomness: Randomness) -> tuple[Blind, ...]:
    """Return a batch of inputs (1 to 1,024, each at most 65,535 bytes), each blinded with a scalar of its own.

    RFC 9497 section 3.3.1 (Blind, as in mode 0x00). Raises `Rejected`: TOO_LARGE or MALFORMED for the size of the batch
    or of an input, INVALID for an input that hashes to the identity (one in 2^256); `Fatal` for a broken source.
    """
    _check_batch(len(inputs))
    if any(len(each) > MAX_INPUT_BYTES for each in inputs):
        raise Rejected(Reason.TOO_LARGE, f"an input has at most {MAX_INPUT_BYTES:,} bytes")
    made = []
    for each in inputs:
        scalar = random_scalar(randomness)
        made.append(Blind(each, scalar, Multiplier(scalar).times(hash_to_group(each))))
    return tuple(made)


def blind_evaluate(key: EvaluationKey, elements: Sequence[bytes], randomness: Randomness) -> Evaluation:
    """Return the evaluation of a batch of blinded elements (1 to 1,024, 33 bytes each), with one proof for all.

    RFC 9497 section 3.3.2 (BlindEvaluate). All or nothing: raises `Rejected`, TOO_LARGE or MALFORMED for the size of
    the batch, MALFORMED where one is not a point; `Fatal` for a broken source.
    """
    _check_batch(len(elements))
    blinded = [decode_point(element) for element in elements]
    pairs = [(point, key.evaluate(point)) for point in blinded]
    return Evaluation(tuple(encode_point(evaluated) for _, evaluated in pairs), key.prove(pairs, randomness))


def _verified(public_key: bytes, blinded: Sequence[Point], evaluation: Evaluation) -> list[Point]:
    """Return the evaluated elements, after the proof held for all of them."""
    published = decode_point(public_key)
    if len(evaluation.elements) != len(blinded):
        raise dleq.refusal()
    try:
        evaluated = [decode_point(element) for element in evaluation.elements]
    except Rejected:
        raise dleq.refusal() from None
    dleq.verify(public_key=published, pairs=list(zip(blinded, evaluated, strict=True)), proof=evaluation.proof)
    return evaluated


def verify_proof(*, public_key: bytes, elements: Sequence[bytes], evaluation: Evaluation) -> None:
    """Return if the evaluation of these blinded elements, in this order, was made with this public key (33 bytes).

    RFC 9497 section 2.2.2 (VerifyProof); `finalize` does the same by itself. Raises `Rejected` (MALFORMED, TOO_LARGE)
    for a key, an element or a batch that nobody could have an answer to, and `VerificationFailed` (BAD_PROOF), always
    with the same words, for whatever is wrong with the evaluation.
    """
    _check_batch(len(elements))
    _verified(public_key, [decode_point(element) for element in elements], evaluation)


def finalize(blinds: Sequence[Blind], evaluation: Evaluation, public_key: bytes) -> tuple[bytes, ...]:
    """Return the outputs for a batch that `blind` returned, 32 bytes each, in its order; all of them, or none.

    RFC 9497 section 3.3.2 (Finalize). ``public_key`` is the published one (33 bytes), never one that came with the
    evaluation. Raises as `verify_proof`, before anything is unblinded.
    """
    _check_batch(len(blinds))
    evaluated = _verified(public_key, [each.point for each in blinds], evaluation)
    return tuple(_output(each, point) for each, point in zip(blinds, evaluated, strict=True))


def _output(blinded: Blind, evaluated: Point) -> bytes:
    unblinded = Multiplier(pow(blinded.scalar, -1, ORDER)).times(evaluated)
    return sha256(prefixed(blinded.input) + prefixed(encode_point(unblinded)) + b"Finalize").digest()
