"""The ledger's readers: notes, checkpoints, keys, tiles, proofs and signatures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence

from exchange.errors import VerificationFailed
from exchange.ledger import ed25519, note, tiles
from exchange.ledger.checkpoint import (
    Checkpoint,
    format_tlog_proof,
    open_checkpoint,
    parse_checkpoint,
    parse_tlog_proof,
    sign_checkpoint,
)
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import HASH_BYTES, CompactRange, leaf_hash
from exchange.ledger.note import NoteSignature, Verifier
from exchange.ledger.proofs import Node, consistency_nodes, inclusion_nodes, verify_consistency, verify_inclusion
from tests.contract.builders import naive_root
from tests.fuzz.target import Target, bytes_of, text_of

ORIGIN = "exchange.example/uk"
KEY = SigningKey(bytes(range(32)))
VERIFIER = Verifier(ORIGIN, note.ED25519, KEY.public_key)
LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(13)]
ROOTS = [naive_root(LEAVES[:size]) for size in range(len(LEAVES) + 1)]
HEADS = [Checkpoint(ORIGIN, size, root) for size, root in enumerate(ROOTS)]
SIGNED = [sign_checkpoint(head, KEY) for head in HEADS]
WITNESS = NoteSignature("witness.example/w1", b"\x01\x02\x03\x04", b"\x99" * 72)
COSIGNED = note.add_signature(SIGNED[13], WITNESS)
#: As what anyone may take them for: a check raises or says nothing.
VERIFY_INCLUSION: Callable[..., object] = verify_inclusion
VERIFY_CONSISTENCY: Callable[..., object] = verify_consistency
VERIFY_SIGNATURE: Callable[..., object] = ed25519.verify


def _hashes(data: bytes) -> tuple[bytes, ...]:
    """Cut bytes into hashes; what is left over is a last one of the wrong length."""
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def _number(data: bytes) -> int:
    return int.from_bytes(data[:8], "big", signed=True)


def read_note(data: bytes) -> object:
    """What parses is the text and the lines that we would write for it."""
    text, signatures = note.parse(data)
    assert f"{text}\n{''.join(signature.line() for signature in signatures)}".encode() == data
    return text, signatures


def read_checkpoint(data: bytes) -> object:
    text = text_of(data)
    found = parse_checkpoint(text)
    assert found.text() == text
    assert sign_checkpoint(found, KEY)
    return found


def open_signed(data: bytes) -> object:
    """Nothing opens that the log's key has not signed, whatever else is added to the note."""
    found = open_checkpoint(data, VERIFIER)
    assert found in HEADS
    return found


def read_verifier_key(data: bytes) -> object:
    text = text_of(data)
    found = Verifier.parse(text)
    assert found.vkey() == text
    return found


def read_tlog_proof(data: bytes) -> object:
    found = parse_tlog_proof(data)
    assert format_tlog_proof(found.index, found.proof, found.checkpoint, found.extra) == data
    return found


def read_tile_path(data: bytes) -> object:
    path = text_of(data)
    name = tiles.parse_tile_path(path)
    written = tiles.entries_path(name.index, name.width) if name.is_bundle else None
    assert (written or tiles.tile_path(name.level, name.index, name.width)) == path
    return name


def read_bundle(data: bytes) -> object:
    entries = tiles.decode_bundle(data)
    assert tiles.encode_bundle(entries) == data
    return entries


def read_base64(data: bytes) -> object:
    text = text_of(data)
    found = note.decode_base64(text)
    assert base64.b64encode(found).decode() == text
    return found


def read_compact_range(data: bytes) -> object:
    """A range of the right shape can always be gone on from."""
    found = CompactRange.of(_number(data), _hashes(data[8:]))
    grown = found.extend(LEAVES[:3])
    assert CompactRange.of(grown.size, grown.hashes) == grown
    assert len(grown.root()) == HASH_BYTES
    return found


def check_inclusion(data: bytes) -> object:
    """No path leads another leaf to a root that we know."""
    index, size, root = _number(data), _number(data[8:]), data[16:48]
    leaf, proof = data[48:80], _hashes(data[80:])
    assert VERIFY_INCLUSION(leaf_hash=leaf, index=index, size=size, proof=proof, root=root) is None
    if size < len(ROOTS) and root == ROOTS[size]:
        assert leaf == LEAVES[index]
    return proof


