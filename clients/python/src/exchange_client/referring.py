"""What is said to named members: referrals to an authority, what becomes of them, and notes.

Like everything else it goes through the outbox. Records stand there in clear, as those of signals do.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from exchange.domain.addressed import AddressedRecord, NoteRecord, ReferralRecord, ReferralState, UpdateRecord
from exchange.domain.statement import Statement
from exchange.errors import Fatal, Rejected
from exchange_client.in_flight import Said
from exchange_client.signals import Drafter

#: Records are made without a salt: it is put in when they are signed.
UNSALTED = b""


class Parties(Protocol):
    """A referral, as far as one speaks of it: a `ReferralReport` is one."""

    @property
    def id(self) -> bytes:
        """Its id."""
        ...

    @property
    def parties(self) -> Collection[str]:
        """Its two members."""
        ...


class Referring:
    """The part of a publisher that speaks to named members. What is refused raises `ExchangeError`."""

    _drafter: Drafter

    async def refer(
        self,
        authority: str,
        *,
        label: int,
        urgency: int,
        respond_by_ms: int,
        case_ref: str,
        contact: str,
        election: bytes = b"",
        target_class: int = 0,
        signal_ids: Collection[bytes] = (),
        handover: str = "",
    ) -> Said:
        """Refer a case to an authority. What comes back has the referral's id.

        Never content: a reference of ours, our desk to ask for the material (``contact``: mailto, https or tel), and
        the address of our own where it is handed over. Danger to life is no referral: call 999.
        """
        record = ReferralRecord(
            UNSALTED,
            authority,
            label,
            urgency,
            respond_by_ms,
            case_ref,
            election,
            target_class,
            tuple(signal_ids),
            contact,
            handover,
        )
        return _in_the_ledger(await self.say_to(record, {self._drafter.member, authority}))

    async def acknowledge_referral(self, referral: Parties, *, at_ms: int, reference: str = "") -> Said:
        """Say, as the authority, that we have it."""
        return await self._update(referral, ReferralState.ACKNOWLEDGED, at_ms=at_ms, reference=reference)

    async def ask(self, referral: Parties, *, at_ms: int, respond_by_ms: int, reference: str = "") -> Said:
        """Say, as the authority, that we have a question; the question itself is a note."""
        state = ReferralState.ASKED
        return await self._update(referral, state, at_ms=at_ms, reference=reference, respond_by_ms=respond_by_ms)

    async def answer(self, referral: Parties, *, at_ms: int, reference: str = "") -> Said:
        """Say, as who referred it, that we have answered."""
        return await self._update(referral, ReferralState.ANSWERED, at_ms=at_ms, reference=reference)

    async def close_referral(self, referral: Parties, outcome: int, *, at_ms: int, reference: str = "") -> Said:
        """Say, as the authority, that we are done with it: a `ReferralOutcome`."""
        return await self._update(referral, ReferralState.CLOSED, at_ms=at_ms, reference=reference, outcome=outcome)

    async def note(self, target: bytes, text: str, audience: Collection[str]) -> Said:
        """Write a short note on a referral (to its parties), or on a dispute about a signal (to some of those in it).

        Plain text of at most 1,000 characters. We are in its audience too.
        """
        return _in_the_ledger(await self.say_to(NoteRecord(UNSALTED, target, text), {self._drafter.member, *audience}))

    async def _update(
        self,
        referral: Parties,
        state: ReferralState,
        *,
        at_ms: int,
        reference: str,
        outcome: int = 0,
        respond_by_ms: int = 0,
    ) -> Said:
        record = UpdateRecord(UNSALTED, referral.id, state, at_ms, outcome, reference, respond_by_ms)
        return _in_the_ledger(await self.say_to(record, referral.parties))

    async def say_to(self, record: AddressedRecord, audience: Collection[str]) -> Said:
        """Publish one record for named members; return what became of it, and whether the outbox keeps it."""
        try:
            statement = self._drafter.addressed(record, audience)
        except Rejected as error:
            return Said(None, None, error, record=record)
        return await self.try_to_submit(statement)

    async def try_to_submit(self, statement: Statement) -> Said:
        """Publish a statement; return what became of it."""
        raise NotImplementedError


def _in_the_ledger(said: Said) -> Said:
    """Return what has a receipt. Raises what was refused."""
    if said.error is not None:
        raise said.error
    if said.receipt is None:
        raise Fatal("neither a receipt nor an error")
    return said
