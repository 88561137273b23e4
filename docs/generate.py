"""Writes the reference pages that follow from the code: ``python docs/generate.py``.

Each page is made of one table that the hub itself reads, so it cannot say anything else than the code does.
``tests/unit/test_docs.py`` makes the pages again in memory and compares.
"""
# ruff: noqa: INP001, T201 - a script, run by path, that prints what it wrote

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import msgspec

from exchange import config, pseudonym_config
from exchange.api.status import STATUS
from exchange.domain.identifiers import INDICATOR_TYPES
from exchange.domain.kinds import CLASS_ROLES, KINDS, Role
from exchange.domain.labels import DSA_TERMS, ROUTED_ELSEWHERE, Label
from exchange.errors import Reason
from exchange.guide import facts
from exchange.ops.metrics import Metrics, metric_rows
from exchange_client import config as client_config

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NOTICE = "<!-- Written by docs/generate.py from the code. Change the code, then run it. -->"

_RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}

#: What the caller, or the operator, does about each reason.
WHAT_TO_DO: dict[Reason, str] = {
    Reason.MALFORMED: "The bytes are not what the format says. Build statements with an SDK; see "
    "[strict headers](../GOTCHAS.md#strict-headers-refuse-more-than-unknown-fields).",
    Reason.INVALID: "The first 20 violations say where and what, with their total. Correct the statement.",
    Reason.UNKNOWN_KIND: "This hub does not accept the kind (yet): [kinds](kinds.md).",
    Reason.WRONG_ORIGIN: "The kind belongs to another log, or there is no such community. Check the origin.",
    Reason.BAD_SIGNATURE: "A signature or key is not what it must be. Sign the exact header bytes, in their DSSE form.",
    Reason.WRONG_KEY: "The signing key is unknown, revoked, or not the calling workload's. Sign with the key that is "
    "registered for this member and role.",
    Reason.REPLAY_MISMATCH: "The same header is in the ledger with other signatures. Send the statement as it was "
    "first sent, or make a new one.",
    Reason.TOO_LARGE: "Split it: at most 1000 records and 768 KiB a statement, 4 KiB a record (64 KiB with a vpdq), "
    "1 MiB a message.",
    Reason.CLOCK_SKEW: "Set the clock right. What an outbox sends again carries the resubmission flag; what is older "
    "than the replay window is refused for good.",
    Reason.ROUTED_ELSEWHERE: "This exchange must not carry it. The hint says where the report belongs.",
    Reason.NOT_PERMITTED: "The directory does not permit it, or there is no such thing; the answer is the same. "
    "Ask an operator what is registered for you.",
    Reason.UNAUTHENTICATED: "No acceptable identity: a client certificate with one SPIFFE id of this exchange, over "
    "TLS 1.3.",
    Reason.CURSOR_BELOW_FLOOR: "The error carries the floor. Read the older entry bundles, or start at the floor.",
    Reason.CURSOR_ABOVE_SIZE: "The error carries the sealed size. A cursor that was accepted before means that the "
    "hub was rolled back: keep your copy and tell the operator.",
    Reason.NOT_FOUND: "No such leaf or tile at that size; or no such signal, referral or proposal, or none of yours.",
    Reason.BAD_PROOF: "A proof, root or record does not hold. Keep the evidence, do not trust the sender.",
    Reason.BAD_CHECKPOINT: "A signed checkpoint is damaged, by another key, or of another tree. Keep the evidence.",
    Reason.OVER_QUOTA: "The member's own budget is used up: wait as long as the answer says.",
    Reason.UNAVAILABLE: "Wait as long as the answer says, then send it again, unchanged.",
    Reason.STALLED: "The stream was not read for too long: come again from the cursor, and read while you work.",
    Reason.DRAINING: "The hub is going away: subscribe again from the cursor, at the next address.",
    Reason.CONFLICT: "Something else has it, or came first: a log that another process has open, or that exists "
    "already.",
    Reason.CONFIG: "For the operator: a file, key, port or clock is not as it must be. The message names it.",
    Reason.CORRUPT: "For the operator: stored data is damaged, or its state is not known. Do not guess: run "
    "`exchange doctor` and `exchange verify`, and start the hub again. Clients come again by themselves.",
    Reason.ROLLED_BACK: "For the operator: the store is an old copy, or this machine has no mark of it. See "
    "[recovery](../ARCHITECTURE.md#recovery). Clients come again by themselves.",
    Reason.UNIMPLEMENTED: "This hub does not know the call: it is of an older release. Hubs are upgraded first: "
    "[upgrades](upgrade.md).",
}


