"""Status lines of responses that the parser rejects, read off the connection.

Used by `delivery` and `cloud`.

A receiver that responds 2xx has the message, and a create that was answered 2xx made an instance, even when a
header exceeds the parser's limits, is malformed, or the connection breaks before the last header. The parser
raises then without the status. `StatusTap` sits between the transport and aiohttp's protocol and keeps the
first bytes of each response. Responses with a 1xx status, which may precede it, are skipped.
"""

from __future__ import annotations

import asyncio
import re

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1")
_END_OF_HEADERS = b"\r\n\r\n"
_MAX_PREFIX_BYTES = 16
_MAX_INTERIM_BYTES = 16 * 1024
"""Of 1xx responses that are kept until their end is read."""


class StatusTap(asyncio.Protocol):
    """Forwards everything to the wrapped protocol, and keeps the bytes since `reset`."""

    def __init__(self, behind: asyncio.Protocol) -> None:
        self._behind = behind
        self._prefix = b""
        self._complete = False

    def reset(self) -> None:
        """Prepare for the response to the next request."""
        self._prefix = b""
        self._complete = False

    @property
    def status(self) -> int | None:
        """The status that was received, None without a complete one."""
        found = _STATUS_LINE.match(self._prefix)
        return int(found[1]) if found is not None else None

    def data_received(self, data: bytes) -> None:
        if not self._complete:
            self._collect(data)
        self._behind.data_received(data)

    def _collect(self, data: bytes) -> None:
        prefix = self._prefix + data[: _MAX_INTERIM_BYTES - len(self._prefix)]
        while (interim := _INTERIM.match(prefix) is not None) and _END_OF_HEADERS in prefix:
            prefix = prefix.partition(_END_OF_HEADERS)[2]
        self._complete = len(prefix) >= (_MAX_INTERIM_BYTES if interim else _MAX_PREFIX_BYTES)
        self._prefix = prefix if interim else prefix[:_MAX_PREFIX_BYTES]

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()


def tap(transport: asyncio.Transport) -> StatusTap:
    """Return the tap of a connection, inserted at its first request."""
    protocol = transport.get_protocol()
    if isinstance(protocol, StatusTap):
        protocol.reset()
        return protocol
    if not isinstance(protocol, asyncio.Protocol):
        raise TypeError(f"not a stream protocol: {type(protocol).__name__}")
    inserted = StatusTap(protocol)
    transport.set_protocol(inserted)
    return inserted
