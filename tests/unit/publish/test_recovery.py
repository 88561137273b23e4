"""Opening a damaged log: nothing is signed that was not recomputed, and nothing is served that the hub would not sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec import structs

from exchange.errors import Fatal, Reason, Unavailable
from exchange.ports import Head, TreeHead
from tests.unit.builders import signal_statement
from tests.unit.publish.fakes import Rig, publish, soon

OTHER = b"\x01" * 32


async def left_unsealed(rig: Rig) -> None:
    """Leave two sealed entries and a group of two that is durable only."""
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *[signal_statement(seed=f"a{n}") for n in range(2)])
        rig.faults.next("record", (False, Fatal("no mark")))
        answers = [sequencer.offer(rig.candidate(signal_statement(seed=f"b{n}"))) for n in range(2)]
        for answer in answers:
            with pytest.raises(Unavailable):
                await soon(answer)
    assert (rig.disk.head.sealed.size, rig.disk.head.durable.size) == (2, 4)


async def refused(rig: Rig) -> Fatal:
    """Open the log, which must be refused with nothing released; return why."""
    before = dict(rig.mark.notes)
    rig.faults.calls.clear()
    with pytest.raises(Fatal) as caught:
        await rig.open()
    assert not {"record", "seal"} & set(rig.faults.calls)
    assert rig.mark.notes == before
    return caught.value


async def test_a_damaged_root_of_an_unsealed_group_is_not_signed() -> None:
    rig = Rig()
    await left_unsealed(rig)
    rig.disk.head = replace(rig.disk.head, durable=TreeHead(4, OTHER))
    assert (await refused(rig)).reason is Reason.CORRUPT


@pytest.mark.parametrize("index", [2, 3])
async def test_a_damaged_entry_of_an_unsealed_group_is_not_signed(index: int) -> None:
    rig = Rig()
    await left_unsealed(rig)
    rig.disk.entries[index] = structs.replace(rig.disk.entries[index], leaf_hash=OTHER)
    assert (await refused(rig)).reason is Reason.CORRUPT


async def test_a_group_that_is_whole_is_sealed() -> None:
    rig = Rig()
    await left_unsealed(rig)
    await rig.open()
    assert rig.disk.head.sealed == rig.disk.head.durable
    assert rig.mark.note == rig.disk.head.checkpoint


DAMAGES: dict[str, Callable[[Head], Head]] = {
    "root": lambda head: replace(head, sealed=TreeHead(2, OTHER), durable=TreeHead(2, OTHER)),
    "checkpoint": lambda head: replace(head, checkpoint=head.checkpoint[:-2] + b"\n"),
    "time": lambda head: replace(head, last_received_at_ms=head.last_received_at_ms - 1),
    "directory size": lambda head: replace(head, last_directory_size=head.last_directory_size + 1),
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_a_damaged_head_is_refused(what: str) -> None:
    rig = Rig()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *[signal_statement(seed=f"a{n}") for n in range(2)])
    rig.disk.head = DAMAGES[what](rig.disk.head)
    await refused(rig)


async def test_a_log_of_which_everything_is_archived_is_opened() -> None:
    """The last entry is then in a bundle, not in the table."""
    rig = Rig()
    async with rig.running() as sequencer:
        await publish(sequencer, rig, *[signal_statement(seed=f"a{n}") for n in range(256)])
        assert rig.store is not None
        assert await rig.store.archive(256) == 256
    await rig.open()
    rig.disk.head = replace(rig.disk.head, last_received_at_ms=1)
    await refused(rig)
