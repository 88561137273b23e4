"""What is said about signals once they are in the ledger: taking back, erasing, thinking and doing, flagging.

Each is one statement, or several where it names more signals than one may. All of them go through the outbox: one that
was said is sent until the ledger has it, also by the next run.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import IntEnum
from weakref import WeakValueDictionary

from exchange.domain.bodies import (
    AboutSignals,
    Body,
    Disposition,
    DispositionReason,
    DispositionState,
    Erasure,
    ErasureReason,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
    SourceAction,
)
from exchange.domain.life import MAX_TARGETS
from exchange.errors import ExchangeError, InvalidStatement, Reason, Rejected, Unavailable
from exchange_client.in_flight import InFlight, Said, settled
from exchange_client.outbox import Outbox
from exchange_client.receipt import Receipt
from exchange_client.signals import Drafter
from exchange_client.transport import Transport

#: Where a violation names one of the signals that a statement is about.
_OF_A_TARGET = re.compile(r"[a-z]+\.targets\[(\d+)\]")


def in_parts(body: AboutSignals) -> Iterator[AboutSignals]:
    """Yield as many bodies as its signals need, each id once; one where it names none."""
    ids = tuple(dict.fromkeys(body.targets))
    for at in range(0, len(ids) or 1, MAX_TARGETS):
        yield replace(body, targets=ids[at : at + MAX_TARGETS])


class Statements:
    """The part of a publisher that speaks about signals. What says nothing else raises `ExchangeError` when refused."""

    outbox: Outbox
    _transport: Transport
    _drafter: Drafter
    #: By statement id.
    _waiting: dict[bytes, InFlight]

    def __init__(self) -> None:
        """Nothing is being said of any case."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def retract(
        self, signal_ids: Sequence[bytes] = (), *, case_ref: str = "", reason: int, decided_at_ms: int = 0
    ) -> list[Receipt]:
        """Take signals of ours back: these, or those of one of our cases that we have not taken back or replaced yet.

        Nothing is said, and nothing returned, where none of the case is left. ``reason`` is a `RetractionReason`.
        Of a case, one signal that is refused keeps no other from being taken back. Raises `Rejected` (NOT_FOUND) when
        we have published nothing under the case.
        """
        _check(reason=(reason, RetractionReason))
        return _receipts(await self.say_of(Retraction(tuple(signal_ids), reason, decided_at_ms), case_ref))

    async def erase(self, signal_ids: Sequence[bytes] = (), *, case_ref: str = "", reason: int) -> list[Receipt]:
        """Let salt and data of signals of ours leave every store. ``reason`` is an `ErasureReason`. As `retract`."""
        _check(reason=(reason, ErasureReason))
        return _receipts(await self.say_of(Erasure(tuple(signal_ids), reason), case_ref))

    async def opine(self, signal_ids: Sequence[bytes], category: int, reason: int) -> list[Receipt]:
        """Say what we think of signals of others: an `OpinionCategory`, and the `OpinionReason` that it rests on."""
        _check(category=(category, OpinionCategory), reason=(reason, OpinionReason))
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
        _check(state=(state, DispositionState), action=(action, SourceAction), reason=(reason, DispositionReason))
        body = Disposition(tuple(signal_ids), state, action, reason, matched_at_ms, actioned_at_ms)
        return _receipts(await self.say_of(body))

    async def quarantine(self, member: str, from_index: int, reason: int) -> Receipt:
        """Flag a member's entries from an index on, as an operator. ``reason`` is a `QuarantineReason`."""
        _check(reason=(reason, QuarantineReason))
        return await self.say(Quarantine(member, from_index, reason))

    async def release(self, member: str) -> Receipt:
        """End a member's quarantine, as an operator."""
        return await self.say(Release(member))

    async def say_of(self, body: AboutSignals, case_ref: str = "") -> list[Said]:
        """Say something of any number of signals, or of those of one of our cases; return what became of each part.

        Nothing is said where a case has none left that it could be said of. Raises `Rejected` where it cannot be known
        what is meant, and `Distrusted`.
        """
        if not case_ref:
            return [await self.try_to_say(part) for part in in_parts(body)]
        # Of one case one thing is said at a time: what is said next knows what it has ended.
        async with self._turns.setdefault(case_ref, asyncio.Lock()):
            ids = await self._left_of(body, case_ref)
            parts = in_parts(replace(body, targets=ids)) if ids else ()
            return [said for part in parts for said in await self._say_what_can_be(part)]

    async def _say_what_can_be(self, body: AboutSignals) -> list[Said]:
        """Say something of signals of a case, without those that it is refused of; return what became of it.

        Those that somebody else has ended by now need no more: an operator, or we from another state folder.
        """
        refused: list[Said] = []
        while body.targets:
            said = await self.try_to_say(body)
            named = _named_by(said.error, body.targets)
            if not named:
                return [said, *refused]
            over = await self._ended_by_now(body, named)
            other = tuple(target for target in named if target not in over)
            if other:
                refused.append(replace(said, body=replace(body, targets=other)))
            body = replace(body, targets=tuple(target for target in body.targets if target not in named))
        return refused

    async def _ended_by_now(self, body: AboutSignals, ids: Collection[bytes]) -> set[bytes]:
        """Return which of these the ledger has as taken back, or erased, as the hub tells it."""
        over = set()
        for id_ in ids:
            with suppress(Rejected, Unavailable):
                known = await self._transport.reports.signal(self._drafter.origin, id_)
                if (known.erased_at if isinstance(body, Erasure) else known.retracted_at) is not None:
                    over.add(id_)
        return over

    async def try_to_say(self, body: Body) -> Said:
        """Publish one statement without records; return what became of it."""
        raise NotImplementedError

    async def say(self, body: Body, *, timeout_s: float | None = None) -> Receipt:
        """Publish one statement without records."""
        raise NotImplementedError

    async def _left_of(self, body: AboutSignals, case_ref: str) -> tuple[bytes, ...]:
        if body.targets:
            raise Rejected(Reason.INVALID, "name either signals, or one case of yours")
        if not isinstance(body, Retraction | Erasure):
            raise Rejected(Reason.INVALID, "a case is of your own signals: this is said of signals of others")
        ids = await self.outbox.signal_ids(case_ref)
        if not ids:
            raise Rejected(
                Reason.NOT_FOUND,
                "nothing was published from here under this case",
                hint="a case is known to the client from whose state folder its signals were published",
            )
        # What has been said of them already must not be said again, and nothing before they are in the ledger.
        about = frozenset(ids)
        for waiting in [each for each in self._waiting.values() if about & each.about]:
            await settled(waiting.answer)
        return tuple(await self.outbox.not_ended(case_ref, erased=isinstance(body, Erasure)))


