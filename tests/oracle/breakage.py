"""What ends a hub: in good order, by SIGKILL, and by SIGKILL in the middle of a publication."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from exchange.domain.bodies import Retraction
from tests.e2e.drafts import Draft
from tests.e2e.patience import patiently
from tests.oracle.driver import Driver
from tests.oracle.founding import PLATFORMS
from tests.oracle.model import Statement
from tests.oracle.speech import a_signal


async def _everybody_leaves(driver: Driver) -> None:
    """A stream ends with its hub; the platform behind it goes on, or its process ends too."""
    for platform in driver.platforms.values():
        if driver.rng.random() < 0.3:
            await platform.vanish()
        else:
            await platform.leave()


async def restart(driver: Driver) -> None:
    """The hub is stopped and started, now and then without its fold of signals' lives."""
    await _everybody_leaves(driver)
    await driver.hub.stop()
    await driver.hub.start(forget_life=driver.rng.random() < 0.4)


async def crash(driver: Driver) -> None:
    """The hub is killed while nobody says anything."""
    await _everybody_leaves(driver)
    await driver.hub.kill()
    await driver.hub.start(forget_life=driver.rng.random() < 0.2)


async def crash_while_publishing(driver: Driver) -> None:
    """The hub is killed with a statement on its way; its publisher, who has no receipt, sends it again."""
    speaking = [name for name in PLATFORMS if driver.model.may_speak(name)]
    if not speaking:
        return
    await _everybody_leaves(driver)
    member = driver.rng.choice(speaking)
    role = driver.speaker(member)
    draft, add = _something(driver, member)
    message = driver.signed(draft, role)
    wire = driver.wire(member, role)
    sending = asyncio.create_task(wire.publish(message))
    for _ in range(driver.rng.randint(0, 12)):
        await asyncio.sleep(0)
    await driver.hub.kill()
    await asyncio.gather(sending, return_exceptions=True)  # what the killed hub would still have done tells nothing
    await driver.hub.start()
    message.resubmission = True
    wire = driver.wire(member, role)
    receipt = await patiently(lambda: wire.publish(message))
    driver.steps["(of these in the ledger)"] += receipt.repeated_statement
    size = len(driver.model.ledger)
    assert receipt.index == size, f"after a crash the statement is entry {receipt.index}, and {size} was next"
    add()
    driver.sent.append((member, role, message, receipt.index))


def _something(driver: Driver, member: str) -> tuple[Draft, Callable[[], None]]:
    """Return what a member says, a signal or a retraction, and how the model takes it."""
    model = driver.model
    own = [id_ for id_ in list(model.by_id)[-60:] if model.may_say_of("retraction", member, id_)]
    if own and driver.rng.random() < 0.4:
        targets = (driver.rng.choice(own),)
        said = Statement("retraction", member, 0, targets=targets, reason=1)
        return driver.draft(member, Retraction(targets, 1)), partial(model.add_ending, said)
    draft, said, created_ms = a_signal(driver, member)
    return draft, partial(model.add_signals, said, created_ms=created_ms)
