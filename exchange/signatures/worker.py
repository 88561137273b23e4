"""The process beside ours that checks signatures: batches come in on its standard input, answers go out.

A program of its own, and no fork or spawn of ours: it runs nothing of its caller's. It holds nothing and decides
nothing, and ends when its input does, also when its caller was killed. `exchange.signatures.child` asks it.
"""

from __future__ import annotations

import sys

from exchange.errors import VerificationFailed
from exchange.ledger import ed25519
from exchange.signatures.batch import HEAD, NUMBER, Signed, unpack


def _holds(item: Signed) -> bool:
    try:
        for key, signature in item.signatures:
            ed25519.verify(key, signature, item.message)
    except VerificationFailed:
        return False
    return True


def main() -> None:
    """Answer until the input ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # the answers are all that goes there
    while head := requests.read(HEAD.size):
        number, length = HEAD.unpack(head)
        answers.write(NUMBER.pack(number) + bytes(map(_holds, unpack(requests.read(length)))))
        answers.flush()


if __name__ == "__main__":
    main()
