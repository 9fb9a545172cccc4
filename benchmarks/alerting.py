"""Alerts to webhooks, one notification an alert: nexusd and Debian's Alertmanager, told of the same alerts,
tell the same receiver. Each of the three is a process of its own.

nexusd's alerts come from a sweep, in which instances that ran have stopped; from there on all is the
daemon's: its passes, their rows synced, delivered by its workers. Only the pages of the sweep are not
fetched. Alertmanager's come by its API, as Prometheus posts them. Time runs from when the alerts are there:
the begin of the sweep's pass, or of the first request.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import structlog

from benchmarks.receiving import WITHIN_S, Receiver, receiver
from benchmarks.rounds import interleaved, median_round, missing
from benchmarks.table import Figure, Limit, Row, at_least, at_most, skipped
from nexusd.core.alerting import Alerting
from nexusd.core.answers import CreateAnswer, CreateRequest
from nexusd.core.notifications import ALL_LABELS, Route, Routing
from nexusd.core.polls import INSTANCES, PollState
from nexusd.core.records import RUNNING, STOPPED, Instance
from nexusd.core.regions import RegionList
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.sweeps import Sweep
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts
from nexusd.delivery.deliveries import Deliveries, DeliveryOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.webhook import WebhookOptions
from nexusd.runtime import loop
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store
from nexusd.web.metrics import MetricsRegistry

ALERTMANAGER = "prometheus-alertmanager"
ROUTE = "receiver: ops, group_by: ['...'], group_wait: 0s"
START_WITHIN_S = 30.0
BATCH = 64
"""Alerts in one request (Prometheus: maxBatchSize)."""
BEGIN_S = 2.0
SINGLE_ALERTS = 100
SINGLE_EVERY_S = 0.03
LEASE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Told:
    """What it took to tell a number of alerts. `peak_mb`: resident memory at its highest, since the start."""

    per_second: float
    p50_s: float
    p99_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Feed:
    """What a teller is given: in each step as many alerts at once, and then a pause."""

    steps: int
    alerts: int
    pause_s: float = 0.0

    @property
    def count(self) -> int:
        return self.steps * self.alerts

    def ids(self) -> Iterator[list[str]]:
        for first in range(0, self.count, self.alerts):
            yield [f"inst_{number:08d}" for number in range(first, first + self.alerts)]


Tell = Callable[[Feed], dict[str, float]]
"""Hands the alerts in and says when (`time.monotonic`) each was; returns when it has nothing to do any more,
or earlier where that cannot be seen.
"""


def rows() -> Iterator[Row]:
    reason = missing(ALERTMANAGER)
    if reason is not None:
        yield skipped("G6", "tell alerts", reason)
        return
    for count in (1_000, 10_000):
        yield from _at_once_rows(count)
    yield _one_by_one_row()


def _at_once_rows(count: int) -> Iterator[Row]:
    """The round with the median ratio of throughput. The goal is about 10,000."""
    feed = at_once(count)
    rounds = interleaved(f"tell {count:,} alerts", lambda: nexusd(feed), lambda: alertmanager(feed))
    ours, theirs = median_round(rounds, lambda told: told.per_second)

    def row(what: str, figure: Callable[[Told], float], unit: str, limit: Limit | None = None) -> Row:
        limit = limit if count == 10_000 else None
        beside = Figure(figure(theirs), unit, "Alertmanager")
        what = f"tell {count:,} alerts, {what}"
        return Row("G6" if limit else "", what, Figure(figure(ours), unit), beside, limit)

    yield row("webhooks", lambda told: told.per_second, "/s", at_least(1.1))
    yield row("alert to webhook, p50", lambda told: told.p50_s, "s")
    yield row("alert to webhook, p99", lambda told: told.p99_s, "s")
    yield row("CPU", lambda told: told.cpu_s, "s", at_most(1))
    yield row("memory at its highest", lambda told: told.peak_mb, "MB")


def _one_by_one_row() -> Row:
    """Unloaded: each comes when the one before it was told long ago."""
    what = "tell one alert, its rows synced, p50"
    rounds = interleaved(what, lambda: nexusd(ONE_BY_ONE), lambda: alertmanager(ONE_BY_ONE))
    ours, theirs = (
        statistics.median(told.p50_s * 1e3 for told in side) for side in zip(*rounds, strict=True)
    )
    return Row("G6", what, Figure(ours, "ms"), Figure(theirs, "ms", "Alertmanager"), at_most(5, "ms"))


def at_once(count: int) -> Feed:
    return Feed(1, count)


ONE_BY_ONE = Feed(SINGLE_ALERTS, 1, SINGLE_EVERY_S)


def nexusd(feed: Feed) -> Told:
    with receiver(feed.count) as far_end, _nexusd_process(far_end.url, feed) as (pid, tell):
        return _measured(pid, tell, far_end, feed)


def alertmanager(feed: Feed) -> Told:
    with receiver(feed.count) as far_end, _alertmanager_process(far_end.url) as (pid, tell):
        return _measured(pid, tell, far_end, feed)


def _measured(pid: int, tell: Tell, far_end: Receiver, feed: Feed) -> Told:
    before = _cpu_s(pid)
    handed = tell(feed)
    arrived = far_end.arrivals()
    cpu_s = _cpu_s(pid) - before
    took = [arrived[alert] - handed[alert] for alert in handed]
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    duration_s = max(arrived.values()) - min(handed.values())
    return Told(feed.count / duration_s, cuts[49], cuts[98], cpu_s, _peak_mb(pid))


def _cpu_s(pid: int) -> float:
    """User and system time so far of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# Alertmanager


