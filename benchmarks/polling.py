"""One poll of a fleet: nexusd's whole cycle beside the reference poll and Prometheus's service discovery, and
beside itself with ten times the instances.

Each is a process of its own, and so are the pages. The cycle has the real client, rules and a SQLite store;
its pages overlap by one row, so it reads 1,011 where the reference poll reads 1,000. What has changed is the
status of 1 % of the instances, spread evenly: half of them stopped, half run again, so that alerts begin and
end, and events and records are committed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.discovering import PROMETHEUS, refreshed
from benchmarks.pages import PageServer, page_server
from benchmarks.pollers import Polled, Poller, poller
from benchmarks.rounds import ROUNDS, interleaved, median_round, missing, progress
from benchmarks.table import Figure, Row, at_most, skipped

FLEET = 100_000
LARGE = 1_000_000
CONCURRENCY = 8
ROUNDS_BESIDE_REFERENCE = 9
"""More than elsewhere: a round takes half a second."""
WIDE = 32
DELAY_S = 0.02
PAGES = FLEET // 100


def rows() -> Iterator[Row]:
    with page_server(FLEET) as pages:
        with (
            poller("reference", pages.url, CONCURRENCY) as reference,
            poller("nexusd", pages.url, CONCURRENCY) as nexusd,
        ):
            yield from _beside_reference(pages, reference, nexusd)
            changed, quiet = _changed(pages, nexusd), _quiet(nexusd)
            memory = nexusd.process.rss_mb()
        yield from _beside_prometheus(pages, changed, quiet, memory)
        yield _with_latency(pages)
    yield from _ten_times(changed, quiet)


def _beside_reference(pages: PageServer, reference: Poller, nexusd: Poller) -> Iterator[Row]:
    what = f"a cycle, {FLEET:,} instances, 1 % changed, CPU"
    measured = []
    for number in range(ROUNDS_BESIDE_REFERENCE):
        progress(f"{what}: round {number + 1} of {ROUNDS_BESIDE_REFERENCE}")
        pages.change()
        if number % 2:
            theirs = reference.poll()
            measured.append((nexusd.poll(), theirs))
        else:
            measured.append((nexusd.poll(), reference.poll()))
    ours, theirs = median_round(measured, _cpu_s)
    yield _beside("G1", what, ours, theirs, 1.3)
    what = f"a cycle, {FLEET:,} instances, nothing changed, CPU"
    rounds = interleaved(what, nexusd.poll, reference.poll, ROUNDS_BESIDE_REFERENCE)
    ours, theirs = median_round(rounds, _cpu_s)
    yield _beside("G2", what, ours, theirs, 0.75)


def _beside(goal: str, what: str, ours: Polled, theirs: Polled, limit: float) -> Row:
    beside = Figure(theirs.cpu_s, "s", "the reference poll")
    return Row(goal, what, Figure(ours.cpu_s, "s"), beside, at_most(limit))


def _cpu_s(polled: Polled) -> float:
    return polled.cpu_s


def _changed(pages: PageServer, nexusd: Poller) -> Polled:
    found = []
    for _ in range(ROUNDS):
        pages.change()
        cost = nexusd.poll()
        pages.change()
        found.append(replace(cost, stall_s=nexusd.watch().stall_s))
    return _median(found)


def _quiet(nexusd: Poller) -> Polled:
    nexusd.poll()
    return _median([replace(nexusd.poll(), stall_s=nexusd.watch().stall_s) for _ in range(ROUNDS)])


def _median(found: list[Polled]) -> Polled:
    """The longest stall is that of any: it must never happen."""
    return Polled(
        statistics.median(polled.cpu_s for polled in found),
        statistics.median(polled.wall_s for polled in found),
        max(polled.stall_s for polled in found),
    )


def _beside_prometheus(pages: PageServer, changed: Polled, quiet: Polled, memory: float) -> Iterator[Row]:
    what = "Prometheus scaleway_sd"
    reason = missing(PROMETHEUS)
    if reason is not None:
        yield skipped("G3", f"a cycle beside {what}", reason)
        return
    progress(f"{what}: {ROUNDS} refreshes")
    theirs, their_memory = refreshed(pages.url)
    beside = Figure(theirs.cpu_s, "s", what)
    yield Row("G3", "the cycle with 1 % changed, CPU", Figure(changed.cpu_s, "s"), beside, at_most(0.10))
    yield Row("G3", "the cycle with nothing changed, CPU", Figure(quiet.cpu_s, "s"), beside, at_most(0.10))
    beside = Figure(their_memory, "MB", what)
    yield Row("G3", "the cycle's process, memory", Figure(memory, "MB"), beside, at_most(0.2))


def _with_latency(pages: PageServer) -> Row:
    """Read as quickly as answers of 20 ms allow."""
    what = f"a cycle, nothing changed, {DELAY_S * 1e3:.0f} ms a request, concurrency {WIDE}, wall"
    progress(what)
    with poller("nexusd", pages.url, WIDE) as nexusd:
        pages.delay(DELAY_S)
        wall_s = statistics.median(nexusd.poll().wall_s for _ in range(ROUNDS))
        pages.delay(0.0)
    least = Figure(PAGES / WIDE * DELAY_S, "s", f"{PAGES:,} pages / {WIDE} × {DELAY_S * 1e3:.0f} ms")
    return Row("G2", what, Figure(wall_s, "s"), least, at_most(1.15))


def _ten_times(changed: Polled, quiet: Polled) -> Iterator[Row]:
    progress(f"a cycle, {LARGE:,} instances")
    with page_server(LARGE) as pages, poller("nexusd", pages.url, CONCURRENCY) as nexusd:
        large_quiet = _quiet(nexusd)
        yield Row(
            "G4",
            f"a cycle, {LARGE:,} instances, memory",
            Figure(nexusd.process.rss_mb(), "MB"),
            None,
            at_most(700, "MB"),
        )
        yield Row("", "its memory at its highest", Figure(nexusd.process.peak_mb(), "MB"))
        large_changed = _changed(pages, nexusd)
        for name, large, small in (
            ("1 % changed", large_changed, changed),
            ("nothing changed", large_quiet, quiet),
        ):
            beside = Figure(small.cpu_s, "s", f"{FLEET:,}")
            what = f"a cycle, {LARGE:,} instances, {name}"
            yield Row("G4", f"{what}, CPU", Figure(large.cpu_s, "s"), beside, at_most(11))
            stall = Figure(large.stall_s * 1e3, "ms")
            yield Row("G4", f"{what}, longest stall of the loop", stall, None, at_most(50, "ms"))
        yield Row("", "its memory once 30,000 alerts have begun", Figure(nexusd.process.rss_mb(), "MB"))