def _page(title: str, intro: str, *parts: str) -> str:
    wrap = textwrap.TextWrapper(120, break_long_words=False, break_on_hyphens=False)
    paragraphs = map(wrap.fill, intro.split("\n\n"))
    return "\n\n".join((f"# {title}", NOTICE, *paragraphs, *parts)) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(cell: object) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _roles(roles: Iterable[Role]) -> str:
    return ", ".join(role.word for role in sorted(roles)) or "-"


def kinds_page() -> str:
    """Return the table of kinds."""
    head = ("number", "kind", "log", "published by", "records read by", "records", "operator threshold", "accepted now")
    rows = [
        (
            number,
            f"`{row.name}`",
            row.log.value,
            _roles(row.publishers),
            _roles(row.readers),
            f"{row.min_records} to {row.max_records}" if row.max_records else "none",
            _yes(row.operator_threshold),
            _yes(row.accepted),
        )
        for number, row in sorted(KINDS.items())
    ]
    meanings = "\n".join(f"- `{row.name}`: {row.summary}." for _, row in sorted(KINDS.items()))
    classes = _table(
        ("class of member", "roles"), ((class_.name.lower(), _roles(roles)) for class_, roles in CLASS_ROLES.items())
    )
    intro = (
        "Every statement is of one kind. Numbers, names, logs and roles are permanent. A hub refuses a kind that is "
        "not accepted now; a receiver keeps its leaf and ignores its content. *Operator threshold* means: said by an "
        "operator, it needs as many operators' signatures as the genesis asks for."
    )
    return _page(
        "Kinds of statements", intro, _table(head, rows), "## What they say", meanings, "## Who has which role", classes
    )


def indicators_page() -> str:
    """Return the registry of indicator types."""
    head = ("number", "type", "value on the wire", "profiles", "matches", "what it is")
    rows = [
        (
            number,
            f"`{row.type.word}`",
            "frames: time, quality, 32 bytes" if row.has_frames else f"{row.value_bytes} bytes",
            ", ".join(map(str, sorted(row.profiles))),
            f"at most {row.hamming} of 256 bits differ" if row.hamming else "exactly",
            row.summary,
        )
        for number, row in sorted(INDICATOR_TYPES.items())
    ]
    intro = (
        "An indicator is a typed, normalised, hashed identifier: a type, the version of the normal form (profile) "
        "that its value was made with, and the raw bytes of the value. Text forms (lower-case hexadecimal; TLSH in "
        "its own upper case) stand only in files and on the command line."
    )
    return _page("Indicator types", intro, _table(head, rows))


def labels_page() -> str:
    """Return the labels in the words of the DSA."""
    head = ("number", "label", "DSA category", "DSA keyword", "accepted")
    rows = [
        (
            label.value,
            f"`{label.word}`",
            DSA_TERMS[label].category,
            DSA_TERMS[label].keyword or "-",
            "no, routed elsewhere" if label in ROUTED_ELSEWHERE else "yes",
        )
        for label in Label
    ]
    pointers = "\n".join(f"- {pointer}." for pointer in sorted(set(ROUTED_ELSEWHERE.values())))
    intro = (
        "A label names the harm. The labels are the leaves of the Ozone report reasons; each is mapped to a statement "
        "category of the DSA transparency database, and to a keyword where one fits."
    )
    return _page("Labels", intro, _table(head, rows), "## Routed elsewhere", pointers)


