"""One process beside ours that checks signatures."""

from __future__ import annotations

from exchange.ops.child_process import ANSWER_S, ChildProcess
from exchange.signatures.batch import Batch, pack


class Child(ChildProcess):
    """Started when first asked, asked one batch at a time, and given up for good when it fails."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        super().__init__("exchange.signatures.worker")

    async def holding(self, batch: Batch, *, within_s: float = ANSWER_S) -> bytes:
        """Return a byte for each item, 1 where all of it holds; nothing when the process cannot be had."""
        answer = await self.ask(pack(batch), within_s=within_s)
        if answer is not None and len(answer) != len(batch):
            self.fail(ValueError("it answers something else"))
        return b"" if answer is None or self.given_up else answer
