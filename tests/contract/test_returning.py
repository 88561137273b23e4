"""Records that a log has lost, and what comes back of them: over a store and a real file of facts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from exchange import codec
from exchange.domain.bodies import Retraction, RetractionReason
from exchange.errors import Conflict, Unavailable
from exchange.views.just_said import JustSaid
from exchange.views.returning import Returning
from tests.contract.builders import WIDTH
from tests.contract.followed_log import DEADLINE_S, Community, a_signal, ids_of
from tests.contract.returning_hub import header_of, serving
from tests.contract.test_life_view import about, erasure
from tests.unit.builders import ALPHA, NOW_MS, UK, community_statement


@pytest.fixture
def community(tmp_path: Path) -> Community:
    return Community(tmp_path)


PLAIN, SECRET, MANY = about("plain"), about("secret", audience=["beta"]), about("a", "b", "c")


async def test_what_was_lost_is_told_to_its_publisher_and_comes_back_byte_for_byte(community: Community) -> None:
    retraction = community_statement(Retraction(ids_of(PLAIN), RetractionReason.ERROR), ALPHA)
    await community.say(a_signal("kept"), PLAIN, SECRET, MANY, retraction)
    before = community.frames()
    community.lose(1)
    async with serving(community) as hub:
        assert await hub.lost() == [1, 2, 3]
        assert await hub.lost(start=2) == [2, 3]
        assert await hub.lost("beta") == []
        assert hub.audience(SECRET) == frozenset()
        community.store.done.clear()
        for index, statement in ((2, SECRET), (1, PLAIN), (3, MANY)):
            await hub.again(index, statement)
        assert community.frames() == before
        assert community.store.done == [f"{what}" for at in (2, 1, 3) for what in (f"back {at}", f"memory [{at}]")]
        assert hub.audience(SECRET) == frozenset({"beta"})
        assert hub.audience(PLAIN) is None
        assert await hub.lost() == []
        await hub.again(1, PLAIN)
        assert community.store.done[6:] == []


async def test_what_is_not_lost_is_not_written(community: Community) -> None:
    await community.say(PLAIN, community_statement(Retraction(ids_of(PLAIN), RetractionReason.ERROR), ALPHA))
    async with serving(community) as hub:
        community.store.done.clear()
        await hub.again(0, PLAIN)
        retraction = community_statement(Retraction(ids_of(PLAIN), RetractionReason.ERROR), ALPHA)
        await hub.again(1, retraction)
        assert (community.store.done, await hub.lost()) == ([], [])


@pytest.mark.parametrize("when", ["before the loss", "after it", "unread"])
async def test_what_was_erased_stays_away(community: Community, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    erased = community_statement(erasure(*ids_of(PLAIN)), ALPHA)
    await community.say(PLAIN, *([erased] if when == "before the loss" else []))
    community.lose(0)
    frames = community.frames()[:1]
    async with serving(community) as hub:
        if when == "unread":
            # It is in the ledger, and the fold has not read it when the statement comes.
            monkeypatch.setattr("exchange.views.life.BEHIND_S", 3_600.0)
        if when != "before the loss":
            assert await hub.lost() == [0]
            await community.say(erased)
        await hub.again(0, PLAIN)
        assert community.frames()[:1] == frames
        await hub.view.reached(2)
        assert await hub.lost() == []
        await hub.erase()
        await hub.again(0, PLAIN)
    assert community.frames()[:1] == frames
    assert put_back(community) == []


def put_back(community: Community) -> list[str]:
    return [each for each in community.store.done if each.startswith("back")]


async def test_what_is_over_stays_away_and_what_was_said_again_goes_with_the_first(community: Community) -> None:
    brief, again = about("x", expires_at_ms=NOW_MS + 5), about("x", header={"nonce": b"n" * 16})
    await community.say(brief, again)
    community.lose(0)
    community.now_ms = NOW_MS + 5
    async with serving(community) as hub:
        for index, statement in enumerate((brief, again)):
            await hub.again(index, statement)
        assert [codec.is_erased(frame) for frame in community.frames()] == [True, True]
        assert await hub.lost() == []
    for now_ms, bare in ((NOW_MS + 3_600_000, [0, 1]), (NOW_MS + 3_600_006, [1])):
        community.now_ms = now_ms
        async with serving(community):
            assert list(await community.lost.bare()) == bare


async def test_of_several_what_was_erased_alone_stays_away(community: Community) -> None:
    await community.say(MANY, community_statement(erasure(ids_of(MANY)[1]), ALPHA))
    community.lose(0)
    async with serving(community) as hub:
        await hub.erase()
        assert await hub.lost() == [0]
        await hub.again(0, MANY)
        records = MANY.records[0], b"", MANY.records[2]
        assert codec.decode_frame(community.frames()[0]).records == records
        await hub.erase()
        assert codec.decode_frame(community.frames()[0]).records == records
        await community.say(community_statement(erasure(ids_of(MANY)[0], ids_of(MANY)[2]), ALPHA))
        await hub.view.reached(3)
        await hub.erase()
        assert codec.is_erased(community.frames()[0])
        await hub.again(0, MANY)
        assert codec.is_erased(community.frames()[0])


async def test_what_has_come_back_still_ends(community: Community) -> None:
    await community.say(about("x", expires_at_ms=NOW_MS + 5), PLAIN)
    community.lose(0)
    async with serving(community) as hub:
        await hub.again(0, about("x", expires_at_ms=NOW_MS + 5))
        await hub.again(1, PLAIN)
        community.now_ms = NOW_MS + 5
        await hub.erase()
        assert [codec.is_erased(frame) for frame in community.frames()] == [True, False]
        await community.say(community_statement(erasure(*ids_of(PLAIN)), ALPHA))
        await hub.view.reached(3)
        await hub.erase()
    assert [codec.is_erased(frame) for frame in community.frames()[:2]] == [True, True]


async def test_an_entry_that_was_erased_in_the_ordinary_way_is_not_lost(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is believed of it: the fold has had it with its records. And nobody's publishing waits for that."""

    async def waits(_: int) -> None:
        raise AssertionError

    await community.say(PLAIN)
    async with serving(community) as hub:
        await community.store.erase({0: codec.erased_frame(codec.frame_leaf(community.frames()[0]))})
        monkeypatch.setattr(hub.view, "reached", waits)
        await hub.again(0, PLAIN)
        assert codec.is_erased(community.frames()[0])
        assert await hub.lost() == []