def metrics_page() -> str:
    """Return every metric, and whether this release measures it."""
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "exchange").rglob("*.py")))
    # Used through a Metrics object: `self.metrics.statements.labels(...)`, `metrics.ready.set(...)`.
    measured = set(re.findall(r"\b_?metrics\.(\w+)\.", sources))
    names = [item for item in Metrics.__dataclass_fields__ if item != "registry"]
    head = ("metric", "type", "labels", "what it measures", "measured now")
    rows = [
        (
            f"`{row.name}`",
            row.kind.__name__.lower().removeprefix("counted"),
            ", ".join(row.labels) or "-",
            row.help,
            _yes(name in measured),
        )
        for name, row in zip(names, metric_rows(), strict=True)
    ]
    intro = (
        "Served at `/metrics` on the operations port of the hub and of the pseudonym service. No label names an index "
        "or an identifier; those of evaluations and of lag name members, as the ledger does too. A metric that is "
        "not measured now is in the table, and on the page of a running process without a value."
    )
    return _page("Metrics", intro, _table(head, rows))


def _comments(module: ModuleType) -> dict[tuple[str, str], str]:
    """Return the ``#:`` comments of a configuration's fields, by class and field."""
    found: dict[tuple[str, str], str] = {}
    owner, pending = "", list[str]()
    for line in Path(str(module.__file__)).read_text().splitlines():
        if match := re.match(r"class (\w+)[(:]", line):
            owner, pending = match[1], []
        elif match := re.match(r"    #: (.*)", line):
            pending.append(match[1])
        elif match := re.match(r"    (\w+): ", line):
            found[owner, match[1]] = " ".join(pending)
            pending = []
        else:
            pending = []
    return found


def _type(kind: Any) -> str:  # noqa: ANN401 - msgspec's own type nodes
    match kind:
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"whole number, {low} or more" if high is None else f"whole number, {low} to {high}"
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_type(each) for each in types if not isinstance(each, msgspec.inspect.NoneType))
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"list of {_type(item)}"
        case _:
            return "path"


def _default(field: msgspec.inspect.Field) -> str:
    if field.required:
        return "must be given"
    return "-" if field.default is None else f"`{json.dumps(field.default)}`"


def settings(kind: type[Any]) -> dict[str, tuple[str, str, str]]:
    """Return every key of a configuration file: type, default and meaning."""
    comments = _comments(config) | _comments(sys.modules[kind.__module__])
    found: dict[str, tuple[str, str, str]] = {}

    def walk(struct: type[Any], prefix: str) -> None:
        info = msgspec.inspect.type_info(struct)
        assert isinstance(info, msgspec.inspect.StructType)
        for field in info.fields:
            section = _section(field)
            if section is not None:
                walk(section[1], f"{section[0]}.")
                continue
            spelled_out = f"{field.name.replace('_', ' ').capitalize()}."
            meaning = comments[struct.__name__, field.name] or spelled_out
            found[prefix + field.name] = (_type(field.type), _default(field), meaning)

    walk(kind, "")
    return found


def _section(field: msgspec.inspect.Field) -> tuple[str, type[Any]] | None:
    """Return the name and the struct of a table in the file, also of one that stands once for each member."""
    match field.type:
        case msgspec.inspect.StructType(cls=struct):
            return field.name, struct
        case msgspec.inspect.DictType(value_type=msgspec.inspect.StructType(cls=struct)):
            return f"{field.name}.<id>", struct
        case _:
            return None


def _configuration(title: str, kind: type[Any], intro: str) -> str:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    sections = {name: (struct.__doc__ or "").strip() for name, struct in filter(None, map(_section, info.fields))}
    groups: dict[str, list[tuple[str, ...]]] = {"": []}
    for key, row in settings(kind).items():
        section, _, name = key.rpartition(".")
        groups.setdefault(section, []).append((f"`{name}`", *row))
    head = ("key", "type", "default", "meaning")
    parts = []
    for section, rows in groups.items():
        above = f"## [{section}]\n\n{sections[section]}\n\n" if section else "## At the top\n\n"
        parts.append(above + _table(head, rows))
    return _page(title, intro, *parts)


