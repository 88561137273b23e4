"""Blind, evaluate, finish: what goes round, and what nobody gets past with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import Fatal, Reason, Rejected, VerificationFailed
from exchange.privacy import dleq, voprf
from exchange.privacy.p256 import (
    ORDER,
    Multiplier,
    Point,
    Randomness,
    decode_point,
    encode_point,
    encode_scalar,
)
from exchange.privacy.voprf import (
    MAX_BATCH,
    MAX_INPUT_BYTES,
    Blind,
    Evaluation,
    EvaluationKey,
    blind,
    blind_evaluate,
    finalize,
    verify_proof,
)
from tests.unit.privacy import curve

KEY = EvaluationKey.derive(bytes(range(32)), b"epoch 7")
OTHER = EvaluationKey.derive(bytes(range(32)), b"epoch 8")
INPUTS = [b"+447700900123", b"", b"someone@example.org", b"+447700900123"]
REFUSAL = "the evaluation was not made with the published key"


def source(seed: int) -> Randomness:
    return Random(seed).randbytes


BLINDS = blind(INPUTS, source(1))
ELEMENTS = [each.element for each in BLINDS]
EVALUATION = blind_evaluate(KEY, ELEMENTS, source(2))
OUTPUTS = finalize(BLINDS, EVALUATION, KEY.public_key)


def plainly(key: EvaluationKey, data: bytes) -> bytes:
    """The output as section 3.3.1 defines it without a blind: the key times the input's element, hashed."""
    dst = b"HashToGroup-OPRFV1-\x01-P256-SHA256"
    q0, q1 = (curve.swu(u) for u in _field(data, dst))
    product = curve.times(int.from_bytes(key.secret(), "big"), curve.plus(q0, q1))
    assert product is not None
    return sha256(len(data).to_bytes(2, "big") + data + b"\x00\x21" + curve.compressed(product) + b"Finalize").digest()


def _field(data: bytes, dst: bytes) -> list[int]:
    """RFC 9380 section 5.2 for two numbers: 96 bytes are three digests."""
    tag = dst + bytes([len(dst)])
    first = sha256(bytes(64) + data + b"\x00\x60\x00" + tag).digest()
    blocks = [sha256(first + b"\x01" + tag).digest()]
    for number in (2, 3):
        mixed = bytes(a ^ b for a, b in zip(first, blocks[-1], strict=True))
        blocks.append(sha256(mixed + bytes([number]) + tag).digest())
    uniform = b"".join(blocks)
    return [int.from_bytes(uniform[start : start + 48], "big") % curve.P for start in (0, 48)]


def refuse(evaluation: Evaluation, *, key: bytes = KEY.public_key, blinds: tuple[Blind, ...] = BLINDS) -> None:
    """Assert that neither the member nor an auditor takes an evaluation, and that the refusal does not tell why."""
    ways: list[Callable[[], object]] = [
        lambda: finalize(blinds, evaluation, key),
        lambda: verify_proof(public_key=key, elements=[each.element for each in blinds], evaluation=evaluation),
    ]
    for way in ways:
        with pytest.raises(VerificationFailed) as caught:
            way()
        assert (caught.value.reason, caught.value.message) == (Reason.BAD_PROOF, REFUSAL)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_outputs_are_those_without_a_blind() -> None:
    assert tuple(plainly(KEY, each) for each in INPUTS) == OUTPUTS
    assert OUTPUTS[0] == OUTPUTS[3]
    assert len({*OUTPUTS}) == 3


@settings(max_examples=25)
@given(
    inputs=st.lists(st.binary(max_size=80), min_size=1, max_size=6),
    secret=st.integers(1, ORDER - 1) | st.sampled_from([1, 2, ORDER - 2, ORDER - 1]),
    seed=st.integers(0, 2**32),
)
def test_whatever_goes_round_comes_out(inputs: list[bytes], secret: int, seed: int) -> None:
    """The blind does not show in the output, the key does; and each batch has a proof of its own."""
    key = EvaluationKey(encode_scalar(secret))
    blinds = blind(inputs, source(seed))
    evaluation = blind_evaluate(key, [each.element for each in blinds], source(seed + 1))
    outputs = finalize(blinds, evaluation, key.public_key)
    assert outputs == tuple(plainly(key, each) for each in inputs)
    refuse(evaluation, key=OTHER.public_key, blinds=blinds)


