"""What is said about signals as JSON: retractions, erasures, opinions, dispositions, quarantines, releases.

One object says one thing, under the name of its ``kind``. What the ledger delivers has the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from exchange import codec
from exchange.domain.bodies import (
    AboutSignals,
    Acknowledgement,
    Disposition,
    DispositionReason,
    DispositionState,
    Election,
    Erasure,
    ErasureReason,
    LagCell,
    Life,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
    SourceAction,
    TargetClass,
)
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange_client.in_flight import Said
from exchange_client.json_referrals import addressed_to_json
from exchange_client.json_words import ids_of, invalid, known_keys, name_of, optional_word, text_of, time_of, word_of

#: What a line of each kind may hold, beside its ``kind``.
KEYS: dict[Kind, frozenset[str]] = {
    Kind.RETRACTION: frozenset({"signal_ids", "case_ref", "reason", "decided_at"}),
    Kind.ERASURE: frozenset({"signal_ids", "case_ref", "reason"}),
    Kind.OPINION: frozenset({"signal_ids", "category", "reason"}),
    Kind.DISPOSITION: frozenset({"signal_ids", "state", "action", "reason", "matched_at", "actioned_at"}),
    Kind.QUARANTINE: frozenset({"member", "from_index", "reason"}),
    Kind.RELEASE: frozenset({"member"}),
}


@dataclass(frozen=True, slots=True)
class LifeLine:
    """What a line says: a body, and where it names a case of ours in place of signals, that."""

    body: Retraction | Erasure | Opinion | Disposition | Quarantine | Release
    case_ref: str = ""


def life_from_json(data: Mapping[str, Any], kind: Kind) -> LifeLine:
    """Return what a JSON object says, which is of this kind. Unknown keys are errors. Raises `Rejected`."""
    known_keys(data, KEYS[kind] | {"kind"}, f" of a {kind.name.lower()}")
    if data.get("kind", kind.name.lower()) != kind.name.lower():
        raise invalid(f"its `kind` is not {kind.name.lower()}")
    case_ref = text_of(data.get("case_ref", ""), "case_ref")
    if "signal_ids" in KEYS[kind]:
        targets = ids_of(data.get("signal_ids"), "signal_ids")
        if bool(targets) == bool(case_ref):
            either = "`signal_ids`, or a `case_ref`" if "case_ref" in KEYS[kind] else "`signal_ids`"
            raise invalid(f"name what it is about: {either}")
        return LifeLine(_about(data, kind, targets), case_ref)
    member = text_of(data.get("member", ""), "member")
    if not member:
        raise invalid("name the `member` whose entries it is about")
    if kind is Kind.RELEASE:
        return LifeLine(Release(member))
    reason = word_of(QuarantineReason, data.get("reason"), "reason")
    return LifeLine(Quarantine(member, _index(data.get("from_index", 0)), reason))


def _about(
    data: Mapping[str, Any], kind: Kind, targets: tuple[bytes, ...]
) -> Retraction | Erasure | Opinion | Disposition:
    reason = data.get("reason")
    match kind:
        case Kind.RETRACTION:
            decided_at = time_of(data.get("decided_at", 0), "decided_at")
            return Retraction(targets, word_of(RetractionReason, reason, "reason"), decided_at)
        case Kind.ERASURE:
            return Erasure(targets, word_of(ErasureReason, reason, "reason"))
        case Kind.OPINION:
            category = word_of(OpinionCategory, data.get("category"), "category")
            return Opinion(targets, category, word_of(OpinionReason, reason, "reason"))
        case _:
            return Disposition(
                targets,
                word_of(DispositionState, data.get("state"), "state"),
                optional_word(SourceAction, data.get("action"), "action"),
                optional_word(DispositionReason, reason, "reason"),
                time_of(data.get("matched_at", 0), "matched_at"),
                time_of(data.get("actioned_at", 0), "actioned_at"),
            )


def _index(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid("`from_index` must be an index: 0 or more")
    return value


def life_to_json(body: Life) -> dict[str, object]:
    """Return what a statement says as JSON, without its ``kind``: what was not said is left out."""
    match body:
        case Acknowledgement():
            return _acknowledged(body)
        case Election():
            return _election(body)
        case Release():
            return {"member": body.member}
        case Quarantine():
            return {"member": body.member, "from_index": body.from_index, "reason": _reason(QuarantineReason, body)}
        case _:
            said = {"signal_ids": [target.hex() for target in body.targets], **_about_to_json(body)}
            return {key: value for key, value in said.items() if value}


def said_to_json(said: Said) -> dict[str, object]:
    """Return what was said as the line that it can be said from again, with its index where the ledger has it."""
    if said.record is not None:
        return addressed_to_json(said)
    data: dict[str, object] = {}
    if isinstance(said.body, Life):
        data = {"kind": codec.kind_of(said.body).name.lower(), **life_to_json(said.body)}
    if said.receipt is None:
        return data
    return data | {"index": said.receipt.index, "repeated": said.receipt.repeated}


def _about_to_json(body: AboutSignals) -> dict[str, object]:
    match body:
        case Retraction():
            return {"reason": _reason(RetractionReason, body), "decided_at": body.decided_at_ms}
        case Erasure():
            return {"reason": _reason(ErasureReason, body)}
        case Opinion():
            return {"category": name_of(OpinionCategory, body.category), "reason": _reason(OpinionReason, body)}
        case Disposition():
            return {
                "state": name_of(DispositionState, body.state),
                "action": name_of(SourceAction, body.action),
                "reason": _reason(DispositionReason, body),
                "matched_at": body.matched_at_ms,
                "actioned_at": body.actioned_at_ms,
            }


def _reason(words: type[IntEnum], body: Retraction | Erasure | Opinion | Disposition | Quarantine) -> str | int | None:
    return name_of(words, body.reason)


def _acknowledged(body: Acknowledgement) -> dict[str, object]:
    return {
        "processed_through": body.processed_through,
        "clock_offset_ms": body.clock_offset_ms,
        "clock_error_ms": body.clock_error_ms,
        "lag": [_cell(cell) for cell in body.cells],
    }


def _election(body: Election) -> dict[str, object]:
    return {
        "name": body.name,
        "title": body.title,
        "begins_at": body.begins_ms,
        "polling_ends_at": body.polling_ends_ms,
        "target_classes": [name_of(TargetClass, each) for each in body.target_classes],
        "lag_target_ms": body.lag_target_ms,
        "lag_alert_ms": body.lag_alert_ms,
        "keep_days": body.keep_days,
    }


def _cell(cell: LagCell) -> dict[str, object]:
    return {
        "publisher": cell.publisher,
        "label": name_of(Label, cell.label),
        "election": cell.election.hex() or None,
        "retraction": cell.retraction,
        "counts": list(cell.counts),
    }
