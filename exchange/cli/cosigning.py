"""What several operators must sign: written to a file by the first, signed by others, and published from there.

A file holds DSSE envelopes, one JSON object a line: the bytes that are signed, and the signatures over them. The bytes
say everything; who signs is shown what they say. Where the place is the hub, it keeps them in a file's stead
(`exchange.cli.proposals`).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click

from exchange import codec
from exchange.cli.connect import as_client
from exchange.cli.output import emit
from exchange.domain import bodies
from exchange.domain.bodies import Body
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import KINDS, MemberClass, Role
from exchange.domain.labels import Label
from exchange.domain.proposals import missing
from exchange.domain.statement import HEADER_TYPE, Header, Signature, Statement, statement_id
from exchange.errors import ExchangeError, Reason, Rejected, VerificationFailed
from exchange.ledger import ed25519
from exchange.ledger.dsse import pae
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient, Receipt
from exchange_client.proposals import Written, require_ours, signatures_by, verify_signers

F = TypeVar("F", bound=Callable[..., Any])

#: The place of ``--to-sign hub``, and of nothing else: a file of that name is written as ``./hub``.
HUB = Path("hub")


class _Place(click.Path):
    """A file, or the hub."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        return HUB if value == HUB.name else super().convert(value, param, ctx)


def to_sign_option(command: F) -> F:
    """Add ``--to-sign``."""
    option: Callable[[F], F] = click.option(
        "--to-sign",
        type=_Place(path_type=Path, dir_okay=False),
        metavar="FILE|hub",
        help="Publish nothing: sign it, and leave it in this new file, or at the hub, for other operators to sign.",
    )
    return option(command)


def write_to_sign(settings: ClientConfig, path: Path, statements: Sequence[Written], *, as_json: bool) -> None:
    """Sign statements, and leave them in a file that must not exist yet, or at the hub. Raises `Rejected`."""
    if path is HUB:
        _propose(settings, statements, as_json=as_json)
        return

    async def job(client: ExchangeClient, _: ClientConfig) -> list[Statement]:
        return [await client.draft(each.origin, each.body) for each in statements]

    write(path, as_client(settings, job))
    emit(
        {"file": str(path), "statements": len(statements)},
        as_json=as_json,
        lines=[
            f"{len(statements)} to sign in {path}: give it to another operator",
            f"  they:  exchange sign {path} --client THEIR-CLIENT.toml",
            f"  then:  exchange submit {path} --client YOUR-CLIENT.toml",
        ],
    )


def _propose(settings: ClientConfig, said: Sequence[Written], *, as_json: bool) -> None:
    """Let the hub prepare it, sign what it has made of it where that says the same, and tell what others do then."""

    async def job(client: ExchangeClient, _: ClientConfig) -> tuple[str, str]:
        made = await client.proposals.prepare(said)
        require_ours(made, settings.member, said, wall_ms())
        signed = await client.proposals.sign(made.id, signatures_by(settings.load_signing_key(), made))
        directory = await client.directory()
        verify_signers(directory, signed)
        return signed.id.hex(), missing(directory, signed)

    id_, lacking = as_client(settings, job)
    lines = [f"{len(said)} to sign at the hub: proposal {id_}; {lacking or 'complete'}"]
    if lacking:
        lines += [
            "  tell another operator this id: it is a hash of what is signed",
            f"  they:  exchange proposals sign {id_} --client THEIR-CLIENT.toml",
        ]
    lines.append(f"  then:  exchange proposals submit {id_} --client YOUR-CLIENT.toml")
    emit({"proposal": id_, "statements": len(said), "missing": lacking}, as_json=as_json, lines=lines)


def require_operator(settings: ClientConfig, client_path: Path) -> None:
    """Return if it is an operator's client file. Raises `Rejected` (WRONG_KEY)."""
    if settings.role_number != Role.OPERATOR:
        raise Rejected(Reason.WRONG_KEY, f"only operators' signatures count here, and {client_path} is no operator's")


