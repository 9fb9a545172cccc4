"""An hour in which the daemon lives a day of troubles: `python -m benchmarks.soak` (see its `--help`).

A real `nexusd run` beside the emulator, which plays the scenario; people and Prometheus read all the while,
and one of two receivers fails part of the time. In the end a table says whether memory stayed flat and
nothing leaked. Exits with 1 when it did not, or when the daemon ended by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from benchmarks.processes import ELSEWHERE, Process, emulated_cloud, end, nexusd_environment, wait_for
from benchmarks.rounds import progress
from benchmarks.soak_day import HOURS, scenario, settings
from benchmarks.soak_record import Record, Sample, read_metrics, verdict
from benchmarks.table import HEAD
from nexusd.emulator.options import DEMO_API_KEY

INSTANCES = 50_000
MINUTES = 60.0
SAMPLE_EVERY_S = 2.0
TOLD_EVERY_S = 60.0
WARM_UP_S = 5.0
READ_WITHIN_S = 30.0
READS = {
    "/api/v1/status": 2.0,
    "/api/v1/regions": 3.0,
    "/api/v1/instances?status=running&limit=100&offset=2000": 1.0,
    "/api/v1/instances?name=prod-api-000000": 2.0,
    "/api/v1/placements": 3.0,
    "/api/v1/fleets": 3.0,
    "/api/v1/events?limit=200": 3.0,
    "/api/v2/alerts": 3.0,
    "/": 5.0,
}
"""What is read, and every how many seconds."""
SCRAPE_EVERY_S = 5.0
PLACE_EVERY_S = 10.0
FOLLOW_S = 15.0
"""How long one reader of the event stream stays."""


class Receivers:
    """Two webhooks of one server: `steady` always answers 200, `shaky` fails in every second hour."""

    def __init__(self, hour_s: float) -> None:
        self._hour_s = hour_s
        self._began = time.monotonic()
        self._rng = random.Random(1)
        self.told: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[dict[str, str]]:
        app = web.Application()
        app.add_routes([web.post("/steady", self._steady), web.post("/shaky", self._shaky)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            yield {name: f"http://127.0.0.1:{port}/{name}" for name in ("steady", "shaky")}
        finally:
            await runner.cleanup()

    async def _steady(self, request: web.Request) -> web.Response:
        await request.read()
        self.told["steady"] += 1
        return web.Response()

    async def _shaky(self, request: web.Request) -> web.Response:
        await request.read()
        hour = int((time.monotonic() - self._began) / self._hour_s)
        if hour % 2:
            match self._rng.randrange(4):
                case 0:
                    return web.Response(status=500)
                case 1:
                    return web.Response(status=429, headers={"Retry-After": "1"})
                case 2:
                    await asyncio.sleep(5.0)  # longer than its `timeout`
                case _ if request.transport is not None:
                    request.transport.abort()
        self.told["shaky"] += 1
        return web.Response()


class Soak:
    """Reads, places and takes samples until the day is over."""

    def __init__(self, daemon: Process, http: aiohttp.ClientSession, until: float) -> None:
        self._daemon = daemon
        self._http = http
        self._began = time.monotonic()
        self._until = until
        self._rng = random.Random(2)
        self.record = Record()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sampled())
            group.create_task(self._scraped())
            group.create_task(self._placed())
            group.create_task(self._followed())
            for path, every_s in READS.items():
                group.create_task(self._read(path, every_s))

    async def _sampled(self) -> None:
        told = 0.0
        while time.monotonic() < self._until:
            text = await self._get("/metrics")
            if text is not None:
                self._sample(text)
            if time.monotonic() - told > TOLD_EVERY_S and self.record.samples:
                told = time.monotonic()
                last = self.record.samples[-1]
                progress(f"{last.rss_mb:.0f} MB, {last.tasks:.0f} tasks, {last.fds} descriptors")
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _sample(self, text: str) -> None:
        tasks, lag = read_metrics(text)
        at_s = time.monotonic() - self._began
        fds = sum(1 for _ in Path(f"/proc/{self._daemon.pid}/fd").iterdir())
        self.record.samples.append(Sample(at_s, self._daemon.rss_mb(), fds, tasks, lag))
        runs = text.partition('\nnexusd_poll_runs_total{resource="instances"} ')[2]
        self.record.sweeps = float(runs.split("\n", 1)[0])

    async def _scraped(self) -> None:
        """As a second Prometheus does, which asks for OpenMetrics."""
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        while time.monotonic() < self._until:
            await self._get("/metrics", accept)
            await asyncio.sleep(SCRAPE_EVERY_S)

    async def _read(self, path: str, every_s: float) -> None:
        await asyncio.sleep(self._rng.uniform(0, every_s))
        while time.monotonic() < self._until:
            await self._get(path)
            await asyncio.sleep(every_s)

    async def _placed(self) -> None:
        """One placement now and then, and between two of them what would be decided."""
        number = 0
        while time.monotonic() < self._until:
            number += 1
            body = {"name": f"soak-{number}", "plan": "starter"}
            await self._post("/api/v1/plan", body)
            await self._post("/api/v1/placements", body)
            await asyncio.sleep(PLACE_EVERY_S)

    async def _followed(self) -> None:
        """Readers of the stream that come and go."""
        while time.monotonic() < self._until:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(FOLLOW_S):
                    stream = {"Accept": "text/event-stream"}
                    async with self._http.get(self._daemon.url + "/api/v1/events", headers=stream) as answer:
                        async for _ in answer.content:
                            pass
            await asyncio.sleep(0.2)

    async def _get(self, path: str, headers: dict[str, str] | None = None) -> str | None:
        return await self._ask("GET", path, headers=headers)

    async def _post(self, path: str, body: dict[str, str]) -> str | None:
        return await self._ask("POST", path, json=body)

    async def _ask(self, method: str, path: str, **options: object) -> str | None:
        """The body of a 2xx, and None for any other, which is counted."""
        kind = f"{method} {path.partition('?')[0]}"
        began = time.monotonic()
        try:
            request = self._http.request(method, self._daemon.url + path, **options)  # type: ignore[arg-type]
            async with request as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._refused(kind, type(error).__name__)
            return None
        self.record.took_s.setdefault(kind, []).append(time.monotonic() - began)
        if answer.ok:
            return text
        self._refused(kind, str(answer.status))
        return None

    def _refused(self, kind: str, why: str) -> None:
        self.record.refused[f"{kind}: {why}"] = self.record.refused.get(f"{kind}: {why}", 0) + 1


async def names_made_twice(cloud: str) -> int:
    """Of those that nexusd makes, as the cloud lists them in the end."""
    names: dict[str, str] = {}  # by id: one that moves while it is read is on two pages
    headers = {"Authorization": f"Bearer {DEMO_API_KEY}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        total, offset = 1, 0
        while offset < total:
            async with http.get(f"{cloud}/instances?limit=100&offset={offset}") as answer:
                if answer.status != 200:
                    await asyncio.sleep(0.2)
                    continue
                page = await answer.json()
            total, offset = page["meta"]["total"], offset + len(page["data"])
            ours = ("soak-", "web-", "batch-")
            names |= {i["id"]: i["name"] for i in page["data"] if i["name"].startswith(ours)}
    return sum(1 for count in Counter(names.values()).values() if count > 1)


async def soaked(cloud: str, folder: Path, minutes: float) -> tuple[Record, int | None]:
    """The record, and the daemon's exit code: None if it had not ended before it was told to."""
    hour_s = minutes * 60 / HOURS
    receivers = Receivers(hour_s)
    async with receivers.listening() as urls:
        config = folder / "nexusd.yaml"
        config.write_text(settings(cloud, urls, hour_s))
        environment = nexusd_environment(folder, {"NEXUSD_CONFIG": str(config)})
        environment.pop("NEXUSD_LOG__LEVEL")
        url = "http://" + environment["NEXUSD_SERVER__LISTEN"]
        running = _begun(environment, folder / "daemon.log")
        os.nice(ELSEWHERE)  # who reads and is told
        try:
            await asyncio.to_thread(wait_for, url + "/-/ready", running)
            await asyncio.sleep(WARM_UP_S)
            timeout = aiohttp.ClientTimeout(total=READ_WITHIN_S)
            async with aiohttp.ClientSession(timeout=timeout) as http:
                soak = Soak(Process(running.pid, url), http, time.monotonic() + minutes * 60)
                await soak.run()
            ended = running.poll()
        finally:
            await asyncio.to_thread(end, running)
    progress(f"told {dict(receivers.told)}; the daemon's exit code {running.returncode}")
    soak.record.duplicates = await names_made_twice(cloud)
    return soak.record, ended


def _begun(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as errors:
        return subprocess.Popen([sys.executable, "-m", "nexusd", "run"], env=environment, stderr=errors)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long the day lasts")
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--scenario", type=Path, help="the emulator's faults, instead of the day's own")
    parser.add_argument("--keep", type=Path, help="a new folder for the daemon's log and store")
    given = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that what it started ends, too
    with tempfile.TemporaryDirectory() as made:
        folder = given.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=given.keep is None)  # another cloud's store would be no beginning
        faults = given.scenario
        if faults is None:
            faults = folder / "scenario.yaml"
            faults.write_text(scenario(given.minutes * 60 / HOURS))
        with emulated_cloud(given.instances, "--scenario", str(faults), "--boot-time", "2s") as cloud:
            record, ended = asyncio.run(soaked(cloud, folder, given.minutes))
    rows = list(verdict(record))
    print(HEAD, *rows, sep="\n", flush=True)
    if ended is not None:
        print(f"the daemon ended by itself: exit code {ended}", file=sys.stderr)
    sys.exit(0 if ended is None and all(row.met is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
