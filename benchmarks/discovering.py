"""Debian's Prometheus reading as many records by its service discovery for Scaleway: the peer of G3.

It has one job whose targets are all that it discovers, scraped once a day. What counts is a refresh in the
long run: all pages, their targets, and what of them is new.
"""

from __future__ import annotations

import re
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.pollers import Polled
from benchmarks.processes import Process, free_port, program

PROMETHEUS = "prometheus"
REFRESHES = 3
WITHIN_S = 120.0

_CONFIG = """
global: {{scrape_interval: 1d, scrape_timeout: 1s}}
scrape_configs:
  - job_name: fleet
    scaleway_sd_configs:
      - role: instance
        project_id: 11111111-1111-1111-1111-111111111111
        access_key: SCWXXXXXXXXXXXXXXXXX
        secret_key: 11111111-1111-1111-1111-111111111111
        api_url: {url}
        zone: fr-par-1
        refresh_interval: 6s
"""
_COUNT = re.compile(
    r'^prometheus_sd_refresh_duration_seconds_count\{mechanism="scaleway"\} (\d+)', re.MULTILINE
)


def refreshed(url: str) -> tuple[Polled, float]:
    """What one refresh takes, and the process's resident memory afterwards in MB."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "prometheus.yml"
        config.write_text(_CONFIG.format(url=url))
        address = f"127.0.0.1:{free_port()}"
        arguments = [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
        with program(arguments, f"http://{address}/-/ready") as started:
            server = Process(started.pid, f"http://{address}")
            _wait_for(server, 2)
            before, began = server.cpu_s(), time.monotonic()
            _wait_for(server, 2 + REFRESHES)
            spent = (server.cpu_s() - before) / REFRESHES
            return Polled(spent, (time.monotonic() - began) / REFRESHES), server.rss_mb()


def _wait_for(server: Process, refreshes: int) -> None:
    """Raises `RuntimeError` when it takes too long."""
    until = time.monotonic() + WITHIN_S
    while _refreshes(server) < refreshes:
        if time.monotonic() > until:
            raise RuntimeError(f"Prometheus did not refresh {refreshes} times within {WITHIN_S:.0f} s")
        time.sleep(0.2)


def _refreshes(server: Process) -> int:
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        found = _COUNT.search(answer.read().decode())
    return int(found[1]) if found is not None else 0
