"""How long the event loop is busy at a stretch while 100,000 instances are polled and scraped, and how long
requests take meanwhile; and what an idle daemon costs.

The daemon runs as it is in a process of its own (`python -m benchmarks.lagging`), with its loop looked at
each millisecond. It polls every two seconds, 1 % of the instances change each time, and all have series of
their own. Lag is told by the wall clock, which other programs on the machine add to, and beside it the CPU
time that the loop's thread used at a stretch, which they do not add to.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog

from benchmarks.loops import LoopWatch
from benchmarks.pages import PageServer, page_server
from benchmarks.processes import nexusd_environment, nexusd_run, wait_for
from benchmarks.rounds import progress
from benchmarks.table import Figure, Limit, Row, at_most
from nexusd import settings
from nexusd.app import serve
from nexusd.runtime import loop

FLEET = 100_000
POLL_S = 2
LOOKED_AT_S = 40.0
IDLE_FLEET = 1_000
IDLE_S = 60.0
BETWEEN_S = 0.05
PLACEMENT = b'{"name": "%s", "plan": "pro"}'


@dataclass(frozen=True, slots=True)
class Lags:
    lags_s: list[float]
    busy_s: list[float]


def rows() -> Iterator[Row]:
    with page_server(FLEET, capacity=False) as pages:
        lags, latencies = _under_way(pages)
    what = f"polls and scrapes of {FLEET:,}: "
    lag, busy = sorted(lags.lags_s), sorted(lags.busy_s)
    yield _row("G9", f"{what}loop lag, p99", _at(lag, 0.99), at_most(10, "ms"))
    yield _row("G9", f"{what}loop lag, max", lag[-1], at_most(25, "ms"))
    yield _row("", f"{what}the loop's own CPU at a stretch, p99", _at(busy, 0.99), None)
    yield _row("", f"{what}the loop's own CPU at a stretch, max", busy[-1], None)
    for path, took_s in latencies.items():
        yield _row("G9", f"{what}{path}, p99", _at(sorted(took_s), 0.99), at_most(50, "ms"))
    yield _idle()


def _row(goal: str, what: str, seconds: float, limit: Limit | None) -> Row:
    return Row(goal, what, Figure(seconds * 1e3, "ms"), None, limit)


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def _idle() -> Row:
    what = f"idle, {IDLE_FLEET:,} instances, default intervals, CPU a minute"
    progress(what)
    with page_server(IDLE_FLEET) as pages, nexusd_run({"NEXUSD_CLOUDNEXUS__BASE_URL": pages.url}) as daemon:
        time.sleep(5.0)
        before = daemon.cpu_s()
        time.sleep(IDLE_S)
        spent = (daemon.cpu_s() - before) * 60.0 / IDLE_S
    return Row("G9", what, Figure(spent, "s"), None, at_most(0.2, "s"))


def _under_way(pages: PageServer) -> tuple[Lags, dict[str, list[float]]]:
    given = {
        "NEXUSD_CLOUDNEXUS__BASE_URL": pages.url,
        "NEXUSD_CLOUDNEXUS__MAX_REQUESTS_PER_SECOND": "10000",
        "NEXUSD_POLLING__INSTANCES": f"{POLL_S}s",
        "NEXUSD_METRICS__PER_INSTANCE": "true",
        "NEXUSD_METRICS__MAX_INSTANCES": str(FLEET),
    }
    with tempfile.TemporaryDirectory() as folder:
        environment = nexusd_environment(Path(folder), given)
        url = "http://" + environment["NEXUSD_SERVER__LISTEN"]
        command = [sys.executable, "-m", "benchmarks.lagging"]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            wait_for(f"{url}/-/ready", process)
            time.sleep(10.0)  # the first look at all instances for alerts
            latencies = _ask(url, pages, process)
            lags = _tell(process)
        finally:
            process.kill()
            process.wait()
    return lags, latencies


def _ask(url: str, pages: PageServer, process: subprocess.Popen[bytes]) -> dict[str, list[float]]:
    """Each kind of request again and again, for some time that the process is told to look at."""
    progress(f"requests under way for {LOOKED_AT_S:.0f} s")
    _tell(process)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60.0)
    numbers = count(1)
    requests: Mapping[str, Callable[[], None]] = {
        "/metrics": lambda: _request(connection, "GET", "/metrics"),
        "/api/v1/instances": lambda: _request(connection, "GET", "/api/v1/instances?limit=100&offset=50000"),
        "the page": lambda: _request(connection, "GET", "/"),
        "a placement": lambda: _place(connection, next(numbers)),
    }
    found: dict[str, list[float]] = {what: [] for what in requests}
    until, changes_at = time.monotonic() + LOOKED_AT_S, 0.0
    while time.monotonic() < until:
        if time.monotonic() >= changes_at:
            pages.change()
            changes_at = time.monotonic() + POLL_S
        for what, request in requests.items():
            began = time.perf_counter()
            request()
            found[what].append(time.perf_counter() - began)
            time.sleep(BETWEEN_S)
    return found


def _request(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> None:
    headers = {"Accept-Encoding": "gzip", "Content-Type": "application/json"}
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status not in (http.client.OK, http.client.ACCEPTED):
        raise RuntimeError(f"{method} {path} answers {answer.status}")


def _place(connection: http.client.HTTPConnection, number: int) -> None:
    _request(connection, "POST", "/api/v1/placements", PLACEMENT % b"lag-%d" % number)


def _tell(process: subprocess.Popen[bytes]) -> Lags:
    """Ask for what was seen since the last time."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a daemon without pipes")
    process.stdin.write(b"\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Lags)


async def _daemon() -> None:
    """Each line on stdin is answered with what was seen of the loop since the line before."""
    loaded = settings.load(None, {})
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(loaded, lambda: loaded), name="daemon")
        watch = LoopWatch()
        while await asyncio.to_thread(sys.stdin.buffer.readline):
            await watch.stop()
            print(msgspec.json.encode(Lags(watch.lags_s, watch.busy_s)).decode(), flush=True)
            watch = LoopWatch()
        serving.cancel()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop.run(_daemon())
