"""What is common to all answers of a hub: how long we wait, that each is a message, the words for its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from exchange import codec
from exchange.errors import Reason, Rejected
from exchange.v1 import statement_pb2

M = TypeVar("M")

CALL_S = 30.0


def told(message: M | None) -> M:
    """Return a message of the hub's: grpc hands on None for bytes that are none. Raises `Rejected` (MALFORMED)."""
    if message is None:
        raise codec.malformed("what the hub said is not a message of this method")
    return message


def asking(kind: Callable[..., M], **fields: object) -> M:
    """Return a question to a hub. Raises `Rejected` (INVALID) for what no field of it can hold."""
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise Rejected(Reason.INVALID, f"this cannot be asked: {error}") from error


def word(enum: Any, number: int, prefix: str) -> str:  # noqa: ANN401 - grpc's untyped enum wrapper
    """Return the word for a number of a generated enum; the number as text when this release does not know it."""
    return str(enum.Name(number)).removeprefix(prefix).lower() if number in enum.values() else str(number)


def role_of(number: int) -> str:
    """Return the word for a role."""
    return word(statement_pb2.Role, number, "ROLE_")
