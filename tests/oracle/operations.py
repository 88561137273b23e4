"""What platforms, operator and time do, each held against the model: what is said, read, asked, and what breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from exchange.domain.bodies import (
    Acknowledgement,
    Audience,
    Disposition,
    Erasure,
    LagCell,
    Membership,
    Opinion,
    Quarantine,
    Release,
    Retraction,
    State,
    Suspension,
)
from exchange.domain.kinds import Role
from tests.e2e.drafts import record
from tests.oracle import breakage, questions
from tests.oracle.driver import Driver
from tests.oracle.founding import DIRECTORY, PLATFORMS, UK
from tests.oracle.model import DAY_MS, HOUR_MS, MINUTE_MS, OPERATOR, Statement, Wanted
from tests.oracle.speech import LABELS, a_signal, some_targets


async def publish(driver: Driver) -> None:
    """A platform publishes signals."""
    await _published(driver, driver.someone(), ())


async def replace(driver: Driver) -> None:
    """A platform corrects signals: its own, or for all it knows another's."""
    member = driver.someone()
    await _published(driver, member, tuple(dict.fromkeys(some_targets(driver, "retraction", member))))


async def _published(driver: Driver, member: str, replaces: tuple[bytes, ...]) -> None:
    draft, said, created_ms = a_signal(driver, member, replaces=replaces)
    if await driver.say(draft, driver.speaker(member), taken=driver.model.may_speak(member)):
        driver.model.add_signals(said, created_ms=created_ms)


async def publish_wrongly(driver: Driver) -> None:
    """A signal that breaks a rule is refused whole."""
    member = driver.rng.choice(PLATFORMS)
    draft, _, _ = a_signal(driver, member)
    wrong = driver.rng.choice(
        (
            draft.but(audience=Audience.RESTRICTED, audience_id=b"", audience_record=b""),
            draft.but(expires_at_ms=driver.clock.now_ms),
            draft.but(expires_at_ms=driver.clock.now_ms + 366 * DAY_MS),
            draft.but(records=(*draft.records, record(b"short", 5))),
            draft.but(ids=(driver.rng.randbytes(32),) * len(draft.records)),
            draft.but(created_at_ms=driver.clock.now_ms + 6 * MINUTE_MS),
            draft.but(label=301),
        )
    )
    await driver.say(wrong, driver.speaker(member), taken=False)


async def repeat(driver: Driver) -> None:
    """What is in the ledger is sent again: it gets its first place, and nothing changes."""
    if not driver.sent:
        return
    member, role, message, index = driver.rng.choice(driver.sent[-30:])
    message.resubmission = True
    receipt = await driver.send(member, role, message)
    if receipt is None:
        assert not driver.model.may_speak(member), "a repeat was refused"
        return
    assert (receipt.index, receipt.repeated_statement) == (index, True)


async def retract(driver: Driver) -> None:
    """A publisher takes signals back, or the operator does."""
    member = OPERATOR if driver.rng.random() < 0.1 else driver.someone()
    targets = some_targets(driver, "retraction", member)
    reason = driver.rng.randint(1, 5)
    decided_ms = driver.clock.now_ms - driver.rng.randint(0, HOUR_MS) if driver.rng.random() < 0.5 else 0
    taken = driver.model.may_say("retraction", member, targets)
    body = Retraction(targets, reason, decided_ms)
    if await driver.say(driver.draft(member, body), driver.speaker(member), taken=taken):
        said = Statement("retraction", member, 0, targets=targets, reason=reason)
        driver.model.add_ending(said, decided_ms=decided_ms)


async def erase(driver: Driver) -> None:
    """A publisher has the data of signals erased, or the operator does."""
    member = OPERATOR if driver.rng.random() < 0.2 else driver.someone()
    targets, reason = some_targets(driver, "erasure", member), driver.rng.randint(1, 3)
    taken = driver.model.may_say("erasure", member, targets)
    if await driver.say(driver.draft(member, Erasure(targets, reason)), driver.speaker(member), taken=taken):
        driver.model.add_ending(Statement("erasure", member, 0, targets=targets, reason=reason))


async def opine(driver: Driver) -> None:
    """A receiver says what it thinks of signals."""
    member = driver.someone()
    targets = some_targets(driver, "opinion", member)
    category, reason = driver.rng.randint(1, 3), driver.rng.randint(1, 5)
    taken = driver.model.may_say("opinion", member, targets)
    body = Opinion(targets, category, reason)
    if await driver.say(driver.draft(member, body), driver.speaker(member), taken=taken):
        said = Statement("opinion", member, 0, targets=targets, reason=reason, category=category)
        driver.model.add_opinion(said)


