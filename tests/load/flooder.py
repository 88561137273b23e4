"""A member that publishes as fast as it is let, as a process of its own: ready messages from a file, over raw streams.

Everything dear is done before: the messages were signed and serialised by whoever started this. So the process costs
little beside the hub, and what a measurement beside it shows is the hub's own doing.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import grpc

METHOD = "/exchange.v1.PublishService/PublishStream"


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


async def flood(channel: grpc.aio.Channel, wire: Iterator[bytes], answered: asyncio.Event) -> int:
    """Send from the shared supply until it is used up; return how many messages were answered."""

    async def requests() -> AsyncIterator[bytes]:
        for message in wire:
            yield message

    count = 0
    stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
    async for _ in stream(requests()):
        count += 1
        answered.set()
    return count


async def main() -> int:
    """Say "flooding" when the first answer has come, and "answered N" when all is sent or SIGTERM came."""
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
    wire, answered = messages(options.supply), asyncio.Event()
    channels = [
        grpc.aio.secure_channel(
            f"localhost:{options.port}", credentials, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        for _ in range(options.connections)
    ]
    running = asyncio.gather(*(flood(channel, wire, answered) for channel in channels for _ in range(options.streams)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await answered.wait()
    print("flooding", flush=True)
    with suppress(asyncio.CancelledError):
        print("answered", sum(await running), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