async def test_nor_is_one_that_another_hub_has_erased_before_the_fold_took_it(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.views.life.BEHIND_S", 3_600.0)
    just_said = JustSaid()
    async with serving(community, just_said) as hub:
        await community.say(PLAIN)
        leaf = codec.frame_leaf(community.frames()[0])
        just_said.put(0, [codec.decode_sequenced(leaf)])
        await community.store.erase({0: codec.erased_frame(leaf)})
        await hub.again(0, PLAIN)
        assert hub.view.current().size == 1
        assert codec.is_erased(community.frames()[0])


@pytest.mark.parametrize("erased", [[1], [0, 1, 2]])
async def test_an_erasure_that_comes_while_something_is_put_back_finds_it(
    community: Community, monkeypatch: pytest.MonkeyPatch, erased: list[int]
) -> None:
    await community.say(MANY)
    community.lose(0)
    async with serving(community) as hub:
        write = community.store.put_back

        async def slow(index: int, was: bytes, frame: bytes) -> None:
            await community.say(community_statement(erasure(*[ids_of(MANY)[each] for each in erased]), ALPHA))
            await hub.view.reached(2)
            await hub.erase()  # there is nothing to erase yet, and that is noted
            await write(index, was, frame)

        monkeypatch.setattr(community.store, "put_back", slow)
        await hub.again(0, MANY)
        await hub.erase()
        left = [b"" if at in erased else record for at, record in enumerate(MANY.records)]
        assert codec.decode_frame(community.frames()[0]).records == (tuple(left) if any(left) else ())


async def test_what_comes_back_while_the_store_erases_is_not_noted_as_gone(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    await community.say(SECRET, PLAIN)
    community.lose(1)
    async with serving(community) as hub:
        write, erase, begun = community.store.put_back, community.store.erase, asyncio.Event()
        erasing: list[asyncio.Task[None]] = []

        async def slow(index: int, was: bytes, frame: bytes) -> None:
            await community.say(community_statement(erasure(*ids_of(SECRET), *ids_of(PLAIN)), ALPHA))
            await hub.view.reached(3)
            erasing.append(asyncio.create_task(hub.erase()))
            await begun.wait()  # it has looked at both, and found one of them without its record
            await write(index, was, frame)

        async def slow_too(frames: Mapping[int, bytes]) -> None:
            begun.set()
            while not (again.done() or hub.view.moving._waiters):
                await asyncio.sleep(0.001)
            await erase(frames)

        monkeypatch.setattr(community.store, "put_back", slow)
        monkeypatch.setattr(community.store, "erase", slow_too)
        again = asyncio.create_task(hub.again(1, PLAIN))
        async with asyncio.timeout(DEADLINE_S):
            await again
            await asyncio.gather(*erasing)
        monkeypatch.undo()
        await hub.erase()
    assert [codec.is_erased(frame) for frame in community.frames()[:2]] == [True, True]


async def test_what_is_over_while_it_is_put_back_goes(community: Community, monkeypatch: pytest.MonkeyPatch) -> None:
    brief = about("x", expires_at_ms=NOW_MS + 5)
    await community.say(brief)
    community.lose(0)
    async with serving(community) as hub:
        write = community.store.put_back

        async def slow(index: int, was: bytes, frame: bytes) -> None:
            community.now_ms = NOW_MS + 5
            await hub.erase()
            await write(index, was, frame)

        monkeypatch.setattr(community.store, "put_back", slow)
        await hub.again(0, brief)
        await hub.erase()
    assert codec.is_erased(community.frames()[0])


@pytest.mark.parametrize("erased", [True, False])
async def test_also_where_the_hub_ends_before_the_fold_knows(
    community: Community, monkeypatch: pytest.MonkeyPatch, erased: bool
) -> None:
    brief = about("x", expires_at_ms=NOW_MS + 5)
    await community.say(brief)
    whole = community.frames()
    community.lose(0)
    async with serving(community) as hub:
        if erased:
            await community.say(community_statement(erasure(*ids_of(brief)), ALPHA))
            await hub.view.reached(2)
        else:
            community.now_ms = NOW_MS + 5
        await hub.erase()
    await community.store.put_back(0, community.frames()[0], whole[0])
    async with serving(community) as hub:
        await hub.erase()
    assert codec.is_erased(community.frames()[0])
    community.now_ms = NOW_MS + 2 * 3_600_000
    async with serving(community):
        assert list(await community.lost.bare()) == []


@pytest.mark.parametrize("cut", ["the fold", "memory", "the caller"])
async def test_whoever_is_cut_off_in_between_changes_nothing_that_a_repeat_or_a_restart_does_not_mend(
    community: Community, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    await community.say(SECRET)
    before = community.frames()
    community.lose(0)
    async with serving(community) as hub:

        async def crash(*_: object) -> None:
            raise Unavailable("the disk is full")

        if cut == "the caller":
            call = asyncio.create_task(hub.again(0, SECRET))
            while not call.done() and community.frames() != before:
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            async with asyncio.timeout(DEADLINE_S):
                while "memory [0]" not in community.store.done:
                    await asyncio.sleep(0.001)
        else:
            with monkeypatch.context() as patch:
                if cut == "the fold":
                    patch.setattr(community.lost, "take_back", crash)
                else:
                    patch.setattr(hub.returning, "_replaced", crash)
                with pytest.raises(Unavailable):
                    await hub.again(0, SECRET)
            assert community.frames() == before
            if cut == "the fold":
                assert hub.audience(SECRET) == frozenset()
                await hub.again(0, SECRET)
                assert hub.audience(SECRET) == frozenset({"beta"})
                assert community.store.done[-1] == "memory [0]"
        assert community.frames() == before
    async with serving(community) as hub:
        assert hub.audience(SECRET) == frozenset({"beta"})
        assert await hub.lost() == []


async def test_a_fold_that_was_away_when_records_came_back_finds_them(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the store and the fold; or another hub of the same store has put them back."""
    await community.say(SECRET, PLAIN, a_signal("still lost"))
    whole = community.frames()
    community.lose(0)
    async with serving(community) as hub:
        assert await hub.lost() == [0, 1, 2]
    for index in (0, 1):
        await community.store.put_back(index, community.frames()[index], whole[index])
    async with serving(community) as hub:
        assert await hub.lost() == [2]
        assert hub.audience(SECRET) == frozenset({"beta"})
    await community.store.put_back(2, community.frames()[2], whole[2])
    async with serving(community) as hub:
        await hub.returning.returned_to((0, 2))  # told by another hub
        assert await hub.lost() == []
        assert community.store.done[-1] == "memory [0, 2]"


async def test_a_fold_that_outlived_the_records_is_made_again(community: Community) -> None:
    await community.say(a_signal("kept"), PLAIN, SECRET)
    async with serving(community) as hub:
        assert await hub.lost() == []
    community.lose(1, fold=False)
    async with serving(community) as hub:
        assert await hub.lost() == [1, 2]
        assert hub.audience(SECRET) == frozenset()


async def test_a_fold_of_what_others_have_erased_meanwhile_goes_on(community: Community) -> None:
    await community.say(a_signal("kept"), PLAIN)
    async with serving(community):
        pass
    await community.say(community_statement(erasure(*ids_of(PLAIN)), ALPHA))
    await community.store.erase({1: codec.erased_frame(codec.frame_leaf(community.frames()[1]))})
    community.store.read_indices.clear()
    async with serving(community) as hub:
        assert await hub.lost() == []
    assert community.store.read_indices == {2}


async def test_until_all_is_read_nobody_can_tell(community: Community) -> None:
    await community.say(PLAIN)
    community.lose(0)
    async with community.following() as view:
        returning = Returning(UK, community.store, lambda _: asyncio.sleep(0), lambda: NOW_MS)
        await returning.sent_again(0, PLAIN, header_of(PLAIN))  # it follows nothing yet
        returning.follow(view, community.lost)
        with pytest.raises(Unavailable):
            await returning.sent_again(0, PLAIN, header_of(PLAIN))
    assert put_back(community) == []


async def test_two_at_once_and_one_that_came_too_late(community: Community, monkeypatch: pytest.MonkeyPatch) -> None:
    await community.say(PLAIN, SECRET)
    before = community.frames()
    community.lose(0)
    async with serving(community) as hub:
        await asyncio.gather(*(hub.again(0, PLAIN) for _ in range(3)))
        assert community.frames()[:1] == before[:1]

        async def other(*_: object) -> None:
            raise Conflict("the entry is not as it was")

        monkeypatch.setattr(community.store, "put_back", other)
        with pytest.raises(Unavailable, match="just changed"):
            await hub.again(1, SECRET)


async def test_below_the_floor_there_is_nothing_to_put_back(community: Community) -> None:
    await community.say(PLAIN, *(a_signal(str(n)) for n in range(WIDTH)))
    community.lose(0)
    async with serving(community) as hub:
        await community.store.archive(WIDTH)
        await hub.again(0, PLAIN)
        await hub.view.facts.forget(WIDTH)
        assert await hub.lost() == [WIDTH]
    assert put_back(community) == []
