"""Signed notes and verifier keys: round trips, and strictness down to the byte."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.note import (
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    NoteSignature,
    Verifier,
    add_signature,
    decode_base64,
    is_key_name,
    open_note,
    parse,
    sign,
)

KEY = SigningKey(bytes(range(32)))
NAME = "exchange.example/uk-elections"
VERIFIER = Verifier(NAME, ED25519, KEY.public_key)
TEXT = "line one\n\nline two\n"
NOTE = sign(TEXT, NAME, KEY)
LINE = NOTE.decode().splitlines()[-1]
GREASE = NoteSignature("grease.example/x", b"\xff\x00\xff\x00", b"\x99" * 80)

TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])).map(lambda text: f"{text}\n")


@given(text=TEXTS)
def test_a_signed_text_opens(text: str) -> None:
    """Any text, also with em dashes and exotic line separators, comes back unchanged; signing is deterministic."""
    note = sign(text, NAME, KEY)
    assert note == sign(text, NAME, KEY)
    assert open_note(note, VERIFIER) == text


def test_unknown_signatures_are_ignored_in_any_place() -> None:
    """Grease before and after ours; the same name with another key id, the same key id under another name."""
    strangers = (GREASE, NoteSignature(NAME, b"\0\0\0\0", b"?" * 64), NoteSignature("x", VERIFIER.key_hash, b"?" * 9))
    head, _, ours = NOTE.rpartition(b"\n\n")
    for stranger in strangers:
        assert open_note(add_signature(NOTE, stranger), VERIFIER) == TEXT
        assert open_note(b"".join((head, b"\n\n", stranger.line().encode(), ours)), VERIFIER) == TEXT


def test_a_failing_signature_of_our_key_spoils_the_note() -> None:
    """Also next to a good one, and with a signature of the wrong length."""
    for signature in (bytes(64), b"\x01", KEY.sign(b"other")):
        bad = NoteSignature(NAME, VERIFIER.key_hash, signature)
        with pytest.raises(VerificationFailed) as caught:
            open_note(add_signature(NOTE, bad), VERIFIER)
        assert caught.value.reason is Reason.BAD_SIGNATURE


def test_a_note_without_our_signature_is_refused() -> None:
    """Nothing known has signed it."""
    other = Verifier("another.example", ED25519, KEY.public_key)
    with pytest.raises(VerificationFailed):
        open_note(NOTE, other)


@given(bit=st.integers(0, len(NOTE) * 8 - 1))
def test_one_bit_spoils_the_note(bit: int) -> None:
    """A changed bit anywhere in text or signature line never opens to another text."""
    damaged = (int.from_bytes(NOTE, "big") ^ 1 << bit).to_bytes(len(NOTE), "big")
    with pytest.raises(VerificationFailed):
        open_note(damaged, VERIFIER)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n",
        TEXT.encode(),
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"junk\n",
        NOTE.replace("\u2014 ".encode(), b"- "),
        NOTE.replace("\u2014 ".encode(), "\u2014".encode()),
        NOTE.replace(NAME.encode(), NAME.encode() + b" "),
        NOTE.replace(b"\n\n\xe2", b"\n\n\n\xe2") + b"\n",
        NOTE.replace(b"one", b"\xff\xfe"),
        NOTE.replace(b"one", b"\x00"),
        NOTE.replace(b"one\n", b"one\r\n"),
        NOTE.replace(b"one", b"t\tab"),
        NOTE[:-2] + b"\n",
        NOTE[:-1] + b"=\n",
        NOTE[:-1] + b" \n",
        f"{TEXT}\n\u2014 a+b AAAAAAA=\n".encode(),
        f"{TEXT}\n\u2014 a\u00a0b AAAAAAA=\n".encode(),
        f"{TEXT}\n\u2014 a AAAA\n".encode(),
        f"{TEXT}\n\u2014 a AAAAAAB=\n".encode(),
        f"{TEXT}\n\u2014 a {'A' * 6}==\n".encode(),
        f"{TEXT}\n\u2014 a AAAA_-A=\n".encode(),
        f"{TEXT}\n\u2014  AAAAAAA=\n".encode(),
        b"x" * MAX_NOTE_BYTES + NOTE,
        NOTE + GREASE.line().encode() * MAX_SIGNATURES,
    ],
)
def test_malformed_notes_are_refused(note: bytes) -> None:
    """Cut, padded, junk between lines, other dashes and spaces, control characters, base64 not in its one form."""
    with pytest.raises(VerificationFailed):
        parse(note)


def test_sixteen_post_quantum_signatures_fit() -> None:
    """C2SP: accept at least 16 signatures, each of up to nearly 5 kB."""
    note = NOTE
    for number in range(15):
        note = add_signature(note, NoteSignature(f"witness{number}.example", b"abcd", bytes(4990)))
    assert len(parse(note)[1]) == 16
    assert open_note(note, VERIFIER) == TEXT


def test_adding_a_signature_keeps_the_note_and_its_rules() -> None:
    """The result starts with the old note; a line that would break the note, or one too many, is refused."""
    assert add_signature(NOTE, GREASE) == NOTE + GREASE.line().encode()
    for bad in (
        NoteSignature("a b", b"abcd", b"x"),
        NoteSignature("a", b"abcd", b""),
        NoteSignature("", b"abcd", b"x"),
    ):
        with pytest.raises(VerificationFailed):
            add_signature(NOTE, bad)
    full = NOTE + GREASE.line().encode() * (MAX_SIGNATURES - 1)
    with pytest.raises(VerificationFailed):
        add_signature(full, GREASE)


@given(st.one_of(st.binary(), st.text().map(lambda text: f"{text}\n\n{LINE}\n".encode(errors="replace"))))
def test_any_bytes_are_a_note_or_refused(note: bytes) -> None:
    """What parses is the text and lines we would write for it."""
    try:
        text, signatures = parse(note)
    except Rejected:
        return
    assert f"{text}\n{''.join(signature.line() for signature in signatures)}".encode() == note


@given(st.one_of(st.text(), st.text().map(lambda text: f"{text}+{VERIFIER.vkey()}"), st.characters()))
def test_any_text_is_a_verifier_key_or_refused(vkey: str) -> None:
    """Also text with lone surrogates, as a command line may hand over."""
    try:
        verifier = Verifier.parse(vkey)
    except Rejected:
        return
    assert verifier.vkey() == vkey


@given(seed=st.binary(min_size=32, max_size=32), name=st.from_regex(r"[a-z0-9./-]{1,40}", fullmatch=True))
def test_a_verifier_key_round_trips(seed: bytes, name: str) -> None:
    """vkey text and back."""
    verifier = Verifier(name, ED25519, SigningKey(seed).public_key)
    assert Verifier.parse(verifier.vkey()) == verifier


def test_damaged_verifier_keys_are_refused() -> None:
    """Every proper part of a vkey, every changed character, a wrong key length, a key of small order."""
    vkey = VERIFIER.vkey()
    cases = [vkey[:at] for at in range(len(vkey))] + [vkey[at:] for at in range(1, len(vkey))]
    cases += [vkey[:at] + chr(ord(vkey[at]) ^ 1) + vkey[at + 1 :] for at in range(len(vkey))]
    cases += [vkey.replace(VERIFIER.key_hash.hex(), VERIFIER.key_hash.hex().upper())]
    cases += [Verifier(NAME, ED25519, key).vkey() for key in (b"", bytes(31), bytes(33), bytes(32), b"\1" + bytes(31))]
    cases += ["\ud800" + vkey, f"a\x01{vkey}"]
    for case in cases:
        with pytest.raises(VerificationFailed):
            Verifier.parse(case)


def test_a_key_of_an_unknown_type_verifies_nothing() -> None:
    """It can be read, as data; opening a note with it is an error and not a pass."""
    unknown = Verifier.parse(Verifier(NAME, 0x06, bytes(1312)).vkey())
    with pytest.raises(VerificationFailed, match="0x06"):
        open_note(NOTE, unknown)


@pytest.mark.parametrize(
    "space", list("\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000")
)
def test_no_kind_of_space_is_part_of_a_name(space: str) -> None:
    """All of Unicode's White_Space, and what Python adds to it."""
    assert not is_key_name(f"a{space}b")


@given(st.text(max_size=12))
def test_base64_has_one_form(text: str) -> None:
    """Canonical standard base64 or nothing."""
    try:
        data = decode_base64(text)
    except Rejected:
        return
    assert base64.b64encode(data).decode() == text