def tell(statement: Statement, receipt: Receipt, *, as_json: bool) -> None:
    """Print where a statement is in the ledger now."""
    data = {
        "statement_id": statement_id(statement.payload).hex(),
        "signatures": len(statement.signatures),
        "index": receipt.index,
        "repeated": receipt.repeated,
    }
    again = ", as before" if receipt.repeated else ""
    emit(data, as_json=as_json, lines=[f"entry {receipt.index}, {len(statement.signatures)} signatures{again}"])


def say_or_write(
    settings: ClientConfig, statements: Sequence[Written], to_sign: Path | None, *, as_json: bool
) -> list[int] | None:
    """Say these, in order, and return their indices; or write them for other operators to sign, and return None."""
    if to_sign is not None:
        write_to_sign(settings, to_sign, statements, as_json=as_json)
        return None

    async def job(client: ExchangeClient, _: ClientConfig) -> list[int]:
        return [(await client.say(each.origin, each.body)).index for each in statements]

    return as_client(settings, job)


def directory_of(settings: ClientConfig, *said: Body) -> list[Written]:
    """Return what is to be said in the exchange's directory."""
    origin = f"{settings.exchange}/{Origin.DIRECTORY_LOG}"
    return [Written(origin, body) for body in said]


def write(path: Path, statements: Sequence[Statement], *, anew: bool = True) -> None:
    """Write statements, readable by everybody who is to sign them. Raises `Rejected` (CONFIG)."""
    text = "".join(json.dumps(_envelope(statement)) + "\n" for statement in statements)
    beside = path.with_name(path.name + ".new")
    try:
        if anew:
            with path.open("x") as file:
                file.write(text)
            return
        beside.write_text(text)
        beside.replace(path)
    except FileExistsError as error:
        raise Rejected(Reason.CONFIG, f"{path}: exists already; nothing was changed") from error
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{path}: {error.strerror}") from error


