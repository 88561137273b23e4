"""Ed25519 with one verdict everywhere. The only module that knows the signature libraries.

RFC 8032 leaves room at the edges, and OpenSSL and libsodium fill it differently: keys and points of small order, and
non-canonical encodings, pass in one and fail in the other. A member could use that to commit a leaf that some
receivers refuse and others accept. So one pure check runs before either library: S below the group order, A and R
canonically encoded and not of small order. What passes it, both libraries judge alike.

PyNaCl (libsodium, releases the interpreter lock) is used where installed, else `cryptography` (OpenSSL).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from exchange.errors import Reason, VerificationFailed

try:
    from nacl import bindings as _sodium
    from nacl.exceptions import BadSignatureError as _BadSignatureError
except ImportError:  # pragma: no cover - exercised where PyNaCl is not installed
    _sodium = None  # type: ignore[assignment]

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_Y_MASK = (1 << 255) - 1

# The y coordinates of the eight points of small order: 1 (order 1), -1 (order 2), 0 (order 4, twice) and +-y (order
# 8, twice each), where d y^4 + 2 y^2 - 1 = 0. Whether an encoding is canonical is checked apart.
_ORDER_EIGHT_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _ORDER_EIGHT_Y, _P - _ORDER_EIGHT_Y})


def _bad(what: str) -> VerificationFailed:
    return VerificationFailed(Reason.BAD_SIGNATURE, what)


def _check_point(encoded: bytes, what: str) -> None:
    y = int.from_bytes(encoded, "little") & _Y_MASK
    if y >= _P:
        raise _bad(f"{what} is not canonically encoded")
    if y in _SMALL_ORDER_Y:
        raise _bad(f"{what} is of small order")


@lru_cache(maxsize=4096)
def check_public_key(public_key: bytes) -> None:
    """Return if these 32 bytes may be registered as a key. Raises `VerificationFailed`."""
    if len(public_key) != KEY_BYTES:
        raise _bad(f"a public key has {KEY_BYTES} bytes")
    _check_point(public_key, "the public key")


def check_strict(public_key: bytes, signature: bytes) -> None:
    """Return if key and signature are of the one form that every library judges alike. Raises otherwise."""
    check_public_key(public_key)
    if len(signature) != SIGNATURE_BYTES:
        raise _bad(f"a signature has {SIGNATURE_BYTES} bytes")
    if int.from_bytes(signature[32:], "little") >= _L:
        raise _bad("S is not below the group order")
    _check_point(signature[:32], "R")


def verify_openssl(public_key: bytes, signature: bytes, message: bytes) -> None:
    """The verdict of OpenSSL on a signature that passed `check_strict`. Raises `VerificationFailed`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise _bad("the signature does not verify") from error


def verify_sodium(public_key: bytes, signature: bytes, message: bytes) -> None:
    """The verdict of libsodium on a signature that passed `check_strict`. Raises `VerificationFailed`."""
    try:
        _sodium.crypto_sign_open(signature + message, public_key)
    except (_BadSignatureError, ValueError) as error:
        raise _bad("the signature does not verify") from error


BACKENDS: dict[str, Callable[[bytes, bytes, bytes], None]] = {"openssl": verify_openssl}
if _sodium is not None:
    BACKENDS["sodium"] = verify_sodium
_verify = BACKENDS.get("sodium", verify_openssl)


def verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Return if the signature (64 bytes) is by this key (32 bytes) over the message. Raises `VerificationFailed`."""
    check_strict(public_key, signature)
    _verify(public_key, signature, message)


def key_id(public_key: bytes) -> bytes:
    """Return the id of a signing key: SHA-256 of its 32 raw bytes."""
    return sha256(public_key).digest()


class SigningKey:
    """An Ed25519 private key. Deterministic: the same message always gets the same signature."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32-byte seed of RFC 8032. Raises ValueError for another length."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(message)
