"""What the service follows while it runs: the directory, the files of its keys, and the terms of members."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exchange import pseudonym_config
from exchange.domain.directory import Directory
from exchange.errors import ExchangeError, Fatal, Reason, Rejected, Unavailable, VerificationFailed
from exchange.pseudonym_config import FollowedTerms
from exchange.pseudonyms.budget import Terms
from exchange.pseudonyms.ledgers import FRESH_S, FollowedDirectory
from exchange.stores.epoch_keys import EpochKeys, FollowedKeys
from tests.unit.pseudonyms.ledgers import MemoryLedgers

LEAST = """
client = "client.toml"
keys = "keys"
data = "data"
listen = "127.0.0.1:7445"
communities = ["uk"]
{more}
[tls]
certificate = "server.pem"
key = "server.key"
client_authority = "ca.pem"
{tables}
"""


def written(folder: Path, more: str = "", tables: str = "") -> Path:
    path = folder / "pseudonyms.toml"
    path.write_text(LEAST.format(more=more, tables=tables))
    return path


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_directory_that_cannot_be_read_any_more_lets_nobody_in() -> None:
    ledgers, clock = MemoryLedgers(), Clock()
    followed = FollowedDirectory(ledgers, clock)
    with pytest.raises(Unavailable):
        followed.current()
    await followed.look()
    ledgers.fails = Unavailable("away")
    clock.now_s += FRESH_S
    with pytest.raises(Unavailable):
        await followed.look()
    assert followed.current() is ledgers.read
    clock.now_s += 0.1
    with pytest.raises(Unavailable, match="directory"):
        followed.current()
    ledgers.fails = None
    await followed.look()
    assert followed.current() is ledgers.read


async def test_a_directory_that_does_not_hold_counts_for_nothing_at_once() -> None:
    ledgers = MemoryLedgers()
    followed = FollowedDirectory(ledgers, Clock())
    await followed.look()
    ledgers.fails = VerificationFailed(Reason.BAD_PROOF, "a fork")
    with pytest.raises(VerificationFailed):
        await followed.look()
    with pytest.raises(Unavailable):
        followed.current()


async def test_a_slow_answer_is_as_old_as_its_question() -> None:
    clock = Clock()

    class Slow(MemoryLedgers):
        async def directory(self) -> Directory:
            clock.now_s += FRESH_S + 0.1
            return await super().directory()

    followed = FollowedDirectory(Slow(), clock)
    await followed.look()
    assert not followed.fresh


def usable(followed: FollowedKeys) -> set[int]:
    return {number for number, held in followed.held.items() if held.key is not None and not held.epoch.destroyed}


def test_new_and_destroyed_keys_are_taken_up(tmp_path: Path) -> None:
    keys = EpochKeys(tmp_path / "keys")
    followed = FollowedKeys(keys)
    assert followed.held == {}
    keys.create(1, 1, 2, {})
    assert followed.look()
    assert usable(followed) == {1}
    assert not followed.look()
    keys.destroy(1)
    assert followed.look()
    assert usable(followed) == set()
    keys.create(2, 1, 2, {})
    followed.look()
    assert usable(followed) == {2}
    followed.destroy(2)
    keys.bury(3)
    assert usable(followed) == set()
    assert followed.look()
    assert set(followed.held) == {1, 2, 3}
    assert usable(followed) == set()


@pytest.mark.parametrize("how", ["damaged", "open to others"])
def test_a_file_that_cannot_be_used_is_given_one_look(tmp_path: Path, how: str) -> None:
    keys = EpochKeys(tmp_path)
    keys.create(1, 1, 2, {})
    followed = FollowedKeys(keys)
    keys.create(2, 1, 2, {})
    (other,) = tmp_path.glob("*2.json")
    whole = other.read_bytes()
    if how == "damaged":
        other.write_bytes(whole[:40])
    else:
        other.chmod(0o644)
    assert not followed.look()  # it may still be being written
    for _ in range(2):
        with pytest.raises(Fatal):
            followed.look()
    assert set(followed.held) == {1}
    other.chmod(0o600)
    other.write_bytes(whole)
    assert followed.look()
    assert set(followed.held) == {1, 2}


def test_a_member_has_its_own_terms_or_those_of_all(tmp_path: Path) -> None:
    tables = '[terms]\nusers = 5\ndaily = 6\n[members.alpha]\nusers = 7\n[members."b.c"]\ndaily = 0\n'
    found = pseudonym_config.load(written(tmp_path, tables=tables))
    assert found.terms_of("alpha") == Terms(7, 6)
    assert found.terms_of("b.c") == Terms(5, 0)
    assert found.terms_of("other") == Terms(5, 6)
    assert (found.keys, found.client) == (tmp_path / "keys", tmp_path / "client.toml")
    assert found.tls.key == tmp_path / "server.key"


@pytest.mark.parametrize(
    ("more", "tables", "why"),
    [
        ("surprise = 1", "", "surprise"),
        ('log_level = "loud"', "", "log_level"),
        ("processes = 0", "", "processes"),
        ("", "[members.alpha]\nusers = -1", "users"),
        ("", '[members."Not A Name"]\nusers = 1', "Not A Name"),
        ("", '[ops]\nlisten = "nowhere"', "ops.listen"),
        ("[tls", "", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, more: str, tables: str, why: str) -> None:
    with pytest.raises(Rejected, match=why) as caught:
        pseudonym_config.load(written(tmp_path, more, tables))
    assert caught.value.reason is Reason.CONFIG
    assert "pseudonyms check-config" in caught.value.hint


def test_communities_are_needed(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('["uk"]', "[]"))
    with pytest.raises(Rejected, match="communities"):
        pseudonym_config.load(path)


def test_terms_follow_their_file_and_nothing_else_does(tmp_path: Path) -> None:
    path = written(tmp_path, tables="[members.alpha]\nusers = 1")
    terms = FollowedTerms(path, pseudonym_config.load(path))
    assert not terms.look()
    written(tmp_path, more="processes = 2", tables="[members.alpha]\nusers = 222")
    assert terms.look()
    assert terms.of("alpha") == Terms(222, 1_000)
    path.write_text("wrong = ")
    with pytest.raises(ExchangeError):
        terms.look()
    assert not terms.look()  # said once
    assert terms.of("alpha") == Terms(222, 1_000)
    written(tmp_path, more='log_level = "debug"', tables="[members.alpha]\nusers = 222")
    assert not terms.look()
    path.unlink()
    with pytest.raises(ExchangeError):
        terms.look()
    written(tmp_path, tables="[members.alpha]\nusers = 3")
    os.utime(path, ns=(1, 1))
    assert terms.look()
    assert terms.of("alpha") == Terms(3, 1_000)
