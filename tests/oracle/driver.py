"""One run: a hub, four platforms, and what they do; after each step the product and the model agree, or it ends."""

from __future__ import annotations

from collections import Counter
from random import Random

from exchange import codec
from exchange.domain.bodies import Body
from exchange.domain.kinds import KINDS, Role
from exchange.domain.policy import Workload
from exchange.errors import OverQuota, Rejected
from exchange.v1 import publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import check_receipt
from tests.e2e.drafts import Draft
from tests.e2e.patience import patiently
from tests.oracle.founding import NAME, PLATFORMS, UK, Founded, statement
from tests.oracle.hub import Clock, LiveHub, Wire
from tests.oracle.model import OPERATOR, Model
from tests.oracle.platforms import Platform, directory_reader


class Driver:
    """What the operations work with."""

    def __init__(self, rng: Random, founded: Founded, clock: Clock) -> None:
        self.rng = rng
        self.clock = clock
        self.founded = founded
        self.model = Model(PLATFORMS, clock.now_ms, inside=set(PLATFORMS))
        self.hub = LiveHub(NAME, founded.folder, clock, rng.choice((2_048, 16_384, 1 << 20)))
        directory = directory_reader(founded, Wire(self.hub, Workload(OPERATOR, Role.OPERATOR)))
        self.platforms = {name: Platform(name, self.hub, founded, directory, clock) for name in PLATFORMS}
        #: What platforms' content is about: few values, so that several signals are about the same.
        self.values = [(rng.choice((1, 5)), rng.randbytes(32)) for _ in range(16)]
        #: How often each kind of step was taken.
        self.steps: Counter[str] = Counter()
        #: Statements that may be sent again.
        self.sent: list[tuple[str, Role, pb.Statement, int]] = []

    def wire(self, member: str, role: Role = Role.PIPELINE) -> Wire:
        """Return a workload's way to the hub."""
        return Wire(self.hub, Workload(member, role))

    def someone(self) -> str:
        """Return a platform, mostly one that may speak now."""
        speaking = [name for name in PLATFORMS if self.model.may_speak(name)]
        return self.rng.choice(speaking if speaking and self.rng.random() < 0.9 else PLATFORMS)

    def speaker(self, member: str) -> Role:
        """Return in which role a member speaks this time."""
        if member == OPERATOR:
            return Role.OPERATOR
        return Role.LIAISON if self.rng.random() < 0.15 else Role.PIPELINE

    def signed(self, draft: Draft, role: Role) -> pb.Statement:
        """Return a draft, signed by its member."""
        return draft.sign(self.founded.keys[draft.member, role])

    def draft(self, member: str, body: Body, *, origin: str = UK, created_ms: int | None = None) -> Draft:
        """Return something to say, made now."""
        at_ms = self.clock.now_ms if created_ms is None else created_ms
        return statement(self.rng, at_ms, origin, member, body)

    async def offer(self, draft: Draft, role: Role) -> publish_pb2.Receipt | None:
        """Say it; return the verified receipt, or None where it was refused."""
        return await self.send(draft.member, role, self.signed(draft, role))

    async def send(self, member: str, role: Role, message: pb.Statement) -> publish_pb2.Receipt | None:
        """Publish a statement; return the verified receipt, or None where it was refused."""
        wire = self.wire(member, role)
        try:
            receipt = await patiently(lambda: wire.publish(message))
        except (Rejected, OverQuota):
            return None
        if codec.decode_header(message.payload, strict=True).origin == UK:
            check_receipt(receipt, message, self.founded.verifier)
        return receipt

    async def say(self, draft: Draft, role: Role, *, taken: bool) -> bool:
        """Say it, and hold whether it is taken against what the model says. Return that."""
        size = len(self.model.ledger)
        message = self.signed(draft, role)
        receipt = await self.send(draft.member, role, message)
        words = f"{draft.member} as {role.word}: {draft.body}"
        assert (receipt is not None) == taken, f"{'refused' if taken else 'taken'}, against what is right: {words}"
        if receipt is None:
            self.steps[f"({KINDS[draft.kind].name} refused)"] += 1
            return False
        assert receipt.index == size, f"entry {receipt.index} was given out where {size} was next"
        self.sent.append((draft.member, role, message, size))
        return True

    def advance(self, ms: int) -> None:
        """Move the clock."""
        self.clock.now_ms += ms
        self.model.now_ms = self.clock.now_ms


class Found(Exception):
    """The product and the model differ."""

    def __init__(self, step: int, operation: str, cause: BaseException) -> None:
        super().__init__(f"step {step}, {operation}: {type(cause).__name__}: {cause}")
        self.step = step