@contextmanager
def _alertmanager_process(webhook: str) -> Iterator[tuple[int, Tell]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        config = Path(folder) / "alertmanager.yml"
        receivers = f"receivers: [{{name: ops, webhook_configs: [{{url: '{webhook}'}}]}}]"
        config.write_text(f"route: {{{ROUTE}}}\n{receivers}\n")
        options = {
            "config.file": str(config),
            "storage.path": f"{folder}/data",
            "web.listen-address": address,
            "cluster.listen-address": "",
            "log.level": "error",
        }
        process = subprocess.Popen([ALERTMANAGER, *(f"--{name}={value}" for name, value in options.items())])
        try:
            _until_ready(f"http://{address}/-/ready")
            yield process.pid, lambda feed: _post_alerts(f"http://{address}/api/v2/alerts", feed)
        finally:
            process.terminate()
            process.wait()


def _until_ready(url: str) -> None:
    until = time.monotonic() + START_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _post_alerts(url: str, feed: Feed) -> dict[str, float]:
    handed: dict[str, float] = {}
    for ids in feed.ids():
        alerts = [_postable(instance_id) for instance_id in ids]
        bodies = [
            msgspec.json.encode(alerts[start : start + BATCH]) for start in range(0, len(alerts), BATCH)
        ]
        handed |= dict.fromkeys(ids, time.monotonic())
        for body in bodies:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request):
                pass
        time.sleep(feed.pause_s)
    return handed


def _postable(instance_id: str) -> dict[str, dict[str, str]]:
    """The alert that nexusd makes of the instance."""
    labels = {"alertname": "InstanceStopped", "severity": "warning", "region": "us-east-1"}
    words = f"web-1 ({instance_id}) in us-east-1 was seen running and is now stopped."
    runbook = DEFAULT_RULES["InstanceStopped"].runbook_url
    return {
        "labels": {**labels, "instance_id": instance_id, "name": "web-1"},
        "annotations": {"summary": "Instance web-1 is stopped", "description": words, "runbook_url": runbook},
    }


# nexusd


@contextmanager
def _nexusd_process(webhook: str, feed: Feed) -> Iterator[tuple[int, Tell]]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run_nexusd, args=(theirs, webhook, feed), daemon=True
    )
    process.start()
    theirs.close()
    try:
        pid: int = ours.recv()

        def tell(_: Feed) -> dict[str, float]:
            ours.send("begin")
            handed: dict[str, float] = ours.recv()
            return handed

        yield pid, tell
        ours.send("end")
        process.join()
    finally:
        process.kill()


