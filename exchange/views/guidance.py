"""The hub's view of a community's guidance: which platforms have a profile, and where it stands in the log."""

from __future__ import annotations

from exchange.domain.guidance import FORMAT, Guidances, GuidancesRestore, guidance_rows
from exchange.domain.kinds import Kind
from exchange.views.followed import FollowedFold
from exchange.views.replay import Recipe

GUIDANCE = Recipe("guidance", FORMAT, Guidances, guidance_rows, GuidancesRestore, kinds=frozenset({Kind.GUIDANCE}))
GuidanceView = FollowedFold[Guidances]
