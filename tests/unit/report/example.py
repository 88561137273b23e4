"""A report to spoil: one of everything, of a month in which much has happened."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import msgspec

from exchange.domain.bodies import DispositionState, ErasureReason, RetractionReason, SourceAction
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.lag import Histogram, Stage
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.report.figures import Counted, Owed, figures_of
from exchange.report.payload import FORMAT, HOW, Election, MemberLine, Payload, Signer, encoded, release
from tests.unit.builders import BETA_LIAISON, DIRECTORY, UK, digest

KEY = BETA_LIAISON.key
LEAST = 5


def note(origin: str, size: int) -> str:
    """Return a signed checkpoint of nothing in particular."""
    key = SigningKey(digest(f"log key of {origin}"))
    return sign_checkpoint(Checkpoint(origin, size, digest(f"root of {origin}")), key).decode()


def histogram(*buckets: int, count: int = 30) -> Histogram:
    made = Histogram.empty()
    for bucket in buckets:
        made.counts[bucket] += count
    return made


def counted() -> Counted:
    """Return what was counted."""
    weeks = [f"week of {date(2027, 4, 5) + timedelta(7 * number)}" for number in range(9)]
    receivers = ("beta", "gamma")
    stages = (Stage.DELIVERED, Stage.ACTIONED, Stage.UNDONE)
    return Counted(
        members=(
            MemberLine("police", "The police", "authority", "active", flagged=False),
            MemberLine("alpha", "Alpha", "platform", "active", flagged=True),
            MemberLine("beta", "Beta", "platform", "suspended", flagged=False),
            MemberLine("gamma", "Gamma", "platform", "left", flagged=False),
        ),
        statements={Kind.SIGNAL: 1_000, Kind.RETRACTION: 12, Kind.OPINION: 31, Kind.DISPOSITION: 700, Kind.ELECTION: 1},
        by_label={Label.HARASSMENT_TARGETED: 990, Label.VIOLENCE_THREATS: 130, Label.MISLEADING_SPAM: 3},
        by_publisher={"alpha": 700, "beta": 423},
        by_period={week: 40 + 25 * number if number != 4 else 3 for number, week in enumerate(weeks)},
        dispositions={
            (DispositionState.ACTIONED, SourceAction.REMOVED): 410,
            (DispositionState.ACTIONED, SourceAction.ACCOUNT_SUSPENDED): 90,
            (DispositionState.NOT_ACTIONED, 0): 77,
        },
        endings={
            (False, RetractionReason.OVERTURNED_ON_APPEAL): 9,
            (False, RetractionReason.ERROR): 14,
            (True, ErasureReason.ON_REQUEST): 2,
        },
        disputed={"alpha": 11},
        debts={"beta": Owed(9, 6, 5), "gamma": Owed(18, 0, 2)},
        lag={(stage, ""): histogram(7, 9, 12) for stage in stages},
        lag_by_receiver={(stage, name): histogram(8, 11) for stage in stages for name in receivers},
        lag_by_period={
            (Stage.DELIVERED, week): histogram(12 - number, 15 - number, count=0 if number == 4 else 12)
            for number, week in enumerate(weeks)
        },
    )


def payload(**changes: Any) -> Payload:
    """Return what a report says."""
    values: dict[str, Any] = {
        "format": FORMAT,
        "release": release(),
        "verify": HOW,
        "origin": UK,
        "first_day": "2027-04-05",
        "last_day": "2027-06-06",
        "election": Election(
            "ab" * 32, "general-2027", "The general election", 1_806_000_000_000, 1_810_000_000_000, 60_000
        ),
        "as_at_ms": 1_812_000_000_000,
        "least": LEAST,
        "deadline_hours": 72,
        "checkpoint": note(UK, 1_900),
        "directory_checkpoint": note(DIRECTORY, 40),
        "signer": Signer("beta", "liaison", KEY.public_key.hex()),
        "figures": figures_of(counted(), LEAST),
        "files": {},
    }
    return Payload(**(values | changes))


def plain() -> dict[str, Any]:
    """Return the same as plain values, to alter."""
    found: dict[str, Any] = json.loads(encoded(payload()))
    return found


def of_plain(data: dict[str, Any]) -> Payload:
    """Return the report in plain values. Raises as `msgspec` does."""
    return msgspec.convert(data, Payload)
