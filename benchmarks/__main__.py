"""Runs every measurement and prints one table. Ratios count; times are the machine's of the moment."""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from benchmarks import accepting, choosing, polling, starting, storing

RUNS = 3
CALLERS = 64
CLIENTS = 32


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    figure: str
    beside: str
    ratio: float


def median_of(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(RUNS))


def rows() -> Iterator[Row]:
    for regions in (10, 100, 1000):
        ours = median_of(partial(choosing.decisions_per_second, regions))
        bare = median_of(partial(choosing.bare_choices_per_second, regions))
        yield Row(f"decide, {regions} regions", f"{ours:,.0f}/s", f"bare choice: {bare:,.0f}/s", ours / bare)
    accepted = median_of(lambda: asyncio.run(storing.accepted_per_second(CALLERS)))
    single = median_of(storing.single_row_commits_per_second)
    what = f"accept placements, synced, {CALLERS} callers"
    yield Row(what, f"{accepted:,.0f}/s", f"SQLite FULL, single rows: {single:,.0f}/s", accepted / single)
    over_http = median_of(lambda: asyncio.run(accepting.accepted_per_second(CLIENTS)))
    what = f"accept placements over HTTP, synced, {CLIENTS} clients"
    yield Row(what, f"{over_http:,.0f}/s", f"SQLite FULL, single rows: {single:,.0f}/s", over_http / single)
    cycle, floor = median_of(polling.sweep_cpu_s), median_of(polling.floor_cpu_s)
    what = f"sweep and compare {polling.INSTANCES:,} unchanged instances, CPU"
    yield Row(what, f"{cycle:.3f} s", f"aiohttp + msgspec: {floor:.3f} s", cycle / floor)
    shown, bare = median_of(starting.help_cpu_s), median_of(starting.bare_python_cpu_s)
    yield Row("nexusd --help, CPU", f"{shown:.3f} s", f"python -c pass: {bare:.3f} s", shown / bare)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print("| what | nexusd | beside | ratio |\n| --- | --- | --- | --- |")
    for row in rows():
        print(f"| {row.what} | {row.figure} | {row.beside} | {row.ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
