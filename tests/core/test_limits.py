"""Limits on the number of instances: counting, and limits that are near."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import Placement, State
from nexusd.core.limits import InstanceLimits, InstanceUsage, limit_reason, measure_usage, nearly_reached
from nexusd.core.placement import PlacementRequest
from nexusd.core.records import Instance


def inventory(*instances: Instance) -> Inventory:
    found = Inventory()
    found.restore({i.id: i for i in instances}, {}, 0.0)
    return found


def instance(key: str, status: str = "running", plan: str | None = None) -> Instance:
    return Instance(key, key, status, "us-east-1", plan=plan)


def under_way(key: str, instance_id: str | None = None, plan: str = "pro") -> Placement:
    request = PlacementRequest(key, plan)
    return Placement(key, request, State.PROVISIONING, 0.0, 0.0, region="us-east-1", instance_id=instance_id)


def usage(
    instances: Iterable[Instance], placements: Iterable[Placement] = (), **plans: str
) -> tuple[int, dict[str, int]]:
    measured = measure_usage(inventory(*instances), placements, plans)
    return measured.total, {plan: count for plan, count in measured.by_plan.items() if count}


def test_live_instances_count_and_terminated_ones_do_not() -> None:
    found = [instance("a"), instance("b", "stopped"), instance("c", "terminated")]
    assert usage(found) == (2, {})


def test_an_open_placement_counts_once_with_or_without_its_instance() -> None:
    assert usage([], [under_way("p")]) == (1, {"pro": 1})
    assert usage([], [under_way("p", "i1")]) == (1, {"pro": 1})
    assert usage([instance("i1")], [under_way("p", "i1")]) == (1, {"pro": 1})
    assert usage([instance("i1")], [under_way("p", "i1")], i1="pro") == (1, {"pro": 1})
    assert usage([instance("i1", plan="pro")], [under_way("p", "i1")], i1="pro") == (1, {"pro": 1})


def test_an_instance_counts_for_the_plan_that_is_listed_else_for_its_placements() -> None:
    found = [instance("i1"), instance("i2", plan="starter"), instance("i3"), instance("i4", "terminated")]
    assert usage(found, i1="pro", i2="pro", i4="pro", gone="pro") == (3, {"pro": 1, "starter": 1})


def test_the_plans_that_are_listed_are_counted_as_instances_come_and_go() -> None:
    found = inventory(
        instance("a", plan="pro"), instance("b", plan="pro"), instance("c", "terminated", "pro")
    )
    assert dict(found.live_by_plan) == {"pro": 2}
    found.restore({"a": instance("a", "terminated", "pro"), "b": instance("b", plan="starter")}, {}, 1.0)
    assert dict(found.live_by_plan) == {"starter": 1}


@pytest.mark.parametrize(
    ("limits", "used", "plan", "reason"),
    [
        (InstanceLimits(), 10_000, "pro", None),
        (InstanceLimits(total=5), 4, "pro", None),
        (
            InstanceLimits(total=5),
            5,
            "pro",
            "placement.max_instances: 5 instances exist or are being created, at most 5 are allowed",
        ),
        (
            InstanceLimits(per_plan=5),
            6,
            "pro",
            (
                "placement.max_instances_per_plan: 6 pro instances exist or are being created, "
                "at most 5 are allowed"
            ),
        ),
        (InstanceLimits(per_plan=5), 6, "starter", None),
        (InstanceLimits(per_plan=5), 6, "", None),
    ],
)
def test_at_a_limit_nothing_more_is_created(
    limits: InstanceLimits, used: int, plan: str, reason: str | None
) -> None:
    measured = InstanceUsage(used)
    measured.by_plan["pro"] = used
    assert limit_reason(limits, measured, plan) == reason


@pytest.mark.parametrize(("used", "near"), [(7, []), (8, []), (9, [("", 9, 10)]), (12, [("", 12, 10)])])
def test_a_limit_is_near_over_80_percent(used: int, near: list[tuple[str, int, int]]) -> None:
    assert nearly_reached(InstanceLimits(total=10), InstanceUsage(used)) == near


def test_each_plan_has_its_own_limit() -> None:
    measured = InstanceUsage(20)
    measured.by_plan.update(pro=9, starter=8, enterprise=10)
    assert nearly_reached(InstanceLimits(per_plan=10), measured) == [("enterprise", 10, 10), ("pro", 9, 10)]