class _Cloud:
    """`ports.CloudApi`: instances all of which run, until some have stopped."""

    def __init__(self, clock: SystemClock, ids: Sequence[str]) -> None:
        self._clock = clock
        self._instances = {i: Instance(i, "web-1", RUNNING, "us-east-1") for i in ids}

    def stop(self, ids: Sequence[str]) -> None:
        self._instances |= {i: Instance(i, "web-1", STOPPED, "us-east-1") for i in ids}

    async def sweep_instances(self) -> Sweep:
        now = self._clock.now()
        return Sweep(now, now, dict(self._instances))

    async def read_regions(self) -> RegionList:
        raise NotImplementedError

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        raise NotImplementedError

    def last_answer_at(self, _resource: str) -> float | None:
        return None


class _Counting(MetricsRegistry):
    """The daemon's metrics; `all_sent` once so many messages are on record as sent."""

    def __init__(self, count: int) -> None:
        super().__init__(["ops"])
        self.all_sent = asyncio.Event()
        self._left = count

    def notification(self, receiver: str, failure: str | None, latency_s: float | None) -> None:
        super().notification(receiver, failure, latency_s)
        self._left -= failure is None
        if self._left == 0:
            self.all_sent.set()


@dataclass(frozen=True, slots=True)
class _Watch:
    """What of the daemon takes part."""

    cloud: _Cloud
    cycle: Cycle
    metrics: _Counting

    async def begin(self) -> None:
        """Take in that all instances run. So many are looked at in several passes, which end meanwhile."""
        await self.cycle.poll_instances()
        await asyncio.sleep(BEGIN_S)

    async def tell(self, feed: Feed) -> dict[str, float]:
        """All sent, and on record as such, when it returns."""
        handed: dict[str, float] = {}
        for ids in feed.ids():
            self.cloud.stop(ids)
            handed |= dict.fromkeys(ids, time.monotonic())
            await self.cycle.poll_instances()
            await asyncio.sleep(feed.pause_s)
        async with asyncio.timeout(WITHIN_S):
            await self.metrics.all_sent.wait()
        return handed


def _run_nexusd(pipe: Connection, webhook: str, feed: Feed) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def run() -> None:
        async with _watch(webhook, feed) as watch:
            await watch.begin()
            loop.freeze()
            pipe.send(os.getpid())
            await asyncio.to_thread(pipe.recv)
            pipe.send(await watch.tell(feed))
            await asyncio.to_thread(pipe.recv)

    loop.run(run())


@asynccontextmanager
async def _watch(webhook: str, feed: Feed) -> AsyncIterator[_Watch]:
    """As `engine` builds it. Leads from the start; nothing is polled but by hand."""
    clock, metrics, rng = SystemClock(), _Counting(feed.count), random.SystemRandom()
    world = World({INSTANCES: PollState(INSTANCES, 30.0, clock.now())})
    cloud = _Cloud(clock, [instance_id for ids in feed.ids() for instance_id in ids])
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StoreOptions(f"sqlite:///{folder}/b.db", "benchmark", LEASE_S), clock)
        hooks = DeliveryOptions((WebhookOptions("ops", HttpOptions(webhook)),))
        deliveries = Deliveries(hooks, world, store, clock, rng, metrics)
        route = Route(("ops",), group_by=(ALL_LABELS,), group_wait_s=0.0)
        parts = Parts(
            cloud=cloud,
            alerting=Alerting((DEFAULT_RULES["InstanceStopped"],), Routing({"ops": True}, (route,))),
            compose=deliveries.compose,
            outbox_changes=lambda: deliveries.changes,
            intervals_s={INSTANCES: 30.0},
            observers=Observers(lambda: None, lambda _: None, deliveries.added),
        )
        cycle, stop = Cycle(world, store, clock, metrics, parts), asyncio.Event()
        await store.acquire_lease()
        await cycle.restore()
        async with asyncio.TaskGroup() as group:
            group.create_task(deliveries.run(stop, lambda: True), name="deliveries")
            evaluating = group.create_task(cycle.run(), name="cycle")
            yield _Watch(cloud, cycle, metrics)
            evaluating.cancel()
            stop.set()
        await store.close()
