"""Handshakes of our own, left unfinished: what makes it safe to change the certificates of a port that is in use.

grpcio makes handshakes from one object that holds certificates and authorities. At a change it frees that object
without a lock, while another thread may be making a handshake from it: the process dies. But a handshake keeps what it
was made from. So one is begun before each change and left unfinished until the change is over, and nothing is freed
that anybody may still be using. A second one, begun after the change was offered, makes it happen there and then.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

#: How long our own port may take to answer.
ANSWER_S = 2.0

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach a port that is bound to every address


@asynccontextmanager
async def unfinished_handshake(host: str, port: int) -> AsyncIterator[None]:
    """Hold a TLS handshake with our own port: one that it has answered and that is not carried on.

    Raises `OSError` (`TimeoutError` is one) when the port does not answer.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(_ANY.get(host, host), port)
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(outgoing.read())
            if not await reader.read(1):
                raise ConnectionResetError(f"port {port} hung up")
        yield
    finally:
        writer.close()
