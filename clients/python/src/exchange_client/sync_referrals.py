"""Referrals without an event loop: what `SyncExchangeClient.referrals` gives, for one community."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol, TypeVar

from exchange_client.in_flight import Said
from exchange_client.publisher import Publisher
from exchange_client.referrals import MemberContacts, NoteReport, ReferralReport
from exchange_client.referring import Parties
from exchange_client.transport.referrals import ReferralCalls

T = TypeVar("T")
_Reports = list[ReferralReport]


class Wait(Protocol):
    """Runs work to its end, and returns what it returns."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Block until it is done."""
        ...


class SyncReferrals:
    """One community's referrals, notes and desks, blocking. What is refused raises `ExchangeError`."""

    def __init__(self, origin: str, wait: Wait, calls: ReferralCalls, publisher: Callable[[str], Publisher]) -> None:
        """Use `SyncExchangeClient.referrals`. The publisher is opened by the first thing that is said."""
        self._origin = origin
        self._wait = wait
        self._calls = calls
        self._publisher = publisher

    def refer(
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
        """Refer a case to an authority, as `Publisher.refer`. Danger to life is no referral: call 999."""
        saying = self._publisher(self._origin).refer(
            authority,
            label=label,
            urgency=urgency,
            respond_by_ms=respond_by_ms,
            case_ref=case_ref,
            contact=contact,
            election=election,
            target_class=target_class,
            signal_ids=signal_ids,
            handover=handover,
        )
        return self._wait(saying)

    def acknowledge(self, referral: Parties, *, at_ms: int, reference: str = "") -> Said:
        """Say that we have it, as `Publisher.acknowledge_referral`."""
        return self._wait(
            self._publisher(self._origin).acknowledge_referral(referral, at_ms=at_ms, reference=reference)
        )

    def ask(self, referral: Parties, *, at_ms: int, respond_by_ms: int, reference: str = "") -> Said:
        """Say that we have a question, as `Publisher.ask`."""
        publisher = self._publisher(self._origin)
        return self._wait(publisher.ask(referral, at_ms=at_ms, respond_by_ms=respond_by_ms, reference=reference))

    def answer(self, referral: Parties, *, at_ms: int, reference: str = "") -> Said:
        """Say that we have answered, as `Publisher.answer`."""
        return self._wait(self._publisher(self._origin).answer(referral, at_ms=at_ms, reference=reference))

    def close(self, referral: Parties, outcome: int, *, at_ms: int, reference: str = "") -> Said:
        """Say that we are done with it, as `Publisher.close_referral`."""
        publisher = self._publisher(self._origin)
        return self._wait(publisher.close_referral(referral, outcome, at_ms=at_ms, reference=reference))

    def note(self, target: bytes, text: str, audience: Collection[str]) -> Said:
        """Write a short note, as `Publisher.note`."""
        return self._wait(self._publisher(self._origin).note(target, text, audience))

    def list(
        self,
        *,
        state: int = 0,
        unanswered_only: bool = False,
        open_only: bool = False,
        overdue_only: bool = False,
    ) -> _Reports:
        """Return ours, the newest first, as `ReferralCalls.list` yields them."""

        async def all_pages() -> _Reports:
            asked = self._calls.list(
                self._origin,
                state=state,
                unanswered_only=unanswered_only,
                open_only=open_only,
                overdue_only=overdue_only,
            )
            return [report async for report in asked]

        return self._wait(all_pages())

    def get(self, referral: bytes) -> ReferralReport:
        """Return one of ours. Raises `Rejected` (NOT_FOUND)."""
        return self._wait(self._calls.get(self._origin, referral))

    def notes(self, signal_id: bytes) -> tuple[NoteReport, ...]:
        """Return the notes on a dispute about a signal that we may read."""
        return self._wait(self._calls.notes(self._origin, signal_id))

    def contacts(self) -> tuple[MemberContacts, ...]:
        """Return the desks of the community's members."""
        return self._wait(self._calls.contacts(self._origin))
