"""Where a placement goes and why: one rule of the policy a test, then properties over random regions."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.core.expressions import region_where
from nexusd.core.placement import (
    Considered,
    Decision,
    PlacementPolicy,
    PlacementRequest,
    Spread,
    Supply,
    decide,
    rank,
)
from nexusd.core.records import Region
from nexusd.core.regions import NO_REGIONS, CoolingOff, KnownRegion, RegionSnapshot

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
    cooling = Supply(resting.regions, cooling_off={"a": CoolingOff("a", NOW + 1.0, 1, "NO_CAPACITY")})
    assert reasons(decide(REQUEST, cooling, POLICY, NOW), "a") == ("cooling off after NO_CAPACITY",)
    assert decide(REQUEST, cooling, POLICY, NOW + 1.0).region == "a"


def test_a_half_open_region_takes_one_attempt_at_a_time() -> None:
    probing = CoolingOff("a", NOW - 1.0, 1, "NO_CAPACITY", probing="plc_1")
    decision = decide(REQUEST, Supply(supply(region("a")).regions, cooling_off={"a": probing}), POLICY, NOW)
    assert reasons(decision, "a") == ("one attempt is under way after NO_CAPACITY",)


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
    reason = "region data is 45.5s old, at most 45s is allowed"
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
    st.sampled_from((None, "plc_1")),
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
    st.lists(coolings, max_size=2).map(lambda all_: {c.region: c for c in all_}),
)
requests = st.builds(
    PlacementRequest,
    st.just("w"),
    st.just("pro"),
    regions=st.sampled_from((None, None, None, (), ("a",), ("b", "c", "mars"))),
    avoid_regions=st.sampled_from(((), (), ("a",), ("b", "c"))),
)
policies = st.builds(PlacementPolicy, max_per_region=st.sampled_from((None, None, 2, 3)))
wheres = st.sampled_from(
    (None, region_where("region.latency_ms < 20"), region_where('region.slug in ["a", "b"]'))
)


def cools(supply_: Supply, slug: str) -> bool:
    cooling = supply_.cooling_off.get(slug)
    return cooling is not None and (cooling.until > NOW or cooling.probing is not None)


@given(requests, supplies, policies)
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=150, deadline=None)
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
    assert policy.max_per_region is None or supply_.instances.get(chosen, 0) < policy.max_per_region
    assert supply_.regions.observed_at is not None
    assert NOW - supply_.regions.observed_at <= policy.max_data_age_s


@given(requests, supplies, policies)
@settings(max_examples=150, deadline=None)
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
        and (policy.max_per_region is None or supply_.instances.get(slug, 0) < policy.max_per_region)
    }
    assert {c.region for c in decide(request, supply_, policy, NOW).considered if c.eligible} == fit


@given(requests, supplies, policies, wheres)
@settings(max_examples=150, deadline=None)
def test_every_region_is_considered_once_with_a_rank_or_a_reason(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy, where: object
) -> None:
    considered = rank(request, supply_, policy, NOW, where)  # type: ignore[arg-type]
    eligible = list(itertools.takewhile(lambda c: c.eligible, considered))
    refused = considered[len(eligible) :]
    assert [c.rank for c in eligible] == list(range(1, len(eligible) + 1))
    assert all(not c.reasons for c in eligible)
    assert all(not c.eligible and c.rank is None and c.reasons and all(c.reasons) for c in refused)
    listed = {r.slug for r in supply_.regions.listed}
    named = set(request.regions or ())
    assert sorted(c.region for c in considered) == sorted(listed | named)


@given(requests, supplies, policies)
@settings(max_examples=100, deadline=None)
def test_there_is_a_region_or_a_reason(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    decision = decide(request, supply_, policy, NOW)
    assert (decision.region is None) == (decision.reason is not None)


@given(requests, supplies, policies)
@settings(max_examples=100, deadline=None)
def test_the_order_in_which_regions_are_known_does_not_matter(
    request: PlacementRequest, supply_: Supply, policy: PlacementPolicy
) -> None:
    backwards = Supply(
        RegionSnapshot(supply_.regions.observed_at, dict(reversed(list(supply_.regions.known.items())))),
        supply_.instances,
        supply_.cooling_off,
    )
    assert decide(request, backwards, policy, NOW) == decide(request, supply_, policy, NOW)
