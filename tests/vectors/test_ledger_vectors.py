"""Published figures for the ledger's formats. Each group names where its figures come from.

They were made by other people's software, so a mistake made twice on our side does not pass here.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import BACKENDS, SigningKey, verify
from exchange.ledger.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from exchange.ledger.note import ED25519, NoteSignature, Verifier, add_signature, open_note, parse, sign
from exchange.ledger.proofs import verify_consistency, verify_inclusion
from exchange.ledger.tiles import parse_tile_path, tile_path, tiles_for_size
from exchange.ledger.tree import Tree

# --- RFC 6962 --------------------------------------------------------------------------------------------------------
# Leaves and roots of the reference tree of Certificate Transparency: transparency-dev/merkle, testonly/constants.go
# (Apache-2.0), LeafInputs() and RootHashes().

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_reference_tree_has_its_published_roots() -> None:
    """By compact range and by the hub's tree, at every size."""
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]
    assert EMPTY_ROOT.hex() == ROOTS[0]
    for size, root in enumerate(ROOTS):
        assert CompactRange().extend(hashes[:size]).root().hex() == root
        assert Tree().extend(hashes[:size]).tree.root().hex() == root


# transparency-dev/merkle, testdata/{inclusion,consistency} (Apache-2.0): read in place, never copied here.

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rfc6962"
#: The set accepts equal "roots" of 12 bytes for equal sizes; we refuse any root that is not 32 bytes.
STRICTER = {"consistency/additional/sizes-are-equal-one-and-proof-is-empty.json"}


def _bytes(value: str | None) -> bytes:
    return base64.b64decode(value or "")


