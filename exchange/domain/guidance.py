"""A community's guidance: which platforms have a profile for candidates, and who may say one. A pure fold, and rules.

A profile is public text and stands whole in its leaf, for ever: so it is small, and holds nobody's address or number.
What it says about rules, forms and sources is judged where profiles are written (`exchange.guide`); here only that it
is the JSON object it claims to be.

Wrong advice under a platform's name must not be easy to give. An operator says which member a platform is; from then
on that member's liaison and operators may publish it, and nobody else. What the member itself said is *confirmed*.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from exchange.domain.bodies import State
from exchange.domain.directory import Directory
from exchange.domain.guidance_body import Guidance
from exchange.domain.identifiers import is_name
from exchange.domain.kinds import MemberClass
from exchange.domain.statement import Header
from exchange.domain.validation import Findings, check_envelope
from exchange.errors import Reason, Rejected

#: Platforms that have had a profile in a community; those that are withdrawn are remembered, and count.
MAX_PLATFORMS = 64
MAX_PROFILE_BYTES = 256 * 1024
#: A header with it fits into a leaf beside sixteen signatures.
MAX_COMPRESSED_BYTES = 60 * 1024
MAX_LANGUAGES = 8
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_ADDRESS = re.compile(r"\S@[\w-]+\.\w")
_NUMBER = re.compile(r"\d(?:[ ().-]?\d){8}")
_IDENTIFIER = "holds what looks like a mail address or a telephone number; the ledger never forgets"


@dataclass(frozen=True, slots=True)
class GuidanceEntry:
    """The last statement about one platform."""

    platform: str
    version: int
    #: The member that the platform is; empty while it is none.
    member: str
    publisher: str
    languages: tuple[str, ...]
    profile_sha256: bytes
    published_at_ms: int
    index: int
    withdrawn: bool = False

    @property
    def confirmed(self) -> bool:
        """Whether the platform said it itself. Else it is compiled from public sources."""
        return bool(self.member) and self.publisher == self.member

    def language(self, wanted: str) -> str:
        """Return the language to show it in: the one that is wanted where it has it, else its first."""
        return wanted if wanted in self.languages else self.languages[0]


class Guidances:
    """The folded state. Read it freely between calls of `apply`; only `apply` writes."""

    def __init__(self) -> None:
        self.entries: dict[str, GuidanceEntry] = {}

    def apply(self, index: int, header: Header, received_at_ms: int) -> None:
        """Take the next statement, of another kind too. Of two with one version the first counts."""
        body = header.body
        if not isinstance(body, Guidance):
            return
        known = self.entries.get(body.platform)
        if (known is None and len(self.entries) >= MAX_PLATFORMS) or (known and body.version <= known.version):
            return
        withdrawn = body.state != State.ACTIVE
        if withdrawn or (body.languages and body.profile_sha256):
            self.entries[body.platform] = GuidanceEntry(
                body.platform,
                body.version,
                body.member,
                header.publisher,
                body.languages,
                body.profile_sha256,
                received_at_ms,
                index,
                withdrawn,
            )

    def in_force(self) -> list[GuidanceEntry]:
        """Return the profiles that are not withdrawn, by platform."""
        return [entry for _, entry in sorted(self.entries.items()) if not entry.withdrawn]


def canonical(profile: Mapping[str, Any]) -> bytes:
    """Return a profile's one form as bytes."""
    return json.dumps(profile, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def guidance_of(profile: Mapping[str, Any], member: str = "") -> Guidance:
    """Return the statement that publishes a profile. Its platform, version and languages are the profile's own."""
    data = canonical(profile)
    return Guidance(
        platform=profile["platform"],
        version=profile["version"],
        state=State.ACTIVE,
        member=member,
        languages=tuple(profile["languages"]),
        profile_sha256=sha256(data).digest(),
        profile_bytes=len(data),
        profile=zlib.compress(data, 9),
    )


def read_profile(body: Guidance) -> dict[str, Any]:
    """Return the profile in a statement. Raises `Rejected` (INVALID) where it is not what the statement says."""
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(body.profile, MAX_PROFILE_BYTES + 1)
    except zlib.error as error:
        raise Rejected(Reason.INVALID, "the profile is not one zlib stream") from error
    if len(data) > MAX_PROFILE_BYTES:
        raise Rejected(Reason.INVALID, f"the profile is more than {MAX_PROFILE_BYTES:,} bytes")
    if not unpacking.eof or unpacking.unused_data or len(data) != body.profile_bytes:
        raise Rejected(Reason.INVALID, "the profile is not one zlib stream of the length it claims")
    if sha256(data).digest() != body.profile_sha256:
        raise Rejected(Reason.INVALID, "the profile does not hash to its SHA-256")
    try:
        profile = json.loads(data)
        same = isinstance(profile, dict) and canonical(profile) == data
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.INVALID, "the profile is not JSON") from error
    if not same:
        raise Rejected(Reason.INVALID, "the profile is not a JSON object in its canonical form")
    claimed = [body.platform, body.version, list(body.languages)]
    if [profile.get("platform"), profile.get("version"), profile.get("languages")] != claimed:
        raise Rejected(Reason.INVALID, "the profile is of another platform, version or languages")
    found: dict[str, Any] = profile
    return found


