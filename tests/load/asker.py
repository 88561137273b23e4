"""A member that asks for the same thing over and over, many times at once, as a process of its own: raw unary calls."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import grpc


async def ask(channel: grpc.aio.Channel, method: str, request: bytes, count: list[int]) -> None:
    """Ask without end, one call after the other; a call that is refused is asked again."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    while True:
        try:
            await call(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            await asyncio.sleep(0.1)
            continue
        count[0] += 1
        if count[0] == 1:
            print("flooding", flush=True)


async def say(count: list[int]) -> None:
    """Say how many answers there were whenever a line comes in."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(count[0], flush=True)


async def main() -> int:
    """Say "flooding" when the first answer has come, and a number for each line on standard input; end with it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("method")
    parser.add_argument("request", type=bytes.fromhex)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--calls", type=int, default=32, help="at once, on each connection")
    options = parser.parse_args()
    credentials = grpc.ssl_channel_credentials(
        options.root.read_bytes(), options.key.read_bytes(), options.certificate.read_bytes()
    )
    channels = [
        grpc.aio.secure_channel(
            f"localhost:{options.port}",
            credentials,
            options=(("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 4 * 1024 * 1024)),
        )
        for _ in range(options.connections)
    ]
    count = [0]
    asking = [
        asyncio.create_task(ask(channel, options.method, options.request, count))
        for channel in channels
        for _ in range(options.calls)
    ]
    listening = asyncio.create_task(say(count))
    done, _ = await asyncio.wait((listening, *asking), return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        await task
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
