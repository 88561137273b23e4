"""The documents say what is so: commands, snippets, files, tests and links are real, generated pages are current."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import click
import msgspec
import pytest

from clients.python.tests import speech
from exchange import config, pseudonym_config
from exchange.domain.kinds import Kind
from exchange.errors import InvalidStatement, Reason, Violation
from exchange_client import json_life, json_lines, json_referrals, jsonl, reject

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
TEST = re.compile(r"`((?:tests|clients)/[\w/.-]+\.py)::(\w+)`")
PATH = re.compile(r"(?:exchange|tests|docs|clients|proto)/[\w/.-]*")
SEPARATOR = re.compile(r"[|;&()<>]+")

each_page = pytest.mark.parametrize("page", PAGES, ids=list(BY_NAME))


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", text)


def blocks(text: str, *languages: str) -> list[str]:
    """Return the fenced blocks of these languages."""
    return [body for language, body in FENCE.findall(text) if language in languages]


def simple_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if SEPARATOR.fullmatch(word):
            if words:
                yield words
            words = []
        else:
            words.append(word)


@dataclass(frozen=True)
class Use:
    """A command line of ours that a page shows."""

    where: str
    words: tuple[str, ...]
    #: In a block, everything needed must be there; in a sentence, a part may stand for the whole.
    whole: bool
    #: Environment variables that the block has set before.
    exported: frozenset[str] = frozenset()


def uses(text: str, where: str) -> Iterator[Use]:
    """Yield the uses of the command line in a page."""
    for block in blocks(text, "sh", "console"):
        exported = frozenset(re.findall(r"^export (\w+)=", block, re.MULTILINE))
        for line in block.replace("\\\n", " ").splitlines():
            for words in simple_commands(line):
                if words[0] == "exchange":
                    yield Use(where, tuple(words[1:]), whole=True, exported=exported)
    for span in INLINE.findall(re.sub(r"(?<=\S)\n(?=\S)", " ", prose(text))):
        for words in simple_commands(span) if span.startswith("exchange ") else ():
            yield Use(where, tuple(words[1:]), whole=False)


def check(use: Use, command: click.Command) -> None:
    """Walk to the command that is named, and let its own parser read the rest."""
    words = list(use.words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{use.where}: no command {words[0]!r}"
        command, words = found, words[1:]
    if isinstance(command, click.Group) and not words:
        assert not use.whole, f"{use.where}: {use.words} lacks a command"
        return
    context = click.Context(command, info_name=command.name)
    values, rest, _ = command.make_parser(context).parse_args(words)
    assert not rest, f"{use.where}: {rest} is left over"
    for parameter in command.params:
        value = values.get(str(parameter.name))
        if isinstance(parameter.type, click.Choice) and value not in (None, ()):
            for each in value if parameter.multiple else [value]:
                parameter.type.convert(each, parameter, context)
        given = value is not None or parameter.envvar in use.exported
        assert given or not (use.whole and parameter.required), f"{use.where}: {use.words} lacks {parameter.name}"


@cache
def main() -> click.Group:
    """Return the command line; where it cannot be imported, the tests that need it fail."""
    found = importlib.import_module("exchange.cli").main
    assert isinstance(found, click.Group)
    return found


@cache
def generate() -> Any:
    """Return docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in LINK.findall(prose(page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        if not found.exists() or (anchor and anchor not in anchors(found.read_text())):
            lost.append(target)
    assert lost == []


@each_page
def test_no_heading_stands_twice_at_its_level(page: Path) -> None:
    headings = re.findall(r"^(##? .+)$", prose(page.read_text()), re.MULTILINE)
    assert [heading for heading in set(headings) if headings.count(heading) > 1] == []


@each_page
def test_every_make_target_exists(page: Path) -> None:
    text = page.read_text()
    code = "\n".join([*INLINE.findall(prose(text)), *(body for _, body in FENCE.findall(text))])
    indented = "\n".join(re.findall(r"^    (make .+)$", text, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", f"{code}\n{indented}"))
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named - targets == set()


@each_page
def test_every_command_line_is_accepted(page: Path) -> None:
    for use in uses(page.read_text(), page.name):
        check(use, main())


def test_the_quick_start_uses_the_main_commands() -> None:
    shown = {use.words[:1] for use in uses(BY_NAME["README.md"].read_text(), "README.md") if use.whole}
    assert {("init",), ("serve",), ("community",), ("member",), ("publish",), ("watch",), ("verify",)} <= shown


@pytest.mark.parametrize(
    "wrong",
    [
        "exchange sreve",
        "exchange serve --confg hub.toml",
        "exchange publish a b --community c --client d",
        "exchange publish - --client d",
        "exchange member add alpha --role pipelin --client d",
        "exchange community",
        "my-pipeline | exchange watch --jsn --community c --client d",
    ],
)
def test_a_wrong_command_line_would_be_noticed(wrong: str) -> None:
    (use,) = uses(f"```sh\n{wrong}\n```\n", "made up")
    with pytest.raises((AssertionError, click.UsageError)):
        check(use, main())


def test_examples_in_the_help_are_accepted() -> None:
    def walk(command: click.Command) -> Iterator[str]:
        yield command.help or ""
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                yield from walk(child)

    seen = 0
    for text in walk(main()):
        for line in re.sub(r"\\\\?\n\s+", " ", text).splitlines():
            if re.match(r"  +(exchange |[\w-]+ \| exchange )", line):
                for words in simple_commands(re.sub(r"\s{2,}\(.*\)$", "", line.strip())):
                    if words[0] == "exchange":
                        check(Use("help", tuple(words[1:]), whole=False), main())
                        seen += 1
    assert seen > 10


def python_snippets() -> list[tuple[str, str]]:
    """Return page and text of every Python block."""
    return [(name, block) for name, page in BY_NAME.items() for block in blocks(page.read_text(), "python")]


def test_python_snippets_compile_and_import_what_exists() -> None:
    assert python_snippets(), "the README shows the SDK"
    for name, snippet in python_snippets():
        compile(snippet, name, "exec")
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == [], f"{name}: {node.module} has no {missing}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


def test_python_snippets_use_the_sdk_as_it_is() -> None:
    """Keyword arguments and attributes of the SDK's own classes, without running anything."""
    classes: dict[str, Any] = vars(importlib.import_module("exchange_client"))
    for name, snippet in python_snippets():
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                called = classes[node.func.id]
                known = getattr(called, "__struct_fields__", getattr(called, "__dataclass_fields__", None))
                given = {keyword.arg for keyword in node.keywords}
                assert known is None or given <= set(known), f"{name}: {node.func.id} has no {given}"


def test_the_json_line_that_the_readme_publishes_is_a_signal() -> None:
    signal_from_json = importlib.import_module("exchange_client.jsonl").signal_from_json
    lines = re.findall(r"^echo '(\{.+\})'", BY_NAME["README.md"].read_text(), re.MULTILINE)
    assert lines
    for line in lines:
        signal_from_json(json.loads(line), now_ms=0)


@each_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = [span for span in INLINE.findall(prose(page.read_text())) if PATH.fullmatch(span)]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_tables_of_the_architecture_name_files() -> None:
    rows = [line for line in BY_NAME["ARCHITECTURE.md"].read_text().splitlines() if line.startswith("| ")]
    assert len([span for row in rows for span in INLINE.findall(row) if PATH.fullmatch(span)]) > 40


def test_the_layers_are_those_that_are_checked() -> None:
    text = BY_NAME["ARCHITECTURE.md"].read_text().partition("## Layers")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\|.*$", text, re.MULTILINE))
    named = {match for row in documented for match in re.findall(r"`exchange/(\w+)(?:/|\.py)`", row.split("|")[1])}
    there = {path.stem for path in (ROOT / "exchange").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert named == there - {"__init__", "__pycache__", "py"}


def sections(text: str) -> dict[str, str]:
    """Return the text under each second-level heading."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_invariant_names_its_tests_and_they_exist() -> None:
    found = sections(BY_NAME["INVARIANTS.md"].read_text())
    assert [heading.split(".")[0] for heading in found] == [str(number) for number in range(1, 13)]
    missing = []
    for heading, text in found.items():
        named = TEST.findall(text)
        assert named or "not built yet" in text, heading
        for file, test in named:
            path = ROOT / file
            if not path.exists() or not re.search(rf"^ *(?:async )?def {test}\(", path.read_text(), re.MULTILINE):
                missing.append(f"{heading}: {file}::{test}")
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        "configuration.md",
        "errors.md",
        "indicators.md",
        "kinds.md",
        "labels.md",
        "metrics.md",
        "client-configuration.md",
        "pseudonym-configuration.md",
    ],
)
def test_generated_pages_are_current(name: str) -> None:
    page = ROOT / "docs" / name
    assert page.exists(), "run: python docs/generate.py"
    assert page.read_text() == generate().PAGES[name](), "run: python docs/generate.py"


def test_no_generated_page_is_left_out() -> None:
    marked = {page.name for page in PAGES if generate().NOTICE in page.read_text()}
    assert marked == set(generate().PAGES)


@pytest.mark.parametrize(
    ("page", "kind"),
    [("docs/configuration.md", config.Config), ("docs/pseudonym-configuration.md", pseudonym_config.Config)],
)
def test_every_setting_is_documented_with_its_default(page: str, kind: type[msgspec.Struct]) -> None:
    """Independent of the generator: every field of every section of the file."""
    found = sections(BY_NAME[page].read_text())
    for field in msgspec.structs.fields(kind):
        own = field.type if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else None
        section = pseudonym_config.MemberTerms if field.name == "members" else own
        name = f"{field.name}.<id>" if field.name == "members" else field.name
        rows = found[f"[{name}]" if section else "At the top"]
        for each in msgspec.structs.fields(section) if section else (field,):
            (row,) = [line for line in rows.splitlines() if line.startswith(f"| `{each.encode_name}` ")]
            if isinstance(each.default, str | int):
                assert f"`{json.dumps(each.default)}`" in row
            assert "must be given" in row if each.required else True


def test_every_reason_and_kind_is_documented() -> None:
    errors, kinds = BY_NAME["docs/errors.md"].read_text(), BY_NAME["docs/kinds.md"].read_text()
    assert [reason.value for reason in Reason if f"| `{reason.value}` |" not in errors] == []
    assert [kind.name for kind in Kind if f"| {kind.value} | `{kind.name.lower()}` |" not in kinds] == []


def test_the_glossary_is_sorted_and_says_each_word_once() -> None:
    words = re.findall(r"^\| ([a-z][^|]*?) \|", BY_NAME["GLOSSARY.md"].read_text(), re.MULTILINE)[1:]
    assert words == sorted(set(words))


def test_decisions_have_the_same_parts() -> None:
    for page in sorted((ROOT / "docs" / "adr").glob("*.md")):
        headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
        assert headings == ["Context", "Choice", "Cost", "When to revisit"], page.name


def test_every_key_of_a_signal_line_is_documented() -> None:
    page = (ROOT / "docs" / "jsonl.md").read_text()
    assert keys_in(page, "A signal, as it is published") == jsonl._KEYS


def test_every_key_of_what_is_said_about_signals_is_documented() -> None:
    page = (ROOT / "docs" / "jsonl.md").read_text()
    documented = {"kind"}.union(*json_life.KEYS.values())
    assert keys_in(page, "Something said about signals") == documented
    for key, kinds in re.findall(
        r"^\| `(\w+)` \| ([a-z, ]+) \|", sections(page)["Something said about signals"], re.MULTILINE
    ):
        named = {kind for kind in json_life.KEYS if kind.name.lower() in kinds}
        if key not in {"kind", "reason"}:
            assert named == {kind for kind, keys in json_life.KEYS.items() if key in keys}, key


def test_every_key_of_what_is_said_to_named_members_is_documented() -> None:
    page = (ROOT / "docs" / "referrals.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", sections(page)["Lines of JSON"], re.MULTILINE)
    said_by = {key: set(names.split(", ")) for key, names in rows}
    assert said_by == {
        key: {what for what, keys in json_referrals.KEYS.items() if key in keys}
        for key in set().union(*json_referrals.KEYS.values())
    }


def keys_in(page: str, heading: str) -> set[str]:
    """Return what the first column of a section's table names."""
    return set(re.findall(r"^\| `([\w.]+)` \|", sections(page)[heading], re.MULTILINE))


def test_every_key_of_a_watched_line_is_documented() -> None:
    page = (ROOT / "docs" / "jsonl.md").read_text()
    watched = jsonl.delivery_to_json(speech.delivery(speech.received(speech.sha())))
    assert keys_in(page, "An entry, as it is watched") == watched.keys()
    (signal,) = cast("list[dict[str, Any]]", watched["signals"])
    assert f"`{{{', '.join(json.dumps(key) for key in signal)}}}`" in page


def test_every_key_of_a_refused_line_is_documented(tmp_path: Path) -> None:
    refused = reject.RejectFile(tmp_path / "rejects.jsonl")
    refused.write_line("", InvalidStatement((Violation("signal", "is wrong"),), hint="mend it"))
    (line,) = map(json.loads, refused.path.read_text().splitlines())
    found = {"line", *(f"error.{key}" for key in line["error"])}
    assert keys_in((ROOT / "docs" / "jsonl.md").read_text(), "A refused line") == found
    assert line.keys() == json_lines.REJECT_KEYS
