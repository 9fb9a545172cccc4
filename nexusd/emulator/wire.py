"""Ways to answer on the wire: as one should, cut off, by drips, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

_DRIP_INTERVAL_S = 0.05
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time, so that close() sends RST


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is sent. `code` is the ErrorResponse's, for the log of creates."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None


def send(reply: Reply) -> web.Response:
    """The answer whole."""
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(body=reply.body, status=reply.status, headers=headers)


def break_off(request: web.BaseRequest, how: Literal["reset", "close"]) -> web.StreamResponse:
    """Break the connection without a byte of answer."""
    transport = request.transport
    if transport is not None:
        if how == "reset":
            connection = transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


async def send_truncated(request: web.BaseRequest, reply: Reply, share: float) -> web.StreamResponse:
    """Promise the whole body in Content-Length, send that share of it, and close."""
    response = await _begin(request, reply)
    part = reply.body[: int(len(reply.body) * share)]
    if part:
        await response.write(part)
    if request.transport is not None:
        request.transport.close()
    return response


async def send_dripping(
    request: web.BaseRequest, reply: Reply, bytes_per_second: float
) -> web.StreamResponse:
    """Send the body a little at a time."""
    response = await _begin(request, reply)
    piece = max(1, int(bytes_per_second * _DRIP_INTERVAL_S))
    for start in range(0, len(reply.body), piece):
        await asyncio.sleep(piece / bytes_per_second)
        await response.write(reply.body[start : start + piece])
    return response


async def _begin(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    headers = {"Content-Type": reply.content_type, **reply.headers}
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    return response
