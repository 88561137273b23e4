"""One platform of the demo, in its own process: publishes what it acted on, or matches what others acted on.

This is also the shortest complete example of the SDK. What happens is printed as one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import accounts
import photographs

from exchange.domain.bodies import DispositionState, RetractionReason, SourceAction
from exchange.domain.identifiers import KEY_EPOCH_BYTES, IndicatorType
from exchange.domain.labels import Label
from exchange_client import (
    AccountIndex,
    ClientConfig,
    Delivery,
    Ended,
    ExchangeClient,
    Indicator,
    Matcher,
    Own,
    Publisher,
    Signal,
    effect_of,
)
from exchange_client.pdq import hash_image

DAY_MS = 86_400_000


def tell(event: str, **fields: object) -> None:
    """Print one event."""
    print(json.dumps({"event": event, **fields}), flush=True)


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


def photograph_signal(name: str) -> Signal:
    """Return what a platform says of a photograph that it took down: its perceptual hash and its file's."""
    image = photographs.original(name)
    file_hash = hashlib.sha256((photographs.folder() / name).read_bytes()).digest()
    indicators = (
        Indicator(IndicatorType.PDQ, hash_image(image).value),
        Indicator(IndicatorType.IMAGE_SHA256, file_hash),
    )
    return Signal(
        label=Label.HARASSMENT_TARGETED,
        indicators=indicators,
        expires_at_ms=now_ms() + 30 * DAY_MS,
        actioned_at_ms=now_ms(),
        source_action=SourceAction.REMOVED,
        case_ref=name,
    )


def piece_signal(piece: bytes, number: int) -> Signal:
    """Return what a platform says of one small file."""
    digest = hashlib.sha256(piece).digest()
    return Signal(
        label=Label.MISLEADING_SPAM,
        indicators=(Indicator(IndicatorType.IMAGE_SHA256, digest),),
        expires_at_ms=now_ms() + 30 * DAY_MS,
        case_ref=f"piece-{number}",
    )


async def suspend_account(config: ClientConfig, community: str) -> None:
    """Suspend a user here, and tell the others: by a pseudonym, which is all that leaves this process."""
    reference, address = accounts.ABUSER["alpha"]
    async with ExchangeClient(config) as client, client.pseudonyms(community) as pseudonyms:
        (indicators,) = await pseudonyms.indicators([accounts.email(address)])
        signal = Signal(
            label=Label.HARASSMENT_TARGETED,
            indicators=indicators,
            expires_at_ms=now_ms() + 30 * DAY_MS,
            actioned_at_ms=now_ms(),
            source_action=SourceAction.ACCOUNT_SUSPENDED,
            case_ref=reference,
        )
        async with client.publisher(community) as publisher:
            (outcome,) = await publisher.publish([signal])
    if outcome.receipt is None:
        tell("refused", case=reference, why=str(outcome.error))
    else:
        pseudonym = indicators[0].value[KEY_EPOCH_BYTES:].hex()
        tell("suspended", case=reference, index=outcome.receipt.index, pseudonym=pseudonym)


async def grant_appeal(config: ClientConfig, community: str) -> None:
    """Let the suspended user come back here, and take the signal back, found by its case."""
    reference, _ = accounts.ABUSER["alpha"]
    async with ExchangeClient(config) as client, client.publisher(community) as publisher:
        (receipt,) = await publisher.retract(
            case_ref=reference, reason=RetractionReason.OVERTURNED_ON_APPEAL, decided_at_ms=now_ms()
        )
    tell("retracted", case=reference, index=receipt.index)


async def publish(config: ClientConfig, community: str, pieces: int) -> None:
    """Publish the photographs one by one, then many small files, each acknowledged with a verified proof."""
    async with ExchangeClient(config) as client, client.publisher(community) as publisher:
        for name in photographs.PUBLISHED:
            sent = now_ms()
            (outcome,) = await publisher.publish([photograph_signal(name)])
            if outcome.receipt is None:
                tell("refused", case=name, why=str(outcome.error))
                continue
            tell("acknowledged", case=name, index=outcome.receipt.index, took_ms=now_ms() - sent)
        files = photographs.tiles(photographs.original(photographs.PUBLISHED[0]), pieces)
        for number, piece in enumerate(files):
            (outcome,) = await publisher.publish([piece_signal(piece, number)])
            if outcome.receipt is not None:
                tell("acknowledged", case=f"piece-{number}", index=outcome.receipt.index)
    tell("done")


def own_content(kind: str) -> dict[str, bytes]:
    """Return what this platform holds: copies of the photographs as they were uploaded there, hashed."""
    copies = {}
    for name in photographs.NAMES:
        image = photographs.original(name)
        if kind == "beta":
            copies[f"{name}: JPEG at quality 60"] = photographs.reencoded(image)
            copies[f"{name}: half the size"] = photographs.resized(image)
        else:
            copies[f"{name}: 1 % cropped"] = photographs.cropped(image, 0.01)
            copies[f"{name}: 10 % cropped"] = photographs.cropped(image, 0.10)
    return {label: hash_image(image).value for label, image in copies.items()}


