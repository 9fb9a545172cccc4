"""Where a placement goes and why: one rule of the policy a test, then properties over random regions."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.core.cooling import ACCOUNT, WINDOW, CoolingOff
from nexusd.core.expressions import region_where
from nexusd.core.placement import (
    Considered,
    Decision,
    PlacementPolicy,
    PlacementRequest,
    Spread,
    Supply,
    Where,
    choose,
    shortlist,
)
from nexusd.core.placement import decide as decide_from
from nexusd.core.records import Region
from nexusd.core.regions import NO_REGIONS, KnownRegion, RegionSnapshot
from tests.effort import examples

NOW = 1_000_000.0
POLICY = PlacementPolicy(max_data_age_s=45.0)
REQUEST = PlacementRequest("worker-01", "pro")


def region(
    slug: str, latency_ms: float | None = 10.0, status: str = "healthy", *, capacity: bool = True
) -> Region:
    return Region(slug, slug.upper(), status, latency_ms, capacity)


def supply(*regions: Region, observed_at: float | None = NOW, **instances: int) -> Supply:
    known = {r.slug: KnownRegion(r) for r in regions}
    return Supply(RegionSnapshot(observed_at, known), instances)


def decide(
    request: PlacementRequest,
    supply_: Supply,
    policy: PlacementPolicy,
    now: float,
    where: Where | None = None,
) -> Decision:
    """The decision; choosing without the reasons always agrees with it."""
    listed = shortlist(request, supply_.regions, where)
    decision = decide_from(request, listed, supply_, policy, now)
    assert choose(request, listed, supply_, policy, now) == decision.region
    return decision


def reasons(decision: Decision, slug: str) -> tuple[str, ...]:
    return next(c.reasons for c in decision.considered if c.region == slug)


def test_the_lowest_latency_is_chosen() -> None:
    assert decide(REQUEST, supply(region("a", 45.0), region("b", 12.0)), POLICY, NOW).region == "b"


def test_of_equal_latencies_the_region_with_fewer_instances_is_chosen() -> None:
    assert decide(REQUEST, supply(region("a"), region("b"), a=2, b=1), POLICY, NOW).region == "b"


def test_of_equal_latencies_and_counts_the_first_slug_is_chosen() -> None:
    assert decide(REQUEST, supply(region("b"), region("a")), POLICY, NOW).region == "a"


def test_an_unknown_latency_comes_last() -> None:
    assert decide(REQUEST, supply(region("a", None), region("b", 900.0)), POLICY, NOW).region == "b"


def test_a_region_of_unknown_latency_is_better_than_none() -> None:
    assert decide(REQUEST, supply(region("a", None)), POLICY, NOW).region == "a"


def test_every_reason_is_told_at_once() -> None:
    request = PlacementRequest("w", "pro", regions=("b",), avoid_regions=("a",))
    policy = PlacementPolicy(max_per_region=3)
    decision = decide(request, supply(region("a", status="degraded", capacity=False), a=3), policy, NOW)
    assert reasons(decision, "a") == (
        "status is degraded",
        "no capacity",
        "not among the allowed regions",
        "among the avoided regions",
        "has 3 instances, at most 3 are allowed per region",
    )


def test_an_unknown_status_is_not_healthy() -> None:
    decision = decide(REQUEST, supply(region("a", status="splendid")), POLICY, NOW)
    assert decision.region is None
    assert reasons(decision, "a") == ("status is splendid",)


def test_a_region_below_its_cap_is_eligible() -> None:
    policy = PlacementPolicy(max_per_region=3)
    assert decide(REQUEST, supply(region("a"), a=2), policy, NOW).region == "a"


def test_a_region_that_cools_off_is_passed_over_until_it_has() -> None:
    resting = supply(region("a"))
    cooling = Supply(resting.regions, cooling_off={("a", ""): CoolingOff("a", NOW + 1.0, 1, "NO_CAPACITY")})
    assert reasons(decide(REQUEST, cooling, POLICY, NOW), "a") == ("cooling off after NO_CAPACITY",)
    assert decide(REQUEST, cooling, POLICY, NOW + 1.0).region == "a"


def test_without_a_plan_a_region_that_cools_off_says_so_once() -> None:
    resting = supply(region("a"))
    cooling = Supply(resting.regions, cooling_off={("a", ""): CoolingOff("a", NOW + 1.0, 1, "NO_CAPACITY")})
    anything = replace(REQUEST, plan="")
    assert reasons(decide(anything, cooling, POLICY, NOW), "a") == ("cooling off after NO_CAPACITY",)


def test_a_half_open_region_takes_one_attempt_at_a_time() -> None:
    cooling = {("a", ""): CoolingOff("a", NOW - 1.0, 1, "NO_CAPACITY")}
    snapshot = supply(region("a")).regions
    assert decide(REQUEST, Supply(snapshot, cooling_off=cooling), POLICY, NOW).region == "a"
    for under_way in ({"in_flight": {"a": 1}}, {"in_doubt": {"a": 1}}):
        decision = decide(REQUEST, Supply(snapshot, cooling_off=cooling, **under_way), POLICY, NOW)
        assert reasons(decision, "a") == ("one attempt is under way after NO_CAPACITY",)


def test_a_region_that_recovers_takes_as_many_at_once_as_it_has_earned() -> None:
    cooling = {("a", ""): CoolingOff("a", NOW - 1.0, 1, "NO_CAPACITY", allowed=2)}
    snapshot = supply(region("a")).regions
    one, two = ({"a": 1}, {"a": 2})
    assert decide(REQUEST, Supply(snapshot, cooling_off=cooling, in_flight=one), POLICY, NOW).region == "a"
    decision = decide(REQUEST, Supply(snapshot, cooling_off=cooling, in_flight=two), POLICY, NOW)
    assert reasons(decision, "a") == ("2 attempts are under way after NO_CAPACITY",)


def test_a_quota_closes_a_region_for_its_plan_only() -> None:
    quota = {("a", "pro"): CoolingOff("a", NOW + 9.0, 1, "QUOTA_EXCEEDED", plan="pro")}
    snapshot = supply(region("a")).regions
    decision = decide(REQUEST, Supply(snapshot, cooling_off=quota), POLICY, NOW)
    assert reasons(decision, "a") == ("cooling off after QUOTA_EXCEEDED",)
    starter = PlacementRequest("w", "starter")
    assert decide(starter, Supply(snapshot, cooling_off=quota), POLICY, NOW).region == "a"


def test_a_quota_of_the_account_closes_every_region() -> None:
    quota = {ACCOUNT: CoolingOff("", NOW + 9.0, 1, "QUOTA_EXCEEDED")}
    snapshot = supply(region("a"), region("b")).regions
    decision = decide(REQUEST, Supply(snapshot, cooling_off=quota), POLICY, NOW)
    assert decision.region is None
    assert reasons(decision, "b") == ("cooling off after QUOTA_EXCEEDED",)


def test_a_region_with_many_creates_in_doubt_is_passed_over() -> None:
    snapshot = supply(region("a", 10.0), region("b", 20.0)).regions
    decision = decide(REQUEST, Supply(snapshot, in_doubt={"a": WINDOW}), POLICY, NOW)
    assert decision.region == "b"
    assert reasons(decision, "a") == (f"the outcome of {WINDOW} creates there is in doubt",)


def test_what_blocks_everything_is_told_for_every_region() -> None:
    snapshot = supply(region("a"), region("b", status="down")).regions
    decision = decide(REQUEST, Supply(snapshot, blocked="creates are paused: why"), POLICY, NOW)
    assert (decision.region, decision.reason) == (None, "creates are paused: why")
    assert reasons(decision, "a") == ("creates are paused: why",)
    assert reasons(decision, "b") == ("status is down", "creates are paused: why")


def test_a_smoothed_latency_is_compared_instead_of_the_last_one() -> None:
    known = {
        "a": KnownRegion(region("a", 10.0), smoothed_ms=50.0),
        "b": KnownRegion(region("b", 20.0), smoothed_ms=30.0),
    }
    decision = decide(REQUEST, Supply(RegionSnapshot(NOW, known)), POLICY, NOW)
    best = decision.considered[0]
    assert (best.region, best.latency_ms, best.smoothed_ms) == ("b", 20.0, 30.0)


def test_the_region_chosen_last_stays_until_another_is_better_by_the_margin() -> None:
    policy = PlacementPolicy(switch_margin_ms=5.0)
    snapshot = supply(region("a", 10.0), region("b", 14.9), region("c", 15.1)).regions
    decision = decide(REQUEST, Supply(snapshot, incumbent="b"), policy, NOW)
    assert [c.region for c in decision.considered] == ["b", "a", "c"]
    assert decide(REQUEST, Supply(snapshot, incumbent="c"), policy, NOW).region == "a"


def test_a_region_chosen_last_that_is_not_eligible_now_is_left() -> None:
    policy = PlacementPolicy(switch_margin_ms=5.0)
    snapshot = supply(region("a", 10.0), region("b", 11.0, capacity=False)).regions
    assert decide(REQUEST, Supply(snapshot, incumbent="b"), policy, NOW).region == "a"


# spread

SPREAD = PlacementRequest("w", "pro", spread=Spread("web", 1))


def test_a_group_is_spread_before_latency_counts() -> None:
    snapshot = supply(region("a", 10.0), region("b", 20.0)).regions
    decision = decide(SPREAD, Supply(snapshot, group={"a": 1}), POLICY, NOW)
    assert decision.region == "b"
    assert reasons(decision, "a") == ("has 1 of group web and another region 0: at most 1 apart",)


def test_a_larger_skew_allows_more_in_the_best_region() -> None:
    request = PlacementRequest("w", "pro", spread=Spread("web", 2))
    snapshot = supply(region("a", 10.0), region("b", 20.0)).regions
    assert decide(request, Supply(snapshot, group={"a": 1}), POLICY, NOW).region == "a"
    assert decide(request, Supply(snapshot, group={"a": 2}), POLICY, NOW).region == "b"


def test_a_region_without_capacity_does_not_hold_a_group_back() -> None:
    snapshot = supply(region("a", 10.0), region("b", 20.0, capacity=False)).regions
    assert decide(SPREAD, Supply(snapshot, group={"a": 5}), POLICY, NOW).region == "a"


def test_a_region_that_the_request_avoids_does_not_hold_a_group_back() -> None:
    request = PlacementRequest("w", "pro", avoid_regions=("b",), spread=Spread("web", 1))
    snapshot = supply(region("a", 10.0), region("b", 20.0)).regions
    assert decide(request, Supply(snapshot, group={"a": 5}), POLICY, NOW).region == "a"


def test_a_region_that_cools_off_still_holds_a_group_back() -> None:
    """What goes elsewhere in that minute could never be moved back."""
    snapshot = supply(region("a", 10.0), region("b", 20.0)).regions
    cooling = {("b", ""): CoolingOff("b", NOW + 60.0, 1, "NO_CAPACITY")}
    decision = decide(SPREAD, Supply(snapshot, cooling_off=cooling, group={"a": 1}), POLICY, NOW)
    assert decision.region is None


def test_a_region_at_its_cap_does_not_hold_a_group_back() -> None:
    snapshot = supply(region("a", 10.0), region("b", 20.0)).regions
    policy = PlacementPolicy(max_per_region=3)
    full = Supply(snapshot, instances={"a": 2, "b": 3}, group={"a": 2})
    assert decide(SPREAD, full, policy, NOW).region == "a"


# constraint classes


def test_requests_that_every_region_looks_the_same_to_are_of_one_class() -> None:
    one = PlacementRequest("a", "pro", regions=("x", "y"), priority=1)
    other = PlacementRequest("b", "pro", "debian-12", regions=("y", "x", "x"), deadline=5.0, fleet="web")
    assert one.constraint_class == other.constraint_class


def test_requests_that_differ_in_a_constraint_are_not() -> None:
    requests = [
        PlacementRequest("a", "pro"),
        PlacementRequest("a", "starter"),
        PlacementRequest("a", "pro", regions=()),
        PlacementRequest("a", "pro", regions=("x",)),
        PlacementRequest("a", "pro", avoid_regions=("x",)),
        PlacementRequest("a", "pro", where="true"),
        PlacementRequest("a", "pro", spread=Spread("web")),
        PlacementRequest("a", "pro", spread=Spread("web", 2)),
    ]
    assert len({request.constraint_class for request in requests}) == len(requests)


def test_a_region_that_fails_where_is_not_eligible() -> None:
    where = region_where("region.latency_ms < 80")
    decision = decide(REQUEST, supply(region("a", 80.0), region("b", 79.9)), POLICY, NOW, where)
    assert decision.region == "b"
    assert reasons(decision, "a") == ("where is false",)


def test_where_that_cannot_be_evaluated_is_not_satisfied_and_says_why() -> None:
    decision = decide(REQUEST, supply(region("a", None)), POLICY, NOW, region_where("region.latency_ms < 80"))
    assert reasons(decision, "a") == ("where cannot be evaluated: region.latency_ms is not known",)


def test_without_region_data_nothing_is_decided() -> None:
    decision = decide(REQUEST, Supply(NO_REGIONS), POLICY, NOW)
    assert (decision.region, decision.reason, decision.considered) == (None, "no region data yet", ())


def test_data_of_exactly_the_allowed_age_still_decides() -> None:
    assert decide(REQUEST, supply(region("a"), observed_at=NOW - 45.0), POLICY, NOW).region == "a"


def test_older_data_decides_nothing_and_no_region_is_shown_as_eligible() -> None:
    decision = decide(REQUEST, supply(region("a"), observed_at=NOW - 45.5), POLICY, NOW)
    reason = "region data is older than the 45s allowed"
    assert (decision.region, decision.reason) == (None, reason)
    assert decision.considered == (Considered("a", False, None, 10.0, 0, (reason,)),)


def test_data_from_before_the_clock_was_set_back_decides_nothing() -> None:
    decision = decide(REQUEST, supply(region("a"), observed_at=NOW + 7200.0), POLICY, NOW)
    assert (decision.region, decision.reason) == (None, "region data was read before the clock was set back")


def test_an_empty_list_of_regions_is_named_as_the_reason() -> None:
    assert (
        decide(REQUEST, supply(), POLICY, NOW).reason == "no region is eligible: the list of regions is empty"
    )


def test_the_reason_counts_what_stands_in_the_way() -> None:
    regions = (region("a", capacity=False), region("b", capacity=False), region("c", status="down"))
    reason = decide(REQUEST, supply(*regions), POLICY, NOW).reason
    assert reason == "no region is eligible: no capacity (2), status is down (1)"


def test_an_allowed_region_that_does_not_exist_is_explained() -> None:
    request = PlacementRequest("w", "pro", regions=("mars",))
    decision = decide(request, supply(region("a")), POLICY, NOW)
    assert reasons(decision, "mars") == ("unknown region",)
    assert decision.reason == "no region is eligible: unknown region: mars, not among the allowed regions (1)"


def test_an_unlisted_region_to_avoid_is_named_where_no_region_is_eligible() -> None:
    request = PlacementRequest("w", "pro", avoid_regions=("b", "venus"))
    decision = decide(request, supply(region("a", capacity=False)), POLICY, NOW)
    assert decision.reason == (
        "no region is eligible: no capacity (1); avoid_regions has unknown region: b, venus"
    )
    assert decide(request, supply(region("a")), POLICY, NOW).reason is None


def test_an_allowed_region_that_left_the_list_is_explained_and_not_chosen() -> None:
    known = {"a": KnownRegion(region("a"), left_at=NOW - 10.0)}
    request = PlacementRequest("w", "pro", regions=("a",))
    decision = decide(request, Supply(RegionSnapshot(NOW, known)), POLICY, NOW)
    assert decision.region is None
    assert reasons(decision, "a") == ("left the list of regions",)


def test_a_decision_tells_when_its_data_was_read() -> None:
    decision = decide(REQUEST, supply(region("a"), observed_at=NOW - 5.0), POLICY, NOW)
    assert (decision.decided_at, decision.observed_at, decision.reason) == (NOW, NOW - 5.0, None)


def test_a_request_can_be_hashed_with_all_it_asks() -> None:
    request = PlacementRequest("w", "pro", regions=("a",), spread=Spread("g"))
    assert hash(request) == hash(PlacementRequest("w", "pro", regions=("a",), spread=Spread("g")))


# properties

SLUGS = ("a", "b", "c", "d", "e")
slugs = st.sampled_from(SLUGS)
coolings = st.builds(
    CoolingOff,
    slugs,
    st.sampled_from((NOW - 1.0, NOW, NOW + 1.0)),
    st.integers(1, 9),
    st.just("NO_CAPACITY"),
    st.sampled_from((1, 2)),
    st.sampled_from(("", "pro", "starter")),
)
knowns = st.builds(
    KnownRegion,
    st.builds(
        Region,
        slugs,
        st.just("Somewhere"),
        st.sampled_from(("healthy", "healthy", "healthy", "degraded")),
        st.sampled_from((None, 0.0, 10.0, 10.0, 50.0)),
        st.sampled_from((True, True, False)),
    ),
    st.sampled_from((None, None, None, NOW - 60.0)),
)
supplies = st.builds(
    Supply,
    st.builds(
        RegionSnapshot,
        st.sampled_from((NOW, NOW, NOW, NOW - 45.0, NOW - 46.0, None)),
        st.lists(knowns, min_size=2, max_size=5, unique_by=lambda k: k.region.slug).map(
            lambda all_: {k.region.slug: k for k in all_}
        ),
    ),
    st.dictionaries(slugs, st.integers(0, 3)),
    st.lists(coolings, max_size=2).map(lambda all_: {c.place: c for c in all_}),
    st.dictionaries(slugs, st.integers(0, 2)),
    st.dictionaries(slugs, st.integers(0, WINDOW)),
    st.dictionaries(slugs, st.integers(0, 3)),
)
requests = st.builds(
    PlacementRequest,
    st.just("w"),
    st.just("pro"),
    regions=st.sampled_from((None, None, None, (), ("a",), ("b", "c", "mars"))),
    avoid_regions=st.sampled_from(((), (), ("a",), ("b", "c"))),
    spread=st.sampled_from((None, None, Spread("web", 1), Spread("web", 2))),
)
policies = st.builds(PlacementPolicy, max_per_region=st.sampled_from((None, None, 2, 3)))
wheres = st.sampled_from(
    (None, region_where("region.latency_ms < 20"), region_where('region.slug in ["a", "b"]'))
)


def cools(supply_: Supply, slug: str) -> bool:
    under_way = supply_.in_flight.get(slug, 0) + supply_.in_doubt.get(slug, 0)
    found = [supply_.cooling_off.get((slug, plan)) for plan in ("", "pro")]
    cooling = any(c is not None and (c.until > NOW or under_way >= c.allowed) for c in found)
    return cooling or supply_.in_doubt.get(slug, 0) >= WINDOW


def skewed(request: PlacementRequest, supply_: Supply, policy: PlacementPolicy, slug: str) -> bool:
    """Whether one more there would be further apart from a region that could take it than is allowed."""
    if request.spread is None:
        return False
    open_to_it = [
        known.region.slug
        for known in supply_.regions.known.values()
        if known.left_at is None
        and known.region.status == "healthy"
        and known.region.capacity
        and (request.regions is None or known.region.slug in request.regions)
        and known.region.slug not in request.avoid_regions
        and (
            policy.max_per_region is None
            or supply_.instances.get(known.region.slug, 0) < policy.max_per_region
        )
    ]
    group = supply_.group
    return any(
        group.get(slug, 0) + 1 - group.get(s, 0) > request.spread.max_skew for s in open_to_it if s != slug
    )


@given(requests, supplies, policies)
@settings(max_examples=examples(150), deadline=None)
def test_the_chosen_is_the_best_by_latency_then_instances_then_slug(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    decision = decide(request, supply_, policy, NOW)
    eligible = [c for c in decision.considered if c.eligible]
    best = min(
        eligible,
        key=lambda c: (c.latency_ms is None, c.latency_ms or 0.0, c.instances, c.region),
        default=None,
    )
    assert decision.region == (best.region if best is not None else None)


@given(requests, supplies, policies)
@settings(max_examples=examples(150), deadline=None)
def test_no_unfit_region_is_ever_chosen(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    chosen = decide(request, supply_, policy, NOW).region
    if chosen is None:
        return
    known = supply_.regions.known[chosen]
    assert known.left_at is None
    assert known.region.status == "healthy"
    assert known.region.capacity
    assert chosen in (request.regions if request.regions is not None else SLUGS)
    assert chosen not in request.avoid_regions
    assert not cools(supply_, chosen)
    assert not skewed(request, supply_, policy, chosen)
    assert policy.max_per_region is None or supply_.instances.get(chosen, 0) < policy.max_per_region
    assert supply_.regions.observed_at is not None
    assert NOW - supply_.regions.observed_at <= policy.max_data_age_s


@given(requests, supplies, policies)
@settings(max_examples=examples(150), deadline=None)
def test_every_listed_fit_region_is_eligible(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    """The other direction: nothing is refused without cause."""
    fresh = supply_.regions.observed_at is not None and NOW - supply_.regions.observed_at <= 45.0
    fit = {
        known.region.slug
        for slug, known in supply_.regions.known.items()
        if fresh
        and known.left_at is None
        and known.region.status == "healthy"
        and known.region.capacity
        and (request.regions is None or slug in request.regions)
        and slug not in request.avoid_regions
        and not cools(supply_, slug)
        and not skewed(request, supply_, policy, slug)
        and (policy.max_per_region is None or supply_.instances.get(slug, 0) < policy.max_per_region)
    }
    assert {c.region for c in decide(request, supply_, policy, NOW).considered if c.eligible} == fit


@given(requests, supplies, policies, wheres)
@settings(max_examples=examples(150), deadline=None)
def test_every_region_is_considered_once_with_a_rank_or_a_reason(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy, where: object
) -> None:
    considered = decide(request, supply_, policy, NOW, where).considered  # type: ignore[arg-type]
    if supply_.regions.observed_at is None:
        return
    eligible = list(itertools.takewhile(lambda c: c.eligible, considered))
    refused = considered[len(eligible) :]
    assert [c.rank for c in eligible] == list(range(1, len(eligible) + 1))
    assert all(not c.reasons for c in eligible)
    assert all(not c.eligible and c.rank is None and c.reasons and all(c.reasons) for c in refused)
    listed = {r.slug for r in supply_.regions.listed}
    named = set(request.regions or ())
    assert sorted(c.region for c in considered) == sorted(listed | named)


@given(requests, supplies, policies)
@settings(max_examples=examples(100), deadline=None)
def test_there_is_a_region_or_a_reason(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    decision = decide(request, supply_, policy, NOW)
    assert (decision.region is None) == (decision.reason is not None)


@given(requests, supplies, policies)
@settings(max_examples=examples(100), deadline=None)
def test_the_order_in_which_regions_are_known_does_not_matter(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    reverse = dict(reversed(list(supply_.regions.known.items())))
    backwards = replace(supply_, regions=RegionSnapshot(supply_.regions.observed_at, reverse))
    assert decide(request, backwards, policy, NOW) == decide(request, supply_, policy, NOW)
