"""Runs every measurement and prints one table. Ratios count; times are the machine's of the moment."""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from benchmarks import accepting, alerting, choosing, polling, starting, storing

RUNS = 3
CALLERS = 64
CLIENTS = 32


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    figure: str
    beside: str
    ratio: float | None


def median_of(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(RUNS))


def beside_single_rows(what: str, measure: Callable[[], float]) -> Row:
    """The run with the median ratio. What a sync costs can change from one second to the next, so each run
    has both, one right after the other.
    """
    runs = [(measure(), storing.single_row_commits_per_second()) for _ in range(RUNS)]
    ours, single = sorted(runs, key=lambda run: run[0] / run[1])[RUNS // 2]
    return Row(what, f"{ours:,.0f}/s", f"SQLite FULL, single rows: {single:,.0f}/s", ours / single)


def alerts_told(count: int) -> Iterator[Row]:
    """The run with the median ratio of throughput, each run having both."""
    feed = alerting.at_once(count)
    runs = [(alerting.nexusd(feed), alerting.alertmanager(feed)) for _ in range(RUNS)]
    ours, theirs = sorted(runs, key=lambda run: run[0].per_second / run[1].per_second)[RUNS // 2]

    def row(what: str, figure: Callable[[alerting.Told], float], written: str) -> Row:
        mine, other = figure(ours), figure(theirs)
        beside = f"Alertmanager: {written.format(other)}"
        return Row(f"tell {count:,} alerts, {what}", written.format(mine), beside, mine / other)

    yield row("webhooks (goal ≥ 1.1)", lambda told: told.per_second, "{:,.0f}/s")
    yield row("alert to webhook, p50", lambda told: told.p50_s, "{:.2f} s")
    yield row("alert to webhook, p99", lambda told: told.p99_s, "{:.2f} s")
    yield row("CPU (goal ≤ 1)", lambda told: told.cpu_s, "{:.2f} s")
    yield row("memory at its highest", lambda told: told.peak_mb, "{:,.0f} MB")


def alerts_told_one_by_one() -> Row:
    """Unloaded: each comes when the one before it was told long ago."""
    ours, theirs = (
        statistics.median(tell(alerting.ONE_BY_ONE).p50_s * 1e3 for _ in range(RUNS))
        for tell in (alerting.nexusd, alerting.alertmanager)
    )
    what = "tell one alert, its rows synced, p50 (goal ≤ 5 ms)"
    return Row(what, f"{ours:.1f} ms", f"Alertmanager: {theirs:.1f} ms", ours / theirs)


def alert_rows() -> Iterator[Row]:
    if not alerting.alertmanager_installed():
        yield Row("tell alerts", "skipped", f"{alerting.ALERTMANAGER} is not installed", None)
        return
    for count in (1_000, 10_000):
        yield from alerts_told(count)
    yield alerts_told_one_by_one()


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
    yield from alert_rows()
    cycle, floor = median_of(polling.sweep_cpu_s), median_of(polling.floor_cpu_s)
    what = f"sweep and compare {polling.INSTANCES:,} unchanged instances, CPU"
    yield Row(what, f"{cycle:.3f} s", f"aiohttp + msgspec: {floor:.3f} s", cycle / floor)
    shown, bare = median_of(starting.help_cpu_s), median_of(starting.bare_python_cpu_s)
    yield Row("nexusd --help, CPU", f"{shown:.3f} s", f"python -c pass: {bare:.3f} s", shown / bare)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print("| what | nexusd | beside | ratio |\n| --- | --- | --- | --- |")
    for row in rows():
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else "–"
        print(f"| {row.what} | {row.figure} | {row.beside} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
