"""Making the next item while the last one is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def one_ahead(items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Yield the items, each next one being made meanwhile. Whoever stops early closes this, which closes the items."""
    async with aclosing(items):
        coming = asyncio.ensure_future(_next(items))
        try:
            while item := await coming:
                coming = asyncio.ensure_future(_next(items))
                yield item[0]
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _next(items: AsyncGenerator[T]) -> tuple[T] | None:
    async for item in items:
        return (item,)
    return None
