"""What member and pseudonym service read of each other: elements, batches, proofs, keys."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from exchange.privacy.p256 import POINT_BYTES, decode_point, encode_point
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind, blind_evaluate, finalize, verify_proof
from tests.fuzz.target import Target

PROOF_BYTES = 64
KEY = EvaluationKey.derive(bytes(32), b"epoch")
BLINDS = blind([b"one", b"two", b"three"], Random(1).randbytes)
ELEMENTS = tuple(each.element for each in BLINDS)
EVALUATION = blind_evaluate(KEY, ELEMENTS, Random(2).randbytes)
OUTPUTS = finalize(BLINDS, EVALUATION, KEY.public_key)
#: As what anyone may take it for: a check raises or says nothing.
VERIFY: Callable[..., object] = verify_proof


def _elements(data: bytes) -> tuple[bytes, ...]:
    """Cut bytes into elements; what is left over is a last one of the wrong length."""
    return tuple(data[at : at + POINT_BYTES] for at in range(0, len(data), POINT_BYTES))


def read_element(data: bytes) -> object:
    point = decode_point(data)
    assert encode_point(point) == data
    return point


def read_key(data: bytes) -> object:
    key = EvaluationKey(data)
    assert key.secret() == data
    assert decode_point(key.public_key)
    return key.public_key


def read_request(data: bytes) -> object:
    """Whatever is evaluated has a proof that holds."""
    elements = _elements(data)
    evaluation = blind_evaluate(KEY, elements, Random(3).randbytes)
    assert VERIFY(public_key=KEY.public_key, elements=elements, evaluation=evaluation) is None
    return evaluation


def read_answer(data: bytes) -> object:
    """No evaluated elements but the right ones get past the proof, whatever stands for it."""
    outputs = finalize(BLINDS, Evaluation(_elements(data[PROOF_BYTES:]), data[:PROOF_BYTES]), KEY.public_key)
    assert outputs == OUTPUTS
    return outputs


TARGETS = (
    Target("blinded-element", read_element, (ELEMENTS[0], KEY.public_key), max_bytes=80),
    Target("evaluation-key", read_key, (KEY.secret(), bytes(31) + b"\x01"), max_bytes=80),
    Target("evaluation-request", read_request, (ELEMENTS[0], b"".join(ELEMENTS)), max_bytes=400),
    Target("evaluation-answer", read_answer, (EVALUATION.proof + b"".join(EVALUATION.elements),), max_bytes=400),
)