def test_one_input_is_blinded_differently_each_time() -> None:
    assert ELEMENTS[0] != ELEMENTS[3]
    assert not {*ELEMENTS} & {each.element for each in blind(INPUTS, source(3))}


def test_another_key_gives_other_outputs_and_its_proof_is_not_ours() -> None:
    other = blind_evaluate(OTHER, ELEMENTS, source(2))
    assert not {*finalize(BLINDS, other, OTHER.public_key)} & {*OUTPUTS}
    refuse(other)


def test_one_element_by_another_key_spoils_the_batch() -> None:
    """What a service would do that tags one member's account: everything else by the published key."""
    tagged = Multiplier(int.from_bytes(OTHER.secret(), "big"))
    for place in range(len(BLINDS)):
        pairs = [(each.point, KEY.evaluate(each.point)) for each in BLINDS]
        pairs[place] = (pairs[place][0], tagged.times(pairs[place][0]))
        elements = tuple(encode_point(evaluated) for _, evaluated in pairs)
        refuse(Evaluation(elements, KEY.prove(pairs, source(2))))


def test_an_exchange_that_leaves_the_plain_sum_as_it_is_is_noticed() -> None:
    """Two elements moved by opposite amounts: only the weights of the batch tell."""
    moved = curve.times(5, curve.G)
    assert moved is not None
    pairs = [(each.point, KEY.evaluate(each.point)) for each in BLINDS]
    for place, by in ((0, moved), (1, curve.negative(moved))):
        sum_ = curve.plus(pairs[place][1], by)
        assert sum_ is not None
        pairs[place] = (pairs[place][0], Point(*sum_))
    refuse(Evaluation(tuple(encode_point(each) for _, each in pairs), KEY.prove(pairs, source(2))))


def test_the_order_of_a_batch_counts() -> None:
    first, second, *rest = EVALUATION.elements
    refuse(replace(EVALUATION, elements=(second, first, *rest)))
    refuse(EVALUATION, blinds=(BLINDS[1], BLINDS[0], *BLINDS[2:]))
    refuse(EVALUATION, blinds=(BLINDS[3], *BLINDS[1:3], BLINDS[0]))


def test_a_batch_is_all_of_it_and_no_more() -> None:
    refuse(replace(EVALUATION, elements=EVALUATION.elements[:-1]))
    refuse(replace(EVALUATION, elements=(*EVALUATION.elements, EVALUATION.elements[0])))
    refuse(replace(EVALUATION, elements=()))
    refuse(EVALUATION, blinds=BLINDS[:-1])
    refuse(replace(EVALUATION, elements=EVALUATION.elements[:-1]), blinds=BLINDS[:-1])


@pytest.mark.parametrize("place", range(4))
def test_every_bit_of_an_evaluated_element_counts(place: int) -> None:
    for bit in (0, 1, 7, 8, 100, 255, 263):
        elements = list(EVALUATION.elements)
        damaged = int.from_bytes(elements[place], "big") ^ 1 << bit
        elements[place] = damaged.to_bytes(33, "big")
        refuse(replace(EVALUATION, elements=tuple(elements)))


def test_every_byte_of_a_proof_counts() -> None:
    for at in range(64):
        damaged = bytearray(EVALUATION.proof)
        damaged[at] ^= 1 << at % 8
        refuse(replace(EVALUATION, proof=bytes(damaged)))


ZERO, ABOVE = bytes(32), ORDER.to_bytes(32, "big")
CHALLENGE, RESPONSE = EVALUATION.proof[:32], EVALUATION.proof[32:]


