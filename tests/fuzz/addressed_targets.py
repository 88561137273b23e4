"""The readers of what is said to named members: whatever is read is judged without an error of our own, and bounded."""

from __future__ import annotations

from collections.abc import Callable

from exchange.codec_addressed import decode_addressed, encode_addressed
from exchange.domain.addressed import NoteRecord, ReferralRecord, ReferralState, UpdateRecord
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.referrals import MAX_NOTE_CHARACTERS, check_record
from exchange.domain.validation import Findings
from exchange.errors import Rejected
from exchange_client.json_referrals import record_to_json
from tests.fuzz.target import Target
from tests.unit.builders import NOW_MS, digest

_REFERRAL = ReferralRecord(
    bytes(16),
    "police",
    Label.VIOLENCE_THREATS,
    2,
    NOW_MS + 1_000,
    "T-1",
    digest("an election"),
    1,
    (digest("one"), digest("two")),
    "mailto:desk@alpha.example",
    "https://alpha.example/requests",
)
_UPDATE = UpdateRecord(bytes(16), digest("a referral"), ReferralState.CLOSED, NOW_MS, 3, "PS/1", 0)
_NOTE = NoteRecord(bytes(16), digest("a referral"), "Which time zone?")


def _reading(kind: Kind) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        """What the hub takes is what receivers read, and is written as it was."""
        try:
            strict = decode_addressed(kind, (data,), strict=True)
        except Rejected:
            decode_addressed(kind, (data,), strict=False)
            raise
        assert decode_addressed(kind, (data,), strict=False) == strict
        assert encode_addressed(strict) == data
        findings = Findings()
        check_record(findings, strict, now_ms=NOW_MS)
        if not findings.total and isinstance(strict, NoteRecord):
            assert len(strict.text) <= MAX_NOTE_CHARACTERS
            assert "\n" not in strict.text
        record_to_json(strict)
        return strict

    return read


TARGETS = tuple(
    Target(name, _reading(kind), tuple(map(encode_addressed, seeds)), message=True)
    for name, kind, seeds in (
        ("referral", Kind.REFERRAL, (_REFERRAL,)),
        ("referral-update", Kind.REFERRAL_UPDATE, (_UPDATE,)),
        ("note", Kind.NOTE, (_NOTE,)),
    )
)
