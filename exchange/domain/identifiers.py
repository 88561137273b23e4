"""The registry of indicator types. A new type is one entry here (and one number in the proto).

Names follow python-threatexchange where it has one. Values are raw bytes on the wire; text forms exist only at the
edges (`exchange.normal.text_forms`). An indicator carries the version of the normal form its value was made with, so
that a change of rules is a new profile and never a silent mismatch.

Also here: the syntax of the permanent names (members, exchanges, origins).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

PDQ_BYTES = 32
#: A pseudonym's value: the key epoch, big-endian, and the output of the VOPRF.
KEY_EPOCH_BYTES = 4
PSEUDONYM_BYTES = KEY_EPOCH_BYTES + 32

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


class IndicatorType(IntEnum):
    """A type of indicator. Numbers as in ``exchange.v1.IndicatorType``."""

    PDQ = 1
    VPDQ = 2
    TEXT_TLSH = 3
    IMAGE_MD5 = 4
    IMAGE_SHA256 = 5
    VIDEO_MD5 = 6
    VIDEO_SHA256 = 7
    AUDIO_MD5 = 8
    AUDIO_SHA256 = 9
    DOCUMENT_MD5 = 10
    DOCUMENT_SHA256 = 11
    URL = 12
    PSEUDONYM = 13

    @property
    def word(self) -> str:
        """The type as it stands on a command line and in JSON."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class IndicatorRow:
    """One entry of the registry."""

    type: IndicatorType
    #: Exact length of the value in bytes; 0 for a type made of frames.
    value_bytes: int
    #: Versions of the normal form that are accepted.
    profiles: frozenset[int]
    #: A match within this Hamming distance counts; 0 means exact.
    hamming: int
    summary: str

    @property
    def has_frames(self) -> bool:
        """Whether the indicator is a list of frames in place of one value."""
        return self.value_bytes == 0


_V1 = frozenset({1})


def _row(type_: IndicatorType, value_bytes: int, summary: str, *, hamming: int = 0) -> IndicatorRow:
    return IndicatorRow(type_, value_bytes, _V1, hamming, summary)


#: The registry, by number.
INDICATOR_TYPES: dict[int, IndicatorRow] = {
    row.type.value: row
    for row in (
        _row(IndicatorType.PDQ, PDQ_BYTES, "perceptual hash of a photograph", hamming=31),
        _row(IndicatorType.VPDQ, 0, "PDQ hashes of a video's frames", hamming=31),
        _row(IndicatorType.TEXT_TLSH, 35, "locality-sensitive hash of a text, without its T1"),
        _row(IndicatorType.IMAGE_MD5, 16, "MD5 of an image file"),
        _row(IndicatorType.IMAGE_SHA256, 32, "SHA-256 of an image file"),
        _row(IndicatorType.VIDEO_MD5, 16, "MD5 of a video file"),
        _row(IndicatorType.VIDEO_SHA256, 32, "SHA-256 of a video file"),
        _row(IndicatorType.AUDIO_MD5, 16, "MD5 of an audio file"),
        _row(IndicatorType.AUDIO_SHA256, 32, "SHA-256 of an audio file"),
        _row(IndicatorType.DOCUMENT_MD5, 16, "MD5 of a document file"),
        _row(IndicatorType.DOCUMENT_SHA256, 32, "SHA-256 of a document file"),
        _row(IndicatorType.URL, 32, "SHA-256 of a canonical URL"),
        _row(IndicatorType.PSEUDONYM, PSEUDONYM_BYTES, "key epoch and pseudonym of an account identifier"),
    )
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The name of a log: ``<exchange>/<log>``."""

    exchange: str
    log: str

    DIRECTORY_LOG = "directory"

    def __str__(self) -> str:
        return f"{self.exchange}/{self.log}"

    @property
    def is_directory(self) -> bool:
        """Whether this is the exchange's directory log."""
        return self.log == self.DIRECTORY_LOG

    @property
    def directory(self) -> str:
        """The origin of the directory log of the same exchange."""
        return f"{self.exchange}/{self.DIRECTORY_LOG}"

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Return the origin, or None when the text is not one."""
        exchange, slash, log = text.partition("/")
        return cls(exchange, log) if slash and is_name(exchange) and is_name(log) else None


def is_name(text: str) -> bool:
    """Whether a text is a valid member id, exchange name or log name."""
    return _NAME.fullmatch(text) is not None


def pseudonym_value(key_epoch: int, output: bytes) -> bytes:
    """Return a pseudonym as an indicator has it: pseudonyms of two key epochs never meet."""
    return key_epoch.to_bytes(KEY_EPOCH_BYTES, "big") + output


def key_epoch_of(value: bytes) -> int:
    """Return the key epoch of a pseudonym's value."""
    return int.from_bytes(value[:KEY_EPOCH_BYTES], "big")