def read(path: Path) -> list[Statement]:
    """Return the statements of a file. Raises `Rejected`."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(Reason.CONFIG, f"{path}: cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_statement(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Rejected(Reason.MALFORMED, f"{path}: line {number} is no envelope to sign") from error
        except ExchangeError as error:
            raise Rejected(Reason.MALFORMED, f"{path}: line {number}: {error.message}") from error
    if not found:
        raise Rejected(Reason.MALFORMED, f"{path}: holds nothing to sign")
    return found


def _envelope(statement: Statement) -> dict[str, object]:
    signatures = [
        {"keyid": each.key_id.hex(), "sig": base64.b64encode(each.signature).decode()} for each in statement.signatures
    ]
    payload = base64.b64encode(statement.payload).decode()
    return {"payloadType": statement.payload_type, "payload": payload, "signatures": signatures}


def _statement(data: dict[str, Any]) -> Statement:
    if data["payloadType"] != HEADER_TYPE:
        raise ValueError(data["payloadType"])
    payload = base64.b64decode(data["payload"], validate=True)
    signatures = [
        Signature(bytes.fromhex(each["keyid"]), base64.b64decode(each["sig"], validate=True))
        for each in data["signatures"]
    ]
    codec.decode_header(payload, strict=True)  # nothing may stand in it that nobody is shown
    return Statement(payload, tuple(signatures))


def signed_by(statement: Statement, key: ed25519.SigningKey) -> Statement:
    """Return the statement with our signature behind the others; as it is where ours is there."""
    if any(each.key_id == key.key_id for each in statement.signatures):
        return statement
    signature = Signature(key.key_id, key.sign(pae(statement.payload_type, statement.payload)))
    return replace(statement, signatures=(*statement.signatures, signature))


def merged(files: Sequence[list[Statement]]) -> list[Statement]:
    """Return each statement once, in the order of the first file, with the signatures of all. Raises `Rejected`."""
    found: dict[bytes, Statement] = {}
    for statements in files:
        for each in statements:
            before = found.setdefault(each.payload, each)
            both = {signature.key_id: signature for signature in (*before.signatures, *each.signatures)}
            found[each.payload] = replace(before, signatures=tuple(both.values()))
    return list(found.values())


def checked(directory: Directory, settings: ClientConfig, statement: Statement) -> Statement:
    """Return a statement with our own signature first, once every signature holds. Raises `Rejected`."""
    header = codec.decode_header(statement.payload, strict=True)
    if header.publisher != settings.member:
        raise Rejected(
            Reason.WRONG_KEY,
            f"it is said in the name of {header.publisher}, which alone can submit it",
            hint="other operators sign it; whoever wrote it submits it",
        )
    ours = []
    for signature in statement.signatures:
        key = directory.key(signature.key_id)
        if key is None:
            raise VerificationFailed(Reason.WRONG_KEY, f"no key {signature.key_id.hex()[:16]} is in the directory")
        ed25519.verify(key.public_key, signature.signature, pae(statement.payload_type, statement.payload))
        if key.member == settings.member and key.role == settings.role_number:
            ours.append(signature)
    if not ours:
        raise Rejected(Reason.WRONG_KEY, "we have not signed it", hint="`exchange sign` it first")
    others = [each for each in statement.signatures if each is not ours[0]]
    # It may have taken its time to be signed by all.
    return replace(statement, signatures=(ours[0], *others), resubmission=True)


def in_words(statement: Statement) -> Iterator[str]:
    """Yield what a statement says, line by line, all of it. Raises `Rejected` for what cannot be shown whole."""
    header = codec.decode_header(statement.payload, strict=True)
    row = KINDS[header.kind]
    yield f"{row.name.upper()} in {header.origin}, in the name of {header.publisher}: {row.summary}"
    yield f"  made {moment(header.created_at_ms)}, statement {statement_id(statement.payload).hex()}"
    yield from _fields(header)
    yield f"  signed by {len(statement.signatures)}: {', '.join(s.key_id.hex()[:16] for s in statement.signatures)}"


def _fields(header: Header) -> Iterator[str]:
    body = header.body
    assert is_dataclass(body)
    for each in fields(body):
        words = _WORDS.get((type(body), each.name)) or _WORDS.get((object, each.name))
        value = getattr(body, each.name)
        if isinstance(value, tuple):
            yield f"  {each.name}: {len(value)}"
            yield from (f"    {_text(each.name, item, words)}" for item in value)
        else:
            yield f"  {each.name}: {_text(each.name, value, words)}"
    yield from (f"  signal {id_.hex()}" for id_ in header.signal_ids)


#: The words for numbers, by body and field; `object` stands for every other body.
_WORDS: dict[tuple[type, str], type[IntEnum]] = {
    (bodies.Retraction, "reason"): bodies.RetractionReason,
    (bodies.Erasure, "reason"): bodies.ErasureReason,
    (bodies.Quarantine, "reason"): bodies.QuarantineReason,
    (bodies.Opinion, "reason"): bodies.OpinionReason,
    (bodies.Opinion, "category"): bodies.OpinionCategory,
    (bodies.Disposition, "reason"): bodies.DispositionReason,
    (bodies.Disposition, "state"): bodies.DispositionState,
    (bodies.Disposition, "action"): bodies.SourceAction,
    (bodies.Member, "member_class"): MemberClass,
    (object, "state"): bodies.State,
    (object, "role"): Role,
    (object, "roles"): Role,
    (object, "label"): Label,
}


def _text(name: str, value: object, words: type[IntEnum] | None) -> str:
    if isinstance(value, bytes):
        return value.hex() or "-"
    if isinstance(value, int) and name.endswith("_ms") and value:
        return moment(value)
    if words is not None and isinstance(value, int) and value in words._value2member_map_:
        return f"{words(value).name.lower()} ({value})"
    return str(value)


def moment(at_ms: int) -> str:
    """Return a time for people. It is somebody else's number, and need be none that a calendar knows."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms since 1970"
