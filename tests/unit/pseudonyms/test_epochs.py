"""Key epochs: their times, and their keys on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exchange.domain.key_epochs import EpochState
from exchange.domain.validation import DAY_MS
from exchange.errors import Conflict, Fatal, Reason, Rejected
from exchange.pseudonyms.epochs import LIFE_DAYS, OVERLAP_DAYS, Epoch, live_epoch, next_times
from exchange.stores.epoch_keys import EpochKeys

NOW = 1_800_000_000_000
VERSIONS = {"unicode": "14.0.0"}


def epoch(number: int, begins_ms: int, *, destroyed: bool = False) -> Epoch:
    return Epoch(number, bytes(33), begins_ms, begins_ms + LIFE_DAYS * DAY_MS, VERSIONS, destroyed)


def test_the_next_epoch_begins_before_the_last_one_ends() -> None:
    assert next_times([], NOW) == (1, NOW, NOW + LIFE_DAYS * DAY_MS)
    first = epoch(1, NOW)
    number, begins, ends = next_times([first], NOW + DAY_MS)
    assert (number, first.ends_ms - begins) == (2, OVERLAP_DAYS * DAY_MS)
    assert ends - begins == LIFE_DAYS * DAY_MS
    both = begins + DAY_MS
    assert {each.state(both) for each in (first, epoch(2, begins))} == {EpochState.LIVE}


def test_an_epoch_that_comes_too_late_begins_now() -> None:
    late = NOW + 2 * LIFE_DAYS * DAY_MS
    assert next_times([epoch(4, NOW)], late)[:2] == (5, late)


def test_after_a_destroyed_epoch_the_next_one_begins_now() -> None:
    gone, standing = epoch(2, NOW, destroyed=True), epoch(1, NOW - 300 * DAY_MS)
    assert next_times([gone], NOW + DAY_MS)[:2] == (3, NOW + DAY_MS)
    assert next_times([gone, standing], NOW) == next_times([standing, epoch(2, 0, destroyed=True)], NOW)


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (NOW - 1, EpochState.COMING),
        (NOW, EpochState.LIVE),
        (NOW + LIFE_DAYS * DAY_MS - 1, EpochState.LIVE),
        (NOW + LIFE_DAYS * DAY_MS, EpochState.ENDED),
    ],
)
def test_an_epoch_lives_from_its_begin_until_its_end(at: int, state: EpochState) -> None:
    assert epoch(1, NOW).state(at) is state
    assert epoch(1, NOW, destroyed=True).state(at) is EpochState.DESTROYED


def test_what_is_not_live_cannot_be_told_apart() -> None:
    epochs = {1: epoch(1, NOW, destroyed=True), 2: epoch(2, NOW + 1), 3: epoch(3, 0), 4: epoch(4, NOW)}
    assert live_epoch(epochs, 4, NOW).number == 4
    said = set()
    for number in (1, 2, 3, 5):
        with pytest.raises(Rejected) as caught:
            live_epoch(epochs, number, NOW)
        said.add((caught.value.reason, caught.value.diagnostics()))
    assert len(said) == 1


def made(folder: Path) -> EpochKeys:
    keys = EpochKeys(folder)
    keys.create(1, NOW, NOW + DAY_MS, VERSIONS)
    return keys


def test_a_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    keys = made(tmp_path / "keys")
    (path,) = (tmp_path / "keys").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    found = EpochKeys(tmp_path / "keys").load()[1]
    assert found.key is not None
    assert found.key.public_key == found.epoch.public_key
    assert (found.epoch.begins_ms, found.epoch.data_versions) == (NOW, VERSIONS)
    path.chmod(0o640)
    with pytest.raises(Fatal) as caught:
        keys.load()
    assert caught.value.reason is Reason.CONFIG


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    keys = made(tmp_path)
    before = keys.load()
    with pytest.raises(Conflict):
        keys.create(1, NOW, NOW + DAY_MS, VERSIONS)
    assert keys.load()[1].epoch == before[1].epoch


def test_a_destroyed_key_is_gone_from_the_file(tmp_path: Path) -> None:
    keys = made(tmp_path)
    key = keys.load()[1].key
    assert key is not None
    (path,) = tmp_path.iterdir()
    place = path.stat().st_ino
    assert key.secret().hex() in path.read_text()
    for _ in range(2):
        assert keys.destroy(1).destroyed
    assert path.stat().st_ino == place  # overwritten where it lay
    assert key.secret().hex()[:16] not in path.read_text()
    found = EpochKeys(tmp_path).load()[1]
    assert found.key is None
    assert found.epoch.public_key == key.public_key
    with pytest.raises(Rejected):
        keys.destroy(2)


@pytest.mark.parametrize("indent", [None, 4, 8, 40])
def test_a_key_is_destroyed_however_its_file_is_laid_out(tmp_path: Path, indent: int | None) -> None:
    keys = made(tmp_path)
    key = keys.load()[1].key
    assert key is not None
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()), indent=indent))
    assert keys.load()[1].key is not None
    assert keys.destroy(1).destroyed
    assert key.secret().hex()[-8:] not in path.read_text()


def test_a_copy_of_a_key_cannot_bring_it_back(tmp_path: Path) -> None:
    keys = made(tmp_path)
    (path,) = tmp_path.iterdir()
    path.with_name("000001-copy.json").write_bytes(path.read_bytes())
    path.with_name("000001-copy.json").chmod(0o600)
    for _ in range(2):
        with pytest.raises(Fatal, match="is not named as its key epoch"):
            keys.load()
        keys.destroy(1)


def test_a_key_that_was_not_written_whole_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(source, target)

    with monkeypatch.context() as dying:
        dying.setattr("os.link", link)
        with pytest.raises(OSError, match="json"):
            made(tmp_path)
    assert EpochKeys(tmp_path).load() == {}
    assert made(tmp_path).load()[1].key is not None


def test_what_a_crash_leaves_of_a_new_key_cannot_harm_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", lambda _: None)  # it ends between the two names
        keys = made(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    before = keys.load()[1]
    with pytest.raises(Conflict):
        keys.create(1, NOW, NOW + DAY_MS, VERSIONS)
    assert keys.load()[1].epoch == before.epoch


def test_a_half_destroyed_key_is_not_used_and_can_be_destroyed(tmp_path: Path) -> None:
    keys = made(tmp_path)
    key = keys.load()[1].key
    assert key is not None
    (path,) = tmp_path.iterdir()
    secret = key.secret().hex()
    path.write_text(path.read_text().replace(secret, "0" * 32 + secret[32:]))
    with pytest.raises(Fatal) as caught:
        keys.load()
    assert secret[32:] not in caught.value.diagnostics()
    assert keys.destroy(1).destroyed
    assert keys.load()[1].key is None


@pytest.mark.parametrize("damage", ["", "{}", "[]", "nothing", '{"number": "x"}'])
def test_a_damaged_file_is_refused_without_its_secret(tmp_path: Path, damage: str) -> None:
    keys = made(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(damage)
    with pytest.raises(Fatal) as caught:
        keys.load()
    assert caught.value.__suppress_context__


def test_there_are_no_keys_where_there_is_no_folder(tmp_path: Path) -> None:
    assert EpochKeys(tmp_path / "none").load() == {}
