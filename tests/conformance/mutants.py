"""Our own product, each time with one bug of a peer's in it. A case that passes on its mutant proves nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from exchange import codec
from exchange.api.feed import FeedServicer
from exchange.domain import validation
from exchange.domain.kinds import Kind, Role
from exchange.domain.policy import Sight, Workload
from exchange.errors import CursorAboveSize
from exchange.fanout.feed import Feed, Filter
from exchange.fanout.item import Item
from exchange.fanout.tail import Page, Tail
from exchange.normal import text_forms
from exchange.proving import compact_range
from exchange.publish.sequencer import Sequencer
from exchange.views.erasing import Eraser
from exchange.views.life import LifeView
from exchange_client import Delivery, FeedVerifier, Matcher
from exchange_client.signals import Drafter
from exchange_client.subscriber import Subscriber

Patch = pytest.MonkeyPatch


def matcher_that_only_adds(patch: Patch) -> None:
    """What ends a signal is read and ignored."""
    add = Matcher.add

    def only_signals(self: Matcher, delivery: Delivery) -> Any:
        return add(self, delivery) if delivery.kind == Kind.SIGNAL else None

    patch.setattr(Matcher, "add", only_signals)
    patch.setattr(Matcher, "remove", lambda self, signal_id: None)


def hub_that_filters_retractions(patch: Patch) -> None:
    """A retraction counts as filtered out, and what is filtered out does not come at all."""
    join = Feed._join

    def without(self: Feed, page: Page, sight: Sight, note: bytes) -> bytes:
        kept = [item for item in page.items if item.kind != Kind.RETRACTION]
        return join(self, Page(kept, page.restricted), sight, note)

    patch.setattr(Feed, "_join", without)


def eraser_that_notes_and_keeps(patch: Patch) -> None:
    """An erasure is a mark in the ledger; the data stay."""

    async def nothing(self: Eraser) -> int:
        return 0

    patch.setattr(Eraser, "erase", nothing)


def matcher_that_needs_the_record_to_replace(patch: Patch) -> None:
    """A correction counts for those who may read it, so who is shut out by it keeps what it had."""
    add = Matcher.add

    def only_with_records(self: Matcher, delivery: Delivery) -> Any:
        return add(self, delivery) if delivery.kind != Kind.SIGNAL or delivery.signals else None

    patch.setattr(Matcher, "add", only_with_records)


def matcher_that_merges(patch: Patch) -> None:
    """A correction is added to what it corrects."""
    patch.setattr(Matcher, "remove", lambda self, signal_id: None)
    add = Matcher.add

    def merged(self: Matcher, delivery: Delivery) -> Any:
        body = delivery.signal
        if body is not None and body.replaces:
            delivery = replace(delivery, header=replace(delivery.header, body=replace(body, replaces=())))
        return add(self, delivery)

    patch.setattr(Matcher, "add", merged)


def hub_that_knows_no_repeats(patch: Patch) -> None:
    """Each statement is a new one, however often it comes."""
    patch.setattr("exchange.publish.intake.statement_id", lambda payload: secrets.token_bytes(32))

    async def never(self: Sequencer, statement: object, header: object) -> None:
        return None

    patch.setattr(Sequencer, "repeated", never)


def text_form_that_keeps_what_it_gets(patch: Patch) -> None:
    """A hash is checked, and then indexed as it was written."""
    patch.setattr(text_forms._HexForm, "parse", lambda self, text: text.encode()[: self.size])


def empty_audience_is_everyone(patch: Patch) -> None:
    """An audience that names nobody restricts nothing: in the SDK, at the hub, and when it is delivered."""
    patch.setattr(validation, "_check_audience", lambda *_: None)
    prepare, visible = Drafter._prepare, Feed._sees

    def prepared(self: Drafter, signals: Sequence[Any], rules: Any) -> Any:
        return prepare(self, [replace(each, audience=each.audience or None) for each in signals], rules)

    def sees(self: Feed, item: Item) -> bool:
        return visible(self, structs.replace(item, audience=item.audience or None))

    patch.setattr(Drafter, "_prepare", prepared)
    patch.setattr(Feed, "_sees", sees)


def audience_that_is_not_asked(patch: Patch) -> None:
    """Whoever is in the community reads everything in it."""

    patch.setattr("exchange.fanout.feed.visible_to", _everyone_in_the_community)


def _everyone_in_the_community(workload: Workload, kind: int, *_: object) -> bool:
    return workload.role is Role.PIPELINE and kind == Kind.SIGNAL


def pages_that_forget_the_audience(patch: Patch) -> None:
    """The feed asks who may read, and reading the ledger page by page does not."""
    patch.setattr("exchange.api.ledger.visible_to", _everyone_in_the_community)


def community_that_is_not_asked(patch: Patch) -> None:
    """Every member of the exchange reads every community."""
    patch.setattr("exchange.api.logs.may_subscribe", lambda *_, **__: Sight.RECORDS)


def pages_cut_by_time(patch: Patch) -> None:
    """The next page begins behind the time of the last entry, not behind the entry."""
    following = Feed._next

    async def by_time(self: Feed, sight: Sight) -> bytes:
        message = await following(self, sight)
        end = self.cursor
        (last,) = await self._tail.items(end - 1, 1)
        while self.cursor < self._tail.sealed.size:
            (item,) = await self._tail.items(self.cursor, 1)
            if _received(item) != _received(last):
                break
            self.cursor += 1
        return message

    patch.setattr(Feed, "_next", by_time)


def _received(item: Item) -> int:
    return codec.decode_leaf(codec.frame_leaf(item.full)).received_at_ms


def filter_of_the_first_pull(patch: Patch) -> None:
    """A member's filter is asked for its first stream; later ones begin at a cursor and bring all."""
    begin, seen = Feed.__init__, set[str]()

    def second_time(self: Feed, tail: Tail, wire: Any, workload: Workload, **options: Any) -> None:
        if workload.member in seen:
            options["wanted"] = Filter()
        seen.add(workload.member)
        begin(self, tail, wire, workload, **options)

    patch.setattr(Feed, "__init__", second_time)


