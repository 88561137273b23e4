"""Reading a ledger whole: all of what was signed, or of its beginning up to a moment, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.python.tests.fake_hub import DIRECTORY, START_MS, UK, FakeHub, client_of
from clients.python.tests.speech import statement
from exchange.domain.bodies import Member
from exchange.domain.kinds import MemberClass, Role
from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange_client.auditor import Auditor
from exchange_client.cursors import Position


@pytest.fixture
def hub() -> FakeHub:
    """A hub whose seven entries were received a second after each other."""
    made = FakeHub()
    for _ in range(7):
        made.commit(statement(made))
        made.now += 1_000
    return made


async def read(auditor: Auditor, note: bytes, start: Position | None = None, until_ms: int | None = None) -> list[int]:
    """Return the indices of what is handed on."""
    found: list[int] = []
    async for page in auditor.entries(auditor.opened(note), start=start, until_ms=until_ms):
        found += [entry.leaf.index for entry in page]
    return found


async def test_a_tree_is_read_whole_and_no_further(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        auditor = await client.auditor(UK)
        assert await read(auditor, hub.uk.checkpoint()) == list(range(7))
        assert await read(auditor, hub.uk.checkpoint(4)) == [0, 1, 2, 3]
        assert auditor.position.range.size == 4
        assert await read(auditor, hub.uk.checkpoint(), auditor.position) == [4, 5, 6]
        whole = auditor.position
        assert await read(auditor, hub.uk.checkpoint(0)) == []
        with pytest.raises(Rejected, match="ends before"):
            await read(auditor, hub.uk.checkpoint(4), whole)


@pytest.mark.parametrize(("until_ms", "count"), [(0, 0), (1, 1), (3_000, 3), (3_001, 4), (6_001, 7), (99_999, 7)])
async def test_only_what_was_received_before_a_moment_is_handed_on(
    hub: FakeHub, tmp_path: Path, until_ms: int, count: int
) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        auditor = await client.auditor(UK)
        assert await read(auditor, hub.uk.checkpoint(), until_ms=START_MS + until_ms) == list(range(count))
        assert auditor.position.range.size == count
        assert auditor.position.received_at_ms == (START_MS + 1_000 * (count - 1) if count else 0)


async def test_what_was_not_signed_is_found_out_at_the_latest_at_the_end(hub: FakeHub, tmp_path: Path) -> None:
    other = FakeHub()
    for _ in range(7):
        other.commit(statement(other))
        other.now += 1_000
    client, transport = client_of(hub, tmp_path)
    async with client:
        auditor = await client.auditor(UK)
        for until_ms in (None, START_MS + 2_001):
            with pytest.raises(VerificationFailed):
                await read(auditor, other.uk.checkpoint(), until_ms=until_ms)
        transport.spoil_leaves = lambda leaves: leaves[1:] or leaves
        with pytest.raises(VerificationFailed, match="it says it is"):
            await read(auditor, hub.uk.checkpoint())
        transport.spoil_leaves = lambda leaves: []
        with pytest.raises(Exception, match="shows no leaf"):
            await read(auditor, hub.uk.checkpoint())
        with pytest.raises(VerificationFailed):
            auditor.opened(sign_checkpoint(Checkpoint(UK, 7, b"x" * 32), hub.directory.key))


async def test_a_log_that_has_shrunk_or_forked_is_no_growth(hub: FakeHub, tmp_path: Path) -> None:
    client, _ = client_of(hub, tmp_path)
    async with client:
        auditor = await client.auditor(UK)
        assert (await auditor.check_grown(auditor.opened(hub.uk.checkpoint(3)))).size == 7
        forked = auditor.opened(sign_checkpoint(Checkpoint(UK, 3, b"x" * 32), hub.uk.key))
        with pytest.raises(VerificationFailed):
            await auditor.check_grown(forked)
        longer = auditor.opened(sign_checkpoint(Checkpoint(UK, 9, b"x" * 32), hub.uk.key))
        for asking in (auditor.check_grown(longer), read(auditor, longer.note)):
            with pytest.raises(VerificationFailed) as found:
                await asking
            assert found.value.reason is Reason.ROLLED_BACK


async def test_the_directory_is_told_as_it_was(hub: FakeHub, tmp_path: Path) -> None:
    before = hub.directory.checkpoint()
    renamed = hub.now
    hub.say(Member("alpha", "Another name", MemberClass.PLATFORM, (Role.PIPELINE, Role.LIAISON)))
    client, _ = client_of(hub, tmp_path)
    async with client:
        auditor = await client.auditor(UK)
        names = []
        for note, until_ms in ((b"", None), (b"", renamed), (before, None)):
            directory, read_to = await auditor.directory_at(note, until_ms=until_ms)
            names.append(directory.members["alpha"].display_name)
            assert read_to == (note or hub.directory.checkpoint())
        assert names == ["Another name", "Alpha", "Alpha"]
        wrong = Checkpoint(DIRECTORY, 3, b"x" * 32)
        for key in (hub.directory.key, hub.uk.key):
            with pytest.raises(VerificationFailed):
                await auditor.directory_at(sign_checkpoint(wrong, key))
        beyond = sign_checkpoint(Checkpoint(DIRECTORY, 99, b"x" * 32), hub.directory.key)
        with pytest.raises(VerificationFailed, match="more was signed"):
            await auditor.directory_at(beyond)
