"""What a scrape of `/metrics` costs the daemon: with two series for each of 50,000 instances, beside Debian's
pushgateway with the same series; and with what it serves by default.

Each is a process of its own; its CPU over many scrapes on one connection counts. The fleet is polled once.
"""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.pages import page_server
from benchmarks.processes import Process, free_port, nexusd_run, program
from benchmarks.rounds import interleaved, median_of, median_round, missing
from benchmarks.table import Figure, Row, at_most, skipped

PUSHGATEWAY = "prometheus-pushgateway"
INSTANCES = 50_000
SCRAPES = 40
ENCODINGS = ("identity", "gzip")
FAMILIES = (b"nexusd_instance_info", b"nexusd_instance_status")
RARELY = {"NEXUSD_POLLING__INSTANCES": "1h", "NEXUSD_POLLING__REGIONS": "1h"}


def rows() -> Iterator[Row]:
    what = f"a scrape, {2 * INSTANCES:,} per-instance series"
    reason = missing(PUSHGATEWAY)
    if reason is not None:
        yield skipped("G5", what, reason)
    else:
        with page_server(INSTANCES) as pages, nexusd_run(settings(pages.url, INSTANCES)) as nexusd:
            yield from beside_pushgateway(what, nexusd)
    with page_server(1_000) as pages, nexusd_run(settings(pages.url, 0)) as nexusd:
        for encoding in ENCODINGS:
            cost = median_of(f"{encoding} scrapes", partial(_scrape_ms, nexusd, encoding, 5 * SCRAPES))
            yield Row(
                "G5", f"a scrape, aggregated only, {encoding}", Figure(cost, "ms"), None, at_most(2, "ms")
            )


def beside_pushgateway(what: str, nexusd: Process) -> Iterator[Row]:
    with pushgateway(_per_instance(_scraped(nexusd, "identity"))) as gateway:
        for encoding in ENCODINGS:
            ours, theirs = median_round(
                interleaved(
                    f"{what}, {encoding}",
                    partial(_scrape_ms, nexusd, encoding, SCRAPES),
                    partial(_scrape_ms, gateway, encoding, SCRAPES),
                ),
                float,
            )
            beside = Figure(theirs, "ms", "pushgateway")
            yield Row("G5", f"{what}, {encoding}, CPU", Figure(ours, "ms"), beside, at_most(0.05))
        memory = Figure(gateway.rss_mb(), "MB", "pushgateway")
        yield Row("", f"{what}, memory of the process", Figure(nexusd.rss_mb(), "MB"), memory)


def settings(url: str, per_instance: int) -> Mapping[str, str]:
    """For a daemon that reads a page server. `per_instance`: how many instances have series of their own."""
    return {
        "NEXUSD_CLOUDNEXUS__BASE_URL": url,
        "NEXUSD_CLOUDNEXUS__MAX_REQUESTS_PER_SECOND": "10000",
        "NEXUSD_METRICS__PER_INSTANCE": str(per_instance > 0).lower(),
        "NEXUSD_METRICS__MAX_INSTANCES": str(per_instance or 1),
        **RARELY,
    }


@contextmanager
def pushgateway(series: bytes) -> Iterator[Process]:
    """A pushgateway that was pushed these series."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        arguments = [PUSHGATEWAY, f"--web.listen-address={address}", "--log.level=error"]
        log.touch()
        with program(arguments, f"http://{address}/-/ready") as started:
            gateway = Process(started.pid, f"http://{address}")
            connection = http.client.HTTPConnection(address, timeout=60.0)
            connection.request("PUT", "/metrics/job/nexusd", series)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise RuntimeError(f"the pushgateway refuses the series: {answer.read()[:200]!r}")
            yield gateway


def _per_instance(exposition: bytes) -> bytes:
    """The two families alone."""
    lines = exposition.splitlines(keepends=True)
    return b"".join(line for line in lines if line.removeprefix(b"# TYPE ").startswith(FAMILIES))


def _scraped(process: Process, encoding: str) -> bytes:
    return next(_bodies(process, encoding, 1))


def _scrape_ms(process: Process, encoding: str, scrapes: int) -> float:
    """CPU of the process for one of so many scrapes."""
    _scraped(process, encoding)
    before = process.cpu_s()
    for _ in _bodies(process, encoding, scrapes):
        pass
    return (process.cpu_s() - before) / scrapes * 1e3


def _bodies(process: Process, encoding: str, scrapes: int) -> Iterator[bytes]:
    connection = http.client.HTTPConnection(urlsplit(process.url).netloc, timeout=60.0)
    for _ in range(scrapes):
        connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{process.url}/metrics answers {answer.status}")
        yield body
    connection.close()
