"""Where a placement goes: filter, score, choose, with every reason. The same function serves `plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from nexusd.core.expressions import ExpressionError
from nexusd.core.records import Region
from nexusd.core.regions import CoolingOff, RegionSnapshot, cooling_reason

DEFAULT_IMAGE = "ubuntu-22.04"
PLANS = ("starter", "pro", "enterprise")
POLICY = "lowest-latency"
MAX_REASONS_TOLD = 5

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


class Considered(msgspec.Struct, frozen=True):
    """One region in a decision. `rank` counts from 1 among the eligible; `reasons` says why not.

    A Struct because every decision makes one for every region.
    """

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
    """Of the regions that pass every filter, the lowest latency (an unknown one comes last); ties: fewer
    instances, then slug. Data that is missing or too old makes no region eligible.
    """
    observed_at = supply.regions.observed_at
    if observed_at is None:
        return Decision(now, None, "no region data yet", None)
    considered = rank(request, supply, policy, now, where)
    if considered and considered[0].eligible:
        return Decision(now, considered[0].region, None, observed_at, considered)
    reason = _stale(supply.regions, policy, now) or _why_none(considered)
    return Decision(now, None, reason, observed_at, considered)


def rank(
    request: PlacementRequest, supply: Supply, policy: PlacementPolicy, now: float, where: Where | None = None
) -> tuple[Considered, ...]:
    """Every listed region, and those that the request names though they are not: the eligible first, by
    rank, then the others by slug with their reasons.
    """
    stale = _stale(supply.regions, policy, now)
    eligible: list[tuple[Region, int]] = []
    refused: list[Considered] = []
    for region in supply.regions.listed:
        count = supply.instances.get(region.slug, 0)
        reasons = list(_objections(region, count, request, policy))
        reasons += _passing_objections(supply.cooling_off.get(region.slug), stale, now)
        if where is not None:
            reasons += _where_objection(where, region)
        if reasons:
            refused.append(_refused(region.slug, region.latency_ms, count, reasons))
        else:
            eligible.append((region, count))
    refused += [
        _refused(slug, None, supply.instances.get(slug, 0), [why]) for slug, why in _unlisted(request, supply)
    ]
    ranked = [
        Considered(region.slug, eligible=True, rank=n, latency_ms=region.latency_ms, instances=count)
        for n, (region, count) in enumerate(sorted(eligible, key=_score), 1)
    ]
    return (*ranked, *sorted(refused, key=lambda c: c.region))


def _score(candidate: tuple[Region, int]) -> tuple[float, int, str]:
    region, instances = candidate
    latency_ms = region.latency_ms if region.latency_ms is not None else float("inf")
    return latency_ms, instances, region.slug


def _refused(slug: str, latency_ms: float | None, instances: int, reasons: Iterable[str]) -> Considered:
    return Considered(
        slug, eligible=False, rank=None, latency_ms=latency_ms, instances=instances, reasons=tuple(reasons)
    )


def _stale(regions: RegionSnapshot, policy: PlacementPolicy, now: float) -> str | None:
    """Why the region data is too old to decide on, or None. Exactly the allowed age is not too old.

    An instant well ahead of `now` was told by an earlier process before somebody set the clock back.
    """
    if regions.observed_at is None:
        return "no region data yet"
    age_s = now - regions.observed_at
    if abs(age_s) <= policy.max_data_age_s:
        return None
    if age_s < 0:
        return "region data was read before the clock was set back"
    return f"region data is {age_s:.1f}s old, at most {policy.max_data_age_s:g}s is allowed"


def _objections(
    region: Region, instances: int, request: PlacementRequest, policy: PlacementPolicy
) -> Iterator[str]:
    """Every reason in the region itself and in the request why it is not eligible."""
    if not region.healthy:
        yield f"status is {region.status}"
    if not region.capacity:
        yield "no capacity"
    if request.regions is not None and region.slug not in request.regions:
        yield "not among the allowed regions"
    if region.slug in request.avoid_regions:
        yield "among the avoided regions"
    if policy.max_per_region is not None and instances >= policy.max_per_region:
        yield f"has {instances} instances, at most {policy.max_per_region} are allowed per region"


def _passing_objections(cooling: CoolingOff | None, stale: str | None, now: float) -> list[str]:
    """Reasons that pass by themselves."""
    return [reason for reason in (cooling_reason(cooling, now), stale) if reason is not None]


def _where_objection(where: Where, region: Region) -> list[str]:
    """What cannot be evaluated (a latency that is not known, say) is not satisfied."""
    try:
        return [] if where(region) else ["where is false"]
    except ExpressionError as error:
        return [f"where cannot be evaluated: {error}"]


def _unlisted(request: PlacementRequest, supply: Supply) -> Iterator[tuple[str, str]]:
    """The regions that the request allows by name and that are not in the list, and why."""
    for slug in dict.fromkeys(request.regions or ()):
        known = supply.regions.known.get(slug)
        if known is None:
            yield slug, "unknown region"
        elif known.left_at is not None:
            yield slug, "left the list of regions"


def _why_none(considered: tuple[Considered, ...]) -> str:
    """`no region is eligible: no capacity (2), status is degraded (1)`, the commonest reason first."""
    if not considered:
        return "no region is eligible: the list of regions is empty"
    reasons = Counter(reason for c in considered for reason in c.reasons)
    told = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MAX_REASONS_TOLD]
    return "no region is eligible: " + ", ".join(f"{reason} ({count})" for reason, count in told)