def check_consistency(data: bytes) -> object:
    """No proof makes another tree the beginning of one that we know."""
    old, new, old_root, new_root = _number(data), _number(data[8:]), data[16:48], data[48:80]
    proof = _hashes(data[80:])
    found = VERIFY_CONSISTENCY(old_size=old, new_size=new, old_root=old_root, new_root=new_root, proof=proof)
    assert found is None
    if new < len(ROOTS) and new_root == ROOTS[new]:
        assert old_root == ROOTS[old]
    return proof


def check_signature(data: bytes) -> object:
    """Every library comes to the same verdict on a key and a signature of the one form."""
    key, signature, message = data[:32], data[32:96], data[96:]
    ed25519.check_strict(key, signature)
    verdicts = {name: _holds(verify, key, signature, message) for name, verify in ed25519.BACKENDS.items()}
    assert len(set(verdicts.values())) == 1, verdicts
    assert VERIFY_SIGNATURE(key, signature, message) is None
    return verdicts


def _holds(verify: Callable[[bytes, bytes, bytes], None], key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        verify(key, signature, message)
    except VerificationFailed:
        return False
    return True


def _signed64(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big", signed=True) for number in numbers)


def _path(parts: Iterable[Sequence[Node]]) -> bytes:
    """Return a proof's hashes, each made anew from the leaves below it."""
    spans = [(part[0][1] << part[0][0], (part[-1][1] + 1) << part[-1][0]) for part in parts]
    return b"".join(naive_root(LEAVES[start:end]) for start, end in spans)


def _inclusion(index: int, size: int) -> bytes:
    return _signed64(index, size) + ROOTS[size] + LEAVES[index] + _path(inclusion_nodes(index, size))


def _consistency(old: int, new: int) -> bytes:
    return _signed64(old, new) + ROOTS[old] + ROOTS[new] + _path(consistency_nodes(old, new))


def _range(size: int) -> bytes:
    return _signed64(size) + b"".join(CompactRange().extend(LEAVES[:size]).hashes)


TARGETS = (
    Target("note", read_note, (SIGNED[7], COSIGNED, note.sign("one\n\ntwo\n", "a", KEY)), max_bytes=2_048),
    Target("checkpoint", read_checkpoint, tuple(bytes_of(head.text()) for head in HEADS[::6]), max_bytes=512),
    Target("signed-checkpoint", open_signed, (SIGNED[0], SIGNED[13], COSIGNED), max_bytes=1_024),
    Target(
        "verifier-key",
        read_verifier_key,
        (VERIFIER.vkey().encode(), Verifier("pq.example", 0x06, bytes(64)).vkey().encode()),
        max_bytes=512,
    ),
    Target(
        "tlog-proof",
        read_tlog_proof,
        (format_tlog_proof(3, LEAVES[:4], SIGNED[13]), format_tlog_proof(0, (), SIGNED[7], b"extra")),
        max_bytes=2_048,
    ),
    Target(
        "tile-path",
        read_tile_path,
        (b"tile/0/000", b"tile/entries/x001/234", b"tile/3/x001/x234/067.p/255"),
        max_bytes=128,
    ),
    Target("entry-bundle", read_bundle, (b"", tiles.encode_bundle([b"", b"leaf", bytes(300)])), max_bytes=2_048),
    Target("base64", read_base64, (b"", b"AA==", base64.b64encode(bytes(range(64)))), max_bytes=256),
    Target("compact-range", read_compact_range, tuple(map(_range, (0, 1, 7, 12))), max_bytes=512),
    Target("inclusion-proof", check_inclusion, tuple(_inclusion(i, n) for i, n in ((0, 1), (4, 13), (12, 13), (6, 8)))),
    Target(
        "consistency-proof",
        check_consistency,
        tuple(_consistency(a, b) for a, b in ((0, 5), (4, 13), (7, 13), (6, 8), (13, 13))),
    ),
    Target(
        "signature",
        check_signature,
        (KEY.public_key + KEY.sign(b"message") + b"message", KEY.public_key + KEY.sign(b"")),
        max_bytes=256,
    ),
)
