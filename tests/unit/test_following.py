"""What follows a log and fails for a moment: it is run again, and an operator hears of it when that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from exchange import following
from exchange.errors import ExchangeError, Fatal, Unavailable
from exchange.following import Following
from exchange.ops.health import Health
from exchange.views.keeper import SnapshotDiffers
from tests.waits import until

UK = "exchange.example/uk"
FULL = Unavailable("the store's disk is full")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens within parts of a second."""
    for name, seconds in (("AGAIN_S", 0.002), ("LONG_S", 0.3), ("WELL_S", 0.05), ("_LOOK_S", 0.005)):
        monkeypatch.setattr(following, name, seconds)


class Fold:
    """Follows nothing; raises what it is told to, and else waits."""

    def __init__(self) -> None:
        self.raises: ExchangeError | None = None
        self.caught_up = True
        self.runs = 0
        self._changed = asyncio.Event()
        self.closing = False
        self.health = Health(["store"])
        self.health.serving("store")

    def now(self, error: ExchangeError | None) -> None:
        """From now on raise this, or nothing."""
        self.raises = error
        self._changed.set()

    async def run(self) -> None:
        self.runs += 1
        while self.raises is None:
            await self._changed.wait()
            self._changed.clear()
        raise self.raises

    def well(self) -> None:
        if not self.caught_up:
            raise Unavailable("the hub is still reading this log")

    def following(self, what: str = "the fold") -> Following:
        return Following(what, UK, self.run, self.health, closing=lambda: self.closing, well=self.well)


@asynccontextmanager
async def followed(fold: Fold) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(fold.following().run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_failure_that_lasts_takes_the_hub_out_of_readiness_until_it_is_over() -> None:
    fold = Fold()
    with capture_logs() as logs:
        async with followed(fold):
            fold.now(FULL)
            await until(lambda: fold.runs > 3)
            assert fold.health.ready
            await until(lambda: not fold.health.ready)
            assert fold.health.readyz().body["waiting"] == {"store": f"{UK}: the fold: the store's disk is full"}
            fold.now(None)
            await until(lambda: fold.health.ready)
    told = [(each["event"], each["log_level"], each["origin"], each["what"]) for each in logs]
    assert told == [
        ("follower_fails", "warning", UK, "the fold"),
        ("follower_is_well_again", "info", UK, "the fold"),
    ]


async def test_one_that_runs_and_is_of_no_use_yet_has_not_recovered() -> None:
    fold = Fold()
    async with followed(fold):
        fold.now(FULL)
        await until(lambda: not fold.health.ready)
        fold.caught_up = False
        fold.now(None)
        await asyncio.sleep(0.15)  # three times as long as it must run
        assert not fold.health.ready
        fold.caught_up = True
        await until(lambda: fold.health.ready)


async def test_a_moment_is_told_and_takes_nothing_away() -> None:
    fold = Fold()
    with capture_logs() as logs:
        async with followed(fold):
            for _ in range(3):
                fold.now(FULL)
                runs = fold.runs
                await until(lambda: fold.runs > runs)  # noqa: B023 - asked before the next round
                fold.now(None)
                await until(lambda: logs[-1]["event"] == "follower_is_well_again")
                assert fold.health.ready
    assert [each["event"] for each in logs] == ["follower_fails", "follower_is_well_again"] * 3


async def test_one_is_not_well_because_another_is() -> None:
    health, ends = Health(["store"]), list[asyncio.Task[None]]()
    health.serving("store")
    folds = [Fold(), Fold()]
    for number, fold in enumerate(folds):
        fold.health = health
        ends.append(asyncio.create_task(fold.following(f"fold {number}").run()))
        fold.now(FULL)
    await until(lambda: "fold 0" in str(health.readyz().body) and "fold 1" in str(health.readyz().body))
    folds[0].now(None)
    await until(lambda: "fold 0" not in str(health.readyz().body))
    assert not health.ready
    for end in ends:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


async def test_what_is_no_moment_stops_it_for_good() -> None:
    fold = Fold()
    with capture_logs() as logs:
        async with followed(fold) as task:
            fold.now(Fatal("the leaves are not those that were sealed"))
            await task
    assert not fold.health.ready
    assert [each["event"] for each in logs] == ["follower_stopped"]


async def test_the_closing_of_the_log_ends_it_quietly() -> None:
    fold = Fold()
    with capture_logs() as logs:
        async with followed(fold) as task:
            await until(lambda: fold.runs == 1)
            fold.closing = True
            fold.now(Unavailable("the store is closed"))
            await task
    assert fold.health.ready
    assert logs == []


async def test_a_hub_that_judged_by_a_wrong_snapshot_does_not_go_on() -> None:
    fold = Fold()
    fold.now(SnapshotDiffers("the snapshot is not what the leaves say"))
    with pytest.raises(SnapshotDiffers):
        await fold.following().run()
