"""What an answer of `GET /regions` changes, and how long a region cools off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.changes import RegionAppeared, RegionCapacityChanged, RegionStatusChanged, RegionVanished
from nexusd.core.records import Region
from nexusd.core.regions import (
    FORGET_AFTER_S,
    NO_REGIONS,
    CoolingOff,
    RegionList,
    RegionSnapshot,
    cool_off,
    cooling_reason,
    next_snapshot,
)

NOW = 1_000_000.0
VIRGINIA = Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True)
LONDON = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=True)


def answer(*regions: Region, at: float = NOW) -> RegionList:
    return RegionList(at - 1.0, at, {r.slug: r for r in regions})


def after(*regions: Region, at: float = NOW) -> RegionSnapshot:
    return next_snapshot(NO_REGIONS, answer(*regions, at=at))[0]


def test_the_first_answer_changes_nothing_but_is_known() -> None:
    snapshot, changes = next_snapshot(NO_REGIONS, answer(VIRGINIA, LONDON))
    assert changes == ()
    assert snapshot.observed_at == NOW
    assert snapshot.listed == [LONDON, VIRGINIA]


def test_the_same_answer_again_changes_nothing() -> None:
    snapshot, changes = next_snapshot(after(VIRGINIA), answer(VIRGINIA, at=NOW + 15.0))
    assert changes == ()
    assert snapshot.observed_at == NOW + 15.0


def test_a_region_that_is_new_in_a_later_answer_appeared() -> None:
    assert next_snapshot(after(VIRGINIA), answer(VIRGINIA, LONDON))[1] == (RegionAppeared(LONDON),)


def test_status_and_capacity_are_separate_changes() -> None:
    worse = Region("us-east-1", "Virginia, US", "degraded", 12.0, capacity=False)
    assert next_snapshot(after(VIRGINIA), answer(worse))[1] == (
        RegionStatusChanged(VIRGINIA, worse),
        RegionCapacityChanged(VIRGINIA, worse),
    )


def test_another_latency_is_no_change_but_is_known() -> None:
    slower = Region("us-east-1", "Virginia, US", "healthy", 80.0, capacity=True)
    snapshot, changes = next_snapshot(after(VIRGINIA), answer(slower))
    assert changes == ()
    assert snapshot.listed == [slower]


def test_a_region_that_leaves_is_remembered_and_not_listed() -> None:
    snapshot, changes = next_snapshot(after(VIRGINIA, LONDON), answer(VIRGINIA))
    assert changes == (RegionVanished(LONDON),)
    assert snapshot.listed == [VIRGINIA]
    assert snapshot.known["eu-west-2"].left_at == NOW


def test_a_region_that_left_is_told_once() -> None:
    gone = next_snapshot(after(VIRGINIA, LONDON), answer(VIRGINIA))[0]
    snapshot, changes = next_snapshot(gone, answer(VIRGINIA, at=NOW + 15.0))
    assert changes == ()
    assert snapshot.known["eu-west-2"].left_at == NOW


def test_a_region_that_comes_back_appeared_and_is_listed() -> None:
    gone = next_snapshot(after(VIRGINIA, LONDON), answer(VIRGINIA))[0]
    snapshot, changes = next_snapshot(gone, answer(VIRGINIA, LONDON))
    assert changes == (RegionAppeared(LONDON),)
    assert snapshot.known["eu-west-2"].left_at is None


def test_a_region_that_left_long_ago_is_forgotten() -> None:
    gone = next_snapshot(after(VIRGINIA, LONDON), answer(VIRGINIA))[0]
    almost = next_snapshot(gone, answer(VIRGINIA, at=NOW + FORGET_AFTER_S - 1.0))[0]
    assert "eu-west-2" in almost.known
    assert "eu-west-2" not in next_snapshot(almost, answer(VIRGINIA, at=NOW + FORGET_AFTER_S))[0].known


def test_an_empty_list_leaves_no_candidate() -> None:
    snapshot, changes = next_snapshot(after(VIRGINIA), answer())
    assert snapshot.listed == []
    assert changes == (RegionVanished(VIRGINIA),)


# cooling off


def refused_in_a_row(times: int) -> list[float]:
    """The wait after each refusal, each coming as soon as the region may be tried again."""
    now, cooling, waits = NOW, None, []
    for _ in range(times):
        cooling = cool_off("us-east-1", cooling, "NO_CAPACITY", now)
        waits.append(cooling.until - now)
        now = cooling.until
    return waits


def test_each_refusal_in_a_row_doubles_the_wait_up_to_half_an_hour() -> None:
    assert refused_in_a_row(8) == [60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0, 1800.0]


def test_a_region_that_refuses_for_ever_waits_no_longer_than_half_an_hour() -> None:
    assert refused_in_a_row(2000)[-1] == 1800.0


def test_refusals_while_it_already_cools_count_once() -> None:
    first = cool_off("us-east-1", None, "NO_CAPACITY", NOW)
    assert cool_off("us-east-1", first, "NO_CAPACITY", NOW + 59.0) == first


def test_a_refused_probe_ends_the_probing() -> None:
    probing = CoolingOff("us-east-1", NOW, 1, "NO_CAPACITY", probing="plc_1")
    assert cool_off("us-east-1", probing, "NO_CAPACITY", NOW) == CoolingOff(
        "us-east-1", NOW + 120.0, 2, "NO_CAPACITY"
    )


@pytest.mark.parametrize(
    ("cooling", "reason"),
    [
        (None, None),
        (CoolingOff("r", NOW + 1.0, 1, "NO_CAPACITY"), "cooling off after NO_CAPACITY"),
        (CoolingOff("r", NOW, 1, "NO_CAPACITY"), None),
        (CoolingOff("r", NOW, 1, "NO_CAPACITY", "plc_1"), "one attempt is under way after NO_CAPACITY"),
    ],
)
def test_a_region_may_be_tried_when_it_has_cooled_and_is_not_probed(
    cooling: CoolingOff | None, reason: str | None
) -> None:
    assert cooling_reason(cooling, NOW) == reason


@given(st.lists(st.floats(0.0, 4000.0), max_size=30))
def test_cooling_off_never_shortens_and_stays_within_its_limits(gaps: list[float]) -> None:
    now, cooling = NOW, None
    for gap in gaps:
        now += gap
        before = cooling
        cooling = cool_off("r", before, "NO_CAPACITY", now)
        assert now < cooling.until <= now + 1800.0
        if before is not None:
            assert cooling.until >= before.until
            assert cooling.step in {before.step, before.step + 1}
            assert (cooling is before) == (now < before.until)
