"""What the record of a signal says, as values: indicators, and what goes with them.

A subscriber makes and drops them by the million, so they are structs, which are made several times as fast as data
classes and which garbage collections pass over. They hold nothing that could lead back to them.
"""

from __future__ import annotations

import msgspec


class VideoFrame(msgspec.Struct, frozen=True, gc=False):
    """One frame of a vpdq fingerprint: its time in milliseconds, quality 0..100, PDQ hash of 32 bytes."""

    frame_ms: int
    quality: int
    pdq: bytes


class Indicator(msgspec.Struct, frozen=True, gc=False):
    """A typed, normalised, hashed identifier.

    ``type`` is the number of an `IndicatorType`, ``profile`` the version of its normal form. ``value`` is raw bytes,
    and empty for a type that is made of ``frames``.
    """

    type: int
    value: bytes = b""
    profile: int = 1
    frames: tuple[VideoFrame, ...] = ()


class Record(msgspec.Struct, frozen=True, gc=False):
    """The erasable part of a signal: one piece of content or one account, by one to eight indicators.

    ``salt`` is 16 random bytes, ``case_ref`` the publisher's own reference, ``quality`` 0 to 100.
    """

    salt: bytes
    indicators: tuple[Indicator, ...]
    case_ref: str = ""
    quality: int = 0
