"""`GET /api/v1/events` with `Accept: text/event-stream`: one reader of the stream (HTML Living Standard,
Server-sent events). Called by `history`.
"""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from nexusd.core.errors import InputError, StoreUnavailableError
from nexusd.web.answers import RETRY_AFTER_S, RequestError
from nexusd.web.queries import event_id, quality
from nexusd.web.stream import EventStream, Reader, StreamEndedError, StreamFullError

log = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
BUFFER_BYTES = 16 << 10
"""What may wait here for one reader to take it; beyond that it is waited for."""
RECONNECT_MS = 2_000
HEARTBEAT = b":\n\n"
_HEADERS = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx passes each event on at once
}


def wants_stream(request: web.Request) -> bool:
    accept = ",".join(request.headers.getall("Accept", []))
    return quality(accept, EVENT_STREAM) > quality(accept, "application/json")


class Streaming:
    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    async def serve(self, request: web.Request, since: tuple[int | None, float | None]) -> web.StreamResponse:
        """Until either end goes away. Raises `InputError`, `RequestError` and `StoreUnavailableError`, but
        nothing once it has begun to answer.
        """
        last = _last_event_id(request)
        after, at = (last, None) if last is not None else since
        response = web.StreamResponse(headers=_HEADERS)
        response.force_close()
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        try:
            async with self._stream.reader(lambda: _cut(request), after, at) as reader:
                await self._follow(request, response, reader)
        except StreamEndedError:
            # 200, because a browser gives up for ever on anything else.
            await _begin(request, response, b"")
        except StreamFullError as error:
            raise RequestError(
                503,
                "TOO_MANY_READERS",
                f"{self._stream.options.max_readers} readers follow the events already",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            ) from error
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse, reader: Reader) -> None:
        # An id alone is no event, but what the client resumes from if the connection ends before the first.
        writer = await _begin(request, response, f"id: {reader.after}\n\n".encode())
        try:
            while not self._stream.ended:
                piece = await self._stream.piece(reader)
                if not piece and await self._stream.news(reader):
                    continue
                await self._send(writer, piece or HEARTBEAT, reader)
        except TimeoutError:
            log.info("event_reader_dropped", remote=request.remote, after=reader.after)
            _cut(request)
        except (ConnectionError, StoreUnavailableError):
            return  # it has gone, or will ask again from where it was

    async def _send(self, writer: AbstractStreamWriter, data: bytes, reader: Reader) -> None:
        """Raises `TimeoutError` when the reader does not take it, and `ConnectionError`."""
        reader.sending = True
        async with asyncio.timeout(self._stream.options.slow_after_s):
            await writer.write(data)
            await writer.drain()
        reader.sending = False


async def _begin(request: web.Request, response: web.StreamResponse, more: bytes) -> AbstractStreamWriter:
    writer = await response.prepare(request)
    if writer is None or request.transport is None:
        raise ConnectionResetError("the client has gone away")
    request.transport.set_write_buffer_limits(high=BUFFER_BYTES)
    await writer.write(f"retry: {RECONNECT_MS}\n".encode() + (more or b"\n"))
    return writer


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _last_event_id(request: web.Request) -> int | None:
    """What the client was given last; it is later than the `since` that it began from."""
    values = request.headers.getall("Last-Event-ID", [])
    if not values or values == [""]:
        return None
    found = event_id(values[0]) if len(values) == 1 else None
    if found is None:
        raise InputError("Last-Event-ID: an event's id, a whole number, is expected", "Last-Event-ID")
    return found
