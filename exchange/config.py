"""The hub's configuration: one TOML file, read once, checked whole. Unknown keys are errors.

The comments on the fields are the manual; `docs/configuration.md` repeats them, and a test compares the two. A default
that a component owns is taken from there. No component ever receives a `Config`: `exchange.app` unpacks it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from exchange.api import server
from exchange.domain.alarms import AlarmLimits
from exchange.domain.identifiers import is_name
from exchange.errors import Reason, Rejected
from exchange.opening import LEAST_BYTES
from exchange.publish.quota import Limits
from exchange.stores.folders import Folders
from exchange.stores.redis_place import RedisPlace, anchored, is_redis, parse_place

C = TypeVar("C")

#: Not of a host's name: brackets, white space and what is no text; nor a colon, where no brackets are around it.
_NOT_OF_HOST = r"\[\]\s\x00-\x1f\x7f\ud800-\udfff"
_ADDRESS = re.compile(rf"(?:\[(?P<six>[^{_NOT_OF_HOST}]+)\]|(?P<host>[^:{_NOT_OF_HOST}]+)):(?P<port>[0-9]{{1,5}})")

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_LIMITS, _CONNECTIONS, _ALARMS = Limits(), server.Connections(), AlarmLimits()


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class TLS(Section, frozen=True):
    """Certificates of the member-facing port. PEM files; relative paths are relative to the configuration file."""

    #: Its certificate, with the names members use to reach it.
    certificate: Path
    #: Its private key.
    key: Path
    #: The authority (or several) that members' client certificates come from.
    client_authority: Path

    def under(self, base: Path) -> TLS:
        """Return it with paths relative to a folder."""
        return TLS(base / self.certificate, base / self.key, base / self.client_authority)

    def resolved(self) -> TLS:
        """Return it with whole paths."""
        return TLS(*(path.resolve() for path in (self.certificate, self.key, self.client_authority)))


class Ops(Section, frozen=True):
    """The plaintext port for health and metrics. Bind it to loopback or a private network."""

    #: HTTP: /livez, /readyz, /metrics. Empty: none.
    listen: str = "127.0.0.1:9464"
    #: grpc.health.v1 and reflection, without TLS. Empty: none.
    grpc_listen: str = ""


class Tiles(Section, frozen=True):
    """The public ledger as static C2SP tiles over plain HTTP, for a proxy to put TLS in front of."""

    #: Empty: not served.
    listen: str = ""


class Quotas(Section, frozen=True):
    """Limits of a member that has none of its own in the directory."""

    records_per_minute: _Positive = _LIMITS.records_per_minute
    statements_per_minute: _Positive = _LIMITS.statements_per_minute
    #: Live streams at once.
    streams: _Positive = _LIMITS.streams
    #: Calls and streams opened, whatever becomes of them.
    calls_per_minute: _Positive = _LIMITS.calls_per_minute
    #: Calls at once, streams not counted.
    calls: _Positive = _LIMITS.calls


class Signatures(Section, frozen=True):
    """Checking the signatures of what is published."""

    #: In a process beside the hub's. Switch it off where the hub has one core to itself.
    beside: bool = True


class Feed(Section, frozen=True):
    """Fan-out."""

    #: Silence after which a stream says that it lives.
    heartbeat_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 5_000
    #: Memory for the newest entries of all logs, in bytes: for subscribers. A log gets its part when it opens, 1 MiB at
    #: least; after a start the parts are equal.
    ring_bytes: Annotated[int, msgspec.Meta(ge=LEAST_BYTES)] = 128 * 1024 * 1024
    #: The same in front of the logs' stores, which subscribers and proofs read.
    recent_bytes: Annotated[int, msgspec.Meta(ge=LEAST_BYTES)] = 64 * 1024 * 1024


class Connections(Section, frozen=True):
    """What one connection to the member-facing port may take, and all of them together."""

    #: TCP connect to the end of the TLS handshake.
    handshake_s: _Positive = _CONNECTIONS.handshake_s
    #: A connection without a call is closed after this.
    idle_s: _Positive = _CONNECTIONS.idle_s
    #: A connection is told to go after this, give or take a tenth. Clients connect again and go on at their cursors.
    age_s: _Positive = _CONNECTIONS.age_s
    #: How long its streams may then live on.
    age_grace_s: _Positive = _CONNECTIONS.age_grace_s
    #: The longest a call may take that is no stream, whatever deadline its caller sets.
    call_s: _Positive = _CONNECTIONS.call_s
    #: A stream whose client has read nothing for so long, with something to read, is ended. It may come again.
    stalled_s: _Positive = _CONNECTIONS.stalled_s
    #: Calls and streams of all members at once.
    calls: _Positive = _CONNECTIONS.calls


class Retention(Section, frozen=True):
    """Moving what is older than a community's retention out of the hot store."""

    #: How often to look.
    every_s: _Positive = 3_600


