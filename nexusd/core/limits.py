"""Limits on the number of instances, and their usage.

Counted are live instances, and open placements past the queue for what they may have made. A placement whose
instance is listed counts once. CloudNexus does not state the plan of a listed instance, so an instance counts
for the plan of the placement that made it; one that nexusd did not make counts for no plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import Placement
from nexusd.core.placement import PlacementPolicy

NEAR = 0.8
"""Over this share of a limit an alert fires."""


@dataclass(frozen=True, slots=True)
class InstanceLimits:
    """Maximum number of instances in total and of each plan; None: no limit."""

    total: int | None = None
    per_plan: int | None = None

    @property
    def any(self) -> bool:
        return self.total is not None or self.per_plan is not None

    @classmethod
    def of(cls, policy: PlacementPolicy) -> InstanceLimits:
        return cls(policy.max_instances, policy.max_instances_per_plan)


NO_LIMITS = InstanceLimits()


@dataclass(slots=True)
class InstanceUsage:
    """Number of instances that exist or may be created, in total and by plan."""

    total: int = 0
    by_plan: Counter[str] = field(default_factory=Counter)

    def add(self, placement: Placement, inventory: Inventory) -> None:
        """Count an open placement past the queue, unless its instance is counted already."""
        instance = inventory.get(placement.instance_id) if placement.instance_id is not None else None
        if instance is None:
            self.total += 1
        if instance is None or (instance.live and instance.plan is None):
            self.by_plan[placement.request.plan] += 1


def measure_usage(
    inventory: Inventory, under_way: Iterable[Placement], plans: Mapping[str, str]
) -> InstanceUsage:
    """Return the usage of the limits.

    `under_way`: the open placements past the queue. `plans`: the plan of each instance that a placement made,
    by instance id; needed only where plans are limited.
    """
    usage = InstanceUsage(sum(inventory.live_by_region.values()), Counter(inventory.live_by_plan))
    placements = list(under_way)
    counted = {p.instance_id for p in placements}
    for instance_id, plan in plans.items():
        instance = inventory.get(instance_id) if instance_id not in counted else None
        if instance is not None and instance.live and instance.plan is None:
            usage.by_plan[plan] += 1
    for placement in placements:
        usage.add(placement, inventory)
    return usage


def limit_reason(limits: InstanceLimits, usage: InstanceUsage, plan: str) -> str | None:
    """Return why no more instance of the plan may be created, or None.

    `plan` "": of any plan.
    """
    if limits.total is not None and usage.total >= limits.total:
        return (
            f"placement.max_instances: {usage.total} instances exist or are being created, at most "
            f"{limits.total} are allowed"
        )
    used = usage.by_plan[plan]
    if plan and limits.per_plan is not None and used >= limits.per_plan:
        return (
            f"placement.max_instances_per_plan: {used} {plan} instances exist or are being created, at most "
            f"{limits.per_plan} are allowed"
        )
    return None


def nearly_reached(limits: InstanceLimits, usage: InstanceUsage) -> list[tuple[str, int, int]]:
    """Return plan, usage and limit wherever more than `NEAR` of a limit is used.

    The plan is "" for the total.
    """
    used = [("", usage.total, limits.total)]
    used += [(plan, count, limits.per_plan) for plan, count in sorted(usage.by_plan.items())]
    return [(plan, count, limit) for plan, count, limit in used if limit is not None and count > NEAR * limit]
