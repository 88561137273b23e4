"""Logs: one JSON object a line, or coloured text on a terminal, and never an identifier.

An event is a snake_case word with fields: ``log.info("group_sealed", origin=..., size=...)``. Everything goes down one
path, our own lines and those of libraries, and the last step before writing is `redact`, which does not trust callers:

- a field whose name says that it holds an identifier or a secret is replaced,
- bytes become their length, objects their type, and text that looks like an address or a number is cut out,
- an exception is its type and its frames. Its text is kept only where it is one of ours (they carry a `StrEnum`
  reason, and their messages are written to hold no identifier); locals never.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import date
from enum import Enum, StrEnum
from itertools import pairwise
from pathlib import PurePath
from traceback import extract_tb
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

#: Words that make a field's name forbidden, wherever they stand in it (``caseRef``, ``reporter_email`` ...).
FORBIDDEN_WORDS = frozenset(
    {
        "body", "email", "emails", "evidence", "frame", "frames", "handle", "handles", "hash", "hashes",
        "identifier", "identifiers", "indicator", "indicators", "passphrase", "password", "payload", "pdq", "phone",
        "phones", "pseudonym", "pseudonyms", "record", "records", "salt", "secret", "seed", "tlsh", "token", "url",
        "urls", "username", "value", "values", "vpdq",
    }
)  # fmt: skip
#: Forbidden where they are the whole name, or stand side by side in it.
FORBIDDEN_PAIRS = frozenset({("case", "ref"), ("private", "key"), ("profile", "name"), ("user", "name")})
#: A number whose name ends in one of these counts things; it may stay.
COUNTING_WORDS = frozenset({"bytes", "count", "ms", "seconds", "size", "total"})
#: Hashes of whole leaves, trees and keys identify nobody.
ALLOWED_NAMES = frozenset({"key_hash", "leaf_hash", "root_hash"})

_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_TEXT_PATTERNS = re.compile(
    r"""
      [^\s@<>"'(),;:=\[\]]+@[^\s@<>"'(),;\[\]]+   # mail addresses, federated handles
    | \bhttps?://[^\s/"'<>]+/[^\s"'<>]+           # addresses of pages; a bare host may stay
    | \+\d[\d\s().-]{6,}\d                        # international telephone numbers
    | (?<![\w.])0\d[\d\s()-]{7,}\d(?![\w.])       # national ones
    | (?<!\w)\d{9,12}(?!\w)                       # the same, run together
    | (?<!\w)@[\w.-]{2,}                          # handles
    """,
    re.VERBOSE,
)
_LONG_HEX = re.compile(r"(?<!\w)[0-9a-fA-F]{32,}(?!\w)|\bT1[0-9A-F]{70}\b")
_FRAME_LIMIT = 30
_CAUSE_LIMIT = 5


def scrub(text: str) -> str:
    """Return the text without what looks like a mail address, telephone number, handle or page address."""
    return _TEXT_PATTERNS.sub(REDACTED, text)


def is_forbidden(name: str) -> bool:
    """Tell whether a field of this name may not be logged."""
    if name in ALLOWED_NAMES:
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    return not FORBIDDEN_WORDS.isdisjoint(words) or not FORBIDDEN_PAIRS.isdisjoint(pairwise(words))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace whatever in an event could identify somebody. The last processor before rendering."""
    text = _LONG_HEX.sub(REDACTED, scrub(str(event.pop("event", ""))))
    fields = {name: item for name, item in event.items() if name not in {"level", "raised", "timestamp"}}
    kept = {name: event[name] for name in ("timestamp", "level") if name in event}
    raised = {"raised": event["raised"]} if "raised" in event else {}
    return {**kept, "event": text, **_clean_mapping(fields), **raised}


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn ``exc_info`` into the field ``raised``: types, frames, and the messages that may be shown."""
    event.pop("raised", None)
    found = event.pop("exc_info", None)
    if isinstance(found, tuple):
        found = found[1]
    elif found is True:
        found = sys.exc_info()[1]
    if isinstance(found, BaseException):
        event["raised"] = _describe(found, _CAUSE_LIMIT)
    return event


def configure(*, stream: TextIO | None = None, level: str = "info", console: bool | None = None) -> None:
    """Send every log line of the process to ``stream`` (stderr), as text when it is a terminal, else as JSON.

    Called once, by the composition root; calling it again replaces what was there.
    """
    target = sys.stderr if stream is None else stream
    as_text = target.isatty() if console is None else console
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=target.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _first_line],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                describe_exception,
                redact,
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _first_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep the first line of a library's message: what follows is often the repr of objects."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _clean_mapping(fields: Mapping[Any, Any]) -> MutableMapping[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, item in fields.items():
        name = scrub(str(key))
        cleaned[name] = REDACTED if is_forbidden(name) and not _counts(name, item) else _clean(item)
    return cleaned


def _counts(name: str, item: object) -> bool:
    last = _WORDS.findall(name)[-1].lower()
    return isinstance(item, int | float) and last in COUNTING_WORDS


def _clean(item: object) -> object:
    if isinstance(item, Enum):
        item = item.value
    if item is None or isinstance(item, bool | int | float):
        return item
    if isinstance(item, str | PurePath):
        return scrub(str(item))
    if isinstance(item, date):
        return item.isoformat()
    if isinstance(item, bytes | bytearray | memoryview):
        return f"<{len(item)} bytes>"
    if isinstance(item, Mapping):
        return _clean_mapping(item)
    if isinstance(item, BaseException):
        return _describe(item, _CAUSE_LIMIT)
    if isinstance(item, Sequence | set | frozenset):
        return [_clean(part) for part in item]
    return f"<{type(item).__name__}>"


def _describe(error: BaseException, causes_left: int) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type(error).__name__}
    reason = getattr(error, "reason", None)
    if isinstance(reason, StrEnum):
        described |= {"reason": reason.value, "message": _LONG_HEX.sub(REDACTED, scrub(str(error)))}
    elif isinstance(error, OSError) and error.strerror:
        described["message"] = scrub(error.strerror)
    frames = extract_tb(error.__traceback__)[-_FRAME_LIMIT:]
    described["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    if isinstance(error, BaseExceptionGroup):
        described["parts"] = [_describe(part, 0) for part in error.exceptions[:_CAUSE_LIMIT]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and causes_left:
        described["cause"] = _describe(cause, causes_left - 1)
    return described
