"""Signals and deliveries as JSON: for files, pipes and pipelines in other languages.

Text forms stand only here, at the edge: lower-case hexadecimal, words for enums, milliseconds or ISO times. Addresses
of pages are canonicalised and hashed here, and addresses of accounts are refused: they belong to pseudonyms. A line may
name accounts, which must become pseudonyms before there is a signal; no message repeats an account's identifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from exchange.domain.bodies import (
    Audience,
    Confidence,
    Handling,
    LawfulBasis,
    Life,
    Severity,
    SourceAction,
    TargetClass,
)
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import KINDS
from exchange.domain.labels import Label
from exchange.domain.plain_records import MAX_INDICATORS
from exchange.domain.validation import DAY_MS
from exchange.errors import Rejected
from exchange.normal import text_forms
from exchange.normal.accounts import Account, AccountType, normal_account
from exchange.normal.profile_urls import refuse_profile_url
from exchange.normal.url import canonical_url, url_digest
from exchange_client.account_signals import NamingSignal
from exchange_client.delivery import Delivery
from exchange_client.json_life import life_to_json
from exchange_client.json_referrals import record_to_json
from exchange_client.json_words import (
    flag_of,
    id_of,
    ids_of,
    invalid,
    known_keys,
    name_of,
    optional_word,
    text_of,
    time_of,
    word_of,
)
from exchange_client.pdq import MIN_QUALITY, hash_image
from exchange_client.records import Indicator, VideoFrame
from exchange_client.signals import Signal

#: Far beyond what any community allows, and within what a header can hold.
MAX_EXPIRY_DAYS = 10_000_000
T = TypeVar("T")

_KEYS = frozenset(
    {
        "label", "indicators", "accounts", "expires_at", "expires_in_days", "confidence", "severity", "handling",
        "audience", "election", "target_class", "observed_at", "actioned_at", "source_action", "guidance_clause",
        "lawful_basis", "backfill", "replaces", "derived_from", "case_ref", "quality",
    }
)  # fmt: skip

_ACCOUNT_KEYS = frozenset({"type", "value", "country"})
_ACCOUNT_TYPES = frozenset(AccountType)


def indicator_of_url(text: str) -> Indicator:
    """Return the indicator of a page's address. Raises `Rejected`, also for the address of an account."""
    canonical = canonical_url(text)
    refuse_profile_url(canonical)
    return Indicator(IndicatorType.URL, url_digest(text))


def indicator_of_file(path: Path, type_: IndicatorType) -> Indicator:
    """Return the MD5 or SHA-256 indicator of a file's bytes."""
    algorithm = "md5" if type_.word.endswith("_md5") else "sha256"
    with path.open("rb") as file:
        return Indicator(type_, hashlib.file_digest(file, algorithm).digest())


def indicator_of_image(path: Path) -> tuple[Indicator, int]:
    """Return a photograph's PDQ indicator and quality. Raises `Rejected` when the quality is too low to share."""
    found = hash_image(path)
    if found.quality < MIN_QUALITY:
        raise invalid(f"the image has too little structure for a stable hash (quality {found.quality})")
    return Indicator(IndicatorType.PDQ, found.value), found.quality


