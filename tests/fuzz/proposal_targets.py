"""What is said of proposals: drafts as operators send them, proposals as a hub shows them, and the file that keeps them."""

from __future__ import annotations

from exchange import codec
from exchange.api.admin import completed
from exchange.cli import cosigning
from exchange.domain.bodies import Retraction
from exchange.domain.changes import changes
from exchange.domain.statement import Header, Statement
from exchange.errors import Fatal
from exchange.stores.proposals_file import encoded, read_proposals
from exchange.v1 import admin_pb2, statement_pb2
from exchange_client.transport.proposals import _proposal
from tests.fuzz.file_targets import _file
from tests.fuzz.target import Target
from tests.unit.builders import NOW_MS, OPERATOR, UK, community, community_header, digest, make_directory
from tests.unit.domain.test_proposals import SAID, proposal_of
from tests.unit.stores.test_proposals_file import HELD

DIRECTORY = make_directory()
RETRACTION = community_header(Retraction((digest("signal"),), 5, NOW_MS), OPERATOR)
NONCE = bytes(range(16))


def complete_draft(data: bytes) -> object:
    """What is to be signed says what the draft says, in the caller's name, and nothing that cannot be read."""
    draft = codec.parse(statement_pb2.Header(), data, "draft")
    header = codec.decode_header(completed(draft, "operator", NOW_MS, NONCE), strict=True)
    assert (header.publisher, header.created_at_ms, header.nonce) == ("operator", NOW_MS, NONCE)
    assert (header.origin, header.kind) == (draft.origin, draft.kind)
    return header


def show_proposal(data: bytes) -> object:
    """Whatever a hub shows can be shown to whoever is to sign it, or is refused."""
    found = _proposal(codec.parse(admin_pb2.Proposal(), data, "proposal"), b"")
    for payload, header in zip(found.payloads, found.headers, strict=True):
        assert list(cosigning.in_words(Statement(payload, ())))
        changes(DIRECTORY, header)
    return found


def read_file(data: bytes) -> object:
    """What waits for signatures is read as it was written, or refused."""
    found = read_proposals(_file("proposals", data))
    assert encoded(found) == data
    return found


def _draft(header: Header) -> bytes:
    message = statement_pb2.Header.FromString(codec.encode_header(header))
    message.publisher, message.created_at_ms, message.nonce = "", 0, b""
    return message.SerializeToString()


def _shown(*payloads: bytes) -> bytes:
    statements = [admin_pb2.ProposedStatement(payload=payload) for payload in payloads]
    return admin_pb2.Proposal(statements=statements).SerializeToString()


HEADERS = (*proposal_of(*(body for body, _ in SAID)).headers, proposal_of(community(UK)).headers[0], RETRACTION)
TARGETS = (
    Target("proposal-draft", complete_draft, tuple(map(_draft, HEADERS)), message=True),
    Target("proposal", show_proposal, tuple(_shown(codec.encode_header(each)) for each in HEADERS), message=True),
    Target("proposals-file", read_file, (encoded(HELD), encoded([])), refuses=(Fatal,)),
)
