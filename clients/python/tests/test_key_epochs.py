"""Key epochs as a client believes them: only what the ledger proves, from who may say it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of, signed, tree_path
from exchange import codec
from exchange.domain.bodies import (
    Key,
    KeyEpoch,
    Member,
    Membership,
    State,
)
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.statement import Header
from exchange.errors import ExchangeError, VerificationFailed
from exchange.ledger.ed25519 import SigningKey
from exchange_client.wire import ProvenLeaf

SERVICE = SigningKey(b"service".ljust(32, b"."))
POINT = b"\x02" + bytes(32)


class Hub(FakeHub):
    """A hub with a pseudonym service that has announced an epoch between other entries."""

    def __init__(self) -> None:
        super().__init__()
        day_ms = 86_400_000
        self.say(Member("oprf", "Oprf", MemberClass.OPERATOR, (Role.PSEUDONYMS,)))
        self.say(Key("oprf", Role.PSEUDONYMS, SERVICE.public_key, State.ACTIVE))
        self.say(Membership("oprf", UK, State.ACTIVE))
        self.first = KeyEpoch(1, State.ACTIVE, POINT, self.now, self.now + 365 * day_ms)
        self.second = KeyEpoch(2, State.ACTIVE, POINT, self.now + day_ms, self.now + 400 * day_ms)
        for body in (self.second, self.first):  # the second comes first: the first is then too late
            self.tell(body)
        self.tell(replace(self.second, state=State.ENDED, begins_ms=0, ends_ms=0))

    def tell(self, body: KeyEpoch, key: SigningKey = SERVICE, publisher: str = "oprf") -> int:
        nonce = len(self.uk.entries).to_bytes(16, "big")
        header = Header(UK, codec.kind_of(body), publisher, self.now, nonce, (), body)
        return self.commit(signed(header, key))[0]

    def proven(self, *indexes: int) -> tuple[tuple[ProvenLeaf, ...], bytes]:
        log = self.uk
        leaves = [ProvenLeaf(log.entries[at].leaf, at, tuple(tree_path(at, log.hashes))) for at in indexes]
        return tuple(leaves), log.checkpoint()


async def asked(hub: Hub, folder: Path, answer: tuple[tuple[ProvenLeaf, ...], bytes]) -> Any:
    client, transport = client_of(hub, folder)

    async def leaves(origin: str) -> object:
        assert origin == UK
        return answer

    transport.key_epoch_leaves = leaves
    async with client:
        return await client.key_epochs(UK)


async def test_the_fold_is_that_of_the_proven_leaves(tmp_path: Path) -> None:
    hub = Hub()
    epochs = await asked(hub, tmp_path, hub.proven(0, 2))
    assert list(epochs.entries) == [2]
    assert (epochs.entries[2].epoch, epochs.entries[2].publisher) == (hub.second, "oprf")
    assert (epochs.entries[2].announced_at, epochs.entries[2].destroyed_at) == (0, 2)


async def test_what_does_not_hold_is_refused(tmp_path: Path) -> None:
    hub = Hub()
    forged = hub.tell(replace(hub.first, number=7), hub.keys["alpha"], "alpha")
    (one, other), note = hub.proven(0, 2)
    answers = {
        "wrong order": ((other, one), note),
        "twice": ((one, one), note),
        "another place": ((replace(one, index=1),), note),
        "another path": ((replace(one, proof=other.proof),), note),
        "beyond the tree": ((replace(one, index=99),), note),
        "another leaf": ((replace(one, leaf=other.leaf),), note),
        "by a pipeline": hub.proven(forged),
        "not signed": ((one,), note.replace(b"\n", b"\nx\n", 1)),
    }
    for number, (name, answer) in enumerate(answers.items()):
        with pytest.raises(ExchangeError) as caught:
            await asked(hub, tmp_path / str(number), answer)
        assert isinstance(caught.value, VerificationFailed), name
