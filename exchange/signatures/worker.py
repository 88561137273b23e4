"""The process beside ours that checks signatures: batches come in, for each of them a byte for each item goes out.

It holds nothing and decides nothing. `exchange.signatures.child` asks it.
"""

from __future__ import annotations

from exchange.errors import VerificationFailed
from exchange.ledger import ed25519
from exchange.ops.child_process import serve
from exchange.signatures.batch import Signed, unpack


def _holds(item: Signed) -> bool:
    try:
        for key, signature in item.signatures:
            ed25519.verify(key, signature, item.message)
    except VerificationFailed:
        return False
    return True


def main() -> None:
    """Answer until the input ends."""
    serve(lambda batch: bytes(map(_holds, unpack(batch))))


if __name__ == "__main__":
    main()
