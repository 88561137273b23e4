"""Where a store on Redis or Valkey is, as the one setting says it. Pure: nothing is connected here.

    redis://host:6379                                  one server
    redis+sentinel://host:26379,host2:26379/name       the master that Sentinels know by this name
    redis+cluster://host:6379,host2:6379               a Cluster; each log is one hash slot

``rediss`` means TLS, to one server: with the other forms it has not been tried, and is refused. A name before the
addresses is an ACL user. What is secret stands in files that the query names, never in the setting itself.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from exchange.errors import Reason, Rejected

DEFAULT_PORT, DEFAULT_SENTINEL_PORT = 6379, 26379
_KEYS = frozenset(
    {"password_file", "ca", "certificate", "key", "server_name", "sentinel_user", "sentinel_password_file", "replicas"}
)
_FILES = ("password_file", "sentinel_password_file", "ca", "certificate", "key")


class Form(StrEnum):
    """How the master of a log is found."""

    SINGLE = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, order=True)
class Server:
    """One server's address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who a connection says it is. Empty: nobody."""

    user: str = ""
    password_file: Path | None = None

    def password(self) -> str:
        """Read the password; empty where there is none. Raises `Rejected` (CONFIG)."""
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(Reason.CONFIG, f"{self.password_file}: cannot be read as a password: {error}") from error


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """The setting, read."""

    form: Form
    #: Of servers; of Sentinels in their form.
    addresses: tuple[Server, ...]
    tls: bool
    login: Login
    #: What Sentinels call the master.
    master: str = ""
    sentinel_login: Login = Login()
    #: Whom a server's certificate must come from; None: whom this machine trusts.
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    #: The name in the servers' certificates, where it is not their address.
    server_name: str = ""
    #: Of one server alone: how many replicas an operator might promote.
    replicas: int = 0

    def context(self) -> ssl.SSLContext | None:
        """Return what TLS connections are made with; None without TLS. Raises `Rejected` (CONFIG)."""
        if not self.tls:
            return None
        try:
            made = ssl.create_default_context(cafile=None if self.authority is None else str(self.authority))
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                made.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise Rejected(Reason.CONFIG, f"`store`: TLS with these files cannot be: {error}") from error
        return made

    def files(self) -> dict[str, Path]:
        """Return the files that the setting names, by what it calls them."""
        given = {
            "password_file": self.login.password_file,
            "sentinel_password_file": self.sentinel_login.password_file,
            "ca": self.authority,
            "certificate": self.certificate,
            "key": self.key,
        }
        return {f"store: {name}": path for name, path in given.items() if path is not None}


class _Parts(NamedTuple):
    """A setting, taken apart. The library's own way wants no brackets behind a comma."""

    scheme: str
    authority: str
    path: str
    query: str

    @classmethod
    def of(cls, setting: str) -> _Parts:
        before, _, query = setting.partition("?")
        scheme, _, rest = before.partition("://")
        authority, _, path = rest.partition("/")
        return cls(scheme, authority, path, query)


def is_redis(setting: str) -> bool:
    """Whether a setting names a store of this make."""
    return setting.startswith(("redis:", "rediss:", "redis+", "rediss+"))


def parse_place(setting: str, base: Path) -> RedisPlace:
    """Read the setting; relative paths in it are relative to ``base``. Raises `Rejected` (CONFIG)."""
    parts = _Parts.of(setting)
    tls, form = _scheme(parts.scheme)
    options = _options(parts.query)
    files = {name: base / options[name] for name in _FILES if options.get(name)}
    if not tls and any(name in options for name in ("ca", "certificate", "key", "server_name")):
        raise _wrong("a certificate is of no use without TLS: begin with rediss")
    if ("certificate" in files) != ("key" in files):
        raise _wrong("a certificate and its key go together")
    user, addresses = _authority(parts.authority, form)
    return RedisPlace(
        form,
        addresses,
        tls,
        Login(user, files.get("password_file")),
        _master(parts.path, form),
        Login(options.get("sentinel_user", ""), files.get("sentinel_password_file")),
        files.get("ca"),
        files.get("certificate"),
        files.get("key"),
        options.get("server_name", ""),
        _replicas(options, form),
    )


def anchored(setting: str, base: Path) -> str:
    """Return the setting with whole paths, for those that are relative to ``base``. Raises as `parse_place`."""
    parse_place(setting, base)
    before, mark, query = setting.partition("?")
    options = [(name, str(base / value) if name in _FILES and value else value) for name, value in parse_qsl(query)]
    return before + mark + urlencode(options, safe="/")


def _wrong(what: str) -> Rejected:
    return Rejected(Reason.CONFIG, f"`store`: {what}", hint="docs/redis.md shows every form of it")


def _scheme(scheme: str) -> tuple[bool, Form]:
    base, _, form = scheme.partition("+")
    if base not in {"redis", "rediss"} or form not in set(Form) or scheme.endswith("+"):
        raise _wrong(f"{scheme!r} is none of redis, rediss (TLS), redis+sentinel and redis+cluster")
    if base == "rediss" and form:
        raise _wrong(
            f"TLS to {'Sentinels' if form == Form.SENTINEL else 'a Cluster'} is not there yet: use a private network"
        )
    return base == "rediss", Form(form)


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in _KEYS:
            raise _wrong(f"{name!r} is not a known option")
    if len(dict(pairs)) != len(pairs):
        raise _wrong("an option stands there twice")
    return dict(pairs)


def _authority(authority: str, form: Form) -> tuple[str, tuple[Server, ...]]:
    who, _, where = authority.rpartition("@")
    if ":" in who:
        raise _wrong("a password must not stand in it")
    default = DEFAULT_SENTINEL_PORT if form is Form.SENTINEL else DEFAULT_PORT
    addresses = tuple(parse_server(each, default) for each in where.split(","))
    if form is Form.SINGLE and len(addresses) > 1:
        raise _wrong("several addresses are Sentinels (redis+sentinel) or a Cluster (redis+cluster)")
    return unquote(who), addresses


def parse_server(text: str, default_port: int) -> Server:
    """Return the address in "host:port", "host" or "[six]:port". Raises `Rejected` (CONFIG)."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host or not (port.isdecimal() or not port) or not 0 < int(port or default_port) < 65_536:
        raise _wrong(f"{text!r} is not host:port")
    return Server(host, int(port or default_port))


def _master(path: str, form: Form) -> str:
    name = unquote(path.strip("/"))
    if form is Form.SENTINEL and not name:
        raise _wrong("Sentinels are asked for a master by name: put it behind the addresses, such as /signal-exchange")
    if form is not Form.SENTINEL and name:
        raise _wrong("only Sentinels know a master by name; the store always uses database 0")
    return name


def _replicas(options: Mapping[str, str], form: Form) -> int:
    given = options.get("replicas", "0")
    if "replicas" in options and form is not Form.SINGLE:
        raise _wrong("Sentinels and a Cluster say themselves which replicas can be promoted")
    if not given.isdecimal() or len(given) > 3:
        raise _wrong("`replicas` is a number")
    return int(given)