def indicator_from_json(data: object) -> Indicator:
    """Return the indicator that a JSON object describes. Raises `Rejected`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        raise invalid("an indicator is an object with `type` and `value`")
    type_ = word_of(IndicatorType, data["type"], "indicator type")
    value = data.get("value")
    if not isinstance(value, str):
        raise invalid("an indicator's `value` must be text")
    if type_ is IndicatorType.URL:
        return indicator_of_url(value)
    if type_ is IndicatorType.VPDQ:
        frames = tuple(VideoFrame(f.frame_ms, f.quality, f.pdq) for f in text_forms.parse_vpdq(value))
        return Indicator(type_, frames=frames)
    return Indicator(type_, text_forms.HASH_FORMS[type_.word][0](value))


def indicator_to_json(indicator: Indicator) -> dict[str, object]:
    """Return an indicator as JSON. A ``url`` stands as the hash that it is; unknown types as hexadecimal.

    A value that is not of its type's form is null: its publisher broke the rules, and a hub let it. That stops nobody
    from reading on.
    """
    known = indicator.type in IndicatorType._value2member_map_
    try:
        text: str | None = _text_form(indicator)
    except Rejected:
        text = None
    return {"type": IndicatorType(indicator.type).word if known else indicator.type, "value": text}


def _text_form(indicator: Indicator) -> str:
    if indicator.type == IndicatorType.VPDQ:
        return text_forms.format_vpdq((f.frame_ms, f.quality, f.pdq) for f in indicator.frames)
    known = indicator.type in IndicatorType._value2member_map_
    form = text_forms.HASH_FORMS.get(IndicatorType(indicator.type).word) if known else None
    return form[1](indicator.value) if form else indicator.value.hex()


def account_from_json(data: object) -> Account:
    """Return the account that a JSON object describes. Raises `Rejected`."""
    if not isinstance(data, Mapping) or not data.keys() <= _ACCOUNT_KEYS:
        raise invalid("an account is an object with `type` and `value`, and a `country` where a number needs one")
    return account_of(data.get("type"), data.get("value"), data.get("country"))


def account_of(type_: object, value: object, country: object) -> Account:
    """Return an account in normal form, of whatever was given for its parts. Raises `Rejected`."""
    if not isinstance(type_, str) or type_ not in _ACCOUNT_TYPES:
        # Not repeated: where columns have slipped, an identifier stands here.
        raise invalid(f"an account's `type` must be one of {', '.join(sorted(_ACCOUNT_TYPES))}")
    if not isinstance(value, str) or not isinstance(country, str | None):
        raise invalid("an account's `value`, and its `country` where it has one, must be text")
    return normal_account(AccountType(type_), value, country=country or None)


def signal_from_json(data: Mapping[str, Any], *, now_ms: int) -> Signal:
    """Return the signal that a JSON object describes. Unknown keys are errors. Raises `Rejected`."""
    signal, accounts = signal_and_accounts(data, now_ms=now_ms)
    if accounts:
        raise invalid("`accounts` must become pseudonyms first, which only a pseudonym service makes")
    return signal


def signal_and_accounts(data: Mapping[str, Any], *, now_ms: int) -> tuple[Signal, tuple[Account, ...]]:
    """Return the signal that a JSON object describes, and the accounts whose pseudonyms it lacks. Raises `Rejected`."""
    known_keys(data, _KEYS)
    accounts = _listed(data, "accounts", account_from_json)
    indicators = _listed(data, "indicators", indicator_from_json)
    if not 0 < len(indicators) + len(accounts) <= MAX_INDICATORS:
        raise invalid(f"`indicators` and `accounts` together must be 1 to {MAX_INDICATORS}")
    audience = data.get("audience")
    if audience is not None and not (isinstance(audience, list) and all(isinstance(m, str) for m in audience)):
        raise invalid("`audience` must be a list of member ids; leave it out for everyone in the community")
    signal = Signal(
        label=word_of(Label, data.get("label"), "label"),
        indicators=indicators,
        expires_at_ms=_expiry(data, now_ms),
        confidence=word_of(Confidence, data.get("confidence", "high"), "confidence"),
        severity=word_of(Severity, data.get("severity", "severe"), "severity"),
        handling=word_of(Handling, data.get("handling", "amber"), "handling"),
        audience=None if audience is None else tuple(audience),
        election=id_of(data.get("election", ""), "election") if data.get("election") else b"",
        target_class=optional_word(TargetClass, data.get("target_class"), "target class"),
        observed_at_ms=time_of(data.get("observed_at", 0), "observed_at"),
        actioned_at_ms=time_of(data.get("actioned_at", 0), "actioned_at"),
        source_action=optional_word(SourceAction, data.get("source_action"), "source action"),
        guidance_clause=text_of(data.get("guidance_clause", ""), "guidance_clause"),
        lawful_basis=optional_word(LawfulBasis, data.get("lawful_basis"), "lawful basis"),
        backfill=flag_of(data.get("backfill", False), "backfill"),
        replaces=ids_of(data.get("replaces"), "replaces"),
        derived_from=ids_of(data.get("derived_from"), "derived_from"),
        case_ref=text_of(data.get("case_ref", ""), "case_ref"),
        quality=_quality(data.get("quality", 0)),
    )
    return signal, accounts


def _listed(data: Mapping[str, Any], key: str, read: Callable[[object], T]) -> tuple[T, ...]:
    items = data.get(key, [])
    if not isinstance(items, list) or (key in data and not items):
        raise invalid(f"`{key}` must be a list, not empty")
    return tuple(map(read, items))


def signal_to_json(signal: Signal) -> dict[str, object]:
    """Return a signal as the JSON object that it can be published from: `signal_from_json` the other way round.

    Only what was said. A ``url`` is known by its hash alone: such a line cannot be published as it is.
    """
    data: dict[str, object] = {
        "label": signal.label.word,
        "indicators": [indicator_to_json(indicator) for indicator in signal.indicators],
        "expires_at": signal.expires_at_ms,
    }
    optional: dict[str, object] = {
        "confidence": name_of(Confidence, signal.confidence),
        "severity": name_of(Severity, signal.severity),
        "handling": name_of(Handling, signal.handling),
        "election": signal.election.hex(),
        "target_class": name_of(TargetClass, signal.target_class),
        "observed_at": signal.observed_at_ms,
        "actioned_at": signal.actioned_at_ms,
        "source_action": name_of(SourceAction, signal.source_action),
        "guidance_clause": signal.guidance_clause,
        "lawful_basis": name_of(LawfulBasis, signal.lawful_basis),
        "backfill": signal.backfill,
        "replaces": [id_.hex() for id_ in signal.replaces],
        "derived_from": [id_.hex() for id_ in signal.derived_from],
        "case_ref": signal.case_ref,
        "quality": signal.quality,
    }
    data |= {key: value for key, value in optional.items() if value}
    return data if signal.audience is None else data | {"audience": list(signal.audience)}


def delivery_to_json(delivery: Delivery) -> dict[str, object]:
    """Return a delivery as JSON."""
    row = KINDS.get(delivery.kind)
    data: dict[str, object] = {
        "origin": delivery.origin,
        "index": delivery.index,
        "kind": row.name if row else delivery.kind,
        "publisher": delivery.publisher,
        "created_at_ms": delivery.header.created_at_ms,
        "received_at_ms": delivery.received_at_ms,
        "delivered_at_ms": delivery.delivered_at_ms,
        "late": delivery.late,
        "state": delivery.state,
        "covered": delivery.covered,
    }
    header = delivery.signal
    if header is not None:
        data |= {
            "label": name_of(Label, header.label),
            "confidence": name_of(Confidence, header.confidence),
            "severity": name_of(Severity, header.severity),
            "handling": name_of(Handling, header.handling),
            "expires_at_ms": header.expires_at_ms,
            "audience": "everyone" if header.audience == Audience.EVERYONE else "restricted",
            "election": header.election.hex() or None,
            "target_class": name_of(TargetClass, header.target_class),
            "observed_at_ms": header.observed_at_ms or None,
            "actioned_at_ms": header.actioned_at_ms or None,
            "source_action": name_of(SourceAction, header.source_action),
            "guidance_clause": header.guidance_clause or None,
            "lawful_basis": name_of(LawfulBasis, header.lawful_basis),
            "backfill": header.backfill,
            "replaces": [id_.hex() for id_ in header.replaces],
            "derived_from": [id_.hex() for id_ in header.derived_from],
            "signal_ids": [id_.hex() for id_ in delivery.header.signal_ids],
        }
    elif isinstance(delivery.header.body, Life):
        said = life_to_json(delivery.header.body)
        data |= {f"{key}_ms" if key.endswith("_at") else key: value for key, value in said.items()}
    elif delivery.addressed is not None:
        data |= {"id": delivery.header.signal_ids[0].hex(), "record": record_to_json(delivery.addressed)}
    data["signals"] = [
        {
            "signal_id": signal.signal_id.hex(),
            "indicators": [indicator_to_json(i) for i in signal.indicators],
            "case_ref": signal.case_ref,
            "quality": signal.quality,
        }
        for signal in delivery.signals
    ]
    return data


def naming_to_json(signal: NamingSignal) -> dict[str, object]:
    """Return a signal that names accounts as JSON: what a match tells of it."""
    return {
        "signal_id": signal.signal_id.hex(),
        "index": signal.index,
        "publisher": signal.publisher,
        "label": name_of(Label, signal.label),
        "severity": name_of(Severity, signal.severity),
        "confidence": name_of(Confidence, signal.confidence),
        "handling": name_of(Handling, signal.handling),
        "expires_at_ms": signal.expires_at_ms,
        "target_class": name_of(TargetClass, signal.target_class),
        "source_action": name_of(SourceAction, signal.source_action),
    }


def _expiry(data: Mapping[str, Any], now_ms: int) -> int:
    days = data.get("expires_in_days")
    if days is None and data.get("expires_at") is None:
        raise invalid("say when it expires: `expires_in_days`, a number of days, or `expires_at`, a time")
    if days is None:
        return time_of(data.get("expires_at"), "expires_at")
    if "expires_at" in data:
        raise invalid("say when it expires once: either `expires_in_days` or `expires_at`")
    if not isinstance(days, int | float) or isinstance(days, bool) or not 0 < days <= MAX_EXPIRY_DAYS:
        raise invalid(f"`expires_in_days` must be a number of days, above 0 and at most {MAX_EXPIRY_DAYS:,}")
    return now_ms + int(days * DAY_MS)


def _quality(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise invalid("`quality` must be 0 to 100")
    return value
