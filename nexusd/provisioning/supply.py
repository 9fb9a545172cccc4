"""What the next decision rests on, put together from the world. Used by `intake` (plan) and `worker`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from nexusd.core import expressions
from nexusd.core.lifecycle import Placement
from nexusd.core.placement import Decision, PlacementPolicy, PlacementRequest, Supply, Where, decide
from nexusd.core.world import World


def supply(world: World, under_way: Iterable[Placement] = ()) -> Supply:
    """`under_way`: placements past `queued`; until its instance is listed, each counts for its region."""
    counts = Counter(
        {k.region.slug: world.inventory.in_region(k.region.slug) for k in world.regions.known.values()}
    )
    for placement in under_way:
        if placement.region is not None and (placement.instance_id or "") not in world.inventory:
            counts[placement.region] += 1
    return Supply(world.regions, counts, world.cooling_off)


def decision_for(
    request: PlacementRequest, resting_on: Supply, world: World, policy: PlacementPolicy, now: float
) -> Decision:
    """`decide`, but none at all while the instances, which hold the names, are not known well enough."""
    decision = decide(request, resting_on, policy, now, compiled(request.where))
    reason = _names_unknown(world, policy, now)
    if reason is None or decision.region is None:
        return decision
    return Decision(now, None, reason, decision.observed_at, decision.considered, decision.policy)


def _names_unknown(world: World, policy: PlacementPolicy, now: float) -> str | None:
    inventory = world.inventory
    if inventory.observed_at is None:
        return "no instance data yet"
    if inventory.hold is not None:
        return "a mass disappearance of instances is being confirmed"
    age_s = now - inventory.observed_at
    if age_s > policy.max_inventory_age_s:
        return f"instance data is {age_s:.0f}s old, more than the {policy.max_inventory_age_s:.0f}s allowed"
    return None


def compiled(where: str | None) -> Where | None:
    """The compiled expression, None when there is none. Raises `expressions.ExpressionError`."""
    return _compile(where) if where is not None else None


@lru_cache(maxsize=1024)
def _compile(where: str) -> Where:
    return expressions.compile_where(where, ("region",))
