"""Checkpoints and offline receipts."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ledger import note
from exchange.ledger.checkpoint import (
    Checkpoint,
    TlogProof,
    format_tlog_proof,
    log_verifier,
    open_checkpoint,
    parse_checkpoint,
    parse_tlog_proof,
    sign_checkpoint,
)
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import EMPTY_ROOT
from exchange.ledger.note import NoteSignature

KEY = SigningKey(b"\x07" * 32)
ORIGIN = "exchange.example/uk-elections"
VERIFIER = log_verifier(ORIGIN, KEY.public_key)
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(ORIGIN, 42, ROOT)
ROOT_LINE = base64.b64encode(ROOT).decode()

HASHES = st.binary(min_size=32, max_size=32)


@given(size=st.integers(1, 2**63 - 1), root=HASHES)
def test_a_checkpoint_round_trips(size: int, root: bytes) -> None:
    """Signed, opened; and signing again gives the same bytes."""
    checkpoint = Checkpoint(ORIGIN, size, root)
    signed = sign_checkpoint(checkpoint, KEY)
    assert signed == sign_checkpoint(checkpoint, KEY)
    assert open_checkpoint(signed, VERIFIER) == checkpoint
    assert parse_checkpoint(checkpoint.text()) == checkpoint


@given(
    st.lists(
        st.builds(NoteSignature, st.from_regex(r"[a-z.]{1,9}", fullmatch=True), HASHES.map(lambda h: h[:4]), HASHES)
    )
)
def test_a_greased_checkpoint_opens(strangers: list[NoteSignature]) -> None:
    """Signatures of keys nobody here knows change nothing."""
    signed = sign_checkpoint(CHECKPOINT, KEY)
    for stranger in strangers[:20]:
        signed = note.add_signature(signed, stranger)
    assert open_checkpoint(signed, VERIFIER) == CHECKPOINT


def test_the_empty_tree_has_one_root() -> None:
    """A checkpoint of size 0 with another root is refused, and not signed."""
    assert open_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), KEY), VERIFIER).size == 0
    for root in (ROOT, bytes(32)):
        with pytest.raises(VerificationFailed):
            parse_checkpoint(Checkpoint(ORIGIN, 0, root).text())


@pytest.mark.parametrize(
    "size",
    [
        "",
        "0042",
        "00",
        "4_2",
        "+42",
        "-42",
        "-0",
        " 42",
        "42 ",
        "4 2",
        "0x2a",
        "42.0",
        "4e1",
        "\u0664\u0662",
        "\u00b2",
        "9223372036854775808",
        "9" * 19,
        "1" + "0" * 30,
        "9" * 5000,
    ],
)
def test_a_size_has_one_spelling(size: str) -> None:
    """sigstore-python 4.5.1 was seen to accept several of these (research/ledger.md, section 2)."""
    with pytest.raises(VerificationFailed) as caught:
        parse_checkpoint(f"{ORIGIN}\n{size}\n{ROOT_LINE}\n")
    assert caught.value.reason is Reason.BAD_CHECKPOINT


@pytest.mark.parametrize(
    "root",
    [
        "",
        ROOT_LINE[:-1],
        ROOT_LINE + "=",
        ROOT_LINE + " ",
        " " + ROOT_LINE,
        ROOT_LINE[:-4],
        ROOT_LINE[:-2] + "9=",
        ROOT_LINE[:10] + "!" + ROOT_LINE[10:],
        ROOT_LINE.replace("A", "-", 1),
        "A" * 44,
        "AAAA",
    ],
)
def test_a_root_has_one_spelling(root: str) -> None:
    """Junk, other alphabets, other lengths and loose trailing bits are refused."""
    with pytest.raises(VerificationFailed):
        parse_checkpoint(f"{ORIGIN}\n42\n{root}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        f"\n42\n{ROOT_LINE}\n",
        f"{ORIGIN}\n42\n{ROOT_LINE}",
        f"{ORIGIN}\n42\n{ROOT_LINE}\n\n",
        f"{ORIGIN}\n42\n{ROOT_LINE}\nextension\n",
        f"{ORIGIN}\n\n42\n{ROOT_LINE}\n",
        f"{ORIGIN}\r\n42\r\n{ROOT_LINE}\r\n",
        f"{ORIGIN} \n42\n{ROOT_LINE}\n",
        f"a+b\n42\n{ROOT_LINE}\n",
        f"a\ud800\n42\n{ROOT_LINE}\n",
    ],
)
def test_a_checkpoint_has_exactly_three_lines(text: str) -> None:
    """No extension lines, no other line ends, no other origins."""
    with pytest.raises(VerificationFailed):
        parse_checkpoint(text)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """Also where the signature verifies: the origin must be the key's name."""
    stolen = note.sign(Checkpoint("exchange.example/other", 42, ROOT).text(), ORIGIN, KEY)
    with pytest.raises(VerificationFailed) as caught:
        open_checkpoint(stolen, VERIFIER)
    assert caught.value.reason is Reason.BAD_CHECKPOINT


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("a b", 1, ROOT),
        Checkpoint(ORIGIN, -1, ROOT),
        Checkpoint(ORIGIN, 2**63, ROOT),
        Checkpoint(ORIGIN, 1, b""),
    ],
)
def test_what_no_one_would_read_is_not_signed(checkpoint: Checkpoint) -> None:
    """The signature would be for ever."""
    with pytest.raises(VerificationFailed):
        sign_checkpoint(checkpoint, KEY)


