"""What a start costs: the command's help and a client, and the daemon until READY beside an idle API."""

from __future__ import annotations

import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Process, emulated_cloud, end, nexusd_environment
from benchmarks.rounds import ROUNDS, interleaved, median_round, progress
from benchmarks.table import Figure, Row, at_most

INSTANCES = 1_000
READY_WITHIN_S = 60.0
SETTLED_S = 2.0
"""From READY until its memory is looked at: the first sweeps and passes are over."""
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Start:
    """Of one daemon, from exec. `cpu_s`: user and system until READY; `rss_mb`: once settled."""

    ready_s: float
    cpu_s: float
    rss_mb: float


def rows() -> Iterator[Row]:
    limit = at_most(0.25, "s")
    yield _beside_bare_python("nexusd --help, CPU", help_cpu_s, limit.value)
    yield _beside_bare_python("nexusd status (no daemon there), CPU", client_cpu_s, None)
    yield from _daemon_rows()


def _beside_bare_python(what: str, measure: Callable[[], float], limit: float | None) -> Row:
    ours, bare = median_round(interleaved(what, measure, bare_python_cpu_s), float)
    return Row(
        "G8" if limit is not None else "",
        what,
        Figure(ours, "s"),
        Figure(bare, "s", "python -c pass"),
        at_most(limit, "s") if limit is not None else None,
    )


def _daemon_rows() -> Iterator[Row]:
    with emulated_cloud(INSTANCES) as cloud, tempfile.TemporaryDirectory() as folder:
        starts = []
        for number in range(ROUNDS + 1):
            progress(
                f"READY: start {number} of {ROUNDS}" if number else "READY: a first start, on no store yet"
            )
            starts.append(_started(cloud, Path(folder)))
    first, again = starts[0], starts[1:]
    ready, cpu, rss = (
        statistics.median(getattr(start, figure) for start in again) for figure in Start.__slots__
    )
    on_none = "first start, its store made"
    yield Row("G8", "exec to READY, idle API", Figure(ready, "s"), limit=at_most(1.5, "s"))
    yield Row("", "exec to READY, CPU", Figure(cpu, "s"), Figure(first.cpu_s, "s", on_none))
    yield Row("G8", f"RSS with {INSTANCES:,} instances", Figure(rss, "MB"), limit=at_most(110, "MB"))


def _started(cloud: str, folder: Path) -> Start:
    """One start until READY=1 comes, as systemd is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        address = folder / f"notify-{time.monotonic_ns()}"
        notified.bind(str(address))
        notified.settimeout(READY_WITHIN_S)
        environment = nexusd_environment(folder, {"NEXUSD_CLOUDNEXUS__BASE_URL": cloud})
        began = time.monotonic()
        running = subprocess.Popen(
            [sys.executable, "-m", "nexusd", "run"], env=environment | {"NOTIFY_SOCKET": str(address)}
        )
        try:
            while b"READY=1" not in notified.recv(4096):
                pass
            ready_s, process = time.monotonic() - began, Process(running.pid)
            cpu_s = process.cpu_s()
            time.sleep(SETTLED_S)
            return Start(ready_s, cpu_s, process.rss_mb())
        finally:
            end(running)


def _cpu_s(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def help_cpu_s() -> float:
    return _cpu_s("-m", "nexusd", "--help")


def client_cpu_s() -> float:
    return _cpu_s("-m", "nexusd", "status", "--url", NOBODY)


def bare_python_cpu_s() -> float:
    return _cpu_s("-c", "pass")
