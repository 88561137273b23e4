"""A member that publishes as fast as it is let, as a process of its own: ready messages from a file, over raw streams.

Everything dear is done before: the messages were signed and serialised by whoever started this. So the process costs
little beside the hub, and what a measurement beside it shows is the hub's own doing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc

METHOD = "/exchange.v1.PublishService/PublishStream"


#: With fewer messages under way than this, and none left to send, it is a flood no more.
FEW = 32


def messages(path: Path) -> Iterator[bytes]:
    """Yield the messages of a file: each is preceded by its length in four bytes."""
    with path.open("rb") as file:
        while size := file.read(4):
            yield file.read(int.from_bytes(size, "big"))


def write_messages(path: Path, wire: Iterator[bytes]) -> None:
    """Write such a file."""
    with path.open("wb") as file:
        for message in wire:
            file.write(len(message).to_bytes(4, "big") + message)


class Flood:
    """What several streams send of one supply."""

    def __init__(self, wire: Iterator[bytes]) -> None:
        """Send these messages."""
        self._wire = wire
        self._under_way = 0
        self._flooding = self._used_up = False

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Send over one stream until the supply is used up, and read the answers."""
        stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
        async for _ in stream(self._requests()):
            if not self._flooding:
                self._flooding = True
                print("flooding", flush=True)
            self._under_way -= 1
            if self._used_up and self._under_way <= FEW:
                print("ebbing", flush=True)

    async def _requests(self) -> AsyncIterator[bytes]:
        for message in self._wire:
            self._under_way += 1
            yield message
        self._used_up = True


async def main() -> int:
    """Say "flooding" when the first answer has come, "ebbing" with each of the last, and end when everything is answered."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("supply", type=Path)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--streams", type=int, default=4)
    options = parser.parse_args()
    credentials = grpc.ssl_channel_credentials(
        options.root.read_bytes(), options.key.read_bytes(), options.certificate.read_bytes()
    )
    flood = Flood(messages(options.supply))
    channels = [
        grpc.aio.secure_channel(
            f"localhost:{options.port}", credentials, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        for _ in range(options.connections)
    ]
    await asyncio.gather(*(flood.run(channel) for channel in channels for _ in range(options.streams)))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
