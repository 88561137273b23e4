"""What the oracle is shown to find: the conformance kit's mutants, and some of the hub's own rules turned wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from exchange.domain import debts
from exchange.domain.bodies import Disposition, DispositionState, Retraction, SignalHeader
from exchange.domain.life import SignalFacts
from exchange.domain.policy import Sight
from exchange.fanout.tail import Tail
from exchange.ledger.merkle import CompactRange
from exchange.ports import ToldEntry
from exchange.stores.facts import FactsFile
from exchange_client import known_signals
from exchange_client.delivery import Delivery
from exchange_client.subscriber import Subscriber
from tests.conformance import mutants
from tests.conformance.case import Mutant

Patch = pytest.MonkeyPatch


def suspended_members_read_on(patch: Patch) -> None:
    """A suspension stops what a member says, not what it is shown."""
    patch.setattr("exchange.api.logs.may_subscribe", lambda *_, **__: Sight.RECORDS)
    patch.setattr("exchange.api.feed.may_subscribe", lambda *_, **__: Sight.RECORDS)


def audience_of_those_who_left(patch: Patch) -> None:
    """Whoever is in a community now was given all that was ever said in it."""

    def could_see(directory: Any, origin: str, member: str, facts: SignalFacts, **_: Any) -> bool:
        return directory.in_community(member, origin) and (facts.audience is None or member in facts.audience)

    for module in ("exchange.domain.life", "exchange.api.reports", "exchange.api.directory"):
        patch.setattr(f"{module}.could_see", could_see)


def erasure_that_memory_forgets(patch: Patch) -> None:
    """What is erased leaves the disk, and stays among the newest entries in memory."""

    async def nothing(self: Tail, indices: Sequence[int]) -> None:
        self.erasures += 1

    patch.setattr(Tail, "erased", nothing)


def _taken(patch: Patch, change: Any) -> None:
    take = FactsFile.take

    async def changed(self: FactsFile, entries: Sequence[ToldEntry], place: CompactRange) -> None:
        await take(self, [change(each) for each in entries], place)

    patch.setattr(FactsFile, "take", changed)


def debts_of_the_first_target(patch: Patch) -> None:
    """Of a retraction of several signals only the first opens debts, and is known as taken back."""

    def first(entry: ToldEntry) -> ToldEntry:
        body = entry.header.body
        if isinstance(body, Retraction):
            return replace(entry, header=replace(entry.header, body=replace(body, targets=body.targets[:1])))
        return entry

    _taken(patch, first)


def lag_of_what_came_late(patch: Patch) -> None:
    """What was said late counts as lag like everything else."""
    _taken(patch, lambda entry: replace(entry, late=False))


def upholding_that_is_not_heard(patch: Patch) -> None:
    """A member that upholds what it did still owes an answer."""
    debt_of = debts.debt_of

    def unheard(signal: Any, ending: Any, member: str, facts: Any, said: Any, **late: Any) -> Any:
        before = replace(said, index=0) if said is not None and said.state == DispositionState.UPHELD else said
        return debt_of(signal, ending, member, facts, before, **late)

    patch.setattr("exchange.api.reports.debt_of", unheard)


def last_word_of_the_first(patch: Patch) -> None:
    """Of a member's dispositions of a signal the first one counts."""
    seen = set[tuple[str, bytes]]()

    def only_new(entry: ToldEntry) -> ToldEntry:
        body = entry.header.body
        if not isinstance(body, Disposition):
            return entry
        keys = {(entry.header.publisher, target): target for target in body.targets}
        new = tuple(target for key, target in keys.items() if key not in seen)
        seen.update(keys)
        return replace(entry, header=replace(entry.header, body=replace(body, targets=new)))

    _taken(patch, only_new)


def position_stored_too_early(patch: Patch) -> None:
    """A subscriber counts what it hands over as processed before it is."""
    stream = Subscriber._stream

    async def eager(self: Subscriber, backoff: Any) -> Any:
        async for delivery in stream(self, backoff):
            if self._in_hand is not None:
                self._acknowledged = self._in_hand[1]
            yield delivery

    patch.setattr(Subscriber, "_stream", eager)


def echoes_that_corroborate(patch: Patch) -> None:
    """Whoever repeats what it was told counts as another who says it."""
    row = known_signals.statement_row

    def timeless(delivery: Delivery, header: SignalHeader) -> known_signals.StatementRow:
        return (*row(delivery, header)[:-1], 0)

    patch.setattr("exchange_client.matcher.statement_row", timeless)


_OF_THE_KIT = (
    mutants.matcher_that_only_adds,
    mutants.hub_that_filters_retractions,
    mutants.eraser_that_notes_and_keeps,
    mutants.matcher_that_needs_the_record_to_replace,
    mutants.matcher_that_merges,
    mutants.hub_that_knows_no_repeats,
    mutants.empty_audience_is_everyone,
    mutants.audience_that_is_not_asked,
    mutants.pages_that_forget_the_audience,
    mutants.pages_cut_by_time,
    mutants.filter_of_the_first_pull,
    mutants.cut_over_that_skips,
    mutants.cut_over_that_reorders,
    mutants.subscriber_that_resumes_at_the_present,
    mutants.view_that_begins_where_it_wakes,
)
_OUR_OWN = (
    suspended_members_read_on,
    audience_of_those_who_left,
    erasure_that_memory_forgets,
    debts_of_the_first_target,
    lag_of_what_came_late,
    upholding_that_is_not_heard,
    last_word_of_the_first,
    position_stored_too_early,
    echoes_that_corroborate,
)
BUGS: dict[str, Mutant] = {each.__name__: each for each in (*_OF_THE_KIT, *_OUR_OWN)}
