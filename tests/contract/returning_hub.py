"""A hub that follows a community's log in memory, and puts back what is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from exchange import codec
from exchange.domain.referral_facts import ReferralFacts
from exchange.domain.statement import Header, Statement
from exchange.views.erasing import Eraser
from exchange.views.just_said import JustSaid
from exchange.views.life import LifeView
from exchange.views.returning import Returning
from tests.contract.followed_log import Community, caught_up, ids_of
from tests.contract.test_referral_facts import id_of
from tests.unit.builders import UK


@dataclass
class Hub:
    """What follows a community's log, and what its publishers send again."""

    community: Community
    view: LifeView
    returning: Returning
    eraser: Eraser

    async def again(self, index: int, statement: Statement) -> None:
        await self.returning.sent_again(index, statement, header_of(statement))

    async def lost(self, publisher: str = "alpha", start: int = 0) -> list[int]:
        found, following = await self.community.lost.of(publisher, start, 1_000)
        assert following == 0
        return list(found)

    async def erase(self) -> None:
        while await self.eraser.erase():
            pass

    def audience(self, statement: Statement) -> frozenset[str] | None:
        (id_,) = ids_of(statement)
        return self.view.current().signals((id_,))[id_].audience

    def referral(self, statement: Statement) -> ReferralFacts | None:
        return self.view.current().addressed.referral(id_of(statement))


def header_of(statement: Statement) -> Header:
    return codec.decode_header(statement.payload, strict=True)


@asynccontextmanager
async def serving(community: Community, just_said: JustSaid | None = None) -> AsyncIterator[Hub]:
    """A hub that has read all there is."""
    async with community.following(just_said) as view:
        await caught_up(view, community.chain.size)

        async def replaced(indices: Sequence[int]) -> None:
            community.store.done.append(f"memory {sorted(indices)}")

        returning = Returning(UK, community.store, replaced, lambda: community.now_ms)
        returning.follow(view, community.lost)
        clock = lambda: community.now_ms  # noqa: E731
        ready = view.placed
        eraser = Eraser(UK, community.store, view.facts, replaced, clock, ready=ready, moving=view.moving)
        yield Hub(community, view, returning, eraser)
