"""What the header of a guidance says, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guidance:
    """A platform's profile for candidates, whole; or its withdrawal (ENDED: without what follows the member)."""

    platform: str
    version: int
    state: int
    #: The member that the platform is; empty while it is none.
    member: str = ""
    languages: tuple[str, ...] = ()
    #: Of the canonical JSON, before it was compressed.
    profile_sha256: bytes = b""
    profile_bytes: int = 0
    #: One zlib stream.
    profile: bytes = b""
