"""An application of the plain HTTP ports, asked without a port."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette


async def get(app: Starlette, path: str) -> tuple[int, bytes]:
    """Return the status and the body of a page."""
    status, body = 0, b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return status, body
