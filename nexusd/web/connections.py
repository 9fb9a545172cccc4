"""A limit on inbound connections.

Clients never use the descriptors that polls and webhooks need.

A connection is busy while a request is handled and idle otherwise, also before its first request. At the
limit a new connection replaces the one that has been idle longest; when all are busy, it gets a 503. Used by
`server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import itemgetter
from typing import cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from nexusd.web.answers import Handler
from nexusd.web.metrics import MetricsRegistry

log = structlog.get_logger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0
"""For TLS. Until then an accepted connection counts, although it has no transport that could be closed."""
_NO_HANDSHAKE_S = 0.5
LOG_EVERY_S = 60.0
IDLE, REFUSED = "idle", "refused"
Idle = dict[web.RequestHandler, float]
"""Connections and when each became idle, longest first."""

_BODY = b'{"error": {"code": "TOO_MANY_CONNECTIONS", "message": "too many connections", "details": null}}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class ConnectionLimit:
    """Tracks the connections of one server. `limit`: how many may be open."""

    def __init__(self, limit: int, metrics: MetricsRegistry, *, tls: bool) -> None:
        self._limit = limit
        self._metrics = metrics
        self._handshake_s = HANDSHAKE_TIMEOUT_S if tls else _NO_HANDSHAKE_S
        self._new: Idle = {}  # before the first request
        self._idle: Idle = {}
        self._busy: set[web.RequestHandler] = set()
        self._shed = {IDLE: 0, REFUSED: 0}
        self._logged_at: float | None = None

    def factory(self, server: web.Server) -> Callable[[], asyncio.BaseProtocol]:
        """Return the protocol factory for `create_server`."""

        def accept() -> asyncio.BaseProtocol:
            if not self._make_room():
                self._count(REFUSED)
                return _Refusal()
            handler = server()
            self._new[handler] = _now()
            return handler

        return accept

    def middleware(self) -> Middleware:
        @web.middleware
        async def track(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = request.protocol
            self._new.pop(connection, None)
            self._idle.pop(connection, None)
            self._busy.add(connection)
            try:
                return await handler(request)
            finally:
                self._busy.discard(connection)
                if connection.transport is not None:
                    self._idle[connection] = _now()

        return track

    def _make_room(self) -> bool:
        """Return whether one more connection may open, closing an idle one if needed."""
        if self._open() >= self._limit:
            self._forget_closed()
        return self._open() < self._limit or self._close_longest_idle()

    def _open(self) -> int:
        return len(self._new) + len(self._idle) + len(self._busy)

    def _forget_closed(self) -> None:
        young = _now() - self._handshake_s
        self._new = {c: since for c, since in self._new.items() if c.transport is not None or since > young}
        self._idle = {c: since for c, since in self._idle.items() if c.transport is not None}

    def _close_longest_idle(self) -> bool:
        """Close the connection that was idle longest; return False if there is none."""
        longest = [
            next(((since, c) for c, since in idle.items() if c.transport is not None), None)
            for idle in (self._new, self._idle)
        ]
        found = min((each for each in longest if each is not None), key=itemgetter(0), default=None)
        if found is None:
            return False
        _, connection = found
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        connection.force_close()
        self._count(IDLE)
        return True

    def _count(self, reason: str) -> None:
        """Count a connection that was closed or refused, and log the sums once a minute."""
        self._metrics.connection_shed(reason)
        self._shed[reason] += 1
        now = _now()
        if self._logged_at is None or now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            log.warning(
                "connections_limited",
                limit=self._limit,
                closed_idle=self._shed[IDLE],
                refused=self._shed[REFUSED],
                hint="find the clients that stay connected, or raise the descriptor limit (LimitNOFILE)",
            )


class _Refusal(asyncio.Protocol):
    """Answers without reading the request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writing = cast(asyncio.WriteTransport, transport)
        writing.write(_REFUSAL)
        writing.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