def cut_over_that_skips(patch: Patch) -> None:
    """Who comes from disk to memory misses what arrived while it changed over."""
    following = Feed._next

    async def skipping(self: Feed, sight: Sight) -> bytes:
        from_disk = self.cursor < self._tail.ring_start
        message = await following(self, sight)
        if from_disk and self._tail.ring_start <= self.cursor < self._tail.sealed.size:
            self.cursor += 1
        return message

    patch.setattr(Feed, "_next", skipping)


def cut_over_that_reorders(patch: Patch) -> None:
    """What arrived while a subscriber caught up is sent before what it still lacks."""
    join = Feed._join

    def reordered(self: Feed, page: Page, sight: Sight, note: bytes) -> bytes:
        return join(self, Page(page.items[::-1], page.restricted), sight, note)

    patch.setattr(Feed, "_join", reordered)


def stream_that_begins_again(patch: Patch) -> None:
    """After a reconnection the subscriber is where it first began."""
    stream = Subscriber._stream

    def again(self: Subscriber, backoff: Any) -> Any:
        began = self.__dict__.setdefault("_began", self._verifier.position)
        self._verifier = FeedVerifier(self._origin, self._log_verifier, began)
        return stream(self, backoff)

    patch.setattr(Subscriber, "_stream", again)


def subscriber_that_resumes_at_the_present(patch: Patch) -> None:
    """A start without a cursor is a start from now."""
    start = Subscriber._start

    async def from_now(self: Subscriber, cursor: int | None, *, from_now: bool) -> Any:
        return await start(self, cursor, from_now=from_now or cursor is None)

    patch.setattr(Subscriber, "_start", from_now)


def view_that_begins_where_it_wakes(patch: Patch) -> None:
    """The view of signals takes what comes from when it runs, not from where it was."""
    run = LifeView.run

    async def from_here(self: LifeView) -> None:
        size = (await self._store.head()).sealed.size
        await self.facts.take([], await compact_range(self._leaves.history, size))
        await run(self)

    patch.setattr(LifeView, "run", from_here)


def subscriber_that_waits_for_ever(patch: Patch) -> None:
    """A stream that says nothing is taken for a quiet one."""

    async def patient(call: Any) -> Any:
        return await call.read()

    patch.setattr("exchange_client.transport._read", patient)


def subscriber_that_trusts_the_beat(patch: Patch) -> None:
    """What a heartbeat says of the ledger's size is not held against what was read."""
    patch.setattr(Subscriber, "_check_beat", lambda self, message: None)


def hub_that_clamps_cursors(patch: Patch) -> None:
    """A cursor beyond the ledger is taken for its end."""
    hello = FeedServicer._hello

    async def clamped(self: FeedServicer, log: Any, request: Any) -> bytes:
        try:
            return await hello(self, log, request)
        except CursorAboveSize as error:
            request.cursor = error.sealed_size
            return await hello(self, log, request)

    patch.setattr(FeedServicer, "_hello", clamped)
