"""`GET /metrics`: puts the parts of the exposition together, in the format and encoding asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from nexusd.core.inventory import Inventory
from nexusd.ports import Clock, Daemon, Store
from nexusd.web.answers import answer_in_chunks
from nexusd.web.instance_metrics import InstanceMetrics
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.options import WebOptions
from nexusd.web.prepared import Prepared, gzipped, plain
from nexusd.web.queries import quality
from nexusd.web.state_metrics import Moment, StateMetrics, known_regions
from nexusd.web.tallies import TallyReader

TEXT = "text/plain; version=0.0.4; charset=utf-8"
NOTHING = Prepared()
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
        self.instances = InstanceMetrics(options.max_instances, _inventory_of(daemon))
        self._per_instance = options.per_instance
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    async def keep_ready(self) -> None:
        """Render what takes long as soon as it has changed. For ever."""
        if self._per_instance:
            await self.instances.keep_ready()
        else:
            await asyncio.Event().wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        openmetrics = _prefers_openmetrics(request.headers.get("Accept", ""))
        prepared = await self.instances.latest() if self._per_instance else NOTHING
        rest = await self._rest(openmetrics=openmetrics)
        headers = {
            "Content-Type": OPENMETRICS if openmetrics else TEXT,
            "Cache-Control": "no-store",
            "Vary": "Accept, Accept-Encoding",
        }
        if quality(request.headers.get("Accept-Encoding", ""), "gzip") > 0:
            headers["Content-Encoding"] = "gzip"
            return await answer_in_chunks(request, await _gzipped(prepared, rest), headers)
        return await answer_in_chunks(request, plain(prepared, rest), headers)

    async def _rest(self, *, openmetrics: bool) -> bytes:
        """All but the series of single instances."""
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
        # A dozen calls of the system, and for each the interpreter lock is waited for: not on the loop.
        of_process = await asyncio.to_thread(self._of_process, openmetrics=openmetrics)
        return text.encode(errors="replace") + of_process

    def _of_process(self, *, openmetrics: bool) -> bytes:
        """The families of the process and the interpreter, with the closing line where the format has one."""
        if not openmetrics:
            return generate_latest(self._process)
        rendered: bytes = generate_openmetrics(self._process)  # type: ignore[no-untyped-call]
        return rendered if rendered.endswith(_CLOSING) else rendered + _CLOSING


def _prefers_openmetrics(accept: str) -> bool:
    wanted = quality(accept, "application/openmetrics-text")
    return wanted > 0 and wanted >= quality(accept, "text/plain")


async def _gzipped(prepared: Prepared, rest: bytes) -> list[bytes]:
    if len(rest) > _THREAD_ABOVE_BYTES:
        return await asyncio.to_thread(gzipped, prepared, rest)
    return gzipped(prepared, rest)


def _inventory_of(daemon: Daemon) -> Callable[[], Inventory]:
    return lambda: daemon.world.inventory