def holds_identifier(value: object) -> bool:
    """Whether any text in a profile looks like a mail address or a telephone number. Addresses of pages do not."""
    if isinstance(value, str):
        return not value.startswith("https://") and bool(_ADDRESS.search(value) or _NUMBER.search(value))
    if isinstance(value, Mapping):
        return any(holds_identifier(each) for pair in value.items() for each in pair)
    return isinstance(value, Collection) and any(map(holds_identifier, value))


def validate_guidance(header: Header, body: Guidance, known: Guidances, directory: Directory) -> None:
    """Check a statement against those that there are, and whose platform it is. Raises `InvalidStatement`."""
    findings = Findings()
    check_envelope(findings, header)
    findings.check(not header.signal_ids, "signal_ids", "have no place in a guidance")
    findings.check(is_name(body.platform), "guidance.platform", "is not a name")
    last = known.entries.get(body.platform)
    findings.check(last is not None or len(known.entries) < MAX_PLATFORMS, "guidance.platform", "is one too many")
    version = last.version if last else 0
    findings.check(body.version > version, "guidance.version", f"must be above {version}, the last one")
    _check_whose(findings, header, body, last, directory)
    if body.state == State.ACTIVE:
        _check_profile(findings, body)
    else:
        findings.check(body.state == State.ENDED, "guidance.state", "is mandatory")
        bare = not (body.languages or body.profile_sha256 or body.profile_bytes or body.profile)
        findings.check(bare, "guidance", "has no profile when it is withdrawn")
        findings.check(last is not None and not last.withdrawn, "guidance.platform", "has no profile to withdraw")
    findings.raise_if_any()


def may_speak(publisher: str, body: Guidance, last: GuidanceEntry | None, directory: Directory) -> bool:
    """Whether a member speaks for a platform: an operator, or the member that the platform is, after its ``last``."""
    if _is_operator(publisher, directory):
        return True
    return _is_own(publisher, body, last) and body.member == publisher


def _is_operator(publisher: str, directory: Directory) -> bool:
    known = directory.members.get(publisher)
    return known is not None and known.member_class is MemberClass.OPERATOR


def _is_own(publisher: str, body: Guidance, last: GuidanceEntry | None) -> bool:
    owner = last.member if last else ""
    return owner == publisher or (not owner and body.platform == publisher)


def _check_whose(
    findings: Findings, header: Header, body: Guidance, last: GuidanceEntry | None, directory: Directory
) -> None:
    if _is_operator(header.publisher, directory):
        named = directory.members.get(body.member)
        platform = named is not None and named.member_class is MemberClass.PLATFORM
        right = platform and directory.in_community(body.member, header.origin)
        findings.check(not body.member or right, "guidance.member", "is not a platform in this community")
        return
    own = _is_own(header.publisher, body, last)
    findings.check(own, "guidance.platform", "is not yours: an operator says first which member a platform is")
    findings.check(body.member == header.publisher, "guidance.member", "must be the member that says it")


def _check_profile(findings: Findings, body: Guidance) -> None:
    languages = list(body.languages)
    findings.check(0 < len(languages) <= MAX_LANGUAGES, "guidance.languages", f"must be 1 to {MAX_LANGUAGES}")
    findings.check(languages == sorted(set(languages)), "guidance.languages", "must be sorted, without repeats")
    findings.check(all(map(_LANGUAGE.fullmatch, languages)), "guidance.languages", "are ISO 639 codes")
    if len(body.profile) > MAX_COMPRESSED_BYTES:
        findings.add("guidance.profile", f"is more than {MAX_COMPRESSED_BYTES:,} bytes when it is compressed")
        return
    try:
        profile = read_profile(body)
    except Rejected as error:
        findings.add("guidance.profile", error.message)
        return
    findings.check(not holds_identifier(profile), "guidance.profile", _IDENTIFIER)