def configuration_page() -> str:
    """Return every key of the hub's file."""
    intro = (
        "The hub reads one TOML file (`hub.toml`, or what `--config` or `EXCHANGE_CONFIG` names), once, at its start. "
        "Unknown keys are errors. Paths are relative to the file. `exchange check-config` prints what is in force, and "
        "which of the files that it names cannot be read. The file holds no secrets."
    )
    return _configuration("Configuration of the hub", config.Config, intro)


def pseudonym_configuration_page() -> str:
    """Return every key of the pseudonym service's file."""
    intro = (
        "The pseudonym service reads one TOML file (`pseudonyms.toml`, or what `--config` or `EXCHANGE_PSEUDONYMS` "
        "names) at its start; what members may use is taken up whenever the file changes. Unknown keys are errors. "
        "Paths are relative to the file. `exchange pseudonyms check-config` prints what is in force, and what of it "
        "cannot be used. The file holds no secrets. [How to run it](pseudonym-service.md)."
    )
    return _configuration("Configuration of the pseudonym service", pseudonym_config.Config, intro)


def client_configuration_page() -> str:
    """Return every key of a client's file."""
    comments = _comments(client_config)
    words = {"tuple[str, ...]": "list of text", "str": "text", "int": "whole number, 1 or more", "Path": "path"}
    rows = [
        (
            f"`{field.name}`",
            "64 hexadecimal characters" if field.name == "genesis" else words[str(field.type)],
            "must be given" if field.default is MISSING else f"`{json.dumps(field.default)}`",
            comments["ClientConfig", field.name],
        )
        for field in fields(client_config.ClientConfig)
        if field.name != "folder"
    ]
    intro = (
        "A client reads one TOML file (`client.toml`, or what `--client` or `EXCHANGE_CLIENT` names). Unknown keys are "
        "errors. Paths are relative to the file. It holds no secrets. `exchange client` writes one, and so does "
        "`exchange member add alpha --development-pki hub/pki` ([how members join](members.md)). `exchange doctor` "
        "looks at what it names."
    )
    return _page("Configuration of a client", intro, _table(("key", "type", "default", "meaning"), rows))


def errors_page() -> str:
    """Return every reason, its status and what to do."""
    head = ("reason", "gRPC status", "send again unchanged", "what to do")
    rows = [
        (f"`{reason.value}`", STATUS[reason].name, _yes(STATUS[reason] in _RETRIED), WHAT_TO_DO[reason])
        for reason in Reason
    ]
    intro = (
        "Every refusal has a stable reason. A failed call carries it in `ErrorInfo` (domain `signal-exchange`), with "
        "`BadRequest` for violations and `RetryInfo` for the time to wait; a publish stream carries the same in-band, "
        "for each statement. A refusal changes nothing. What the hub did not expect is `INTERNAL` with an incident "
        "number that stands in its log.\n\n"
        "Exit codes of the command line: 0 for success, 1 for a refusal or a failed check, 2 for wrong usage, 3 when "
        "a hub or store cannot be used now; 130 and 143 when `exchange publish` or "
        "`exchange accounts index` was ended by SIGINT or SIGTERM; 4 when `exchange accounts check` found a match."
    )
    return _page("Errors", intro, _table(head, rows))


#: File name in docs/ and what makes it.
PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration_page,
    "errors.md": errors_page,
    "indicators.md": indicators_page,
    "kinds.md": kinds_page,
    "labels.md": labels_page,
    "metrics.md": metrics_page,
    "client-configuration.md": client_configuration_page,
    "pseudonym-configuration.md": pseudonym_configuration_page,
}
#: What is read by programs, and so has no notice in it.
DATA: dict[str, Callable[[], str]] = {
    "guidance-schema.json": lambda: json.dumps(facts.schema(), indent=1, sort_keys=True) + "\n",
}


def main() -> None:
    """Write every page that is not current."""
    for name, make in (PAGES | DATA).items():
        path, text = DOCS / name, make()
        if path.exists() and path.read_text() == text:
            print(f"{name}: current")
            continue
        path.write_text(text)
        print(f"{name}: written")


if __name__ == "__main__":
    main()
