"""An exchange to simulate in: founded once in a process, and copied for each run."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from exchange.codec_bodies import kind_of
from exchange.domain.bodies import Body, Community, Key, Member, Membership, State
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import CLASS_ROLES, MemberClass, Role
from exchange.domain.policy import Workload
from exchange.ledger.checkpoint import log_verifier
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.note import Verifier
from exchange.opening import found_exchange, genesis_statement, make_log
from exchange.publish.clock import WatchedClock
from exchange.stores.folders import Folders
from tests.e2e.drafts import Draft
from tests.oracle.hub import Clock, LiveHub, Wire
from tests.oracle.model import OPERATOR

NAME = "test.exchange"
DIRECTORY = f"{NAME}/{Origin.DIRECTORY_LOG}"
UK = f"{NAME}/uk"
PLATFORMS = ("alpha", "beta", "delta", "gamma")
#: When every run begins: a Tuesday in 2027.
BEGIN_MS = 1_800_000_000_000


@dataclass(frozen=True, slots=True)
class Founded:
    """An exchange on disk, and every key in it."""

    folder: Path
    pin: bytes
    keys: dict[tuple[str, Role], SigningKey]
    log_key: bytes

    @property
    def verifier(self) -> Verifier:
        """Who must have signed the community's checkpoints."""
        return log_verifier(UK, self.log_key)

    def copied_to(self, folder: Path) -> Founded:
        """Return a copy of it, to be changed."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)


def statement(rng: Random, now_ms: int, origin: str, member: str, body: Body) -> Draft:
    """Return something to say, made now."""
    return Draft(origin, member, kind_of(body), body, created_at_ms=now_ms, nonce=rng.randbytes(16))


async def found(folder: Path, clock: Clock) -> Founded:
    """Found the exchange: one operator, one community, four platforms in it."""
    rng = Random("founding")
    folders = Folders(folder / "data", folder / "keys")
    keys = {(OPERATOR, Role.OPERATOR): SigningKey(rng.randbytes(32))}
    genesis = genesis_statement(
        NAME,
        await make_log(folders, Origin(NAME, Origin.DIRECTORY_LOG)),
        OPERATOR,
        "The operator",
        keys[OPERATOR, Role.OPERATOR],
        now_ms=clock.now_ms,
        nonce=rng.randbytes(16),
    )
    pin = await found_exchange(folders, genesis, WatchedClock(clock.read, clock.read))
    log_key = (await make_log(folders, Origin(NAME, "uk"))).public_key
    hub = LiveHub(NAME, folder, clock, 1 << 20)
    await hub.start()
    wire = Wire(hub, Workload(OPERATOR, Role.OPERATOR))
    bodies: list[Body] = [Community(UK, "The UK", log_key, 0, 400, 365, 30, public_entries=True)]
    for name in PLATFORMS:
        roles = sorted(CLASS_ROLES[MemberClass.PLATFORM])
        bodies.append(Member(name, name.title(), MemberClass.PLATFORM, tuple(map(int, roles))))
        for role in roles:
            keys[name, role] = SigningKey(rng.randbytes(32))
            bodies.append(Key(name, role, keys[name, role].public_key, State.ACTIVE))
        bodies.append(Membership(name, UK, State.ACTIVE))
    for body in bodies:
        draft = statement(rng, clock.now_ms, DIRECTORY, OPERATOR, body)
        await wire.publish(draft.sign(keys[OPERATOR, Role.OPERATOR]))
    while UK not in hub.app._logs:
        await asyncio.sleep(0.01)
    await hub.stop()
    return Founded(folder, pin, keys, log_key)