@pytest.mark.parametrize(
    "proof",
    [
        b"",
        ZERO + ZERO,
        ZERO + RESPONSE,
        CHALLENGE + ZERO,
        ABOVE + RESPONSE,
        CHALLENGE + ABOVE,
        RESPONSE + CHALLENGE,
        EVALUATION.proof[:-1],
        EVALUATION.proof + b"\x00",
        b"\x00" + EVALUATION.proof,
    ],
)
def test_what_is_no_proof_is_refused(proof: bytes) -> None:
    refuse(replace(EVALUATION, proof=proof))


def test_a_proof_whose_commitments_vanish_is_refused() -> None:
    """Its maker knows the key: response = -challenge * key leaves the identity, which has no encoding to hash."""
    pairs = [(each.point, KEY.evaluate(each.point)) for each in BLINDS]
    published = decode_point(KEY.public_key)
    sums = dleq._composites(published, pairs, both=True)
    for challenge in (12345, dleq._challenge(published, *sums)):
        response = -challenge * int.from_bytes(KEY.secret(), "big") % ORDER
        refuse(replace(EVALUATION, proof=encode_scalar(challenge) + encode_scalar(response)))


@pytest.mark.parametrize(
    "element", [b"", b"\x00", bytes(33), ELEMENTS[0][:-1], b"\x04" + ELEMENTS[0][1:], b"\x02" + b"\xff" * 32]
)
def test_what_is_no_element_is_refused(element: bytes) -> None:
    """From the service it is a wrong answer; from the member, or as a key, it is a wrong question."""
    refuse(replace(EVALUATION, elements=(*EVALUATION.elements[:-1], element)))
    asked = [*ELEMENTS[:-1], element]
    ways: list[Callable[[], object]] = [
        lambda: blind_evaluate(KEY, asked, source(1)),
        lambda: verify_proof(public_key=KEY.public_key, elements=asked, evaluation=EVALUATION),
        lambda: verify_proof(public_key=element, elements=ELEMENTS, evaluation=EVALUATION),
        lambda: finalize(BLINDS, EVALUATION, element),
    ]
    said = set()
    for way in ways:
        with pytest.raises(Rejected) as caught:
            way()
        assert caught.value.reason is Reason.MALFORMED
        said.add((type(caught.value), caught.value.message))
    assert said == {(Rejected, "an element is a compressed point of P-256: 33 bytes")}


def test_a_refused_batch_is_not_evaluated_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Evaluation:
        raise AssertionError("the key was used")

    monkeypatch.setattr(EvaluationKey, "evaluate", never)
    monkeypatch.setattr(EvaluationKey, "prove", never)
    with pytest.raises(Rejected):
        blind_evaluate(KEY, [*ELEMENTS, bytes(33)], source(1))


def test_nothing_is_unblinded_before_the_proof_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("an output was made")

    monkeypatch.setattr(voprf, "_output", never)
    refuse(replace(EVALUATION, proof=EVALUATION.proof[::-1]))


@pytest.mark.parametrize(("count", "reason"), [(0, Reason.MALFORMED), (MAX_BATCH + 1, Reason.TOO_LARGE)])
def test_the_size_of_a_batch_is_bounded(count: int, reason: Reason) -> None:
    """Before anything is read: what is asked for here would be refused for other reasons too."""
    evaluation = Evaluation((b"",) * count, b"")
    ways: list[Callable[[], object]] = [
        lambda: blind([b"x" * (MAX_INPUT_BYTES + 1)] * count, source(1)),
        lambda: blind_evaluate(KEY, [b""] * count, source(1)),
        lambda: verify_proof(public_key=b"", elements=[b""] * count, evaluation=evaluation),
        lambda: finalize(BLINDS[:1] * count, evaluation, b""),
    ]
    for way in ways:
        with pytest.raises(Rejected, match="a batch has from 1 to 1,024 elements") as caught:
            way()
        assert caught.value.reason is reason