def _verify_case(case: dict[str, Any]) -> None:
    proof = [_bytes(item) for item in case["proof"] or []]
    if "leafIdx" in case:
        verify_inclusion(
            leaf_hash=_bytes(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            proof=proof,
            root=_bytes(case["root"]),
        )
    else:
        verify_consistency(
            old_size=case["size1"],
            new_size=case["size2"],
            old_root=_bytes(case["root1"]),
            new_root=_bytes(case["root2"]),
            proof=proof,
        )


def test_the_proof_cases_of_transparency_dev() -> None:
    """196 cases, good and damaged."""
    if not CASES.is_dir():
        pytest.skip(
            "extra: the transparency-dev proof cases are not beside this checkout (shared/data/rfc6962); the figures "
            "that the project rests on stand in the tests themselves"
        )
    seen: Counter[bool] = Counter()
    for path in sorted(CASES.rglob("*.json")):
        case = json.loads(path.read_text())
        seen[case["wantErr"]] += 1
        if case["wantErr"] or path.relative_to(CASES).as_posix() in STRICTER:
            with pytest.raises(VerificationFailed):
                _verify_case(case)
        else:
            _verify_case(case)
    assert seen == {True: 184, False: 12}


# --- C2SP tlog-tiles -------------------------------------------------------------------------------------------------


def test_tiles_of_the_examples() -> None:
    """C2SP tlog-tiles, "Merkle Tree" and "Partial Tiles": sizes 70,000 and 256, and index 1234067."""
    tiles = list(tiles_for_size(70_000))
    assert Counter((level, width) for level, _, width in tiles) == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    assert list(starmap(tile_path, tiles[-4:])) == [
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert list(tiles_for_size(256)) == [(0, 0, 256), (1, 0, 1)]
    assert tile_path(3, 1_234_067) == "tile/3/x001/x234/067"
    assert parse_tile_path("tile/3/x001/x234/067").index == 1_234_067


# --- C2SP signed-note, Go's golang.org/x/mod/sumdb/note --------------------------------------------------------------
# The example of c2sp.org/signed-note (version 1.1.0, "Verifier keys"); and the package documentation and
# ExampleSign/TestOpen of golang.org/x/mod/sumdb/note: PeterNeumann's private key, and EnochRoot's, whose seed is zero.

SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_LINE = (
    "example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
)
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_LINE = "PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
ENOCH_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = "EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ="
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = f"{GO_TEXT}\n\u2014 {PETER_LINE}\n\u2014 {ENOCH_LINE}\n".encode()


def test_the_example_of_the_specification() -> None:
    """Its key and its note."""
    spec = Verifier.parse(SPEC_KEY)
    assert (spec.name, spec.algorithm, spec.key_hash.hex()) == ("example.com/foo", ED25519, "530d903a")
    text = "This is an example message.\n"
    assert open_note(f"{text}\n\u2014 {SPEC_LINE}\n".encode(), spec) == text


def test_notes_of_the_go_implementation() -> None:
    """We read its note with both keys, and write the same bytes with the same private keys."""
    for key in (PETER_KEY, ENOCH_KEY):
        assert open_note(GO_NOTE, Verifier.parse(key)) == GO_TEXT
        assert Verifier.parse(key).vkey() == key
    ours = sign(GO_TEXT, "PeterNeumann", SigningKey(PETER_SEED))
    enoch = SigningKey(bytes(32))
    verifier = Verifier("EnochRoot", ED25519, enoch.public_key)
    assert verifier.vkey() == ENOCH_KEY
    line = NoteSignature("EnochRoot", verifier.key_hash, enoch.sign(GO_TEXT.encode()))
    assert add_signature(ours, line) == GO_NOTE


# --- C2SP tlog-checkpoint --------------------------------------------------------------------------------------------
# The example of c2sp.org/tlog-checkpoint (its key is not published). And a checkpoint that a log in service has signed:
# arche2025h1.staging.ct.transparency.dev, as kept in the tests of tlog_scales: one Ed25519 signature, one of type 0x05
# (RFC 6962 tree head) under the same name, and four cosignatures of type 0x04.

EXAMPLE = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
LIVE_KEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
LIVE = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

\u2014 arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
\u2014 arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
\u2014 transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
\u2014 witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
\u2014 remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
\u2014 witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""


def test_a_checkpoint_of_a_log_in_service() -> None:
    """Opened with the log's key beside signatures of types we do not know; one digit of the size changed, refused."""
    checkpoint = open_checkpoint(LIVE.encode(), Verifier.parse(LIVE_KEY))
    assert checkpoint.size == 1_432_088_532
    assert len(parse(LIVE.encode())[1]) == 6
    with pytest.raises(VerificationFailed):
        open_checkpoint(LIVE.replace("1432088532", "1432088533").encode(), Verifier.parse(LIVE_KEY))


def test_the_example_of_a_checkpoint() -> None:
    """Its text is read and written byte for byte."""
    checkpoint = parse_checkpoint(EXAMPLE)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert checkpoint.text() == EXAMPLE


def test_our_own_checkpoint_never_changes() -> None:
    """Made by this package once and kept: what was signed under a key must come out the same for ever."""
    signed = sign_checkpoint(
        Checkpoint("exchange.example/uk-elections", 8, bytes.fromhex(ROOTS[8])), SigningKey(bytes(32))
    )
    assert signed.decode() == (
        "exchange.example/uk-elections\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n"
        "\u2014 exchange.example/uk-elections BTMIb6PUPZHqyXcWZyXID5CDN3g/"
        "qWhFNAsSl/C6Wr5dRjaVTazEtnrfmNqiqOYEMlh5lmNLUkOM7frwv5vrZo0UUwE=\n"
    )


# --- DSSE ------------------------------------------------------------------------------------------------------------


def test_the_example_of_dsse() -> None:
    """secure-systems-lab/dsse, protocol.md, "Test Vectors"; and lengths count bytes, not characters."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("\u00e9", b"") == "DSSEv1 2 \u00e9 0 ".encode()


# --- Ed25519, RFC 8032 section 7.1, tests 1 to 3 ---------------------------------------------------------------------

RFC8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public_key", "message", "signature"), RFC8032)
def test_the_signatures_of_rfc_8032(seed: str, public_key: str, message: str, signature: str) -> None:
    """Made and verified alike, with either library."""
    key, data, expected = SigningKey(bytes.fromhex(seed)), bytes.fromhex(message), bytes.fromhex(signature)
    assert key.public_key.hex() == public_key
    assert key.sign(data) == expected
    verify(key.public_key, expected, data)
    for judge in BACKENDS.values():
        judge(key.public_key, expected, data)
