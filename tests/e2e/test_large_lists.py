"""Lists of the directory come in one message: one that is too long for it is refused in words, and nothing else is."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc
import pytest

from exchange.domain.directory import MemberEntry
from exchange.domain.kinds import MemberClass, Role
from exchange.errors import Reason, Rejected
from exchange.v1 import directory_pb2
from exchange_client import ExchangeClient
from tests.e2e.answers import refusal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK
from tests.e2e.sdk_clients import client_config
from tests.e2e.test_hardening import hub_with

pytestmark = pytest.mark.e2e

#: Enough for more than a message, at some thirty bytes each.
MANY = 40_000


async def test_a_list_that_is_too_long_for_a_message_is_refused_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub_with(tmp_path) as world:
        members = world.app._view.directory.members
        for name in map("member-{}".format, range(MANY)):
            members[name] = MemberEntry(name, "A member", MemberClass.PLATFORM, frozenset({Role.PIPELINE}))
        directory = world.party("beta").directory
        refused = await refusal(directory.ListMembers(directory_pb2.ListMembersRequest(), timeout=TIMEOUT_S))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.TOO_LARGE.value)
        assert "a message holds at most 1048576" in refused.message
        own = directory_pb2.ListMembersRequest(community=UK)
        assert (await directory.ListMembers(own, timeout=TIMEOUT_S)).members
        config = client_config(world.exchange, world.app.port, "alpha", tmp_path / "client")
        async with ExchangeClient(config) as client:
            with pytest.raises(Rejected) as caught:
                await client.members()
        assert caught.value.reason is Reason.TOO_LARGE
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
