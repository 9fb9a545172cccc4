"""Reading an answer's body within bounds, on the wire and after decompression (I7).

aiohttp's own decompression is off: it inflates a whole chunk before anybody can count.
"""

from __future__ import annotations

import zlib

import aiohttp

from nexusd.core.errors import BadAnswerError

ACCEPT_ENCODING = "gzip, deflate"
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(response: aiohttp.ClientResponse, max_bytes: int, request: str) -> bytes:
    """The whole body, decompressed. Raises `BadAnswerError` (`too_large`, `invalid`), aiohttp's errors."""
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise _too_large(request, max_bytes)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return await _read_plain(response.content, max_bytes, request)
    window_bits = _WINDOW_BITS.get(encoding)
    if window_bits is None:
        raise BadAnswerError(f"{request}: the answer's Content-Encoding is not one that was asked for")
    return await _read_compressed(response.content, window_bits, max_bytes, request)


async def _read_plain(content: aiohttp.StreamReader, max_bytes: int, request: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await content.readany():
        size += len(part)
        if size > max_bytes:
            raise _too_large(request, max_bytes)
        parts.append(part)
    return b"".join(parts)


async def _read_compressed(
    content: aiohttp.StreamReader, window_bits: int, max_bytes: int, request: str
) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    parts: list[bytes] = []
    size = received = 0
    while chunk := await content.readany():
        received += len(chunk)
        data = chunk
        while data and not inflater.eof:
            part = inflater.decompress(data, max_bytes + 1 - size)
            size += len(part)
            parts.append(part)
            if size > max_bytes or received > max_bytes:
                raise _too_large(request, max_bytes)
            data = inflater.unconsumed_tail
        if inflater.unused_data or (inflater.eof and data):
            raise BadAnswerError(f"{request}: bytes follow the compressed answer")
    if not inflater.eof:
        raise BadAnswerError(f"{request}: the compressed answer ended early")
    return b"".join(parts)


def _too_large(request: str, max_bytes: int) -> BadAnswerError:
    return BadAnswerError(f"{request}: the answer is larger than {max_bytes} bytes", "too_large")
