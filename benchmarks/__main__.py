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


def beside_single_rows(what: str, measure: Callable[[], float]) -> Row:
    """The run with the median ratio. What a sync costs can change from one second to the next, so each run
    has both, one right after the other.
    """
    runs = [(measure(), storing.single_row_commits_per_second()) for _ in range(RUNS)]
    ours, single = sorted(runs, key=lambda run: run[0] / run[1])[RUNS // 2]
    return Row(what, f"{ours:,.0f}/s", f"SQLite FULL, single rows: {single:,.0f}/s", ours / single)


def rows() -> Iterator[Row]:
    for regions in (10, 100, 1000):
        bare = median_of(partial(choosing.bare_choices_per_cpu_s, regions))
        beside = f"bare filter and min: {bare:,.0f}/CPU s"
        chosen = median_of(partial(choosing.choices_per_cpu_s, regions))
        yield Row(f"choose, {regions:,} regions", f"{chosen:,.0f}/CPU s", beside, chosen / bare)
        told = median_of(partial(choosing.explanations_per_cpu_s, regions))
        yield Row(f"choose and explain, {regions:,} regions", f"{told:,.0f}/CPU s", beside, told / bare)
    yield beside_single_rows(
        f"accept placements, synced, {CALLERS} callers",
        lambda: asyncio.run(storing.accepted_per_second(CALLERS)),
    )
    yield beside_single_rows(
        f"accept placements over HTTP, synced, {CLIENTS} clients",
        lambda: asyncio.run(accepting.accepted_per_second(CLIENTS)),
    )
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