def test_the_largest_batch_goes_round() -> None:
    blinds = BLINDS * (MAX_BATCH // len(BLINDS))
    assert len(blinds) == MAX_BATCH
    evaluation = blind_evaluate(KEY, [each.element for each in blinds], source(2))
    assert finalize(blinds, evaluation, KEY.public_key) == OUTPUTS * (MAX_BATCH // len(BLINDS))


def test_the_length_of_an_input_is_bounded() -> None:
    longest = b"x" * MAX_INPUT_BYTES
    blinds = blind([longest], source(1))
    evaluation = blind_evaluate(KEY, [blinds[0].element], source(2))
    assert finalize(blinds, evaluation, KEY.public_key) == (plainly(KEY, longest),)
    with pytest.raises(Rejected, match="an input has at most 65,535 bytes") as caught:
        blind([b"", longest + b"x"], source(1))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("secret", [b"", ZERO, ABOVE, b"\xff" * 32, KEY.secret()[:-1], KEY.secret() + b"\x00"])
def test_what_is_no_key_is_refused(secret: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        EvaluationKey(secret)
    assert caught.value.reason is Reason.MALFORMED


def test_a_key_is_drawn_or_derived() -> None:
    assert EvaluationKey.generate(source(1)).secret() == source(1)(32)
    assert KEY.public_key != OTHER.public_key
    assert EvaluationKey.derive(bytes(range(1, 33)), b"epoch 7").public_key != KEY.public_key
    assert EvaluationKey(KEY.secret()).public_key == KEY.public_key
    assert EvaluationKey.derive(bytes(32), b"i" * MAX_INPUT_BYTES).public_key != KEY.public_key
    for seed, info in ((bytes(31), b""), (bytes(33), b""), (bytes(32), b"i" * (MAX_INPUT_BYTES + 1))):
        with pytest.raises(Rejected, match="a key is derived from 32 bytes and a text") as caught:
            EvaluationKey.derive(seed, info)
        assert caught.value.reason is Reason.MALFORMED


def test_a_seed_that_gives_zero_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a counter, up to 256 times; nobody knows such a seed, so the hash is stood in for."""
    asked: list[int] = []

    def zero_until(number: int) -> Callable[[bytes, bytes], int]:
        asked.clear()

        def stand_in(data: bytes, dst: bytes) -> int:
            asked.append(data[-1])
            return 9 if data[-1] == number else 0

        return stand_in

    monkeypatch.setattr(voprf, "hash_to_scalar", zero_until(2))
    assert EvaluationKey.derive(bytes(32), b"").secret() == encode_scalar(9)
    assert asked == [0, 1, 2]
    monkeypatch.setattr(voprf, "hash_to_scalar", zero_until(256))
    with pytest.raises(Fatal, match="no key can be derived from this seed"):
        EvaluationKey.derive(bytes(32), b"")
    assert asked == list(range(256))


@pytest.mark.parametrize("drawn", [b"", bytes(32), b"\x01" * 31])
def test_nothing_is_made_of_broken_randomness(drawn: bytes) -> None:
    ways: list[Callable[[Randomness], object]] = [
        lambda broken: blind(INPUTS, broken),
        lambda broken: blind_evaluate(KEY, ELEMENTS, broken),
        EvaluationKey.generate,
    ]
    for way in ways:
        with pytest.raises(Fatal):
            way(lambda count: drawn)


def test_every_proof_draws_a_nonce_of_its_own() -> None:
    randomness = source(5)
    first, second = (blind_evaluate(KEY, ELEMENTS, randomness) for _ in range(2))
    assert first.elements == second.elements == EVALUATION.elements
    assert first.proof[:32] != second.proof[:32]
    assert first.proof[32:] != second.proof[32:]


def test_secrets_are_not_shown() -> None:
    shown = f"{KEY!r} {KEY} {BLINDS} {KEY._multiplier!r}"
    for secret in (KEY.secret(), *INPUTS[::2], *(encode_scalar(each.scalar) for each in BLINDS)):
        for form in (secret.hex(), str(int.from_bytes(secret, "big")), repr(secret)[2:-1]):
            assert form not in shown
