"""Whom the hub trusts: follows the files when they have settled, forgives a moment, then trusts nobody."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exchange.api import tls
from exchange.api.tls import GRACE_S, Peer, Trust
from exchange.errors import Fatal, Reason, Unauthenticated, Unavailable
from exchange.ops.tls_files import PEM, Material, TLSFiles
from tests.authorities import Issued, make

ROOT = make("root")
HUB = make("hub", ROOT, ca=False)
NEW_ROOT = make("new root")


class Place:
    """The files of a hub, its clocks, and how often what it read was parsed."""

    def __init__(self, folder: Path) -> None:
        self.files = TLSFiles(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")
        self.files.certificate.write_bytes(HUB.pem)
        self.files.key.write_bytes(HUB.key_pem)
        self.files.authority.write_bytes(ROOT.pem)
        self.wall_s = time.time()
        self.monotonic_s = 0.0
        self.trust = Trust(self.files, lambda: self.wall_s, lambda: self.monotonic_s)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.monotonic_s += tls.LOOK_EVERY_S
            self.trust.look()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def peer_of(issuer: Issued, *, end: datetime | None = None) -> Peer:
    return Peer(make("peer", issuer, ca=False, end=end).pem, b"")


def refused(place: Place, peer: Peer) -> bool:
    try:
        place.trust.check(peer)
    except Unauthenticated:
        return True
    return False


def test_bad_files_at_the_start_are_told(tmp_path: Path) -> None:
    files = Place(tmp_path).files
    files.key.write_bytes(ROOT.key_pem)
    with pytest.raises(Fatal, match="is not the key of") as caught:
        Trust(files, time.time, time.monotonic)
    assert caught.value.reason is Reason.CONFIG


def test_a_change_counts_when_two_looks_have_seen_it(place: Place) -> None:
    peer = peer_of(NEW_ROOT)
    assert refused(place, peer)
    place.files.authority.write_bytes(ROOT.pem + NEW_ROOT.pem)
    place.look()
    assert refused(place, peer)
    place.look()
    assert not refused(place, peer)
    place.files.authority.write_bytes(ROOT.pem)
    place.look(2)
    assert refused(place, peer)
    assert not refused(place, peer_of(ROOT))


def test_files_cut_short_for_a_moment_lock_nobody_out(place: Place) -> None:
    place.files.authority.write_bytes(ROOT.pem + NEW_ROOT.pem)
    place.look(2)
    peer = peer_of(NEW_ROOT)
    place.files.authority.write_bytes(ROOT.pem)  # whole, but only the first half of what is being written
    place.look()
    place.files.authority.write_bytes(ROOT.pem + NEW_ROOT.pem)
    place.look(2)
    assert not refused(place, peer)


def test_trouble_is_forgiven_for_a_moment_and_then_nobody_is_trusted(place: Place) -> None:
    peer = peer_of(ROOT)
    place.files.key.write_bytes(ROOT.key_pem)
    looks = int(GRACE_S / tls.LOOK_EVERY_S)
    place.look(looks)
    assert "is not the key of" in place.trust.failure
    assert not place.trust.closed
    place.trust.check(peer)
    place.look(2)
    with pytest.raises(Unavailable) as caught:
        place.trust.check(peer)
    assert caught.value.retry_after_ms
    place.files.key.write_bytes(HUB.key_pem)
    place.look()
    assert not place.trust.failure
    place.trust.check(peer)


def test_trouble_of_one_kind_after_another_is_one_trouble(place: Place) -> None:
    for data in (b"", b"nonsense", ROOT.key_pem):
        place.files.key.write_bytes(data)
        place.look(int(GRACE_S / tls.LOOK_EVERY_S / 2))
    assert place.trust.closed


def test_what_is_offered_changes_only_with_the_files(place: Place) -> None:
    trust = place.trust
    first = trust._offer
    place.look(5)
    assert trust._offer is first
    place.files.authority.write_bytes(NEW_ROOT.pem)
    place.look(2)
    second = trust._offer
    assert second is not first
    place.files.authority.unlink()
    place.look(20)
    assert trust.closed
    closed = trust._offer
    assert closed is not second
    place.look(20)
    assert trust._offer is closed


def test_files_are_parsed_once_for_each_change(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[PEM] = []
    check = TLSFiles.check

    def counting(files: TLSFiles, pem: PEM) -> Material:
        parsed.append(pem)
        return check(files, pem)

    monkeypatch.setattr(TLSFiles, "check", counting)
    place.look(10)
    assert not parsed
    place.files.authority.write_bytes(NEW_ROOT.pem)
    place.look(10)
    assert len(parsed) == 1


def test_a_peer_is_judged_once_until_its_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Peer] = []
    judge = Trust._judge

    def counting(trust: Trust, peer: Peer, now: float) -> float:
        judged.append(peer)
        return judge(trust, peer, now)

    monkeypatch.setattr(Trust, "_judge", counting)
    peer = peer_of(ROOT, end=datetime.fromtimestamp(place.wall_s, UTC) + timedelta(seconds=100))
    for _ in range(5):
        place.trust.check(peer)
    assert len(judged) == 1
    place.wall_s += 102
    assert refused(place, peer)
    place.wall_s -= 50
    assert not refused(place, peer)


def test_a_peer_that_shows_nothing_or_nonsense_is_refused(place: Place) -> None:
    for peer in (Peer(b"", b""), Peer(b"nonsense", b""), Peer.of({}), Peer(ROOT.pem[:50], ROOT.pem)):
        assert refused(place, peer)


def test_verdicts_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "MAX_VERDICTS", 3)
    peers = [Peer(make("peer", ROOT, ca=False).pem, b"") for _ in range(10)]
    for peer in peers:
        place.trust.check(peer)
        assert len(place.trust._until) <= 3
