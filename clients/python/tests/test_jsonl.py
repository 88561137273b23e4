"""The edges: JSON in and out, the client's file, the reject file."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.python.tests.fake_hub import DAY_MS, START_MS, FakeHub, client_of
from clients.python.tests.speech import delivery, received, sha, signal
from exchange.domain.bodies import (
    Confidence,
    Handling,
    Severity,
    SourceAction,
)
from exchange.domain.identifiers import INDICATOR_TYPES, IndicatorType
from exchange.domain.labels import Label
from exchange.errors import ExchangeError, InvalidStatement, Reason, Rejected, Violation
from exchange_client import ClientConfig, Indicator, Outcome, RejectFile, VideoFrame
from exchange_client.jsonl import (
    _KEYS,
    delivery_to_json,
    indicator_from_json,
    indicator_of_file,
    indicator_of_url,
    indicator_to_json,
    signal_and_accounts,
    signal_from_json,
    signal_to_json,
)

PLAIN: dict[str, Any] = {
    "label": "harassment_targeted",
    "indicators": [{"type": "pdq", "value": "ab" * 32}],
    "expires_in_days": 30,
}


def test_a_line_becomes_a_signal() -> None:
    made = signal_from_json(
        PLAIN
        | {
            "confidence": "low", "handling": "green", "audience": ["beta"], "source_action": "removed",
            "observed_at": "2027-01-15T08:00:00+00:00", "actioned_at": START_MS, "replaces": ["ab" * 32],
            "backfill": True, "case_ref": "T-1", "quality": 77,
        },
        now_ms=START_MS,
    )  # fmt: skip
    assert made.label is Label.HARASSMENT_TARGETED
    assert made.indicators == (Indicator(IndicatorType.PDQ, b"\xab" * 32),)
    assert made.expires_at_ms == START_MS + 30 * DAY_MS
    assert (made.confidence, made.handling) == (Confidence.LOW, Handling.GREEN)
    assert (made.audience, made.source_action) == (("beta",), SourceAction.REMOVED)
    assert (made.observed_at_ms, made.actioned_at_ms) == (START_MS, START_MS)
    assert (made.replaces, made.backfill, made.case_ref, made.quality) == ((b"\xab" * 32,), True, "T-1", 77)
    assert signal_from_json(PLAIN | {"replaces": None, "audience": None}, now_ms=START_MS).audience is None


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1}, {"label": None}, {"label": "nope"}, {"label": "HARASSMENT_TARGETED"}, {"indicators": []},
        {"indicators": "x"}, {"indicators": [1]}, {"indicators": [{"type": "pdq"}]}, {"expires_at": START_MS},
        {"indicators": [{"type": "pdq", "value": "AB" * 32}]}, {"indicators": [{"type": "none", "value": "x"}]},
        {"expires_in_days": None}, {"expires_in_days": float("nan")}, {"expires_in_days": float("inf")},
        {"expires_in_days": True}, {"expires_in_days": "30"}, {"audience": "beta"}, {"audience": [1]},
        {"observed_at": "2027-01-15T08:00:00"}, {"observed_at": True}, {"backfill": "yes"}, {"backfill": 1},
        {"replaces": "ab" * 32}, {"replaces": ["ab"]}, {"derived_from": [None]}, {"election": 7},
        {"quality": 101}, {"quality": -1}, {"quality": 1.5}, {"case_ref": 7}, {"guidance_clause": None},
    ],
)  # fmt: skip
def test_a_wrong_line_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        signal_from_json(PLAIN | change, now_ms=START_MS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "harasment_targeted"}, "this label is not known\ndid you mean `harassment_targeted`"),
        ({"label": "Misleading Scam"}, "did you mean `misleading_scam`"),
        ({"label": "nope"}, "this label is not known\ndocs/labels.md lists them all"),
        ({"label": None}, "label is missing\ndocs/labels.md lists them all"),
        ({"confidence": "hihg"}, "this confidence is not known\ndid you mean `high`?; one of: low, moderate, high"),
        (
            {"indicators": [{"type": "pqd", "value": "ab"}]},
            "this indicator type is not known\none of: pdq, vpdq,",
        ),
        ({"lable": "x"}, "`lable` is not a known key\ndid you mean `label`?"),
        ({"surprise": 1}, "`surprise` is not a known key"),
        ({"expires_in_days": 0}, "`expires_in_days` must be a number of days, above 0 and at most 10,000,000"),
        ({"expires_in_days": "30"}, "`expires_in_days` must be a number of days"),
        ({"expires_at": START_MS}, "say when it expires once: either `expires_in_days` or `expires_at`"),
    ],
)
def test_a_refusal_says_what_may_have_been_meant(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Rejected) as caught:
        signal_from_json(PLAIN | change, now_ms=START_MS)
    assert said in caught.value.diagnostics()


@pytest.mark.parametrize(
    "change",
    [
        {"label": "secret@example.org"}, {"label": "harassment_targete secret"}, {"confidence": "high_secret"},
        {"secret@example.org": 1}, {"indicators": [{"type": "secret", "value": "x"}]}, {"observed_at": "secret"},
        {"source_action": "secret"}, {"quality": "secret"}, {"expires_in_days": "secret"}, {"replaces": ["secret"]},
        {"indicators": [{"type": "url", "value": "https://user@secret.example:x/"}]}, {"audience": "secret"},
    ],
)  # fmt: skip
def test_no_refusal_repeats_a_value(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        signal_from_json(PLAIN | change, now_ms=START_MS)
    assert "secret" not in caught.value.diagnostics()


def test_a_line_may_name_accounts_beside_indicators_or_in_their_place() -> None:
    accounts = [
        {"type": "email", "value": "Some.One@gmail.com"},
        {"type": "phone", "value": "020 7946 0018", "country": "GB"},
    ]
    bare = {key: value for key, value in PLAIN.items() if key != "indicators"} | {"accounts": accounts}
    made, named = signal_and_accounts(bare, now_ms=START_MS)
    assert (made.indicators, [account.text for account in named]) == ((), ["someone@gmail.com", "+442079460018"])
    made, named = signal_and_accounts(PLAIN | {"accounts": accounts[:1]}, now_ms=START_MS)
    assert (len(made.indicators), len(named)) == (1, 1)
    assert signal_and_accounts(PLAIN, now_ms=START_MS) == (signal_from_json(PLAIN, now_ms=START_MS), ())
    with pytest.raises(Rejected, match="must become pseudonyms first"):
        signal_from_json(bare, now_ms=START_MS)


@pytest.mark.parametrize(
    "accounts",
    [
        [], None, "SECRET@example.org", [7], ["SECRET@example.org"], [{"type": "email"}],
        [{"value": "SECRET@example.org"}], [{"type": "SECRET@example.org", "value": "x"}],
        [{"type": "email", "value": "SECRET"}], [{"type": "email", "value": ["SECRET"]}],
        [{"type": "email", "value": "SECRET@example.org", "surprise": 1}],
        [{"type": "phone", "value": "020 7946 SECRET", "country": "GB"}],
        [{"type": "phone", "value": "020 7946 0018", "country": 44}],
        [{"type": "email", "value": f"SECRET{n}@example.org"} for n in range(8)],
    ],
)  # fmt: skip
def test_a_wrong_account_is_refused_without_repeating_it(accounts: object) -> None:
    with pytest.raises(Rejected) as caught:
        signal_and_accounts(PLAIN | {"accounts": accounts}, now_ms=START_MS)
    assert "SECRET" not in caught.value.diagnostics()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "label",
        "indicators",
        "accounts",
        "expires_at",
        "confidence",
        "audience",
        "election",
        "observed_at",
        "replaces",
        "quality",
    ]
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_any_json_at_all_is_a_signal_or_refused(change: dict[str, Any]) -> None:
    try:
        signal_from_json(PLAIN | change, now_ms=START_MS)
    except Rejected:
        return


def test_every_indicator_type_goes_out_and_comes_back() -> None:
    for row in INDICATOR_TYPES.values():
        made = Indicator(row.type, bytes(range(row.value_bytes)))
        if row.has_frames:
            made = Indicator(row.type, frames=(VideoFrame(0, 90, bytes(32)), VideoFrame(1500, 50, b"x" * 32)))
        out = indicator_to_json(made)
        assert out["type"] == row.type.word
        if row.type is not IndicatorType.URL:  # it goes out as the hash that it is
            assert indicator_from_json(json.loads(json.dumps(out))) == made


def test_pages_are_hashed_and_accounts_are_pointed_elsewhere(tmp_path: Path) -> None:
    same = ["HTTPS://Example.ORG:443/a/../page#part", "https://example.org/page"]
    assert len({indicator_of_url(text) for text in same}) == 1
    assert indicator_from_json({"type": "url", "value": same[0]}) == indicator_of_url(same[1])
    with pytest.raises(Rejected) as caught:
        indicator_of_url("https://x.com/someone")
    assert "pseudonym" in caught.value.diagnostics()
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert indicator_of_file(path, IndicatorType.VIDEO_SHA256).value.hex().startswith("ba7816bf")
    assert indicator_of_file(path, IndicatorType.IMAGE_MD5).value.hex().startswith("90015098")


def test_a_delivery_becomes_plain_json() -> None:
    one = received(sha(b"1" * 32), Indicator(99, b"later"))
    data = json.loads(json.dumps(delivery_to_json(delivery(one, election=b"e" * 32, index=4))))
    assert (data["index"], data["kind"], data["label"], data["audience"]) == (
        4, "signal", "harassment_targeted", "everyone",
    )  # fmt: skip
    assert data["signals"][0]["signal_id"] == one.signal_id.hex()
    assert data["signals"][0]["indicators"] == [
        {"type": "image_sha256", "value": "31" * 32},
        {"type": 99, "value": b"later".hex()},
    ]
    assert (data["election"], data["target_class"], data["backfill"]) == ("65" * 32, None, False)
    unknown = delivery()
    data = delivery_to_json(replace(unknown, header=replace(unknown.header, kind=99, body=None)))
    assert (data["kind"], data["signals"]) == (99, [])


def test_a_signal_goes_out_as_the_line_that_it_is_published_from() -> None:
    plain = signal("T-1")
    full = signal(
        "T-2", confidence=Confidence.LOW, severity=Severity.INFO, handling=Handling.RED, audience=("beta", "gamma"),
        election=b"e" * 32, target_class=2, observed_at_ms=START_MS, actioned_at_ms=START_MS + 1, source_action=3,
        guidance_clause="4.2", lawful_basis=1, backfill=True, replaces=(b"r" * 32,), derived_from=(b"d" * 32,),
        quality=70,
    )  # fmt: skip
    for made in (plain, full):
        assert signal_from_json(json.loads(json.dumps(signal_to_json(made))), now_ms=0) == made
    assert signal_to_json(plain).keys() == {
        "label", "indicators", "expires_at", "confidence", "severity", "handling", "case_ref",
    }  # fmt: skip
    assert signal_to_json(full).keys() == _KEYS - {"expires_in_days", "accounts"}


def test_what_is_refused_is_written_down_with_the_reasons_as_it_was_given(tmp_path: Path) -> None:
    refused = RejectFile(tmp_path / "folder" / "rejects.jsonl")
    assert not refused.path.exists()
    error = InvalidStatement((Violation("records[0]", "is wrong"), Violation("b", "too")), hint="look here")
    made = signal("T-1")
    refused.write(Outcome(made, None, None, error))
    refused.write_line(PLAIN, error)
    refused.write_line("{]", Rejected(Reason.MALFORMED, "not JSON"))
    first, second, third = map(json.loads, refused.path.read_text().splitlines())
    assert first["error"] == second["error"] == {
        "reason": "invalid", "message": error.message, "hint": "look here",
        "violations": ["records[0]: is wrong", "b: too"],
    }  # fmt: skip
    assert signal_from_json(first["line"], now_ms=START_MS) == made
    assert second["line"] == PLAIN
    assert third == {"line": "{]", "error": {"reason": "malformed", "message": "not JSON"}}
    assert refused.path.stat().st_mode & 0o077 == 0


def client_file(folder: Path, **changes: str) -> Path:
    rows = {
        "addresses": '["localhost:1", "localhost:2"]', "exchange": '"test.exchange"', "member": '"alpha"',
        "role": '"pipeline"', "certificate": '"c.pem"', "key": '"k.pem"', "authority": '"/abs/a.pem"',
        "signing_key": '"seed"', "genesis": f'"{"ab" * 32}"', "state": '"state"',
    } | changes  # fmt: skip
    path = folder / "client.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in rows.items() if value))
    return path


def test_a_client_file_is_read_relative_to_itself(tmp_path: Path) -> None:
    config = ClientConfig.load(client_file(tmp_path))
    assert config.addresses == ("localhost:1", "localhost:2")
    assert (config.certificate, config.authority) == (tmp_path / "c.pem", Path("/abs/a.pem"))
    assert (config.genesis, config.server_name, config.directory) == (b"\xab" * 32, "", "test.exchange/directory")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"surprise": "1"}, "surprise"), ({"member": ""}, "member"), ({"member": "7"}, "member"),
        ({"member": '"Not A Name"'}, "member"), ({"role": '"king"'}, "role"), ({"genesis": '"ab"'}, "genesis"),
        ({"genesis": '"xyz"'}, "genesis"), ({"addresses": "[]"}, "addresses"), ({"addresses": '"x"'}, "addresses"),
        ({"addresses": "[1]"}, "addresses"), ({"state": "true"}, "state"), ({"key": "= ="}, "TOML"),
    ],
)  # fmt: skip
def test_a_wrong_client_file_is_refused_with_the_key_at_fault(
    tmp_path: Path, change: dict[str, str], named: str
) -> None:
    with pytest.raises(Rejected, match=named) as caught:
        ClientConfig.load(client_file(tmp_path, **change))
    assert caught.value.reason is Reason.CONFIG


def test_missing_and_wrong_key_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read"):
        ClientConfig.load(tmp_path / "none.toml")
    config = ClientConfig.load(client_file(tmp_path))
    for text in (None, "zz", "ab" * 31):
        if text is not None:
            (tmp_path / "seed").write_text(text)
        with pytest.raises(ExchangeError) as caught:
            config.load_signing_key()
        assert caught.value.reason is Reason.CONFIG
    assert client_of(FakeHub(), tmp_path / "x")


def test_a_line_that_does_not_fit_on_the_disk_is_not_noted_by_half(tmp_path: Path) -> None:
    refused = RejectFile(tmp_path / "rejects.jsonl")
    refused.write_line("first", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (refused.path.stat().st_size + 10, hard))
    try:
        with pytest.raises(Rejected, match="cannot be noted") as caught:
            refused.write_line("second", None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.reason is Reason.CONFIG
    refused.write_line("third", None)
    assert [json.loads(line)["line"] for line in refused.path.read_text().splitlines()] == ["first", "third"]


def test_a_reject_file_that_cannot_be_one_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be noted: Is a directory"):
        RejectFile(tmp_path).write_line("first", None)
