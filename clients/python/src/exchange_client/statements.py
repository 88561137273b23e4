"""What is said about signals once they are in the ledger: taking back, erasing, thinking and doing, flagging.

Each is one statement, or several where it names more signals than one may. All of them go through the outbox: one that
was said is sent until the ledger has it, also by the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from exchange.domain.bodies import (
    AboutSignals,
    Body,
    Disposition,
    Erasure,
    Opinion,
    Quarantine,
    Release,
    Retraction,
)
from exchange.domain.life import MAX_TARGETS
from exchange.errors import Reason, Rejected
from exchange_client.in_flight import Said
from exchange_client.outbox import Outbox
from exchange_client.receipt import Receipt


def in_parts(body: AboutSignals) -> Iterator[AboutSignals]:
    """Yield as many bodies as its signals need, each id once; one where it names none."""
    ids = tuple(dict.fromkeys(body.targets))
    for at in range(0, len(ids) or 1, MAX_TARGETS):
        yield replace(body, targets=ids[at : at + MAX_TARGETS])


class Statements:
    """The part of a publisher that speaks about signals. What says nothing else raises `ExchangeError` when refused."""

    outbox: Outbox

    async def retract(
        self, signal_ids: Sequence[bytes] = (), *, case_ref: str = "", reason: int, decided_at_ms: int = 0
    ) -> list[Receipt]:
        """Take signals of ours back: these, or those of one of our cases that we have not taken back or replaced yet.

        Nothing is said, and nothing returned, where none of the case is left. ``reason`` is a `RetractionReason`.
        Raises `Rejected` (NOT_FOUND) when we have published nothing under the case.
        """
        return _receipts(await self.say_of(Retraction(tuple(signal_ids), reason, decided_at_ms), case_ref))

    async def erase(self, signal_ids: Sequence[bytes] = (), *, case_ref: str = "", reason: int) -> list[Receipt]:
        """Let salt and data of signals of ours leave every store. ``reason`` is an `ErasureReason`. As `retract`."""
        return _receipts(await self.say_of(Erasure(tuple(signal_ids), reason), case_ref))

    async def opine(self, signal_ids: Sequence[bytes], category: int, reason: int) -> list[Receipt]:
        """Say what we think of signals of others: an `OpinionCategory`, and the `OpinionReason` that it rests on."""
        return _receipts(await self.say_of(Opinion(tuple(signal_ids), category, reason)))

    async def dispose(
        self,
        signal_ids: Sequence[bytes],
        state: int,
        *,
        action: int = 0,
        reason: int = 0,
        matched_at_ms: int = 0,
        actioned_at_ms: int = 0,
    ) -> list[Receipt]:
        """Say what we did with signals of others: a `DispositionState`, with a `SourceAction` where we acted."""
        body = Disposition(tuple(signal_ids), state, action, reason, matched_at_ms, actioned_at_ms)
        return _receipts(await self.say_of(body))

    async def quarantine(self, member: str, from_index: int, reason: int) -> Receipt:
        """Flag a member's entries from an index on, as an operator. ``reason`` is a `QuarantineReason`."""
        return await self.say(Quarantine(member, from_index, reason))

    async def release(self, member: str) -> Receipt:
        """End a member's quarantine, as an operator."""
        return await self.say(Release(member))

    async def say_of(self, body: AboutSignals, case_ref: str = "") -> list[Said]:
        """Say something of any number of signals, or of those of one of our cases; return what became of each part.

        Nothing is said where a case has none left that it could be said of. Raises `Rejected` where it cannot be known
        what is meant, and `Distrusted`.
        """
        if case_ref:
            ids = await self._left_of(body, case_ref)
            if not ids:
                return []
            body = replace(body, targets=ids)
        return [await self.try_to_say(part) for part in in_parts(body)]

    async def try_to_say(self, body: Body) -> Said:
        """Publish one statement without records; return what became of it."""
        raise NotImplementedError

    async def say(self, body: Body, *, timeout_s: float | None = None) -> Receipt:
        """Publish one statement without records."""
        raise NotImplementedError

    async def _settled_earlier(self) -> None:
        """Return when what an earlier run left has been answered."""
        raise NotImplementedError

    async def _left_of(self, body: AboutSignals, case_ref: str) -> tuple[bytes, ...]:
        if body.targets:
            raise Rejected(Reason.INVALID, "name either signals, or one case of yours")
        if not isinstance(body, Retraction | Erasure):
            raise Rejected(Reason.INVALID, "a case is of your own signals: this is said of signals of others")
        # What an earlier run has said of this case already must not be said again.
        await self._settled_earlier()
        if not await self.outbox.signal_ids(case_ref):
            raise Rejected(
                Reason.NOT_FOUND,
                "nothing was published from here under this case",
                hint="a case is known to the client from whose state folder its signals were published",
            )
        return tuple(await self.outbox.not_ended(case_ref, erased=isinstance(body, Erasure)))


def _receipts(said: Sequence[Said]) -> list[Receipt]:
    """Return the receipts of all parts. Raises what was refused first, if anything was."""
    for each in said:
        if each.error is not None:
            raise each.error
    return [each.receipt for each in said if each.receipt is not None]
