"""The file of what waits for signatures: what was saved is what is read, or it is said that it is not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exchange.domain.bodies import Membership, State
from exchange.domain.proposals import Proposal
from exchange.errors import Fatal, Reason, Unavailable
from exchange.stores.proposals_file import ProposalFile, encoded, read_proposals
from tests.unit.builders import OPERATOR, SECOND_OPERATOR, UK, directory_header
from tests.unit.domain.test_proposals import BRAKE, proposal_of

HELD = [
    proposal_of(Membership("alpha", UK, State.ENDED), BRAKE, signers=(OPERATOR, SECOND_OPERATOR)),
    proposal_of(directory_header(BRAKE, publisher="other")),
]


async def test_what_was_saved_is_there_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "proposals"
    file = ProposalFile(path)
    assert await file.load() == []
    for held in (HELD, HELD[:1], []):
        await file.save(held)
        assert await ProposalFile(path).load() == held
        assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["proposals"]


async def test_whatever_is_changed_in_it_is_found_and_nothing_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "proposals"
    whole = encoded(HELD)
    for place in range(0, len(whole), 7):
        spoilt = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        path.write_bytes(spoilt)
        with pytest.raises(Fatal) as caught:
            await ProposalFile(path).load()
        assert str(path) in caught.value.message
        assert path.read_bytes() == spoilt
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(Fatal, match="proposals"):
            read_proposals(path)


def test_what_does_not_go_together_is_not_read(tmp_path: Path) -> None:
    path, one = tmp_path / "proposals", HELD[0]
    for wrong in (
        Proposal((), ()),
        Proposal(one.payloads[:1], one.headers[:1], one.signers),
        Proposal((b"\xff", one.payloads[1]), one.headers),
    ):
        path.write_bytes(encoded([wrong]))
        with pytest.raises(Fatal, match="cannot read"):
            read_proposals(path)


async def test_a_file_that_cannot_be_had_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "proposals"
    path.mkdir()
    with pytest.raises(Unavailable):
        await ProposalFile(path).save(HELD)
    with pytest.raises(Fatal) as caught:
        await ProposalFile(path).load()
    assert caught.value.reason is Reason.CORRUPT


async def test_who_gives_up_waiting_leaves_the_file_whole(tmp_path: Path) -> None:
    file = ProposalFile(tmp_path / "proposals")
    saving = asyncio.ensure_future(file.save(HELD))
    await asyncio.sleep(0)
    saving.cancel()
    await asyncio.wait((saving,))
    await file.save(HELD[:1])
    assert await file.load() == HELD[:1]
