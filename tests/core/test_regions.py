"""What an answer of `GET /regions` changes."""

from __future__ import annotations

from nexusd.core.changes import RegionAppeared, RegionCapacityChanged, RegionStatusChanged, RegionVanished
from nexusd.core.records import Region
from nexusd.core.regions import (
    FORGET_AFTER_S,
    NO_REGIONS,
    RegionList,
    RegionSnapshot,
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
