"""`GET /metrics`: puts the parts of the exposition together, in the format and encoding asked for."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from nexusd.ports import Clock, Daemon, Store
from nexusd.web.instance_metrics import InstanceMetrics
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.options import WebOptions
from nexusd.web.queries import quality
from nexusd.web.state_metrics import Moment, StateMetrics, known_regions
from nexusd.web.tallies import TallyReader

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_CLOSING = b"# EOF\n"
_THREAD_ABOVE_BYTES = 65_536
"""Compressing more than this would stall the event loop; zlib lets go of the interpreter meanwhile."""


class Scrape:
    """The handler of `/metrics`. Never calls the API; a store that is away costs the freshness of two
    families and nothing else.
    """

    def __init__(
        self,
        options: WebOptions,
        daemon: Daemon,
        store: Store,
        metrics: MetricsRegistry,
        clock: Clock,
        tallies: TallyReader,
    ) -> None:
        self._daemon = daemon
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._tallies = tallies
        self._state = StateMetrics(options.version, options.receivers, options.alert_rules)
        self._instances = InstanceMetrics(options.max_instances) if options.per_instance else None
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    async def handle(self, request: web.Request) -> web.Response:
        openmetrics = _prefers_openmetrics(request.headers.get("Accept", ""))
        body = await self._exposition(openmetrics=openmetrics)
        headers = {
            "Content-Type": OPENMETRICS if openmetrics else TEXT,
            "Cache-Control": "no-store",
            "Vary": "Accept, Accept-Encoding",
        }
        if quality(request.headers.get("Accept-Encoding", ""), "gzip") > 0:
            headers["Content-Encoding"] = "gzip"
            body = await _compressed(body)
        return web.Response(body=body, headers=headers)

    async def _exposition(self, *, openmetrics: bool) -> bytes:
        world = self._daemon.world
        moment = Moment(
            world,
            self._daemon.eligibility(),
            await self._tallies.latest(),
            self._clock.now(),
            self._clock.utc_offset_s(),
            self._store.leading,
        )
        self._metrics.expect_regions(known_regions(world))
        text = self._state.render(moment) + self._metrics.render(openmetrics=openmetrics)
        parts = [text.encode(errors="replace")]
        if self._instances is not None:
            parts.append(await self._instances.render(world.inventory))
        return b"".join([*parts, self._of_process(openmetrics=openmetrics)])

    def _of_process(self, *, openmetrics: bool) -> bytes:
        """The families of the process and the interpreter, with the closing line where the format has one."""
        if not openmetrics:
            return generate_latest(self._process)
        rendered: bytes = generate_openmetrics(self._process)  # type: ignore[no-untyped-call]
        return rendered if rendered.endswith(_CLOSING) else rendered + _CLOSING


def _prefers_openmetrics(accept: str) -> bool:
    wanted = quality(accept, "application/openmetrics-text")
    return wanted > 0 and wanted >= quality(accept, "text/plain")


async def _compressed(body: bytes) -> bytes:
    if len(body) > _THREAD_ABOVE_BYTES:
        return await asyncio.to_thread(_gzip, body)
    return _gzip(body)


def _gzip(body: bytes) -> bytes:
    """gzip at the fastest level: a scrape is read once, next door."""
    compressor = zlib.compressobj(level=1, wbits=31)
    return compressor.compress(body) + compressor.flush()
