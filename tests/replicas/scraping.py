"""Scrapes `/metrics` of every replica from separate threads, and measures it."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType
from typing import Self

from tests.replicas.replica import FaultKind, Replica
from tests.replicas.report import Report

SCRAPE_EVERY_S = 0.5
TIMEOUT_S = 10.0
NOT_RUNNING = frozenset({FaultKind.KILLED, FaultKind.FROZEN, FaultKind.RESTARTED})
"""During these the process cannot answer. A silent store or cloud is no excuse."""


class Scraper:
    """Measure while entered.

    Scrapes that overlap a time in which the process did not run do not count.
    """

    def __init__(self, replicas: list[Replica]) -> None:
        self._replicas = replicas
        self._stop = threading.Event()
        self._results: dict[str, list[tuple[float, float, bool]]] = {r.name: [] for r in replicas}
        self._threads = [threading.Thread(target=self._scrape, args=(r,)) for r in replicas]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def fill(self, report: Report) -> None:
        for replica in self._replicas:
            report.scrapes[replica.name] = []
            for start, end, ok in self._results[replica.name]:
                if replica.affected(start - 0.1, end + 0.1, NOT_RUNNING):
                    continue
                if ok:
                    report.scrapes[replica.name].append(end - start)
                else:
                    report.failed_scrapes[replica.name] += 1

    def _scrape(self, replica: Replica) -> None:
        while not self._stop.wait(SCRAPE_EVERY_S):
            start = time.monotonic()
            ok = _get_metrics(replica.port)
            self._results[replica.name].append((start, time.monotonic(), ok))


def _get_metrics(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return response.status == 200
