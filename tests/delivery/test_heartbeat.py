"""The heartbeat: on time while all is well, silent when it is not, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nexusd.delivery.deliveries import Deliveries, DeliveryOptions
from nexusd.delivery.heartbeat import Heartbeat, HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from tests.delivery.receivers import endpoint, hang, post
from tests.delivery.test_deliveries import deliveries, leading
from tests.fakes import RecordingMetrics
from tests.virtual_time import VirtualClock, in_virtual_time


def always() -> bool:
    return True


@asynccontextmanager
async def beating(
    options: HeartbeatOptions, healthy: Callable[[], bool] = always, metrics: RecordingMetrics | None = None
) -> AsyncIterator[None]:
    heartbeat = Heartbeat(options, VirtualClock(), metrics or RecordingMetrics())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(heartbeat.run(healthy))
        yield
        task.cancel()


@in_virtual_time
async def test_it_beats_at_once_and_every_interval() -> None:
    async with endpoint() as far_end:
        async with beating(HeartbeatOptions("pulse", HttpOptions(far_end.url))):
            await asyncio.sleep(181.0)
        assert [round(got.at) for got in far_end.got] == [0, 60, 120, 180]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_asks_by_the_configured_method_with_the_configured_headers(method: str) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with endpoint() as far_end:
            http = HttpOptions(far_end.url, {"X-Team": "infra"}, "Bearer t0k")
            async with beating(HeartbeatOptions("pulse", http, method)):
                await asyncio.sleep(1.0)
            (got,) = far_end.got
            assert (got.method, got.body) == (method, b"")
            assert (got.headers["X-Team"], got.headers["Authorization"]) == ("infra", "Bearer t0k")

    scenario()


@in_virtual_time
async def test_it_is_silent_while_the_daemon_is_not_healthy() -> None:
    healthy = True
    async with endpoint() as far_end:
        async with beating(HeartbeatOptions("pulse", HttpOptions(far_end.url)), lambda: healthy):
            await asyncio.sleep(90.0)
            healthy = False
            await asyncio.sleep(120.0)
            healthy = True
            await asyncio.sleep(60.0)
        assert [round(got.at) for got in far_end.got] == [0, 60, 240]


@in_virtual_time
async def test_a_beat_that_hangs_costs_at_most_one_interval() -> None:
    async with endpoint(200, hang) as far_end:
        async with beating(HeartbeatOptions("pulse", HttpOptions(far_end.url, timeout_s=600.0))):
            await asyncio.sleep(121.0)
        assert [round(got.at) for got in far_end.got] == [0, 60, 120]


@in_virtual_time
async def test_failures_are_counted_each_and_logged_once() -> None:
    metrics = RecordingMetrics()
    async with endpoint(200, 503, 503, 503) as far_end:
        with capture_logs() as logged:
            async with beating(HeartbeatOptions("pulse", HttpOptions(far_end.url)), metrics=metrics):
                await asyncio.sleep(200.0)
        assert metrics.counts["notification_request", "pulse", "503"] == 3
        assert metrics.counts["notification_request", "pulse", "200"] == 1
        assert [entry["event"] for entry in logged] == ["heartbeat_failed", "heartbeat_works_again"]
        assert far_end.url not in str(logged)


@in_virtual_time
async def test_it_beats_while_its_daemon_leads_and_stops_with_it(tmp_path: Path) -> None:
    async with endpoint() as far_end, post(tmp_path) as office:
        options = DeliveryOptions(heartbeats=(HeartbeatOptions("pulse", HttpOptions(far_end.url)),))
        made: Deliveries = deliveries(office, options)
        await asyncio.sleep(100.0)
        assert far_end.got == []
        async with leading(office, made):
            await asyncio.sleep(61.0)
        await asyncio.sleep(100.0)
        assert len(far_end.got) == 2
        assert await office.rows() == {}
