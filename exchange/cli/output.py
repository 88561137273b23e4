"""What all commands share in what they print: errors with a next step, JSON or lines, options that recur.

Much of it comes from others: a hub's messages, members' names, a ledger's files. So nothing is printed but through
this module, and what would steer a terminal is shown instead of done: control characters, and those that turn the
direction of text or break a line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from exchange.errors import ExchangeError, Fatal, InvalidStatement, Unavailable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

REFUSED = 1
NOT_NOW = 3
#: Entries from one move of a progress bar to the next.
_STEP = 500
#: C0, DEL and C1; marks, embeddings, overrides and isolates of direction; separators of lines; halves of characters.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: object) -> str:
    """Return a text as one line in which whatever steers a terminal is written out."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(*lines: str, mark: tuple[str, str] | None = None, err: bool = False) -> None:
    """Print lines, the first of them behind a mark (word, colour)."""
    for number, line in enumerate(lines):
        before = click.style(visible(mark[0]), fg=mark[1]) if mark and not number else ""
        click.echo(before + visible(line), err=err)


def watched() -> bool:
    """Whether somebody watches what is said; a process may also be started without a place to say it."""
    return sys.stderr is not None and sys.stderr.isatty()


class _Progress:
    """The line of progress on stderr."""

    #: Whether it is there, with no end behind it.
    open = False


def say_progress(text: str) -> None:
    """Print a line that the next such line replaces; only where somebody watches."""
    if watched():
        click.echo(f"\r{visible(text)}", err=True, nl=False)
        _Progress.open = True


def end_progress() -> None:
    """Let the last such line stand, where there is one."""
    if _Progress.open and watched():
        click.echo(err=True)
    _Progress.open = False


def with_progress(each: Iterable[T], length: int, label: str, *, quiet: bool = False) -> Iterator[T]:
    """Yield what is passed on, with a progress bar on stderr where somebody watches."""
    if quiet or not watched():
        yield from each
        return
    with click.progressbar(length=length, label=visible(label), file=sys.stderr, update_min_steps=_STEP) as bar:
        for one in each:
            yield one
            bar.update(1)


class _VisibleLines(logging.Formatter):
    """What the SDK logs may quote a hub too."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        return "\n".join(map(visible, super().format(record).split("\n")))


class Failing(click.Group):
    """A group whose commands may raise our errors: they end as a message, a hint and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command; turn an `ExchangeError` into an exit."""
        if logging.lastResort is not None:
            logging.lastResort.setFormatter(_VisibleLines())
        try:
            return super().invoke(ctx)
        except ExchangeError as error:
            fail(error)
        except BaseExceptionGroup as group:
            # Not `except*`: what is raised in that, Python 3.11.2 puts into a group of its own, an exit too.
            ours, others = group.split(ExchangeError)
            if ours is None or others is not None:
                raise
            fail(next(_leaves(ours)))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Any:  # noqa: ANN401 - a generator over nested groups
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def fail(error: ExchangeError) -> NoReturn:
    """Print an error with its next step, and exit."""
    sys.exit(tell(error))


def tell(error: ExchangeError) -> int:
    """Print an error with its next step; return the exit code that it asks for."""
    click.secho(f"error: {visible(error.message)}", fg="red", err=True)
    if isinstance(error, InvalidStatement):
        for violation in error.violations[1:]:
            say(f"       {violation.field}: {violation.description}", err=True)
    if error.hint:
        say(f"  hint: {error.hint}", err=True)
    return NOT_NOW if isinstance(error, Unavailable | Fatal) else REFUSED


def emit(
    data: Mapping[str, Any], *, as_json: bool, lines: Sequence[str] = (), mark: tuple[str, str] | None = None
) -> None:
    """Print one result: as a JSON line, or as lines of text (by default one for each key), the first with a mark."""
    if as_json:
        # Everything else that could steer is escaped by JSON itself, as long as it is written in ASCII.
        click.echo(json.dumps(data, ensure_ascii=True).replace("\x7f", "\\u007f"))
    elif lines:
        say(*lines, mark=mark)
    else:
        width = max(map(len, data))
        say(*(f"{key:<{width}}  {value}" for key, value in data.items()))


def show_settings(plain: Mapping[str, Any], problems: Sequence[str], *, as_json: bool) -> None:
    """Print what is in force of a configuration, and what of it cannot be used; exit when there is any."""
    if as_json:
        emit(plain, as_json=True)
    else:
        say(*_settings_lines(plain))
    say(*problems, mark=("cannot be used: ", "red"), err=True)
    if problems:
        sys.exit(REFUSED)


def _settings_lines(plain: Mapping[str, Any]) -> Iterator[str]:
    for key, value in plain.items():
        values = {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
        yield from (f"{name} = {json.dumps(each)}" for name, each in values.items())


def unreadable(files: Mapping[str, Path], folders: Mapping[str, Path]) -> Iterator[str]:
    """Yield which of the files and folders of a configuration cannot be read: key, path, and why."""
    for name, path in {**files, **folders}.items():
        try:
            if name in files:
                path.read_bytes()
            else:
                next(path.iterdir(), None)
        except OSError as error:
            yield f"{name}: {path}: {error.strerror or 'cannot be read'}"


def json_option(command: F) -> F:
    """Add ``--json``."""
    option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
    return option(command)


def config_file(default: str, variable: str, whose: str) -> Callable[[F], F]:
    """Return what adds ``--config`` to a command."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default,
        show_default=True,
        envvar=variable,
        show_envvar=True,
        help=f"{whose} configuration.",
    )


def config_option(command: F) -> F:
    """Add ``--config``, the hub's file."""
    return config_file("hub.toml", "EXCHANGE_CONFIG", "The hub's")(command)


def client_option(command: F) -> F:
    """Add ``--client``, the file that says who we are and where the hub is."""
    option: Callable[[F], F] = click.option(
        "--client",
        "client_path",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        envvar="EXCHANGE_CLIENT",
        show_envvar=True,
        help="The client's configuration: who we are, where the hub is.",
    )
    return option(command)


def community_option(command: F) -> F:
    """Add ``--community``, by its full origin or its last part."""
    option: Callable[[F], F] = click.option(
        "--community", "name", required=True, metavar="NAME", help="The community, such as uk-elections."
    )
    return option(command)
