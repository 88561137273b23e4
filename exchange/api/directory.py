"""DirectoryService: who is who, as the directory's fold has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

from exchange import codec_bodies
from exchange.api.guard import caller
from exchange.api.guidance import guidance
from exchange.api.logs import Hub
from exchange.domain.bodies import OpinionCategory
from exchange.domain.directory import MemberEntry
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.life import could_see
from exchange.errors import Denied, Reason, Rejected
from exchange.ledger.checkpoint import log_verifier
from exchange.publish.turns import PROOF_WORK
from exchange.v1 import directory_pb2 as pb
from exchange.v1 import directory_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    """Reads only. Every member may read the directory whole; a community's list is for those who are in it."""

    def __init__(self, hub: Hub, now_ms: Callable[[], int]) -> None:
        """Read this hub's view."""
        self._hub = hub
        self._now_ms = now_ms

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: _Context) -> pb.WhoAmIResponse:  # noqa: ARG002, D102
        workload, directory = caller(), self._hub.view.directory
        entry = directory.members[workload.member]
        return pb.WhoAmIResponse(
            member=workload.member,
            role=int(workload.role),  # type: ignore[arg-type]
            member_class=int(entry.member_class),  # type: ignore[arg-type]
            suspended=entry.suspended,
            communities=sorted(entry.communities),
            directory=directory.origin,
            directory_size=directory.size,
            hub_time_ms=self._now_ms(),
        )

    async def ListMembers(  # noqa: D102 - as in the proto
        self,
        request: pb.ListMembersRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListMembersResponse:
        workload, directory = caller(), self._hub.view.directory
        operator = directory.members[workload.member].member_class is MemberClass.OPERATOR
        if request.community and not (operator or directory.in_community(workload.member, request.community)):
            raise Denied("no such community, or not yours to read")
        found = directory.community_members(request.community) if request.community else directory.members.values()
        return pb.ListMembersResponse(members=[_member(entry) for entry in found], directory_size=directory.size)

    async def ListCommunities(  # noqa: D102
        self,
        request: pb.ListCommunitiesRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> pb.ListCommunitiesResponse:
        directory = self._hub.view.directory
        members = Counter(origin for entry in directory.members.values() for origin in entry.communities)
        return pb.ListCommunitiesResponse(
            communities=[
                pb.CommunitySummary(
                    origin=community.origin,
                    title=community.title,
                    verifier_key=log_verifier(community.origin, community.log_public_key).vkey(),
                    retention_days=community.retention_days,
                    max_expiry_days=community.max_expiry_days,
                    replay_window_days=community.replay_window_days,
                    public_entries=community.public_entries,
                    members=members[community.origin],
                )
                for community in directory.communities.values()
            ],
            directory_size=directory.size,
        )

    async def ListElections(  # noqa: D102
        self,
        request: pb.ListElectionsRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListElectionsResponse:
        log, _ = self._hub.log_to_read(caller(), request.origin, self._now_ms())
        life = (await log.up_to_date()).life
        return pb.ListElectionsResponse(
            elections=[
                pb.ElectionSummary(id=each.id, index=each.index, election=codec_bodies.message_of(each.election))
                for each in life.folds().elections.entries.values()
            ],
            size=life.facts.place().size,
        )

    async def GetGuidance(  # noqa: D102
        self,
        request: pb.GetGuidanceRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetGuidanceResponse:
        workload = caller()
        log, _ = self._hub.log_to_read(workload, request.origin, self._now_ms())
        await self._hub.turns.take(workload.member, PROOF_WORK)
        return await guidance(log, request.platform, request.language)

    async def GetSignal(self, request: pb.GetSignalRequest, context: _Context) -> pb.GetSignalResponse:  # noqa: ARG002, D102
        workload, directory = caller(), self._hub.view.directory
        log, _ = self._hub.log_to_read(workload, request.origin, self._now_ms())
        folds = await log.up_to_date()
        await self._hub.turns.take(workload.member, PROOF_WORK)
        current = folds.life.current()
        signal = current.signals((request.signal_id,)).get(request.signal_id)
        entitled = signal is not None and (
            workload.member == signal.publisher
            or workload.role is Role.OPERATOR
            or could_see(directory, request.origin, workload.member, signal)
        )
        if signal is None or not entitled:
            raise Rejected(Reason.NOT_FOUND, "no such signal, or none that was given to you")
        opinions = await folds.reports.opinions(signal.signal_id)
        said = await folds.reports.said((signal.signal_id,))
        flagged_from = current.member(signal.publisher).quarantined_from
        states = Counter(each.state for each in said.values())
        return pb.GetSignalResponse(
            index=signal.index,
            publisher=signal.publisher,
            label=signal.label,  # type: ignore[arg-type]
            received_at_ms=signal.received_at_ms,
            expires_at_ms=signal.expires_at_ms,
            retracted_at=signal.retracted_at,
            erased_at=signal.erased_at,
            replaced_at=signal.replaced_at,
            quarantined=flagged_from is not None and signal.index >= flagged_from,
            opinions=[
                pb.OpinionSummary(member=each.member, category=each.category, reason=each.reason)  # type: ignore[arg-type]
                for each in opinions
            ],
            disputed=any(each.category == OpinionCategory.NEGATIVE_CLASS for each in opinions),
            dispositions=[
                pb.DispositionCount(state=state, members=count)  # type: ignore[arg-type]
                for state, count in sorted(states.items())
            ],
            size=current.size,
        )


def _member(entry: MemberEntry) -> pb.MemberSummary:
    return pb.MemberSummary(
        id=entry.id,
        display_name=entry.display_name,
        member_class=int(entry.member_class),  # type: ignore[arg-type]
        roles=sorted(int(role) for role in entry.roles),  # type: ignore[misc]
        suspended=entry.suspended,
        communities=sorted(entry.communities),
        keys=[
            pb.KeySummary(
                key_id=key.key_id,
                role=int(key.role),  # type: ignore[arg-type]
                public_key=key.public_key,
                revoked=key.revoked,
            )
            for key in entry.keys.values()
        ],
    )
