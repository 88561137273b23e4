"""Which entries a log's fold calls lost: looked for in pieces, and those that were over long ago are forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.followed_log import Community, ids_of
from tests.contract.returning_hub import serving
from tests.contract.test_life_view import about, erasure
from tests.unit.builders import ALPHA, NOW_MS, community_statement


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


PLAIN, SECRET, MANY = about("plain"), about("secret", audience=["beta"]), about("a", "b", "c")


async def test_what_was_over_long_ago_is_not_kept_in_mind(community: Community) -> None:
    await community.say(about("x", expires_at_ms=NOW_MS + 5), PLAIN)
    community.lose(0)
    community.now_ms = NOW_MS + 5 + 3_600_001
    async with serving(community):
        assert (community.lost.is_bare(0), community.lost.is_bare(1)) == (False, True)


async def test_looking_for_what_is_lost_goes_on_past_what_was_erased(community: Community) -> None:
    await community.say(PLAIN, SECRET, MANY, community_statement(erasure(*ids_of(PLAIN), *ids_of(SECRET)), ALPHA))
    community.lose(0)
    async with serving(community):
        look = community.lost.of
        assert (await look("alpha", 0, 2), await look("alpha", 2, 2)) == (([], 2), ([2], 0))
        assert (await look("alpha", 0, 3), await look("alpha", 3, 3)) == (([2], 3), ([], 0))
