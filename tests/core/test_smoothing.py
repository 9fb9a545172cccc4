"""The moving average over a region's latency: by the time that went by, whatever the polls did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.records import Region
from nexusd.core.regions import NO_REGIONS, RegionList, RegionSnapshot, next_snapshot

NOW = 1_000_000.0
HALF_LIFE_S = 60.0

latencies = st.floats(0.0, 1e6)
gaps = st.floats(0.0, 1e5)


def told(latency_ms: float | None, at: float, *others: str) -> RegionList:
    regions = {slug: Region(slug, "", "healthy", latency_ms, capacity=True) for slug in ("r", *others)}
    return RegionList(at - 1.0, at, regions)


def after(*answers: RegionList, half_life_s: float | None = HALF_LIFE_S) -> RegionSnapshot:
    snapshot = NO_REGIONS
    for answer in answers:
        snapshot, _ = next_snapshot(snapshot, answer, half_life_s)
    return snapshot


def smoothed(*answers: RegionList, half_life_s: float | None = HALF_LIFE_S) -> float | None:
    return after(*answers, half_life_s=half_life_s).known["r"].smoothed_ms


def series(steps: list[tuple[float, float]]) -> list[RegionList]:
    """Answers of (seconds since the last, latency)."""
    answers, at = [], NOW
    for gap_s, latency_ms in steps:
        at += gap_s
        answers.append(told(latency_ms, at))
    return answers


def test_it_is_off_without_a_half_life() -> None:
    assert smoothed(told(10.0, NOW), told(20.0, NOW + 15.0), half_life_s=None) is None


def test_it_begins_with_what_is_first_answered() -> None:
    assert smoothed(told(10.0, NOW)) == 10.0


@pytest.mark.parametrize(
    ("half_lives", "smoothed_ms"), [(0.0, 0.0), (1.0, 50.0), (2.0, 75.0), (3.0, 87.5), (1e6, 100.0)]
)
def test_each_half_life_goes_half_of_the_way(half_lives: float, smoothed_ms: float) -> None:
    assert smoothed(told(0.0, NOW), told(100.0, NOW + half_lives * HALF_LIFE_S)) == smoothed_ms


def test_what_is_answered_stays_beside_it() -> None:
    snapshot = after(told(0.0, NOW), told(100.0, NOW + 60.0))
    assert snapshot.listed[0].latency_ms == 100.0


def test_a_latency_that_is_not_known_leaves_it_as_it_was() -> None:
    assert smoothed(told(10.0, NOW), told(None, NOW + 15.0)) == 10.0


def test_it_waits_for_the_first_latency_that_is_known() -> None:
    assert smoothed(told(None, NOW)) is None
    assert smoothed(told(None, NOW), told(10.0, NOW + 15.0)) == 10.0


def test_switched_off_it_is_forgotten_and_switched_on_it_begins_anew() -> None:
    snapshot = after(told(0.0, NOW))
    snapshot, _ = next_snapshot(snapshot, told(100.0, NOW + 15.0), None)
    assert snapshot.known["r"].smoothed_ms is None
    snapshot, _ = next_snapshot(snapshot, told(40.0, NOW + 30.0), HALF_LIFE_S)
    assert snapshot.known["r"].smoothed_ms == 40.0


def test_a_region_that_comes_back_begins_anew() -> None:
    here = told(0.0, NOW, "other")
    gone = RegionList(NOW, NOW + 1.0, {"other": here.regions["other"]})
    assert smoothed(here, gone, told(100.0, NOW + 2.0)) == 100.0


def test_one_that_left_keeps_its_own_while_it_is_remembered() -> None:
    gone = RegionList(NOW, NOW + 1.0, {})
    assert smoothed(told(10.0, NOW), gone) == 10.0


@pytest.mark.parametrize("half_life_s", [0.1, HALF_LIFE_S])
def test_a_clock_that_was_set_back_leaves_it_as_it_was(half_life_s: float) -> None:
    assert smoothed(told(10.0, NOW), told(100.0, NOW - 3600.0), half_life_s=half_life_s) == 10.0


def test_it_arrives_at_what_is_answered_and_does_not_pass_it() -> None:
    assert smoothed(told(228.7, NOW), told(0.6, NOW + 1e6)) == 0.6


@given(latencies, st.lists(gaps, max_size=20))
def test_a_constant_latency_is_its_own_average(latency_ms: float, pauses: list[float]) -> None:
    steps = [(0.0, latency_ms), *((gap_s, latency_ms) for gap_s in pauses)]
    assert smoothed(*series(steps)) == latency_ms


@given(st.lists(st.tuples(gaps, latencies), min_size=1, max_size=20), st.floats(0.1, 1e5))
def test_it_stays_between_the_least_and_the_greatest(
    steps: list[tuple[float, float]], half_life_s: float
) -> None:
    average = smoothed(*series(steps), half_life_s=half_life_s)
    assert average is not None
    assert min(ms for _, ms in steps) <= average <= max(ms for _, ms in steps)


@given(latencies, latencies, gaps, st.integers(1, 50))
def test_how_often_the_same_is_polled_makes_no_difference(
    first_ms: float, then_ms: float, during_s: float, polls: int
) -> None:
    once = smoothed(*series([(0.0, first_ms), (during_s, then_ms)]))
    often = smoothed(*series([(0.0, first_ms), *[(during_s / polls, then_ms)] * polls]))
    assert often == pytest.approx(once, rel=1e-6, abs=1e-3)