def _check(**given: tuple[object, type[IntEnum]]) -> None:
    """Raise `Rejected` for a word where a number of an enum belongs, and for a member of another enum."""
    for name, (value, words) in given.items():
        if not isinstance(value, int) or (isinstance(value, IntEnum) and not isinstance(value, words)):
            known = ", ".join(words.__members__)
            raise Rejected(
                Reason.INVALID,
                f"`{name}` must be of the enum {words.__name__} (exchange.domain.bodies)",
                hint=f"such as {words.__name__}.{next(iter(words)).name}; one of: {known}",
            )


def _named_by(error: ExchangeError | None, targets: Sequence[bytes]) -> Mapping[bytes, None]:
    """Return the signals that a statement was refused for, where it was for nothing else."""
    if not isinstance(error, InvalidStatement):
        return {}
    found = [_OF_A_TARGET.fullmatch(violation.field) for violation in error.violations]
    places = [int(each[1]) if each else len(targets) for each in found]
    return dict.fromkeys(targets[place] for place in places) if max(places) < len(targets) else {}


def _receipts(said: Sequence[Said]) -> list[Receipt]:
    """Return the receipts of all parts. Raises what was refused first, if anything was."""
    for each in said:
        if each.error is not None:
            raise each.error
    return [each.receipt for each in said if each.receipt is not None]