class Protected(Section, frozen=True):
    """What may not be signalled."""

    #: A file of indicator values, one `type value` to a line. A statement that holds one is refused.
    values: Path | None = None


class Automation(Section, frozen=True):
    """Flagging a member's entries without waiting for an operator; operators release them."""

    #: The operator's member that says so, which is in the communities. Empty: nobody is flagged by itself.
    member: str = ""
    #: File of its signing key of the role automation: 64 hexadecimal characters, readable by its owner only.
    key: Path | None = None
    #: A file of indicator values that nobody can have seen, one `type value` to a line: whoever signals one is flagged.
    canaries: Path | None = None
    #: Signals in `burst_minutes` that are a burst, if they are also `burst_factor` times what the member usually says.
    #: 0: no member is flagged for it.
    burst_signals: _Count = _ALARMS.burst_signals
    #: In how many minutes `burst_signals` are a burst.
    burst_minutes: _Positive = _ALARMS.burst_minutes
    #: How many times what the member usually says in as many minutes.
    burst_factor: _Positive = _ALARMS.burst_factor
    #: Percent of a member's signals that others call wrong. 0: no member is flagged for it.
    disputed_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = _ALARMS.disputed_percent
    #: How many these signals are at least.
    disputed_least: _Positive = _ALARMS.disputed_least
    #: How many other members must call a signal wrong.
    disputed_by: _Positive = _ALARMS.disputed_by

    @property
    def limits(self) -> AlarmLimits:
        """The limits as the rules take them."""
        return AlarmLimits(**{name: getattr(self, name) for name in AlarmLimits.__slots__})


class Drain(Section, frozen=True):
    """Going away on SIGTERM."""

    #: How long calls under way may take to finish.
    grace_s: _Positive = 20


class Config(Section, frozen=True):
    """The whole file."""

    #: Name of the exchange: the first half of every origin, for example "exchange.example".
    exchange: str
    #: Folder for the logs. Relative to the configuration file.
    data: Path
    #: Address of the member-facing gRPC port.
    listen: str
    tls: TLS
    #: Trust domain of members' SPIFFE ids. Empty: the exchange's name.
    trust_domain: str = ""
    #: Folder of the logs' signing keys. Empty: "keys" inside data.
    keys: Path | None = None
    #: Folder of this machine's marks of the last sealed checkpoints. Empty: "marks" inside data. Keep it out of the
    #: snapshots and copies that data goes into: an old mark that comes back with an old log proves nothing.
    marks: Path | None = None
    #: Where logs lie. Empty: each in a file of its own in data. Else Redis or Valkey, such as "redis://10.0.0.5:6379",
    #: which several hubs may share; docs/redis.md shows every form.
    store: str = ""
    #: With `store`: folder of entry bundles that all hubs of the store share. Empty: beside the logs inside data.
    bundles: Path | None = None
    #: debug, info, warning or error.
    log_level: str = "info"
    ops: Ops = Ops()
    tiles: Tiles = Tiles()
    quotas: Quotas = Quotas()
    signatures: Signatures = Signatures()
    feed: Feed = Feed()
    connections: Connections = Connections()
    retention: Retention = Retention()
    protected: Protected = Protected()
    automation: Automation = Automation()
    drain: Drain = Drain()

    @property
    def domain(self) -> str:
        """The trust domain in force."""
        return self.trust_domain or self.exchange

    @property
    def folders(self) -> Folders:
        """Where everything lies."""
        return Folders(self.data, self.keys_folder, self.marks, self.bundles)

    @property
    def place(self) -> RedisPlace | None:
        """Where the store is; None for the embedded one. Paths in it are whole once the file has been loaded."""
        return parse_place(self.store, Path()) if self.store else None

    @property
    def keys_folder(self) -> Path:
        """The folder of signing keys in force."""
        return self.keys or self.data / "keys"

    @property
    def marks_folder(self) -> Path:
        """The folder of marks in force."""
        return self.marks or self.data / "marks"

    def resolved(self) -> Config:
        """Return it with what is in force in the place of what was left out, and whole paths."""
        data, keys, marks = (path.resolve() for path in (self.data, self.keys_folder, self.marks_folder))
        return msgspec.structs.replace(
            self, trust_domain=self.domain, data=data, keys=keys, marks=marks, tls=self.tls.resolved()
        )


