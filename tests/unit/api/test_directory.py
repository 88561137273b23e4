"""What the directory's lists cost the hub."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from exchange.api.directory import DirectoryServicer
from exchange.api.logs import Hub
from exchange.domain.directory import MemberEntry
from exchange.v1 import directory_pb2 as pb
from tests.unit.builders import NOW_MS, SIDE, UK, community, make_directory, tell


class Counted(dict[str, MemberEntry]):
    """Members, and how often somebody has gone through all of them."""

    gone_through = 0

    def values(self) -> Any:
        self.gone_through += 1
        return super().values()


async def test_members_are_gone_through_once_however_many_communities_there_are() -> None:
    directory = tell(make_directory(), *(community(f"{UK}.{number}") for number in range(50)))
    members = directory.members = Counted(directory.members)
    hub = Hub(
        cast("Any", SimpleNamespace(directory=directory)), cast("Any", None), cast("Any", None), {}, cast("Any", None)
    )
    listed = await DirectoryServicer(hub, lambda: NOW_MS).ListCommunities(
        pb.ListCommunitiesRequest(), cast("Any", None)
    )
    assert members.gone_through == 1
    found = {row.origin: row.members for row in listed.communities}
    assert len(found) == 52
    assert {origin: count for origin, count in found.items() if count} == {UK: 4, SIDE: 1}
