"""The soak: a day that the emulator and the daemon can read, and a verdict that sees what leaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak_day import HOURS, scenario, settings
from benchmarks.soak_record import Record, Sample, read_metrics, verdict
from benchmarks.table import Row
from nexusd import settings as configuration
from nexusd.emulator.scenario import parse_scenario
from nexusd.web.metrics import MetricsRegistry

LAG = ((0.001, 900.0), (0.01, 999.0), (0.025, 1000.0), (float("inf"), 1000.0))
STEADY = [Sample(float(at), 150.0, 30, 40.0, tuple((b, n * (at + 1)) for b, n in LAG)) for at in range(101)]


def judged(samples: list[Sample], duplicates: int = 0) -> dict[str, Row]:
    return {row.what: row for row in verdict(Record(samples, duplicates=duplicates))}


def with_leak(leak: Callable[[Sample], Sample]) -> list[Sample]:
    """The same day, its last quarter leaking."""
    return [leak(sample) if sample.at_s > 75 else sample for sample in STEADY]


@pytest.mark.parametrize("hour_s", [12.5, 150.0])
def test_each_hour_has_its_troubles_and_each_quarter_the_same(hour_s: float) -> None:
    faults = parse_scenario(scenario(hour_s))
    lasting = [fault for fault in faults if fault.schedule.for_s is not None]
    hours = [int(fault.schedule.at_s / hour_s) for fault in lasting]
    assert set(hours) == set(range(HOURS))
    quarters = [[f.name for f, hour in zip(lasting, hours, strict=True) if hour // 6 == q] for q in range(4)]
    assert quarters[0] == quarters[1] == quarters[2] == quarters[3]


@pytest.mark.parametrize("hour_s", [5.0, 150.0])
def test_the_daemon_takes_the_days_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hour_s: float
) -> None:
    monkeypatch.setenv("CN_API_KEY", "k")
    file = tmp_path / "nexusd.yaml"
    file.write_text(settings("http://127.0.0.1:1/v1", {"ops": "http://127.0.0.1:2/ops"}, hour_s))
    loaded = configuration.load(file, {})
    assert [fleet.name for fleet in loaded.fleets] == ["web", "batch"]
    assert configuration.warnings(loaded) == []


def test_a_steady_day_meets_all_that_is_wanted() -> None:
    rows = judged(STEADY)
    assert {what for what, row in rows.items() if row.met is not True} == {
        "memory at its highest",
        "sweeps of all instances",
    }


@pytest.mark.parametrize(
    ("what", "leak"),
    [
        ("memory, last quarter", lambda s: replace(s, rss_mb=153.5)),
        ("tasks, last quarter", lambda s: replace(s, tasks=45.0)),
        ("file descriptors, last quarter", lambda s: replace(s, fds=35)),
    ],
)
def test_what_grows_is_seen_and_nothing_else(what: str, leak: Callable[[Sample], Sample]) -> None:
    rows = judged(with_leak(leak))
    assert [name for name, row in rows.items() if row.met is False] == [what]


def test_growth_within_what_is_allowed_is_no_leak() -> None:
    rows = judged(with_leak(lambda s: replace(s, rss_mb=152.9, tasks=44.0, fds=34)))
    assert [name for name, row in rows.items() if row.met is False] == []


def test_one_stall_is_seen_in_the_longest_lag_only() -> None:
    last = replace(STEADY[-1], lag=(*STEADY[-1].lag[:-1], (float("inf"), STEADY[-1].lag[-1][1] + 1)))
    rows = judged([*STEADY[:-1], last])
    assert rows["event loop lag, p99 at most"].met is True
    assert rows["event loop lag, longest at most"].met is False


def test_a_name_made_twice_is_seen() -> None:
    assert judged(STEADY, duplicates=1)["names that were made twice"].met is False


def test_tasks_and_lags_are_read_from_the_daemons_own_metrics() -> None:
    metrics = MetricsRegistry()
    metrics.loop_lag(0.002)
    metrics.loop_tasks(7)
    tasks, lag = read_metrics(metrics.render(openmetrics=False))
    assert tasks == 7
    assert (lag[0], lag[-1]) == ((0.001, 0.0), (float("inf"), 1.0))


def test_metrics_without_the_event_loop_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing of the event loop"):
        read_metrics("up 1\n")
