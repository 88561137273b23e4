"""What waits at this hub for operators' signatures. The hub signs none of it, and says none of it.

It is kept in a file, for two operators may be in two time zones: a change is durable before it is answered. What is in
the ledger by now, and what is too old to be said, is gone. A signature is verified, and what is signed is judged again,
before it is taken: whoever signs last learns then that something cannot be said any more, and not when it is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from exchange.domain.directory import Directory, KeyEntry
from exchange.domain.kinds import KINDS, Role
from exchange.domain.policy import Workload, may_cosign
from exchange.domain.proposals import (
    MAX_SIGNERS,
    Proposal,
    Signer,
    counting,
    expires_at_ms,
    require_room,
    signer_of,
)
from exchange.domain.statement import HEADER_TYPE, Header, Signature, statement_id
from exchange.errors import Denied, Reason, Rejected, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.dsse import pae
from exchange.ports import ProposalBook
from exchange.publish.intake import Intake
from exchange.publish.turns import Turns

_log = structlog.get_logger()

#: What judging one statement costs, and verifying one signature, in the measure of a turn's work: records checked.
_JUDGING_WORK = 100
_SIGNATURE_WORK = 20


class Logs(Protocol):
    """What is asked of this hub's logs."""

    async def up_to_date(self, origin: str) -> None:
        """Return once whatever a statement of this log is judged by has read all of it. Raises `Unavailable`."""
        ...

    async def holds(self, origin: str, statement_id: bytes) -> bool:
        """Whether a statement is in a log."""
        ...


