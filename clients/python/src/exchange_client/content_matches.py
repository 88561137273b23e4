"""A platform's own content that arriving signals match. A match is advice: nothing bans by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable

from exchange_client.delivery import Delivery
from exchange_client.match import ContentMatch
from exchange_client.matcher import Matcher


async def content_matches(
    matcher: Matcher,
    deliveries: AsyncIterable[Delivery],
    *,
    now_ms: Callable[[], int],
    include_flagged: bool = False,
) -> AsyncGenerator[ContentMatch, None]:
    """Put deliveries into a matcher, and yield the own content that their signals match, as they come.

    A delivery is acknowledged once all its matches were taken: after a crash the last ones may come again.
    """
    async for delivery in deliveries:
        for signal_id in matcher.add(delivery):
            for match in matcher.content_matching([signal_id], now_ms=now_ms(), include_flagged=include_flagged):
                yield match
            await asyncio.sleep(0)  # a statement has up to a thousand signals: others have their turn
