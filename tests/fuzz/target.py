"""What a fuzz target is: one reader of bytes from outside, with what must hold for every input.

`read` turns bytes into a value, checks on the way what must be true of it (with `assert`), and may raise nothing but
the errors that it refuses input with. Both the quick tests and the coverage-guided run use nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exchange.errors import Rejected

#: A hub's status has room for so much, and an operator's patience too.
LONGEST_REFUSAL = 1_000


@dataclass(frozen=True)
class Target:
    """One reader of bytes from outside."""

    name: str
    read: Callable[[bytes], object]
    #: Valid inputs: each of them is accepted.
    seeds: tuple[bytes, ...]
    #: How input is refused. Anything else that is raised is a finding.
    refuses: tuple[type[Exception], ...] = (Rejected,)
    #: Whether inputs are protobuf messages, to be changed field by field too.
    message: bool = False
    #: Inputs tried by each quick test.
    examples: int = 60
    #: Longest input of a coverage-guided run.
    max_bytes: int = 4_096
    #: Whether the reader's work may be counted on long inputs: not where another process or a library does it.
    counted: bool = True

    def accepts(self, data: bytes) -> bool:
        """Return whether an input is accepted. Raises what is a finding."""
        try:
            value = self.read(data)
        except self.refuses as error:
            assert not self.message or len(str(error)) <= LONGEST_REFUSAL, "a refusal repeats what was sent at length"
            return False
        assert not isinstance(value, bool), "a reader answers with a value or an error, never with a bool"
        return True


def text_of(data: bytes) -> str:
    """Return any bytes as a text, lone surrogates included, as a command line or a file name may hold them."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Return the bytes that `text_of` makes this text of."""
    return text.encode("utf-8", "surrogateescape")
