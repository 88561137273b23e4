"""What a hub tells of platforms' profiles: summaries of the fold, and of one its leaf with the proof of its place."""

from __future__ import annotations

from exchange.api.logs import Log
from exchange.domain.guidance import GuidanceEntry
from exchange.errors import Reason, Rejected
from exchange.proving import inclusion_proof
from exchange.v1 import directory_pb2 as pb
from exchange.views.replay import Leaves


async def guidance(log: Log, platform: str, language: str) -> pb.GetGuidanceResponse:
    """Return every profile that is in force, or this platform's. Raises `Rejected` and `Unavailable`."""
    life = (await log.up_to_date()).life
    fold, size = life.folds().guidances, life.facts.place().size
    if not platform:
        return pb.GetGuidanceResponse(profiles=map(_summary, fold.in_force()), size=size)
    entry = fold.entries.get(platform)
    if entry is None or entry.withdrawn:
        raise Rejected(Reason.NOT_FOUND, "this platform has no profile here")
    head = await log.store.head()
    (leaf,) = await Leaves(log.store, log.history).read(entry.index, 1)
    return pb.GetGuidanceResponse(
        profiles=[_summary(entry)],
        leaf=leaf,
        inclusion_proof=await inclusion_proof(log.history, entry.index, head.sealed.size),
        checkpoint=head.checkpoint,
        language=entry.language(language),
        size=size,
    )


def _summary(entry: GuidanceEntry) -> pb.GuidanceSummary:
    return pb.GuidanceSummary(
        platform=entry.platform,
        version=entry.version,
        member=entry.member,
        publisher=entry.publisher,
        confirmed=entry.confirmed,
        languages=entry.languages,
        profile_sha256=entry.profile_sha256,
        published_at_ms=entry.published_at_ms,
        index=entry.index,
    )