async def dispose(driver: Driver) -> None:
    """A receiver says what it did with signals; now and then with words that do not go together."""
    rng, now_ms = driver.rng, driver.clock.now_ms
    member, state = driver.someone(), rng.randint(1, 5)
    targets = some_targets(driver, "disposition", member)
    action = rng.randint(1, 8) if state in (2, 5) else 0
    reason = rng.choice((1, 2, 3, 6)) if state == 5 else rng.randint(1, 7) if state == 3 else 0
    matched_ms = now_ms - rng.randint(0, HOUR_MS) if rng.random() < 0.5 else 0
    actioned_ms = (
        rng.randint(matched_ms or now_ms - HOUR_MS, now_ms) if state in (2, 4, 5) and rng.random() < 0.7 else 0
    )
    taken = driver.model.may_say("disposition", member, targets)
    if rng.random() < 0.05:
        action, taken = (0 if action else 1), False
    body = Disposition(targets, state, action, reason, matched_ms, actioned_ms)
    if await driver.say(driver.draft(member, body), driver.speaker(member), taken=taken):
        said = Statement("disposition", member, 0, targets=targets, reason=reason)
        driver.model.add_disposition(said, state, matched_ms=matched_ms, actioned_ms=actioned_ms)


async def acknowledge(driver: Driver) -> None:
    """A pipeline says how far it has processed the ledger; now and then further than that, or too soon again."""
    rng, member = driver.rng, driver.someone()
    through = rng.choice((driver.platforms[member].reader.next - 1, rng.randint(0, len(driver.model.ledger) + 1)))
    if through < 0:
        return
    cells = sorted({(rng.choice(PLATFORMS), rng.choice(LABELS), rng.random() < 0.3) for _ in range(rng.randint(0, 3))})
    counted = [(*cell, rng.randint(0, 20)) for cell in cells]
    body = Acknowledgement(
        through,
        cells=tuple(
            LagCell(publisher, label, b"", retraction, (*[0] * bucket, 1))
            for publisher, label, retraction, bucket in counted
        ),
    )
    taken = driver.model.may_acknowledge(member, through)
    if await driver.say(driver.draft(member, body), Role.PIPELINE, taken=taken):
        driver.model.add_acknowledgement(Statement("acknowledgement", member, 0), through, counted)


async def quarantine(driver: Driver) -> None:
    """The operator flags a member, or ends that."""
    model, member = driver.model, driver.rng.choice(PLATFORMS)
    flagged = member in model.quarantined_from
    if driver.rng.random() < 0.5:
        start = driver.rng.randint(0, len(model.ledger) + 1)
        wider = not flagged or start < model.quarantined_from[member]
        taken = wider and start <= len(model.ledger)
        if await driver.say(driver.draft(OPERATOR, Quarantine(member, start, 4)), Role.OPERATOR, taken=taken):
            model.add(Statement("quarantine", OPERATOR, 0, about=member, from_index=start))
            model.quarantined_from[member] = start
    elif await driver.say(driver.draft(OPERATOR, Release(member)), Role.OPERATOR, taken=flagged):
        model.add(Statement("release", OPERATOR, 0, about=member))
        del model.quarantined_from[member]


async def suspend(driver: Driver) -> None:
    """The operator suspends a member, or lifts that: mostly the latter where there is something to lift."""
    model, member = driver.model, driver.rng.choice(PLATFORMS)
    if model.suspended_ms and driver.rng.random() < 0.7:
        member = driver.rng.choice(sorted(model.suspended_ms))
        await _directory(driver, Suspension(member, 0, State.ENDED, "is well again"))
        del model.suspended_ms[member]
    elif member not in model.suspended_ms:
        await _directory(driver, Suspension(member, 0, State.ACTIVE, "a test"))
        model.suspended_ms[member] = driver.clock.now_ms


async def leave(driver: Driver) -> None:
    """A member leaves the community, or is let in again: mostly the latter where somebody is outside."""
    model, member = driver.model, driver.rng.choice(PLATFORMS)
    outside = sorted(set(PLATFORMS) - model.inside)
    if outside and driver.rng.random() < 0.7:
        member = driver.rng.choice(outside)
        await _directory(driver, Membership(member, UK, State.ACTIVE))
        model.come(member)
        model.left_ms.pop(member, None)
    elif member in model.inside:
        await _directory(driver, Membership(member, UK, State.ENDED))
        model.go(member)
        model.left_ms[member] = driver.clock.now_ms


