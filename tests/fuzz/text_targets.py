"""What people and pipelines write: configuration, JSON lines, addresses of pages, hashes as text, arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from exchange import config
from exchange.cli.client_files import public_key
from exchange.cli.connect import origin_of
from exchange.cli.verify import _pin
from exchange.domain.identifiers import Origin
from exchange.domain.validation import Rules
from exchange.errors import Reason, Rejected
from exchange.guide.checking import check_profile
from exchange.guide.facts import Profile, plain, read
from exchange.ledger.ed25519 import SigningKey
from exchange.normal import text_forms
from exchange.normal.accounts import AccountType, normal_account
from exchange.normal.profile_urls import profile_site, refuse_profile_url
from exchange.normal.url import canonical_url, url_digest
from exchange_client import ClientConfig
from exchange_client.account_sources import AccountLines, Refused
from exchange_client.json_lines import line_of, object_of
from exchange_client.jsonl import signal_from_json
from exchange_client.signals import Drafter
from tests.fuzz.target import Target, bytes_of, text_of
from tests.unit.guide import example as guide_example

NOW_MS = 1_800_000_000_000
ACCOUNTS = (
    b"reference,type,value,country\nu1,email,someone@example.org,\nu2,phone,020 7946 0018,GB",
    b'reference,email,phone\nu1,"someone@example.org",+442079460018',
    b'{"reference": 1, "email": "someone@example.org"}\n{"reference": "u2", "type": "handle", "value": "@someone"}',
)
FOLDER = TemporaryDirectory(prefix="fuzz-")
FILE = Path(FOLDER.name) / "file.toml"
DRAFTER = Drafter("exchange.example/uk", "alpha", SigningKey(bytes(32)), lambda: NOW_MS)
RULES = Rules(NOW_MS, 400, 30)

CLIENT = b"""addresses = ["hub.example:7443"]
exchange = "exchange.example"
member = "alpha"
role = "pipeline"
certificate = "a.pem"
key = "a-key.pem"
authority = "/ca.pem"
signing_key = "signing.seed"
genesis = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
state = "state"
"""
HUB = b"""exchange = "exchange.example"
data = "data"
listen = "[::1]:7443"
log_level = "debug"
[tls]
certificate = "c.pem"
key = "k.pem"
client_authority = "ca.pem"
[quotas]
streams = 3
[feed]
ring_bytes = 1_048_576
"""
LINES = (
    b'{"label": "harassment_targeted", "indicators": [{"type": "pdq", "value": "' + b"0f" * 32 + b'"}],'
    b' "expires_in_days": 30, "case_ref": "T-1", "quality": 90}',
    b'{"label": "violence_threats", "indicators": [{"type": "url", "value": "https://example.org/a?b"}], "expires_at":'
    b' "2027-02-01T00:00:00+01:00", "severity": "info", "handling": "red", "audience": ["beta"], "confidence": "low",'
    b' "source_action": "removed", "target_class": "staff", "observed_at": 1, "actioned_at": 2, "backfill": true,'
    b' "replaces": ["' + b"ab" * 32 + b'"], "lawful_basis": "consent", "guidance_clause": "4.2"}',
    b'{"label": "harassment_targeted", "indicators": [{"type": "vpdq", "value": "[\\"'
    + b"0f" * 32
    + b',90,1.500\\"]"},'
    b' {"type": "text_tlsh", "value": "T1' + b"A0" * 35 + b'"}], "expires_in_days": 1.5}',
)


def read_client_config(data: bytes) -> object:
    """A file that is taken says where everything is, and who we are, in the one way it can be said."""
    FILE.write_bytes(data)
    found = ClientConfig.load(FILE)
    assert found.role_number.word == found.role
    assert len(found.genesis) == 32
    for path in (found.certificate, found.key, found.authority, found.signing_key, found.state):
        assert path.is_absolute()
        assert "\0" not in str(path)
    return found


def read_hub_config(data: bytes) -> object:
    FILE.write_bytes(data)
    found = config.load(FILE)
    assert config.split_address(found.listen)
    for path in (found.data, found.keys_folder, found.tls.certificate, found.folders.mark("uk")):
        assert path.is_absolute()
        assert "\0" not in str(path)
    return found


def read_address(data: bytes) -> object:
    host, port = config.split_address(text_of(data))
    assert host
    assert not set("[]") & set(host)
    assert ":" not in host or data.startswith(b"[")
    assert 0 <= port < 65_536
    return host, port


def read_line(data: bytes) -> object:
    """A line that is a signal can be drafted, or is refused as a signal; and a mended one is read like any other."""
    given = line_of(data)
    json.dumps(given)
    again = line_of(json.dumps({"line": given, "error": {}}).encode())
    assert again == given
    signal = signal_from_json(object_of(given), now_ms=NOW_MS)
    drafts, refused = DRAFTER.draft([signal], lambda: RULES)
    assert len(drafts) + len(refused) == 1
    for _, error in refused:
        assert isinstance(error, Rejected)
    return signal


def read_accounts(data: bytes) -> object:
    """Any file of accounts gives accounts and refused lines, or is refused whole; no reason repeats a line."""
    lines, good = AccountLines(), 0
    for line in data.split(b"\n"):
        for found in lines.read(line) if line.strip() else ():
            if isinstance(found, Refused):
                json.dumps(found.line)
                assert isinstance(found.error, Rejected)
            else:
                good += 1
    return good


def read_words(data: bytes) -> object:
    """Each word of a signal has one spelling."""
    text = text_of(data)
    pdq = {"type": "pdq", "value": "00" * 32}
    found = signal_from_json({"label": text, "indicators": [pdq], "expires_in_days": 1}, now_ms=NOW_MS)
    assert found.label.word == text
    return found


def read_hash_text(data: bytes) -> object:
    """A hash has one text."""
    text = text_of(data)
    forms: dict[str, tuple[Callable[[str], bytes], Callable[[bytes], str]]] = {
        "p": (text_forms.parse_pdq, text_forms.format_pdq),
        "m": (text_forms.parse_md5, text_forms.format_md5),
        "s": (text_forms.parse_sha256, text_forms.format_sha256),
        "t": (text_forms.parse_tlsh, text_forms.format_tlsh),
        "k": (text_forms.parse_pseudonym, text_forms.format_pseudonym),
    }
    if text[:1] not in forms:
        raise Rejected(Reason.INVALID, "no such form")
    parse, write = forms[text[0]]
    value = parse(text[1:])
    assert write(value) == text[1:]
    return value


def read_video_text(data: bytes) -> object:
    frames = text_forms.parse_vpdq(text_of(data))
    assert text_forms.parse_vpdq(text_forms.format_vpdq(frames)) == frames
    return frames


def read_url(data: bytes) -> object:
    """Whatever spelling comes in, the same address comes out, and it is judged alike."""
    text = text_of(data)
    canonical = canonical_url(text)
    assert canonical.isascii()
    assert canonical_url(canonical) == canonical
    assert url_digest(text) == url_digest(canonical)
    site = profile_site(text)
    assert profile_site(canonical) == site
    try:
        refuse_profile_url(text)
    except Rejected as error:
        assert site is not None
        assert canonical.partition("//")[2][8:] not in error.message or len(canonical) < 24
    else:
        assert site is None
    return canonical


_ACCOUNTS = dict(zip("ephuxdt", AccountType, strict=True))


def read_account(data: bytes) -> object:
    """A letter for the type, then the identifier. What is normal is its own normal form, and nothing shows the text."""
    type_ = _ACCOUNTS.get(text_of(data[:1]), AccountType.EMAIL)
    account = normal_account(type_, text_of(data[1:]), country="GB")
    assert type_ is AccountType.PROFILE_URL or normal_account(type_, account.text) == account
    assert len(account.text) < 4 or account.text not in repr(account)
    return account


def read_origin(data: bytes) -> object:
    text = text_of(data)
    found = Origin.parse(origin_of("exchange.example", text))
    assert found is not None
    assert str(found).endswith(text)
    return found


def read_pin(data: bytes) -> object:
    pin = _pin(text_of(data), None)
    assert len(pin) == 32
    return pin


def read_public_key(data: bytes) -> object:
    key = public_key(text_of(data))
    assert len(key) == 32
    return key


def read_guidance(data: bytes) -> object:
    """A platform's profile for candidates; whatever it holds can be checked and made again."""
    profile = read(Profile, data, "profile")
    check_profile(profile, date(2026, 11, 29))
    assert read(Profile, json.dumps(plain(profile)).encode(), "again") == profile
    return profile


