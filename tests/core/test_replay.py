"""Replaying recorded answers under another policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import (
    Considered,
    Decision,
    PlacementPolicy,
    PlacementRequest,
    Spread,
    Supply,
    choose,
    shortlist,
)
from nexusd.core.recordings import CONSECUTIVE_INTERVALS, RecordedAnswer, recordable
from nexusd.core.records import Region
from nexusd.core.regions import NO_REGIONS, RegionList, next_snapshot
from nexusd.core.replay import (
    ANYTHING,
    Choice,
    Constraints,
    Past,
    Replayed,
    Summary,
    Variant,
    recall,
    replay,
    summary,
    ticks,
)

PLAIN = Variant(PlacementPolicy(max_data_age_s=45.0))
EAST = Region("east", "", "healthy", 10.0, capacity=True)
WEST = Region("west", "", "healthy", 20.0, capacity=True)


def answer(at: float, *regions: Region, until: float | None = None) -> RecordedAnswer:
    return RecordedAnswer(at, at if until is None else until, recordable(regions))


def region(slug: str, latency_ms: float | None) -> Region:
    return Region(slug, "", "healthy", latency_ms, capacity=True)


def placed(at: float, actual: str, counts: dict[str, int] | None = None, **request: object) -> Past:
    asked = PlacementRequest(name="x", plan="pro", **request)  # type: ignore[arg-type]
    return Past(at, asked, f"plc_{at}", Choice(actual, 1.0), counts or {})


def regions_of(rows: Iterable[Replayed]) -> list[tuple[str | None, ...]]:
    return [tuple(choice.region for choice in row.choices) for row in rows]


def test_each_decision_rests_on_what_was_answered_last_before_it() -> None:
    answers = [answer(100.0, EAST, WEST), answer(130.0, region("east", 30.0), WEST)]
    rows = replay(answers, [Past(99.0), Past(100.0), Past(129.0), Past(130.0)], [PLAIN])
    assert regions_of(rows) == [(None,), ("east",), ("east",), ("west",)]


def test_the_latency_told_is_that_of_the_time() -> None:
    answers = [answer(100.0, EAST), answer(130.0, region("east", 30.0))]
    rows = replay(answers, [Past(110.0), Past(140.0)], [PLAIN])
    assert [row.choices[0].latency_ms for row in rows] == [10.0, 30.0]


def test_where_nothing_was_eligible_the_reason_is_told() -> None:
    [row] = replay([answer(100.0, replace_region(EAST, capacity=False))], [Past(100.0)], [PLAIN])
    assert row.choices[0].region is None
    assert "no capacity" in str(row.choices[0].reason)


def replace_region(which: Region, **changes: object) -> Region:
    return Region(**{**{f: getattr(which, f) for f in which.__struct_fields__}, **changes})


def test_an_answer_that_lasted_stays_fresh_and_one_that_was_not_given_again_grows_old() -> None:
    answers = [answer(100.0, EAST, until=1000.0)]
    rows = replay(answers, [Past(900.0), Past(1045.0), Past(1046.0)], [PLAIN])
    assert regions_of(rows) == [("east",), ("east",), (None,)]


def test_variants_decide_side_by_side() -> None:
    elsewhere = replace(PLAIN, constraints=Constraints(avoid_regions=("east",)))
    [row] = replay([answer(100.0, EAST, WEST)], [Past(100.0)], [PLAIN, elsewhere])
    assert [choice.region for choice in row.choices] == ["east", "west"]
    assert row.differs


@pytest.mark.parametrize(
    ("own", "constraints", "chosen"),
    [
        ({}, Constraints(regions=("west",)), "west"),
        ({"regions": ("east",)}, Constraints(regions=("west", "east")), "east"),
        ({"regions": ("east",)}, Constraints(regions=("west",)), None),
        ({"avoid_regions": ("east",)}, Constraints(avoid_regions=("west",)), None),
        ({}, Constraints(where="region.latency_ms > 15.0"), "west"),
        ({"where": "region.latency_ms < 15.0"}, Constraints(where="region.latency_ms > 15.0"), None),
        ({"where": "region.latency_ms > 15.0"}, Constraints(), "west"),
    ],
)
def test_a_variants_constraints_hold_besides_the_requests_own(
    own: dict[str, object], constraints: Constraints, chosen: str | None
) -> None:
    variant = replace(PLAIN, constraints=constraints)
    rows = replay([answer(100.0, EAST, WEST)], [placed(100.0, "east", **own)], [variant])
    assert regions_of(rows) == [(chosen,)]


def test_what_a_variant_placed_elsewhere_counts_there_and_not_where_it_went() -> None:
    capped = Variant(replace(PLAIN.policy, max_per_region=2))
    past = [placed(100.0 + n, "west", {"east": 0, "west": n}) for n in range(5)]
    rows = replay([answer(100.0, EAST, WEST, until=200.0)], past, [capped])
    assert regions_of(rows) == [("east",), ("east",), ("west",), ("west",), (None,)]


def test_a_request_that_nobody_made_counts_nowhere() -> None:
    capped = Variant(replace(PLAIN.policy, max_per_region=1))
    rows = replay([answer(100.0, EAST, until=200.0)], [Past(100.0), Past(101.0)], [capped])
    assert regions_of(rows) == [("east",), ("east",)]


def test_counts_that_are_not_stored_are_the_last_known_ones() -> None:
    full = Variant(replace(PLAIN.policy, max_per_region=7))
    past = [placed(100.0, "west", {"east": 7, "west": 0}), Past(101.0)]
    assert regions_of(replay([answer(100.0, EAST, WEST)], past, [full])) == [("west",), ("west",)]


def test_a_region_that_cooled_off_then_is_not_chosen_under_any_policy() -> None:
    cooled = replace(placed(100.0, "west"), cooling_off={"east": "NO_CAPACITY"})
    [first, second] = replay([answer(100.0, EAST, WEST)], [cooled, Past(101.0)], [PLAIN])
    assert first.choices[0].region == "west"
    assert second.choices[0].region == "east"


def test_smoothing_outlasts_a_spike() -> None:
    spike = [answer(float(t), EAST, WEST) for t in range(0, 600, 15)]
    spike.append(answer(600.0, region("east", 30.0), WEST))
    smoothed = Variant(PLAIN.policy, half_life_s=300.0)
    [row] = replay(spike, [Past(600.0)], [PLAIN, smoothed])
    assert [choice.region for choice in row.choices] == ["west", "east"]
    assert row.choices[1].latency_ms == 30.0


def test_the_region_chosen_last_stays_until_another_is_better_by_the_margin() -> None:
    answers = [
        answer(100.0, region("east", 10.0), region("west", 20.0)),
        answer(130.0, region("east", 10.0), region("west", 8.0)),
        answer(160.0, region("east", 10.0), region("west", 3.0)),
    ]
    margin = Variant(replace(PLAIN.policy, switch_margin_ms=5.0))
    rows = replay(answers, [Past(100.0), Past(130.0), Past(160.0)], [PLAIN, margin])
    assert regions_of(rows) == [("east", "east"), ("west", "east"), ("west", "west")]


def test_the_margin_is_for_each_kind_of_request_by_itself() -> None:
    answers = [
        answer(100.0, region("east", 10.0), region("west", 20.0)),
        answer(130.0, region("east", 10.0), region("west", 8.0)),
    ]
    margin = Variant(replace(PLAIN.policy, switch_margin_ms=5.0))
    past = [placed(100.0, "east"), placed(130.0, "west", avoid_regions=("north",))]
    assert regions_of(replay(answers, past, [margin])) == [("east",), ("west",)]


def test_a_spread_group_is_spread_over_where_its_members_would_have_gone() -> None:
    past = [placed(100.0 + n, "east", spread=Spread("web", 1)) for n in range(4)]
    rows = replay([answer(100.0, EAST, WEST, until=200.0)], past, [PLAIN])
    assert regions_of(rows) == [("east",), ("west",), ("east",), ("west",)]


def considered(slug: str, instances: int, *reasons: str) -> Considered:
    return Considered(slug, not reasons, None if reasons else 1, 12.0, instances, reasons)


def test_a_stored_placement_is_recalled_as_its_last_decision_has_it() -> None:
    placement = Placement("plc_1", PlacementRequest("x", "pro"), State.RUNNING, 50.0, 90.0, region="west")
    told = (
        considered("west", 3),
        considered("east", 4, "cooling off after NO_CAPACITY"),
        considered("south", 5, "no capacity", "one attempt is under way after FULL"),
        considered("north", 6, "no capacity"),
        considered("far", 7, "the outcome of 4 creates there is in doubt"),
    )
    assert recall(placement, Decision(60.0, "west", None, 55.0, told)) == Past(
        60.0,
        placement.request,
        "plc_1",
        Choice("west", 12.0),
        {"west": 3, "east": 4, "south": 5, "north": 6, "far": 7},
        {"east": "NO_CAPACITY", "south": "FULL", "far": "the outcome of 4 creates there is in doubt"},
    )


def test_a_placement_that_found_no_region_is_recalled_when_it_was_taken_in() -> None:
    request = PlacementRequest("x", "pro")
    placement = Placement("plc_1", request, State.QUEUED, 50.0, 90.0, reason="no region is eligible")
    actual = Choice(None, reason="no region is eligible")
    assert recall(placement, None) == Past(50.0, request, "plc_1", actual)


def test_ticks_are_evenly_spaced_over_the_whole_window() -> None:
    assert [tick.at for tick in ticks(100.0, 160.0, 30.0)] == [100.0, 130.0, 160.0]


def test_a_summary_counts_what_was_placed_where_and_how_far_away() -> None:
    choices = [Choice("a", float(n)) for n in range(1, 20)]
    choices += [Choice(None, reason="x"), Choice("b", 100.0), Choice("b"), Choice("a", 0.0)]
    assert summary(choices) == Summary(
        placed=22,
        nowhere=1,
        mean_ms=(sum(range(1, 20)) + 100.0) / 21,
        p95_ms=19.0,
        switches=2,
        regions=(("a", 20), ("b", 2)),
    )


def test_a_summary_of_nothing_knows_no_latency() -> None:
    assert summary([]) == Summary(0, 0, None, None, 0, ())


SLUGS = ("a", "b", "c")
REGION = st.builds(
    Region,
    slug=st.sampled_from(SLUGS),
    name=st.just(""),
    status=st.sampled_from(["healthy", "healthy", "degraded"]),
    latency_ms=st.sampled_from([None, 10.0, 20.0, 30.0, 45.5]),
    capacity=st.sampled_from([True, True, False]),
)
POLLS = st.lists(
    st.none() | st.lists(REGION, max_size=3, unique_by=lambda r: r.slug).map(recordable),
    min_size=1,
    max_size=12,
)
"""What each poll answered; None for one that failed."""
INTERVAL_S = 15.0
POLICIES = st.builds(
    PlacementPolicy,
    max_data_age_s=st.just(45.0),
    max_per_region=st.sampled_from([None, 1, 3]),
    switch_margin_ms=st.sampled_from([0.0, 7.5]),
)
VARIANTS = st.builds(
    Variant,
    policy=POLICIES,
    half_life_s=st.sampled_from([None, 20.0, 300.0]),
    constraints=st.builds(
        Constraints,
        regions=st.none() | st.lists(st.sampled_from(SLUGS), unique=True).map(tuple),
        avoid_regions=st.lists(st.sampled_from(SLUGS), max_size=1).map(tuple),
    ),
)
PAST = st.lists(
    st.builds(
        Past,
        at=st.floats(0.0, 13 * INTERVAL_S),
        request=st.builds(
            PlacementRequest,
            name=st.just("x"),
            plan=st.just("pro"),
            regions=st.none() | st.lists(st.sampled_from(SLUGS), unique=True).map(tuple),
        ),
        placement_id=st.none() | st.just("plc_1"),
        actual=st.builds(Choice, st.sampled_from(SLUGS)),
        instances=st.none() | st.dictionaries(st.sampled_from(SLUGS), st.integers(0, 4)),
        cooling_off=st.dictionaries(st.sampled_from(SLUGS), st.just("FULL"), max_size=1),
    ),
    max_size=12,
).map(lambda past: sorted(past, key=lambda p: p.at))


def record(polls: Sequence[tuple[Region, ...] | None]) -> list[RecordedAnswer]:
    """As the store records them: the same again only lasts longer, unless a poll failed between."""
    recorded: list[RecordedAnswer] = []
    for n, regions in enumerate(polls):
        at = n * INTERVAL_S
        if regions is None:
            continue
        last = recorded[-1] if recorded else None
        if (
            last is not None
            and last.regions == regions
            and at - last.until <= CONSECUTIVE_INTERVALS * INTERVAL_S
        ):
            recorded[-1] = replace(last, until=at)
        else:
            recorded.append(RecordedAnswer(at, at, regions))
    return recorded


@given(POLLS, PAST, VARIANTS)
def test_the_same_policy_twice_gives_no_difference(
    polls: list[tuple[Region, ...] | None], past: list[Past], variant: Variant
) -> None:
    for row in replay(record(polls), past, [variant, variant]):
        assert row.choices[0] == row.choices[1]
        assert not row.differs


@given(POLLS, PAST, VARIANTS, VARIANTS)
def test_a_variant_decides_the_same_whatever_it_is_beside(
    polls: list[tuple[Region, ...] | None], past: list[Past], first: Variant, second: Variant
) -> None:
    beside = [row.choices[0] for row in replay(record(polls), past, [first, second])]
    assert beside == [row.choices[0] for row in replay(record(polls), past, [first])]


@given(POLLS, PAST, VARIANTS)
def test_every_region_chosen_was_eligible_in_the_answer_in_force(
    polls: list[tuple[Region, ...] | None], past: list[Past], variant: Variant
) -> None:
    recorded = record(polls)
    for row in replay(recorded, past, [variant]):
        [choice] = row.choices
        if choice.region is None:
            continue
        at, constraints = row.past.at, variant.constraints
        in_force = [a for a in recorded if a.at <= at][-1]
        chosen = {r.slug: r for r in in_force.regions}[choice.region]
        assert (chosen.healthy, chosen.capacity) == (True, True)
        assert choice.latency_ms == chosen.latency_ms
        assert at - in_force.until <= variant.policy.max_data_age_s
        for allowed in (row.past.request.regions, constraints.regions):
            assert allowed is None or choice.region in allowed
        assert choice.region not in constraints.avoid_regions
        assert choice.region not in row.past.cooling_off


def daemon(polls: Sequence[tuple[Region, ...] | None], variant: Variant) -> list[str | None]:
    """What a daemon that polls chooses right after each poll."""
    snapshot, incumbent = NO_REGIONS, None
    chosen: list[str | None] = []
    for n, regions in enumerate(polls):
        at = n * INTERVAL_S
        if regions is not None:
            listed = RegionList(at, at, {r.slug: r for r in regions})
            snapshot, _ = next_snapshot(snapshot, listed, variant.half_life_s)
        supply = Supply(snapshot, incumbent=incumbent)
        found = choose(ANYTHING, shortlist(ANYTHING, snapshot), supply, variant.policy, at)
        incumbent = found or incumbent
        chosen.append(found)
    return chosen


@given(
    POLLS,
    st.builds(Variant, policy=POLICIES, half_life_s=st.sampled_from([None, 20.0, 300.0])),
)
def test_the_policy_that_was_in_force_chooses_again_what_the_daemon_chose(
    polls: list[tuple[Region, ...] | None], variant: Variant
) -> None:
    past = [Past(n * INTERVAL_S) for n in range(len(polls))]
    rows = replay(record(polls), past, [variant])
    assert [row.choices[0].region for row in rows] == daemon(polls, variant)
