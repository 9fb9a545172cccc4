"""Where a placement goes: filter, score, choose, with every reason. The same function serves `plan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nexusd.core.records import HEALTHY, Region
from nexusd.core.regions import CoolingOff, RegionSnapshot, cooling_reason

DEFAULT_IMAGE = "ubuntu-22.04"
PLANS = ("starter", "pro", "enterprise")
POLICY = "lowest-latency"

Where = Callable[[Region], bool]
"""A compiled `where`: whether a region satisfies it. May raise `expressions.ExpressionError`."""


@dataclass(frozen=True, slots=True)
class Spread:
    """At most `max_skew` more instances of `group` in one eligible region than in another."""

    group: str
    max_skew: int = 1


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """What was asked for. `regions` None means any; `deadline` is an instant."""

    name: str
    plan: str
    image: str = DEFAULT_IMAGE
    ssh_keys: tuple[str, ...] = ()
    regions: tuple[str, ...] | None = None
    avoid_regions: tuple[str, ...] = ()
    where: str | None = None
    spread: Spread | None = None
    priority: int = 0
    deadline: float | None = None
    fleet: str | None = None


@dataclass(frozen=True, slots=True)
class Considered:
    """One region in a decision. `rank` counts from 1 among the eligible; `reasons` says why not."""

    region: str
    eligible: bool
    rank: int | None
    latency_ms: float | None
    instances: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Which region, or why none. `observed_at` is when the region data it rests on was read."""

    decided_at: float
    region: str | None
    reason: str | None
    observed_at: float | None
    considered: tuple[Considered, ...] = ()
    policy: str = POLICY


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """Seconds and counts. `max_data_age_s`: region data older than this decides nothing.
    `max_inventory_age_s`: likewise for the instances, which hold the names. `max_per_region` None: no cap.
    """

    max_data_age_s: float = 45.0
    max_inventory_age_s: float = 90.0
    max_per_region: int | None = None


@dataclass(frozen=True, slots=True)
class Supply:
    """What a decision rests on besides the request: regions, instances counted by region, coolings off."""

    regions: RegionSnapshot
    instances: Mapping[str, int] = field(default_factory=dict)
    cooling_off: Mapping[str, CoolingOff] = field(default_factory=dict)


def decide(
    request: PlacementRequest, supply: Supply, policy: PlacementPolicy, now: float, where: Where | None = None
) -> Decision:
    """Of the regions that pass every filter, the lowest latency; ties: fewer instances, then slug."""
    observed_at = supply.regions.observed_at
    if observed_at is None:
        return Decision(now, None, "no region data yet", None)
    considered = rank(request, supply, policy, now, where)
    age_s = now - observed_at
    if age_s > policy.max_data_age_s:
        reason = f"region data is {age_s:.0f}s old, more than the {policy.max_data_age_s:.0f}s allowed"
        return Decision(now, None, reason, observed_at, considered)
    if not considered or not considered[0].eligible:
        return Decision(now, None, "no region is eligible", observed_at, considered)
    return Decision(now, considered[0].region, None, observed_at, considered)


def rank(
    request: PlacementRequest, supply: Supply, policy: PlacementPolicy, now: float, where: Where | None = None
) -> tuple[Considered, ...]:
    """Every listed region: the eligible first, by rank, then the others by slug with their reasons."""
    judged = [
        (
            region,
            supply.instances.get(region.slug, 0),
            _objections(region, request, supply, policy, now, where),
        )
        for region in supply.regions.listed
    ]
    eligible = sorted((j for j in judged if not j[2]), key=lambda j: _score(j[0], j[1]))
    ranked = [
        Considered(r.slug, eligible=True, rank=n, latency_ms=r.latency_ms, instances=count)
        for n, (r, count, _) in enumerate(eligible, 1)
    ]
    refused = [
        Considered(r.slug, eligible=False, rank=None, latency_ms=r.latency_ms, instances=count, reasons=why)
        for r, count, why in judged
        if why
    ]
    return tuple(ranked + refused)


def _score(region: Region, instances: int) -> tuple[float, int, str]:
    latency_ms = region.latency_ms if region.latency_ms is not None else float("inf")
    return latency_ms, instances, region.slug


def _objections(
    region: Region,
    request: PlacementRequest,
    supply: Supply,
    policy: PlacementPolicy,
    now: float,
    where: Where | None,
) -> tuple[str, ...]:
    """Every reason why the region is not eligible for the request; none when it is."""
    found: list[str] = []
    if region.status != HEALTHY:
        found.append(f"status is {region.status}")
    if not region.capacity:
        found.append("no capacity")
    if request.regions is not None and region.slug not in request.regions:
        found.append("not among the allowed regions")
    if region.slug in request.avoid_regions:
        found.append("among the avoided regions")
    cooling = cooling_reason(supply.cooling_off.get(region.slug), now)
    if cooling is not None:
        found.append(cooling)
    if policy.max_per_region is not None and supply.instances.get(region.slug, 0) >= policy.max_per_region:
        found.append(f"has the {policy.max_per_region} instances allowed per region")
    if where is not None and not where(region):
        found.append(f"where is false: {request.where}")
    return tuple(found)
