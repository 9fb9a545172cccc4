"""How long a place cools off, and how it is trusted again."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.answers import Kind, Refused, Scope
from nexusd.core.cooling import (
    ACCOUNT,
    WINDOW,
    CoolingOff,
    after_success,
    cool_off,
    cooling_reason,
    refused_place,
    within_reach,
)
from nexusd.core.pauses import NO_PAUSE
from nexusd.core.retry_after import MOST_S

NOW = 1_000_000.0
EAST = ("us-east-1", "")


def refused_in_a_row(times: int) -> list[float]:
    """The wait after each refusal, each coming as soon as the region may be tried again."""
    now, cooling, waits = NOW, None, []
    for _ in range(times):
        cooling = cool_off(EAST, cooling, "NO_CAPACITY", now)
        waits.append(cooling.until - now)
        now = cooling.until
    return waits


def test_each_refusal_in_a_row_doubles_the_wait_up_to_half_an_hour() -> None:
    assert refused_in_a_row(8) == [60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0, 1800.0]


def test_a_region_that_refuses_for_ever_waits_no_longer_than_half_an_hour() -> None:
    assert refused_in_a_row(2000)[-1] == 1800.0


def test_refusals_while_it_already_cools_count_once() -> None:
    first = cool_off(EAST, None, "NO_CAPACITY", NOW)
    assert cool_off(EAST, first, "NO_CAPACITY", NOW + 59.0) == first


def test_a_longer_wait_that_was_asked_for_is_kept() -> None:
    assert cool_off(EAST, None, "QUOTA", NOW, at_least_s=300.0).until == NOW + 300.0


def test_a_refused_probe_takes_back_what_was_earned() -> None:
    earned = CoolingOff("us-east-1", NOW, 1, "NO_CAPACITY", allowed=4)
    assert cool_off(EAST, earned, "NO_CAPACITY", NOW) == CoolingOff(
        "us-east-1", NOW + 120.0, 2, "NO_CAPACITY"
    )


@pytest.mark.parametrize(
    ("cooling", "under_way", "reason"),
    [
        (None, 9, None),
        (CoolingOff("r", NOW + 1.0, 1, "DRY"), 0, "cooling off after DRY"),
        (CoolingOff("r", NOW, 1, "DRY"), 0, None),
        (CoolingOff("r", NOW, 1, "DRY"), 1, "one attempt is under way after DRY"),
        (CoolingOff("r", NOW, 1, "DRY", allowed=4), 3, None),
        (CoolingOff("r", NOW, 1, "DRY", allowed=4), 4, "4 attempts are under way after DRY"),
    ],
)
def test_a_place_may_be_tried_when_it_has_cooled_by_as_many_as_it_has_earned(
    cooling: CoolingOff | None, under_way: int, reason: str | None
) -> None:
    assert cooling_reason(cooling, under_way, NOW) == reason


def test_each_success_doubles_what_may_be_under_way_until_the_place_is_trusted_within_five() -> None:
    coolings = {EAST: CoolingOff("us-east-1", NOW, 6, "DRY")}
    allowed = []
    for _ in range(5):
        coolings.update(after_success(coolings, "us-east-1", "pro", NOW))
        if coolings[EAST] is None:
            break
        allowed.append(coolings[EAST].allowed)
    assert allowed == [2, 4]
    assert allowed[-1] == WINDOW
    assert coolings[EAST] is None


def test_a_success_that_was_sent_before_the_refusal_changes_nothing() -> None:
    coolings = {EAST: CoolingOff("us-east-1", NOW + 1.0, 1, "DRY")}
    assert after_success(coolings, "us-east-1", "pro", NOW) == {}


def test_a_success_counts_for_the_plan_the_region_and_the_account_and_for_no_other() -> None:
    places = [EAST, ("us-east-1", "pro"), ACCOUNT, ("us-east-1", "starter"), ("eu-west-2", "")]
    coolings = {place: CoolingOff(place[0], NOW, 1, "why", plan=place[1]) for place in places}
    assert set(after_success(coolings, "us-east-1", "pro", NOW)) == set(places[:3])


def test_what_another_clock_put_far_off_is_brought_within_the_longest_wait() -> None:
    far = {step: {EAST: CoolingOff("us-east-1", NOW + 7200.0, step, "DRY")} for step in (1, 4, 9)}
    waits = {step: within_reach(coolings, NOW)[EAST].until - NOW for step, coolings in far.items()}
    assert waits == {1: MOST_S, 4: 480.0, 9: 1800.0}


@given(st.lists(st.floats(0.0, 4000.0), max_size=30))
def test_cooling_off_never_shortens_and_stays_within_its_limits(gaps: list[float]) -> None:
    now, cooling = NOW, None
    for gap in gaps:
        now += gap
        before = cooling
        cooling = cool_off(EAST, before, "NO_CAPACITY", now)
        assert now < cooling.until <= now + 1800.0
        if before is not None:
            assert cooling.until >= before.until
            assert cooling.step in {before.step, before.step + 1}
            assert (cooling is before) == (now < before.until)


# what a refusal cools off


@pytest.mark.parametrize(
    ("kind", "scope", "place"),
    [
        ("capacity", "region", ("us-east-1", "")),
        ("unavailable", "region", ("us-east-1", "")),
        ("quota", "region", ("us-east-1", "pro")),
        ("quota", "account", ACCOUNT),
        ("unavailable", "account", ACCOUNT),
        ("rejected", "request", None),
        ("auth", "account", None),
        ("throttled", "account", None),
    ],
)
def test_a_refusal_cools_off_what_it_is_about(kind: str, scope: str, place: tuple[str, str] | None) -> None:
    assert refused_place(kind, scope, "us-east-1", "pro") == place


@pytest.mark.parametrize(
    ("kind", "scope"), [(k, s) for k, s in product(get_args(Kind), get_args(Scope)) if k != "unknown"]
)
def test_no_refusal_is_answered_by_the_same_request_at_once(kind: str, scope: str) -> None:
    """It fails the placement, cools something off, or pauses all creates, whatever rows are configured."""
    refused = Refused(422, "X", "no", kind, scope)
    ends = scope == "request"
    cools = refused_place(kind, scope, "us-east-1", "pro") is not None
    assert ends or cools or NO_PAUSE.after(refused, NOW).wait_s(NOW) > 0