GUIDANCE = json.dumps(guide_example.profile_data()).encode()

TARGETS = (
    Target("guidance", read_guidance, (GUIDANCE,), max_bytes=16_384),
    Target("client-config", read_client_config, (CLIENT,)),
    Target("hub-config", read_hub_config, (HUB,)),
    Target("address", read_address, (b"127.0.0.1:7443", b"[::1]:0", b"hub.example:65535"), max_bytes=128),
    Target("json-line", read_line, LINES, examples=200),
    Target("accounts", read_accounts, ACCOUNTS, examples=200),
    Target("word", read_words, (b"harassment_targeted", b"violence_threats"), max_bytes=64),
    Target(
        "hash-text",
        read_hash_text,
        (b"p" + b"0f" * 32, b"m" + b"a9" * 16, b"s" + b"00" * 32, b"tT1" + b"AF" * 35),
        max_bytes=256,
    ),
    Target(
        "video-text",
        read_video_text,
        (b'["' + b"0f" * 32 + b',100,0.000", "' + b"f0" * 32 + b',7,1.23e+03"]',),
    ),
    Target(
        "url",
        read_url,
        tuple(
            map(
                bytes_of,
                (
                    "https://example.org/a/../b?c=%7e&d#e",
                    "HTTP://EXAMPLE.org:80/%2F\\x",
                    "https://m\u00fcnchen.example./",
                    "https://www.facebook.com/profile.php?id=1",
                    "https://mastodon.social/@someone/media",
                    "https://api.whatsapp.com/send?phone=1",
                    "http://[::1]:8080/",
                ),
            )
        ),
        examples=200,
    ),
    Target(
        "account",
        read_account,
        tuple(
            map(
                bytes_of,
                (
                    "eSome.One+x@GoogleMail.com",
                    "ejos\u00e9@b\u00fccher.example",
                    "p+44 (0)7700 900123",
                    "h@Ali\u0301ce",
                    "uhttps://m.facebook.com/profile.php?id=1&x",
                    "xissuer:AbC",
                ),
            )
        ),
        max_bytes=512,
        examples=200,
    ),
    Target("origin", read_origin, (b"uk", b"exchange.example/uk"), max_bytes=256),
    Target("genesis-pin", read_pin, (b"0f" * 32,), refuses=(click.UsageError,), max_bytes=256),
    Target("public-key", read_public_key, (b"0f" * 32,), max_bytes=256),
)
