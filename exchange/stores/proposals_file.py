"""What waits for operators' signatures, in a file beside the logs: written whole at each change, for its owner alone.

The first line says the format and the hash of the rest; then a line for each proposal: the bytes to sign and who has
signed them. Nothing in it is believed for being there: signatures are verified again by whoever publishes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from exchange import codec
from exchange.domain.proposals import Proposal, Signer
from exchange.errors import Fatal, OtherFormat, Rejected, Unavailable
from exchange.ops.durable import replace

FORMAT = 1


class _Stated(msgspec.Struct, frozen=True):
    """What the first line says, whichever release wrote it."""

    format: int


class _First(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    #: Of all that follows, hexadecimal.
    sha256: str


class _Signer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: bytes
    signatures: tuple[bytes, ...]


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payloads: tuple[bytes, ...]
    signers: tuple[_Signer, ...]


class ProposalFile:
    """A `ProposalBook` at a path."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened; the file need not be there."""
        self._path = path
        # Whoever gives up waiting for a thread does not end it: the next one waits for what it does.
        self._one_at_a_time = threading.Lock()

    async def load(self) -> Sequence[Proposal]:
        """See `ProposalBook.load`."""

        def read() -> list[Proposal]:
            with self._one_at_a_time:
                return read_proposals(self._path)

        return await asyncio.to_thread(read)

    async def save(self, proposals: Sequence[Proposal]) -> None:
        """See `ProposalBook.save`."""
        data = encoded(proposals)

        def write() -> None:
            with self._one_at_a_time:
                replace(self._path, data)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error


def encoded(proposals: Sequence[Proposal]) -> bytes:
    """Return the file that holds these."""
    lines = [
        msgspec.json.encode(_Line(each.payloads, tuple([_Signer(s.key_id, s.signatures) for s in each.signers])))
        for each in proposals
    ]
    rest = b"".join(line + b"\n" for line in lines)
    return msgspec.json.encode(_First(FORMAT, sha256(rest).hexdigest())) + b"\n" + rest


def read_proposals(path: Path) -> list[Proposal]:
    """Return what a file holds; nothing where there is none. Raises `Fatal`, before anything is changed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}") from error
    first, _, rest = data.partition(b"\n")
    try:
        stated = msgspec.json.decode(first, type=_Stated).format
        if stated != FORMAT:
            raise OtherFormat(path, stated, FORMAT)
        if msgspec.json.decode(first, type=_First).sha256 != sha256(rest).hexdigest():
            raise _damaged(path, "is not what was written")
        return [_proposal(msgspec.json.decode(line, type=_Line)) for line in rest.splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Rejected, ValueError) as error:
        raise _damaged(path, "holds what this release cannot read") from error


def _proposal(line: _Line) -> Proposal:
    headers = tuple([codec.decode_header(payload, strict=True) for payload in line.payloads])
    signers = tuple([Signer(each.key_id, each.signatures) for each in line.signers])
    if not headers or any(len(each.signatures) != len(headers) for each in signers):
        raise ValueError("statements and signatures do not go together")
    return Proposal(line.payloads, headers, signers)


def _damaged(path: Path, what: str) -> Fatal:
    return Fatal(f"{path}: {what}", hint="move it away: what waited in it is prepared and signed again")
