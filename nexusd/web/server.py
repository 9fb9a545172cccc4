"""The web server: wires the routes, listens, and stops. Made by `app.py`."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from ipaddress import ip_address

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from nexusd.ports import Clock, Daemon, Placements, Silences, Store
from nexusd.web.alertmanager import AlertmanagerRoutes
from nexusd.web.alerts import AlertRoutes
from nexusd.web.answers import errors_as_answers
from nexusd.web.auth import Guard
from nexusd.web.bodies import bounded
from nexusd.web.connections import HANDSHAKE_TIMEOUT_S, ConnectionLimit
from nexusd.web.fleets import FleetRoutes
from nexusd.web.history import HistoryRoutes
from nexusd.web.inventory import InventoryRoutes
from nexusd.web.listening import BACKLOG, Listening, written
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.openapi import OpenApiRoutes
from nexusd.web.options import WebOptions
from nexusd.web.outbox import OutboxRoutes
from nexusd.web.page.routes import PageRoutes
from nexusd.web.placements import PlacementRoutes
from nexusd.web.probes import ProbeRoutes
from nexusd.web.scrape import Scrape
from nexusd.web.sd import DiscoveryRoutes
from nexusd.web.status import StatusRoutes
from nexusd.web.stream import EventStream
from nexusd.web.tallies import TallyReader
from nexusd.web.tls import tls_context

log = structlog.get_logger(__name__)

_KEEPALIVE_S = 75.0
_LINGERING_S = 2.0
"""How long the rest of a refused body is read away, so that its sender gets to see the refusal."""

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Taking:
    """Who takes in what requests ask for."""

    placements: Placements
    silences: Silences


@dataclass(frozen=True, slots=True)
class Telling:
    """What requests are answered from beside the world: what is stored, and what has just happened."""

    store: Store
    stream: EventStream


class WebServer:
    """Serves until stopped. A request never calls the API; what it waits for is the store, and bounded."""

    def __init__(
        self,
        options: WebOptions,
        daemon: Daemon,
        taking: Taking,
        telling: Telling,
        metrics: MetricsRegistry,
        clock: Clock,
    ) -> None:
        """Raises `ConfigError` when the files of `server.tls` cannot be used."""
        store = telling.store
        self._options = options
        self._tls = tls_context(options.tls) if options.tls is not None else None
        self._addresses: list[tuple[str, int]] = []
        self._servers: list[asyncio.Server] = []
        self._connections = ConnectionLimit(options.max_connections, metrics, tls=self._tls is not None)
        app = self._application()
        tallies = TallyReader(store, clock)
        status = StatusRoutes(options.version, daemon, store, clock, tallies)
        app.add_routes(status.routes())
        app.add_routes(OpenApiRoutes(options.version, options.external_url).routes())
        app.add_routes(InventoryRoutes(daemon, clock).routes())
        app.add_routes(DiscoveryRoutes(daemon, clock).routes())
        app.add_routes(PlacementRoutes(options, daemon, taking.placements, store, clock).routes())
        app.add_routes(FleetRoutes(options, daemon, store, clock).routes())
        app.add_routes(AlertRoutes(options, daemon, store, clock).routes())
        app.add_routes(AlertmanagerRoutes(options, daemon, taking.silences, store, clock).routes())
        app.add_routes(OutboxRoutes(options, daemon, store, clock).routes())
        app.add_routes(HistoryRoutes(store, telling.stream, clock, options.store_timeout_s).routes())
        app.add_routes(ProbeRoutes(daemon).routes())
        self._scrape = Scrape(options, daemon, store, metrics, clock, tallies)
        app.add_routes([web.get("/metrics", self._scrape.handle)])
        app.add_routes(PageRoutes(options, daemon, taking.placements, store, clock, tallies).routes())
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_protocol_log(),
            auto_decompress=False,  # a request is refused, not inflated
            keepalive_timeout=_KEEPALIVE_S,
            lingering_time=_LINGERING_S,
            shutdown_timeout=options.shutdown_timeout_s,
        )

    async def start(self, listening: Listening) -> None:
        """Take connections from its sockets, which stay open for whoever comes after this server."""
        await self._runner.setup()
        for own in listening.shared():
            address = own.getsockname()
            self._addresses.append((address[0], address[1]))
            self._servers.append(await self._serve(own))
        log.info("listening", url=self.url, tls=self._tls is not None)

    async def _serve(self, own: socket.socket) -> asyncio.Server:
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")
        return await asyncio.get_running_loop().create_server(
            self._connections.factory(server),
            sock=own,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if self._tls is not None else None,
            backlog=BACKLOG,
        )

    async def keep_ready(self) -> None:
        """Prepare what takes long before it is asked for. For ever."""
        await self._scrape.keep_ready()

    def swept(self) -> None:
        """The instances were read again."""
        self._scrape.instances.changed()

    @property
    def url(self) -> str:
        """Where the page is, as seen from this machine. Known once started."""
        host, port = min(self._addresses, key=lambda address: ":" in address[0])
        if ip_address(host).is_unspecified:
            host = "127.0.0.1" if "." in host else "::1"
        scheme = "https" if self._tls is not None else "http"
        return f"{scheme}://{written(host, port)}/"

    async def stop(self) -> None:
        """Take no more connections; let the requests under way end, for `shutdown_timeout_s` at most."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        options = self._options
        guard = Guard(options.read_token, options.write_token, options.external_url, self._loopback_only)
        middlewares = [
            self._connections.middleware(),
            errors_as_answers,
            guard.middleware(),
            bounded(options),
        ]
        app = web.Application(client_max_size=options.body_limit_bytes, middlewares=middlewares)
        app.on_response_prepare.append(_add_headers)
        return app

    def _loopback_only(self) -> bool:
        return all(ip_address(host).is_loopback for host, _ in self._addresses)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "nexusd"
    for name, value in _SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


def _protocol_log() -> logging.Logger:
    """aiohttp's own log, without a traceback for every client that speaks no HTTP."""
    logger = logging.getLogger(f"{__name__}.protocol")
    logger.addFilter(_not_the_clients_fault)
    return logger


def _not_the_clients_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