@given(st.one_of(st.text(), st.text().map(lambda text: f"{ORIGIN}\n{text}\n{ROOT_LINE}\n")))
def test_any_text_is_a_checkpoint_or_refused(text: str) -> None:
    """What parses is the text we would write."""
    try:
        checkpoint = parse_checkpoint(text)
    except Rejected:
        return
    assert checkpoint.text() == text


@given(index=st.integers(0, 2**63 - 1), proof=st.lists(HASHES, max_size=63), extra=st.binary(max_size=50))
def test_a_receipt_round_trips(index: int, proof: list[bytes], extra: bytes) -> None:
    """Index, path, checkpoint verbatim, and the unauthenticated extra."""
    signed = sign_checkpoint(CHECKPOINT, KEY)
    receipt = parse_tlog_proof(format_tlog_proof(index, proof, signed, extra))
    assert receipt == TlogProof(index, tuple(proof), signed, extra)
    assert open_checkpoint(receipt.checkpoint, VERIFIER) == CHECKPOINT


HEADER = "c2sp.org/tlog-proof@v1\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        "c2sp.org/tlog-proof@v2\nindex 1\n\nx",
        f"{HEADER}\nx",
        f"{HEADER}index 1\n",
        f"{HEADER}index 01\n\nx",
        f"{HEADER}index -1\n\nx",
        f"{HEADER}index\n\nx",
        f"{HEADER}extra \nindex 1\n\nx",
        f"{HEADER}extra AA==\n\nx",
        f"{HEADER}extra AB==\nindex 1\n\nx",
        f"{HEADER}index 1\nextra AA==\n\nx",
        f"{HEADER}index 1\nAAAA\n\nx",
        f"{HEADER}index 1\n" + f"{ROOT_LINE}\n" * 64 + "\nx",
        f"{HEADER}index 1\n\u00e9\n\nx",
    ],
)
def test_malformed_receipts_are_refused(text: str) -> None:
    """Other versions, lines out of order, wrong numbers, hashes of other lengths, more than 63 of them."""
    with pytest.raises(VerificationFailed):
        parse_tlog_proof(text.encode())


@given(st.one_of(st.binary(), st.binary().map(lambda data: HEADER.encode() + data)))
def test_any_bytes_are_a_receipt_or_refused(data: bytes) -> None:
    """What parses is the file we would write."""
    try:
        receipt = parse_tlog_proof(data)
    except Rejected:
        return
    assert format_tlog_proof(receipt.index, receipt.proof, receipt.checkpoint, receipt.extra) == data
