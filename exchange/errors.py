"""The one error tree.

    ExchangeError
    ├── Rejected              the caller's fault: never retried unchanged, nothing was changed
    │   ├── InvalidStatement      carries the violations found
    │   ├── VerificationFailed    a signature, hash or proof does not hold
    │   ├── Denied                the caller may not do this (and is not told what exists)
    │   ├── Unauthenticated       no acceptable identity
    │   ├── CursorBelowFloor      carries the floor
    │   └── CursorAboveSize       carries the sealed size
    ├── Unavailable           try again later, carries retry_after_ms
    │   └── OverQuota             the caller's own budget is used up
    ├── Conflict              a compare-and-set lost: re-read the head and re-base
    └── Fatal                 our own state is impossible: stop writing, say so loudly
        └── OtherFormat           what lies there is in a format that this release does not know

The pure core raises these and knows no transport. ``exchange.api.status`` holds the one table from
`Reason` to a gRPC status. Parsers of untrusted input raise `Rejected` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class Reason(StrEnum):
    """Why something was refused. The value is what a client sees; it never changes once released."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    UNKNOWN_KIND = "unknown_kind"
    WRONG_ORIGIN = "wrong_origin"
    BAD_SIGNATURE = "bad_signature"
    WRONG_KEY = "wrong_key"
    REPLAY_MISMATCH = "replay_mismatch"
    TOO_LARGE = "too_large"
    CLOCK_SKEW = "clock_skew"
    ROUTED_ELSEWHERE = "routed_elsewhere"
    NOT_PERMITTED = "not_permitted"
    UNAUTHENTICATED = "unauthenticated"
    CURSOR_BELOW_FLOOR = "cursor_below_floor"
    CURSOR_ABOVE_SIZE = "cursor_above_size"
    NOT_FOUND = "not_found"
    BAD_PROOF = "bad_proof"
    BAD_CHECKPOINT = "bad_checkpoint"
    OVER_QUOTA = "over_quota"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    STALLED = "stalled"
    CONFLICT = "conflict"
    CONFIG = "config"
    CORRUPT = "corrupt"
    ROLLED_BACK = "rolled_back"
    UNIMPLEMENTED = "unimplemented"


class ExchangeError(Exception):
    """Base of every error this project raises on purpose."""

    def __init__(self, reason: Reason, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it cross to another process whole, whatever its constructor takes."""
        return _again, (type(self), self.args, self.__dict__)

    def diagnostics(self) -> str:
        """The message and, where there is one, the person's next step."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def alone(self) -> Self:
        """Return it, to be kept: without traceback and causes, whose frames hold what was refused, and its message."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


def _again(kind: type[ExchangeError], args: tuple[Any, ...], state: dict[str, Any]) -> ExchangeError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class Rejected(ExchangeError):
    """The caller's input is at fault. Nothing was changed; sending it again unchanged cannot help."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a statement: where (a path such as ``records[3].indicators[0].value``) and what."""

    field: str
    description: str


class InvalidStatement(Rejected):
    """A statement that breaks the rules. Carries the first violations found and how many there were."""

    def __init__(
        self,
        violations: tuple[Violation, ...],
        *,
        total: int | None = None,
        reason: Reason = Reason.INVALID,
        hint: str = "",
    ) -> None:
        self.violations = violations
        self.total = len(violations) if total is None else total
        first = violations[0]
        more = f" (and {self.total - 1} more)" if self.total > 1 else ""
        super().__init__(reason, f"{first.field}: {first.description}{more}", hint=hint)


class VerificationFailed(Rejected):
    """A signature, hash, proof or checkpoint does not hold. Whoever sees this stops trusting the sender."""


class Denied(Rejected):
    """The caller may not do this. The message never tells whether the thing exists."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(Reason.NOT_PERMITTED, message, hint=hint)


class Unauthenticated(Rejected):
    """No acceptable identity: no client certificate, a wrong one, or TLS below 1.3."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(Reason.UNAUTHENTICATED, message, hint=hint)


class CursorBelowFloor(Rejected):
    """The cursor asks for entries the feed no longer serves."""

    def __init__(self, floor: int) -> None:
        super().__init__(
            Reason.CURSOR_BELOW_FLOOR,
            f"the feed now starts at index {floor}",
            hint="read the older entry bundles, or start again at the floor",
        )
        self.floor = floor


class CursorAboveSize(Rejected):
    """The cursor lies beyond the sealed size: a wrong cursor, or a hub that has lost entries."""

    def __init__(self, sealed_size: int) -> None:
        super().__init__(
            Reason.CURSOR_ABOVE_SIZE,
            f"the sealed size is {sealed_size}",
            hint="a cursor that was once accepted and now lies above the size means a rolled-back hub: keep your copy",
        )
        self.sealed_size = sealed_size


class Unavailable(ExchangeError):
    """Not now. Nothing is wrong with the request; try again after ``retry_after_ms``."""

    def __init__(
        self, message: str, *, retry_after_ms: int = 1000, reason: Reason = Reason.UNAVAILABLE, hint: str = ""
    ) -> None:
        super().__init__(reason, message, hint=hint)
        self.retry_after_ms = retry_after_ms


class OverQuota(Unavailable):
    """The member's own budget is used up for now."""

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(message, retry_after_ms=retry_after_ms, reason=Reason.OVER_QUOTA)


class Conflict(ExchangeError):
    """The log is not where the caller thought: re-read its head, judge again, append again."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CONFLICT, message)


class Fatal(ExchangeError):
    """Our own state is impossible (corruption, a rollback, a broken invariant). Stop writing; do not guess."""

    def __init__(self, message: str, *, reason: Reason = Reason.CORRUPT, hint: str = "") -> None:
        super().__init__(reason, message, hint=hint)


class OtherFormat(Fatal):
    """What lies there is in another release's format. It is refused before anything in it is changed."""

    def __init__(self, where: object, found: object, known: int) -> None:
        said, hint = format_refused(found, known)
        super().__init__(f"{where}: {said}", reason=Reason.CONFIG, hint=hint)


def format_refused(found: object, known: int) -> tuple[str, str]:
    """Return how a format that is not the known one is told of, and what to do: docs/upgrade.md is the whole of it."""
    newer = isinstance(found, int) and found > known
    hint = (
        "a newer release wrote it: run that one, or bring back what was kept before the upgrade (docs/upgrade.md)"
        if newer
        else "no release of ours that this one follows wrote it: see docs/upgrade.md"
    )
    return f"format {found}; this release knows {known}", hint