def _wrong(path: Path, what: str) -> Rejected:
    return Rejected(
        Reason.CONFIG,
        f"{path}: {what}",
        hint="`exchange check-config` prints what is in force; see docs/configuration.md",
    )


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises `Rejected` (CONFIG) that names the key at fault."""
    config = read(path, Config, lambda what: _wrong(path, what), "EXCHANGE_CONFIG")
    _check(path, config)
    return _anchored(config, path.resolve().parent)


def read(path: Path, kind: type[C], wrong: Callable[[str], Rejected], variable: str) -> C:
    """Read a file of one kind, which ``variable`` may name. Raises what ``wrong`` makes of the key at fault."""
    try:
        raw = tomllib.loads(path.read_text())
        return msgspec.convert(raw, kind, dec_hook=_decode)
    except OSError as error:
        refused = wrong(f"cannot be read: {error.strerror}")
        if isinstance(error, FileNotFoundError):
            refused.hint = f"--config or {variable} names it; a relative path counts from the folder that you are in"
        raise refused from error
    except msgspec.ValidationError as error:
        raise wrong(str(error)) from error
    except (ValueError, RecursionError) as error:  # beside its own, what a number or a nesting without end raises
        raise wrong(f"is not TOML: {error}") from error


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    raise TypeError("Expected the path of a file")  # msgspec adds where


def _check(path: Path, config: Config) -> None:
    if not is_name(config.exchange):
        raise _wrong(path, f"`exchange`: {config.exchange!r} is not a name (a-z, 0-9, dot, hyphen; at most 63)")
    addresses = {
        "ops.listen": config.ops.listen,
        "ops.grpc_listen": config.ops.grpc_listen,
        "tiles.listen": config.tiles.listen,
    }
    if config.automation.member and config.automation.key is None:
        raise _wrong(path, "`automation.key` is missing: the member signs what it says")
    if config.store and not is_redis(config.store):
        raise _wrong(path, f"`store`: {config.store!r} is not redis://... and nothing else is known")
    check_shared(config.log_level, config.listen, addresses, lambda what: _wrong(path, what))


def check_shared(level: str, listen: str, others: Mapping[str, str], wrong: Callable[[str], Rejected]) -> None:
    """Check what every kind of file has: the level of the log, and addresses, of which others may be empty."""
    if level not in ("debug", "info", "warning", "error"):
        raise wrong(f"`log_level`: {level!r} is not debug, info, warning or error")
    given = {name: address for name, address in others.items() if address}
    for name, address in {"listen": listen, **given}.items():
        split_address(address, lambda what, key=name: wrong(f"`{key}`: {what}"))


def split_address(address: str, error: object = None) -> tuple[str, int]:
    """Return host and port of "host:port", an IPv6 address in brackets. Raises `Rejected` (CONFIG)."""
    match = _ADDRESS.fullmatch(address)
    if match and int(match["port"]) < 65_536:
        return match["six"] or match["host"], int(match["port"])
    bare = address.count(":") > 1 and not set("[/") & set(address)
    what = f"{address!r} is not host:port" + (", where an IPv6 address stands in brackets" if bare else "")
    raise error(what) if callable(error) else Rejected(Reason.CONFIG, what)


def _anchored(config: Config, base: Path) -> Config:
    # An empty text means what leaving the key out does; as a path it would be the file's own folder.
    none = Path()
    tls = config.tls.under(base)

    def under(path: Path | None) -> Path | None:
        return None if path in (None, none) else base / path

    protected = msgspec.structs.replace(config.protected, values=under(config.protected.values))
    automation = msgspec.structs.replace(
        config.automation, key=under(config.automation.key), canaries=under(config.automation.canaries)
    )
    return msgspec.structs.replace(
        config,
        data=base / config.data,
        tls=tls,
        keys=under(config.keys),
        marks=under(config.marks),
        bundles=under(config.bundles),
        store=anchored(config.store, base) if config.store else "",
        protected=protected,
        automation=automation,
    )