async def _directory(driver: Driver, body: Suspension | Membership) -> None:
    receipt = await driver.offer(driver.draft(OPERATOR, body, origin=DIRECTORY), Role.OPERATOR)
    assert receipt is not None, "a change of the directory was refused"


async def read(driver: Driver) -> None:
    """A platform reads one message."""
    platform = driver.platforms[driver.rng.choice(PLATFORMS)]
    await questions.read_one(driver, platform)
    platform.check_lookup(driver.rng.choice(driver.values), driver.clock.now_ms)


async def read_all(driver: Driver) -> None:
    """A platform reads all that there is."""
    await questions.read_to_the_end(driver, driver.platforms[driver.rng.choice(PLATFORMS)])


async def disconnect(driver: Driver) -> None:
    """A platform leaves its stream in good order."""
    await driver.platforms[driver.rng.choice(PLATFORMS)].leave(acknowledging=driver.rng.random() < 0.5)


async def vanish(driver: Driver) -> None:
    """A platform's process is killed, and comes back with its look-up."""
    await driver.platforms[driver.rng.choice(PLATFORMS)].vanish()


async def begin_again(driver: Driver) -> None:
    """A platform begins anew, from the first entry, with another filter."""
    rng = driver.rng
    labels = frozenset(rng.sample(LABELS, rng.choice((0, 0, 1, 2))))
    types = frozenset(rng.sample((1, 5), rng.choice((0, 0, 1))))
    await driver.platforms[rng.choice(PLATFORMS)].begin_again(Wanted(labels, types))


async def forget(driver: Driver) -> None:
    """A platform's look-up forgets what is over."""
    driver.platforms[driver.rng.choice(PLATFORMS)].check_expiry(driver.clock.now_ms)


async def wait(driver: Driver) -> None:
    """Some seconds or minutes pass."""
    driver.advance(driver.rng.choice((1, 1_000, 20_000, MINUTE_MS, 3 * MINUTE_MS)))
    await driver.hub.clock_moved()


async def wait_long(driver: Driver) -> None:
    """Hours or days pass, rarely months."""
    driver.advance(driver.rng.choice((HOUR_MS, 5 * HOUR_MS, DAY_MS, 4 * DAY_MS, 40 * DAY_MS)))
    await driver.hub.clock_moved()


async def sweep(driver: Driver) -> None:
    """What is over or erased leaves the hub."""
    await driver.hub.sweep()
    gone = [each for each in driver.model.by_id.values() if not each.gone]
    if driver.model.sweep():
        questions.check_files(driver, [each for each in gone if each.gone])


async def final(driver: Driver) -> None:
    """Everybody reads to the end, and everything is asked once more."""
    await sweep(driver)
    for platform in driver.platforms.values():
        await questions.read_to_the_end(driver, platform)
        for value in driver.values:
            platform.check_lookup(value, driver.clock.now_ms)
    for asker in (*PLATFORMS, OPERATOR):
        await questions.debts_of(driver, asker)
        await questions.lag_of(driver, asker)
        await questions.activity_of(driver, asker)


#: Every kind of step, and how often it is taken.
OPERATIONS: dict[str, tuple[Callable[[Driver], Awaitable[None]], float]] = {
    "publish": (publish, 20),
    "publish wrongly": (publish_wrongly, 2),
    "repeat": (repeat, 3),
    "replace": (replace, 4),
    "retract": (retract, 7),
    "erase": (erase, 3),
    "opine": (opine, 4),
    "dispose": (dispose, 9),
    "acknowledge": (acknowledge, 5),
    "quarantine": (quarantine, 1),
    "suspend": (suspend, 1),
    "leave or join": (leave, 1),
    "read": (read, 14),
    "read all": (read_all, 3),
    "disconnect": (disconnect, 3),
    "vanish": (vanish, 2),
    "begin again": (begin_again, 0.5),
    "forget": (forget, 1),
    "wait": (wait, 7),
    "wait long": (wait_long, 0.7),
    "sweep": (sweep, 1.5),
    "ask for a signal": (questions.signal, 4),
    "ask for debts": (questions.debts, 2),
    "ask for lag": (questions.lag, 0.7),
    "ask for activity": (questions.activity, 0.7),
    "read the ledger": (questions.ledger, 2),
    "restart": (breakage.restart, 0.4),
    "crash": (breakage.crash, 0.4),
    "crash while publishing": (breakage.crash_while_publishing, 0.6),
}
