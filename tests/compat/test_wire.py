"""What is kept of a release's wire is all of it, and every byte is read by the present protocol as it was written."""

from __future__ import annotations

import json

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass

from exchange.v1 import admin_pb2, directory_pb2, feed_pb2, ledger_pb2, publish_pb2, referral_pb2, report_pb2
from tests.compat.earlier import HERE, RELEASES

#: They hold what is looked up below.
MODULES = (admin_pb2, directory_pb2, feed_pb2, ledger_pb2, publish_pb2, referral_pb2, report_pb2)
#: Not a hub's: a service of its own, whose answers are never the same twice.
ELSEWHERE = "exchange.v1.PseudonymService"
#: What waits for signatures: each time another nonce, and so another id.
NEVER_THE_SAME = {
    f"/exchange.v1.AdminService/{name}"
    for name in ("PrepareProposal", "SignProposal", "GetProposal", "WithdrawProposal")
}


def kept(release: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((HERE / release / "wire.json").read_text())
    return rows


@pytest.mark.parametrize("release", RELEASES)
def test_every_call_of_a_hub_is_kept(release: str) -> None:
    files = FileDescriptorSet.FromString((HERE / release / "protos.binpb").read_bytes()).file
    calls = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
        if f"{file.package}.{service.name}" != ELSEWHERE
    }
    assert calls - NEVER_THE_SAME == {row["rpc"] for row in kept(release)}


@pytest.mark.parametrize("release", RELEASES)
def test_every_byte_is_read_as_it_was_written(release: str) -> None:
    for row in kept(release):
        method = descriptor_pool.Default().FindMethodByName(row["rpc"].lstrip("/").replace("/", "."))
        said = [(method.input_type, row["request"]), *((method.output_type, each) for each in row["answers"])]
        for kind, text in said:
            message = GetMessageClass(kind).FromString(bytes.fromhex(text))
            before = message.ByteSize()
            message.DiscardUnknownFields()
            assert message.ByteSize() == before, row["rpc"]
