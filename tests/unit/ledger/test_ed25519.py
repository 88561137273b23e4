"""Ed25519: our verdict is the same with either library, for honest and for hostile input."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.ed25519 import BACKENDS, SigningKey, check_public_key, check_strict, key_id, verify

KEY = SigningKey(b"\x2a" * 32)
MESSAGE = b"a message"
SIGNATURE = KEY.sign(MESSAGE)

both_libraries = pytest.mark.parametrize("library", sorted(BACKENDS))


@pytest.fixture
def use_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge with one named library behind the pre-check."""
    monkeypatch.setattr(ed25519, "_verify", BACKENDS[library])


def refuse(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Assert a refusal, of the one type."""
    with pytest.raises(VerificationFailed) as caught:
        verify(public_key, signature, message)
    assert caught.value.reason is Reason.BAD_SIGNATURE


@both_libraries
@pytest.mark.usefixtures("use_library")
def test_an_honest_signature_verifies_and_nothing_near_it_does() -> None:
    """Every single bit of key, signature and message counts."""
    verify(KEY.public_key, SIGNATURE, MESSAGE)
    whole = KEY.public_key + SIGNATURE + MESSAGE
    for bit in range(len(whole) * 8):
        damaged = (int.from_bytes(whole, "big") ^ 1 << bit).to_bytes(len(whole), "big")
        refuse(damaged[:32], damaged[32:96], damaged[96:])


@both_libraries
@pytest.mark.usefixtures("use_library")
def test_other_lengths_are_refused() -> None:
    """No library sees a key or signature of another length; bytes cannot move between signature and message."""
    for length in (0, 31, 33, 64):
        refuse((KEY.public_key * 2)[:length], SIGNATURE, MESSAGE)
    for length in (0, 32, 63, 65, 128):
        refuse(KEY.public_key, (SIGNATURE * 2)[:length], MESSAGE)
    refuse(KEY.public_key, SIGNATURE + MESSAGE[:1], MESSAGE[1:])


@given(public_key=st.binary(max_size=40), signature=st.binary(max_size=70), message=st.binary(max_size=40))
def test_any_bytes_are_refused(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Nothing but `VerificationFailed` comes out."""
    refuse(public_key, signature, message)


@given(st.binary(min_size=96, max_size=96))
def test_any_bytes_of_the_right_lengths_get_one_verdict(data: bytes) -> None:
    """Whatever passes the pre-check, both libraries refuse alike (no one can guess a signature)."""
    try:
        check_strict(data[:32], data[32:])
    except VerificationFailed:
        return
    for judge in BACKENDS.values():
        with pytest.raises(VerificationFailed):
            judge(data[:32], data[32:], MESSAGE)


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
def test_every_key_made_here_may_be_registered(seed: bytes, message: bytes) -> None:
    """Honest keys and signatures always pass, with both libraries; signing is deterministic."""
    key = SigningKey(seed)
    check_public_key(key.public_key)
    assert key.sign(message) == key.sign(message)
    for judge in BACKENDS.values():
        judge(key.public_key, key.sign(message), message)
    verify(key.public_key, key.sign(message), message)


def test_a_key_id_is_the_hash_of_the_raw_key() -> None:
    """WIRE.md point 2."""
    assert key_id(KEY.public_key) == KEY.key_id == sha256(KEY.public_key).digest()


def test_a_signing_key_does_not_show_itself() -> None:
    """Neither seed nor key in a repr that could reach a log or trace."""
    assert (b"\x2a" * 32).hex() not in repr(KEY)
    assert "*" * 8 not in repr(KEY)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    """Anything else is a wrong file."""
    with pytest.raises(ValueError, match="32"):
        SigningKey(bytes(length))
