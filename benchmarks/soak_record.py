"""What a soak notes of the daemon as it runs, and what that says in the end."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.table import Figure, Row, at_most

MEMORY_RATIO = 1.02
TASKS_MORE = 4.0
FDS_MORE = 4.0
"""By which the least number may differ: a few connections of readers."""
LAG_P99_MS = 10.0
LAG_MAX_MS = 25.0
_LAG = re.compile(r'^nexusd_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
_TASKS = re.compile(r"^nexusd_event_loop_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s`: since the begin. `lag`: by upper bound in seconds, how many lags so far were at most that."""

    at_s: float
    rss_mb: float
    fds: int
    tasks: float
    lag: tuple[tuple[float, float], ...]


@dataclass(slots=True)
class Record:
    """`took_s` by kind of request; `refused` by kind and status, those that were no 2xx."""

    samples: list[Sample] = field(default_factory=list)
    took_s: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    sweeps: float = 0.0
    duplicates: int = 0


def read_metrics(text: str) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Tasks and lags of one scrape. Raises `ValueError` when they are not in it."""
    tasks = _TASKS.search(text)
    lag = tuple((float(bound), float(count)) for bound, count in _LAG.findall(text))
    if tasks is None or not lag:
        raise ValueError("the metrics say nothing of the event loop")
    return float(tasks[1]), lag


def lags_between(first: Sample, last: Sample) -> list[tuple[float, float]]:
    """By upper bound, how many lags of that time were at most so long."""
    before = dict(first.lag)
    return [(bound, count - before.get(bound, 0.0)) for bound, count in last.lag]


def lag_quantile_s(lags: Sequence[tuple[float, float]], quantile: float) -> float:
    """The upper bound of the bucket that it falls into: the lag was at most that."""
    needed = quantile * lags[-1][1]
    return next(bound for bound, count in lags if count >= needed)


def verdict(record: Record) -> Iterator[Row]:
    """The rows; `met` says what was wanted. Needs some samples in each quarter."""
    quarters = _quarters(record.samples)
    second, last = quarters[1], quarters[3]

    def grown(what: str, of: Callable[[Sample], float], unit: str, more: float) -> Row:
        before, after = _least([of(s) for s in second]), _least([of(s) for s in last])
        beside = Figure(before, unit, "second quarter")
        return Row("soak", what, Figure(after, unit), beside, at_most((before + more) / before))

    before, after = (statistics.median(s.rss_mb for s in samples) for samples in (second, last))
    memory = Figure(before, "MB", "second quarter")
    yield Row("soak", "memory, last quarter", Figure(after, "MB"), memory, at_most(MEMORY_RATIO))
    yield grown("tasks, last quarter", lambda s: s.tasks, "tasks", TASKS_MORE)
    yield grown("file descriptors, last quarter", lambda s: float(s.fds), "open", FDS_MORE)
    lags = lags_between(record.samples[0], record.samples[-1])
    p99, longest = (1e3 * lag_quantile_s(lags, quantile) for quantile in (0.99, 1.0))
    yield Row("G9", "event loop lag, p99 at most", Figure(p99, "ms"), limit=at_most(LAG_P99_MS, "ms"))
    yield Row("G9", "event loop lag, longest at most", Figure(longest, "ms"), limit=at_most(LAG_MAX_MS, "ms"))
    wanted = at_most(0, "names")
    yield Row("soak", "names that were made twice", Figure(record.duplicates, "names"), limit=wanted)
    yield from _shown(record)


def _least(counted: Sequence[float]) -> float:
    """What a tenth is below. Sweeps come and go with their tasks and connections; a leak stays."""
    return sorted(counted)[len(counted) // 10]


def _shown(record: Record) -> Iterator[Row]:
    """What nothing is wanted of."""
    yield Row("", "memory at its highest", Figure(max(s.rss_mb for s in record.samples), "MB"))
    yield Row("", "sweeps of all instances", Figure(record.sweeps, "sweeps"))
    for kind, took in sorted(record.took_s.items()):
        cuts = statistics.quantiles(took, n=100, method="inclusive") if len(took) > 1 else took * 99
        yield Row("", f"{kind}, {len(took):,} times, p99", Figure(1e3 * cuts[98], "ms"))
    for kind, count in sorted(record.refused.items()):
        yield Row("", f"{kind}", Figure(count, "times"))


def _quarters(samples: Sequence[Sample]) -> list[list[Sample]]:
    begin, end = samples[0].at_s, samples[-1].at_s
    length = (end - begin) / 4
    quarters: list[list[Sample]] = [[], [], [], []]
    for sample in samples:
        quarters[min(3, int((sample.at_s - begin) / length))].append(sample)
    return quarters
