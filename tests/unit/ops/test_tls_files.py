"""Files of mutual TLS: believed only when they fit together; chains are followed to a present authority, and no further."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from exchange.ops.tls_files import MAX_CHAIN, TLSFiles, trusted_until
from tests.authorities import Issued, make

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
ROOT = make("root")
LEAF = make("leaf", ROOT, ca=False)


@pytest.fixture
def files(tmp_path: Path) -> TLSFiles:
    made = TLSFiles(tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "authority.pem")
    made.certificate.write_bytes(LEAF.pem)
    made.key.write_bytes(LEAF.key_pem)
    made.authority.write_bytes(ROOT.pem)
    return made


def test_what_fits_together_is_believed(files: TLSFiles) -> None:
    files.certificate.write_bytes(LEAF.pem + ROOT.pem)
    material = files.load()
    assert material.chain == (LEAF.certificate, ROOT.certificate)
    assert material.authorities == (ROOT.certificate,)
    assert material.not_after == LEAF.certificate.not_valid_after_utc
    assert material.not_before == LEAF.certificate.not_valid_before_utc


def test_a_certificate_and_its_key_may_share_a_file(files: TLSFiles) -> None:
    files.certificate.write_bytes(LEAF.pem + LEAF.key_pem)
    assert TLSFiles(files.certificate, files.certificate, files.authority).load().chain == (LEAF.certificate,)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("certificate", None, "No such file"),
        ("certificate", b"", "holds no PEM certificate"),
        ("certificate", LEAF.pem[:-40], "holds no PEM certificate"),
        ("certificate", ROOT.pem, "is not the key of"),
        ("certificate", ROOT.pem + LEAF.pem, "is not the key of"),
        ("key", None, "No such file"),
        ("key", b"", "holds no private key"),
        ("key", LEAF.key_pem[:100], "holds no private key"),
        ("key", LEAF.pem, "holds no private key"),
        ("key", ROOT.key_pem, "is not the key of"),
        ("authority", None, "No such file"),
        ("authority", b"\xff\x00", "holds no PEM certificate"),
        ("authority", ROOT.pem + ROOT.pem.replace(b"MII", b"AII", 1), "holds no PEM certificate"),
        ("authority", ROOT.pem + LEAF.pem, "certificate 2 is not an authority's"),
    ],
    ids=itertools.count(),  # keys are made anew in each process of the run
)
def test_what_does_not_fit_is_named(files: TLSFiles, name: str, data: bytes | None, why: str) -> None:
    path = getattr(files, name)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=why) as caught:
        files.load()
    assert str(files.key if "key of" in why else path) in str(caught.value)


def until(*chain: Issued, anchors: tuple[Issued, ...] = (ROOT,), at: datetime = NOW) -> datetime | None:
    return trusted_until([each.certificate for each in chain], [each.certificate for each in anchors], at)


def test_a_chain_lasts_as_long_as_its_first_part_to_end() -> None:
    short_root = make("short root", end=NOW + HOUR)
    between = make("between", short_root, end=NOW + 2 * HOUR)
    assert until(LEAF) == LEAF.certificate.not_valid_after_utc
    assert until(make("x", between, ca=False), between, anchors=(short_root,)) == (NOW + HOUR).replace(microsecond=0)
    assert until(make("x", between, ca=False, end=NOW + HOUR / 2), between, anchors=(short_root,)) == (
        NOW + HOUR / 2
    ).replace(microsecond=0)


def test_what_leads_nowhere_is_not_trusted() -> None:
    other = make("root")  # the same name, another key
    past = make("past", begin=NOW - 3 * HOUR, end=NOW - HOUR)
    tool = make("no authority", ROOT, ca=False)
    assert until() is None
    assert until(LEAF, anchors=()) is None
    assert until(LEAF, anchors=(other,)) is None
    assert until(make("x", past, ca=False), anchors=(past,)) is None
    assert until(make("x", tool, ca=False), tool) is None
    assert until(LEAF, at=NOW + timedelta(days=2)) is None
    assert until(LEAF, at=NOW - timedelta(days=2)) is None
    assert until(make("x", past, ca=False), make("past", ROOT, key=past.key, end=NOW - HOUR / 2)) is None


def test_a_root_that_signed_itself_may_be_shown_itself() -> None:
    assert until(ROOT) == ROOT.certificate.not_valid_after_utc


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_cross_signed_intermediates_are_found_in_any_order(order: tuple[int, ...]) -> None:
    old_root, key = make("old root"), ec.generate_private_key(ec.SECP256R1())
    by_old, by_new = make("between", old_root, key=key), make("between", ROOT, key=key)
    leaf = make("x", by_old, ca=False)
    sent = [by_old, by_new, make("unrelated", old_root)]
    assert until(leaf, *(sent[place] for place in order)) is not None
    assert until(leaf, *(sent[place] for place in order), anchors=(make("nobody"),)) is None


def test_a_crowd_that_issue_each_other_ends() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    crowd = make("crowd", key=key)
    crowds = [make("crowd", crowd, key=key) for _ in range(2 * MAX_CHAIN)]
    assert until(make("x", crowd, ca=False), *crowds) is None
    assert until(make("x", crowd, ca=False), *crowds, anchors=(ROOT, crowd)) is not None
