"""What a match tells: a known signal, where it comes from, and what others say of it. Nothing bans by itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from exchange.domain.bodies import OpinionCategory


@dataclass(frozen=True, slots=True)
class Opinions:
    """How many members think what of a signal; of each the last opinion counts."""

    positive: int = 0
    seed: int = 0
    negative: int = 0

    @classmethod
    def of(cls, opinions: Collection[int]) -> Opinions:
        """Count categories of opinions; one that is not known is passed over."""
        seen = list(opinions)
        return cls(*(seen.count(each) for each in OpinionCategory))

    @property
    def disputed(self) -> bool:
        """Whether anybody says that it is wrong."""
        return self.negative > 0


NO_OPINIONS = Opinions()


@dataclass(frozen=True, slots=True)
class Match:
    """A known signal that content matches, and where it comes from."""

    signal_id: bytes
    publisher: str
    index: int
    label: int
    severity: int
    confidence: int
    handling: int
    expires_at_ms: int
    #: Of the indicator that was asked with.
    type: int
    #: Bits that differ; 0 for an exact type.
    distance: int
    #: The log that ``index`` is a place in.
    origin: str = ""
    #: Whether it, or its publisher, is quarantined. Such matches come only when they are asked for.
    flagged: bool = False
    opinions: Opinions = NO_OPINIONS
    #: The members, by name, whose live signals match the same content, are not flagged, and were not had from another:
    #: whoever said it first, and all who acted and said it before the hub had that, and name no other signal for it.
    corroboration: tuple[str, ...] = ()

    def act_grade(self, publishers: int = 2) -> bool:
        """Whether so many independent publishers say it, nobody disputes it, and it is not flagged.

        What comes of that is the platform's to decide; what is not of this grade is for people to look at.
        """
        return len(self.corroboration) >= publishers and not self.opinions.disputed and not self.flagged


@dataclass(frozen=True, slots=True)
class ContentMatch:
    """One of the platform's own pieces of content, and a live signal that it matches."""

    reference: str
    match: Match
