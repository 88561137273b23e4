"""One run of the oracle in a process of its own: where its files lie, and what comes of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import structlog

from exchange.ops import collector
from tests.oracle.bugs import BUGS
from tests.oracle.driver import Driver, Found
from tests.oracle.founding import BEGIN_MS, Founded, found
from tests.oracle.hub import Clock, without_waiting
from tests.oracle.operations import OPERATIONS, final


async def run(seed: int, steps: int, template: Founded, folder: Path, patch: pytest.MonkeyPatch) -> Counter[str]:
    """Take so many steps; return how often each kind was taken. Raises `Found`."""
    rng, clock = Random(f"seed {seed}"), Clock(BEGIN_MS + 60_000)
    without_waiting(patch, clock)
    patch.setattr("exchange.fanout.tail.MAX_PAGE_ITEMS", rng.choice((1, 5, 4_096)))
    driver = Driver(rng, template.copied_to(folder), clock)
    await driver.hub.start()
    names, weights = list(OPERATIONS), [weight for _, weight in OPERATIONS.values()]
    step, name = 0, "start"
    try:
        for step in range(1, steps + 1):  # noqa: B007 - told where it ends
            (name,) = rng.choices(names, weights)
            driver.steps[name] += 1
            await OPERATIONS[name][0](driver)
        name = "the end"
        await final(driver)
        for platform in driver.platforms.values():
            await platform.leave()
        await driver.hub.stop()
    except Exception as error:
        leaving = (platform.vanish() for platform in driver.platforms.values())
        await asyncio.gather(*leaving, return_exceptions=True)
        await asyncio.gather(driver.hub.stop(), return_exceptions=True)
        raise Found(step, name, error) from error
    return driver.steps


async def make_template(folder: Path) -> Founded:
    """Found the exchange that runs are copied from."""
    clock = Clock(BEGIN_MS)
    with pytest.MonkeyPatch.context() as patch:
        without_waiting(patch, clock)
        return await found(folder, clock)


#: Where a machine has memory to keep files in: what is asked of disks is asked elsewhere (tests/faults).
MEMORY = Path("/dev/shm")


def ready() -> None:
    """Say nothing but what the oracle says, and leave the garbage of a process that serves to its calm collector."""
    if not gc.get_freeze_count():
        collector.calm()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("exchange_client").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    #: How often each kind of step was taken.
    steps: Counter[str]
    #: The step at which product and model differed, and how; 0 and empty where they never did.
    found_at: int
    found: str
    seconds: float


def one(seed: int, steps: int, bug: str = "") -> Outcome:
    """Run one seed, on the product or on a mutant of it."""
    ready()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        template = asyncio.run(make_template(Path(folder) / "template"))
        with pytest.MonkeyPatch.context() as patch:
            if bug:
                BUGS[bug](patch)
            counts, found_at, found = Counter[str](), 0, ""
            try:
                counts = asyncio.run(run(seed, steps, template, Path(folder) / "run", patch))
            except Found as error:
                found_at, found = error.step, "".join(traceback.format_exception(error))
    return Outcome(seed, counts, found_at, found, time.monotonic() - started)


def hunt(bug: str, *, steps: int = 1_000, seeds: int = 3) -> tuple[int, str]:
    """Return after how many steps a mutant is found, seed after seed, and by what; 0 where it is not."""
    taken = 0
    for seed in range(1, seeds + 1):
        outcome = one(seed, steps, bug)
        if outcome.found:
            how = outcome.found.strip().splitlines()[-1].partition(": ")[2]
            assert ": TypeError: " not in how, f"{bug} does not fit the product any more: {how}"
            return taken + outcome.found_at, how
        taken += steps
    return 0, ""
