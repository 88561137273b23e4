"""What all logs of a hub keep of their newest entries together is bounded by what is configured for the hub."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.identifiers import Origin
from exchange.opening import LEAST_BYTES, Memory, Room

MIB = 2**20
DIRECTORY = Origin("exchange.example", Origin.DIRECTORY_LOG)


def opened(memory: Memory, origin: Origin) -> Room:
    part = memory.part(origin)
    memory.take(origin, part)
    return part


def some_communities(count: int) -> list[Origin]:
    return [Origin("exchange.example", f"c{number}") for number in range(count)]


@given(
    ring=st.integers(LEAST_BYTES, 512 * MIB),
    recent=st.integers(LEAST_BYTES, 512 * MIB),
    known=st.integers(0, 150),
    late=st.integers(0, 30),
)
def test_all_parts_together_are_no_more_than_the_whole_and_the_least_of_each(
    ring: int, recent: int, known: int, late: int
) -> None:
    memory = Memory(Room(ring, recent))
    parts = [opened(memory, DIRECTORY)]
    memory.coming = known
    parts += [opened(memory, origin) for origin in some_communities(known + late)]
    assert sum(part.ring for part in parts) <= ring + LEAST_BYTES * len(parts)
    assert sum(part.recent for part in parts) <= recent + LEAST_BYTES * len(parts)
    assert min(min(part.ring, part.recent) for part in parts) >= LEAST_BYTES
    equal = parts[1 : known + 1]
    assert not equal or max(part.ring for part in equal) - min(part.ring for part in equal) <= 1


def test_a_hundred_communities_share_what_one_may_have() -> None:
    memory = Memory(Room(128 * MIB, 64 * MIB))
    opened(memory, DIRECTORY)
    memory.coming = 1
    (alone,) = [opened(memory, origin) for origin in some_communities(1)]
    assert (alone.ring, alone.recent) == (127 * MIB // 2, 63 * MIB // 2)
    memory = Memory(Room(128 * MIB, 64 * MIB))
    parts = [opened(memory, DIRECTORY)]
    memory.coming = 100
    parts += [opened(memory, origin) for origin in some_communities(100)]
    assert sum(part.ring + part.recent for part in parts) <= 230 * MIB


def test_a_log_that_does_not_open_costs_the_others_nothing() -> None:
    memory = Memory(Room(128 * MIB, 64 * MIB))
    (origin,) = some_communities(1)
    assert memory.part(origin) == memory.part(origin)