class Proposals:
    """All that wait at this hub."""

    def __init__(
        self,
        book: ProposalBook,
        intake: Intake,
        directory: Callable[[], Directory],
        logs: Logs,
        turns: Turns,
        *,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``directory`` returns the present view, and raises `Unavailable` where it is stale.

        ``count`` is told what becomes of proposals: prepared, signed, withdrawn, expired, published.
        """
        self._book = book
        self._intake = intake
        self._directory = directory
        self._logs = logs
        self._turns = turns
        self._count = count
        #: One change at a time, from what it is judged by to its file.
        self._changing = asyncio.Lock()
        #: By id, the oldest first; None before the file has been read.
        self._held: dict[bytes, Proposal] | None = None

    async def prepare(self, workload: Workload, payloads: Sequence[bytes]) -> Proposal:
        """Keep statements to be signed, once all of them could be said in their order.

        Raises `OverQuota` where too much waits already, `Fatal` where the file is damaged, and as publishing does.
        """
        async with self._changing:
            require_room(list((await self._waiting()).values()), workload.member, payloads)
        # Judged without keeping others waiting: whoever asks for much waits behind itself.
        made = Proposal(tuple(payloads), await self._judged(workload, workload, payloads))
        async with self._changing:
            held = await self._waiting()
            require_room(list(held.values()), workload.member, payloads)
            await self._keep({**held, made.id: made})
            self._tell("prepared", made, workload.member)
            return made

    async def sign(self, workload: Workload, id_: bytes, signatures: Sequence[Signature]) -> Proposal:
        """Add the signatures of one of the caller's keys. Raises `Rejected`, `VerificationFailed`, and as `prepare`."""
        proposal = await self.get(id_)
        signer = signer_of(proposal, signatures)
        key = self._require_place(workload, proposal, signer)
        await self._turns.take(workload.member, _SIGNATURE_WORK * len(signatures))
        for payload, signature in zip(proposal.payloads, signer.signatures, strict=True):
            ed25519.verify(key.public_key, signature, pae(HEADER_TYPE, payload))
        await self._require_unsaid(proposal)
        await self._judged(workload, Workload(proposal.publisher, Role.OPERATOR), proposal.payloads)
        async with self._changing:
            held = await self._waiting()
            # Who else has signed it meanwhile is in it; what is signed is the same, for it has the same id.
            proposal = _one_of(held, id_)
            await self._require_unsaid(proposal)
            self._require_place(workload, proposal, signer)
            # Those whose keys do not count any more leave their places.
            counts = [each for each, _ in counting(self._directory(), proposal)]
            signed = replace(proposal, signers=(*counts, signer))
            await self._keep({**held, id_: signed})
            self._tell("signed", signed, workload.member, key=key.key_id.hex()[:16])
            return signed

    def _require_place(self, workload: Workload, proposal: Proposal, signer: Signer) -> KeyEntry:
        """Return the key of a signer that may be added now. Raises `Rejected`."""
        directory = self._directory()
        key = may_cosign(directory, workload, signer.key_id)
        counts = {each.key_id for each, _ in counting(directory, proposal)}
        if key.key_id in counts:
            raise VerificationFailed(Reason.WRONG_KEY, "this key has signed it already")
        if len(counts) >= MAX_SIGNERS:
            raise Rejected(Reason.TOO_LARGE, f"it has the {MAX_SIGNERS} signatures that a statement may have")
        return key

    async def all(self) -> list[Proposal]:
        """Return all that wait, the oldest first. Raises `Fatal` where the file is damaged."""
        async with self._changing:
            return list((await self._waiting()).values())

    async def get(self, id_: bytes) -> Proposal:
        """Return one. Raises `Rejected` (NOT_FOUND), and as `all`."""
        async with self._changing:
            return _one_of(await self._waiting(), id_)

    async def withdraw(self, workload: Workload, id_: bytes) -> None:
        """Forget one that is in the caller's name. Raises `Rejected`, and as `all`."""
        async with self._changing:
            held = await self._waiting()
            proposal = _one_of(held, id_)
            if proposal.publisher != workload.member:
                raise Denied(
                    f"it is in the name of {proposal.publisher}, which alone can withdraw it",
                    hint="leave it unsigned: it ends by itself",
                )
            await self._keep({key: each for key, each in held.items() if key != id_})
            self._tell("withdrawn", proposal, workload.member)

    async def _waiting(self) -> dict[bytes, Proposal]:
        """Return what still waits. What has ended leaves the file with the next change."""
        if self._held is None:
            self._held = {each.id: each for each in await self._book.load()}
        directory, now_ms, left = self._directory(), self._intake.now_ms(), dict[bytes, Proposal]()
        for id_, each in self._held.items():
            if now_ms > expires_at_ms(directory, each):
                self._tell("expired", each, each.publisher)
            elif await self._is_said_whole(each):
                self._tell("published", each, each.publisher)
            else:
                left[id_] = each
        self._held = left
        return left

    async def _is_said(self, proposal: Proposal, place: int) -> bool:
        return await self._logs.holds(proposal.headers[place].origin, statement_id(proposal.payloads[place]))

    async def _is_said_whole(self, proposal: Proposal) -> bool:
        for place in reversed(range(len(proposal.payloads))):  # the last one is mostly enough to know
            if not await self._is_said(proposal, place):
                return False
        return True

    async def _require_unsaid(self, proposal: Proposal) -> None:
        """Return if none of it is in the ledger: there the signatures stay what they are. Raises `Rejected`."""
        for place in range(len(proposal.payloads)):
            if await self._is_said(proposal, place):
                raise Rejected(
                    Reason.CONFLICT,
                    "a part of it is in the ledger already, with the signatures that it had",
                    hint=f"{proposal.publisher} publishes the rest of it as it is",
                )

    async def _judged(self, caller: Workload, publisher: Workload, payloads: Sequence[bytes]) -> tuple[Header, ...]:
        """Return what these bytes say, if they could all be said in their order. Raises as publishing does."""
        headers: list[Header] = []
        after: Directory | None = None
        for payload in payloads:
            await self._turns.take(caller.member, _JUDGING_WORK)
            header = self._intake.read_unsigned(caller.member, payload)
            if header.origin != self._directory().origin:
                await self._logs.up_to_date(header.origin)
            after = self._intake.foresee(publisher, header, payload, after)
            headers.append(header)
        return tuple(headers)

    async def _keep(self, held: dict[bytes, Proposal]) -> None:
        """Make this what waits, durably. Raises `Unavailable`; then the file says what is kept."""
        self._held = None
        await self._book.save(list(held.values()))
        self._held = held

    def _tell(self, what: str, proposal: Proposal, member: str, **more: str) -> None:
        self._count(what)
        kinds = [KINDS[header.kind].name for header in proposal.headers]
        _log.info("proposal", became=what, proposal=proposal.id.hex()[:16], member=member, kinds=kinds, **more)


def _one_of(held: dict[bytes, Proposal], id_: bytes) -> Proposal:
    found = held.get(id_)
    if found is None:
        raise Rejected(
            Reason.NOT_FOUND,
            "no such proposal waits at this hub",
            hint="it was published or withdrawn, its time is over, or it waits at another hub",
        )
    return found