async def index_accounts(client: ExchangeClient, config: ClientConfig, community: str, kind: str) -> AccountIndex:
    """Make pseudonyms of the own users' mailboxes, once: from then on they are matched without asking anybody."""
    async with client.pseudonyms(community) as pseudonyms:
        (live,) = await pseudonyms.live()
        index = AccountIndex(config.state / "accounts.sqlite", await pseudonyms.under(live.epoch.number))

        async def own() -> AsyncIterator[Own]:
            for reference, account in accounts.users(kind):
                yield Own(reference, account)

        await index.add(own())
    return index


async def match(config: ClientConfig, community: str, kind: str) -> None:
    """Follow the ledger; hold every incoming signal against the own content and the own users."""
    content = own_content(kind)
    matcher = Matcher()
    async with ExchangeClient(config) as client, contextlib.AsyncExitStack() as closing:
        index = await index_accounts(client, config, community, kind)
        closing.callback(index.close)
        publisher = await closing.enter_async_context(client.publisher(community))
        desk = Desk(index, publisher)
        feed = client.subscribe(community, acknowledges=True)
        deliveries = await closing.enter_async_context(contextlib.aclosing(feed))
        tell("ready", files=len(content), accounts=(await index.size()).identifiers)
        async for delivery in deliveries:
            matcher.add(delivery)
            tell_delivery(delivery)
            if any(signal.case_ref in photographs.NAMES for signal in delivery.signals):
                report_matches(matcher, content, {signal.signal_id for signal in delivery.signals})
            await desk.take(delivery)


class Desk:
    """Suspends own users whom a signal names, lets them come back when it is taken back, and says so each time."""

    def __init__(self, index: AccountIndex, publisher: Publisher) -> None:
        """Nobody is suspended yet."""
        self._index = index
        self._publisher = publisher
        #: By signal: whose it is, and whom we suspended for it.
        self._suspended: dict[bytes, tuple[str, str]] = {}

    async def take(self, delivery: Delivery) -> None:
        """Take the next entry."""
        for signal in delivery.signals:
            for indicator in signal.indicators:
                if indicator.type == IndicatorType.PSEUDONYM:
                    for reference in await self._index.find(indicator.value[KEY_EPOCH_BYTES:]):
                        await self._suspend(signal.signal_id, reference, delivery)
        effect = effect_of(delivery)
        if isinstance(effect, Ended):
            for signal_id in effect.signal_ids:
                if signal_id in self._suspended and effect.ends(self._suspended[signal_id][0]):
                    await self._let_back(signal_id, delivery)

    async def _suspend(self, signal_id: bytes, reference: str, delivery: Delivery) -> None:
        took = now_ms() - delivery.header.created_at_ms
        tell("account", reference=reference, publisher=delivery.publisher, took_ms=took)
        self._suspended[signal_id] = (delivery.publisher, reference)
        await self._publisher.dispose(
            [signal_id],
            DispositionState.ACTIONED,
            action=SourceAction.ACCOUNT_SUSPENDED,
            matched_at_ms=delivery.delivered_at_ms,
            actioned_at_ms=now_ms(),
        )
        tell("acted", reference=reference)

    async def _let_back(self, signal_id: bytes, delivery: Delivery) -> None:
        _, reference = self._suspended.pop(signal_id)
        took = now_ms() - delivery.header.created_at_ms
        await self._publisher.dispose([signal_id], DispositionState.REVERSED, actioned_at_ms=now_ms())
        tell("reversed", reference=reference, took_ms=took)


def tell_delivery(delivery: Delivery) -> None:
    """Print that an entry has arrived, and how long that took since its publisher made it."""
    lag = delivery.delivered_at_ms - delivery.header.created_at_ms
    cases = [signal.case_ref for signal in delivery.signals]
    tell("delivered", index=delivery.index, publisher=delivery.publisher, cases=cases, lag_ms=lag)


def report_matches(matcher: Matcher, content: dict[str, bytes], new: set[bytes]) -> None:
    """Print which of the own files match the signals that have just come."""
    for label, pdq in content.items():
        for found in matcher.match([Indicator(IndicatorType.PDQ, pdq)], now_ms=now_ms()):
            if found.signal_id in new:
                tell("match", file=label, publisher=found.publisher, distance=found.distance, index=found.index)


def main() -> None:
    """Run one platform until its work is done or it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("alpha", "beta", "gamma", "suspender", "appeal"))
    parser.add_argument("--client", type=Path, required=True)
    parser.add_argument("--community", required=True)
    parser.add_argument("--pieces", type=int, default=300)
    options = parser.parse_args()
    config = ClientConfig.load(options.client)
    if options.kind == "alpha":
        work = publish(config, options.community, options.pieces)
    elif options.kind == "suspender":
        work = suspend_account(config, options.community)
    elif options.kind == "appeal":
        work = grant_appeal(config, options.community)
    else:
        work = match(config, options.community, options.kind)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work)


if __name__ == "__main__":
    main()
