"""Who counts for a spread group in a region."""

from __future__ import annotations

import pytest

from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import OPEN, State
from nexusd.core.records import Instance
from nexusd.core.spread import Group, Member, count_members


def listing(*instances: Instance, fleets: tuple[str, ...] = ()) -> Inventory:
    inventory = Inventory(fleets)
    inventory.restore({i.id: i for i in instances}, {}, 1.0)
    return inventory


@pytest.mark.parametrize("state", sorted(OPEN - {State.QUEUED}))
def test_an_open_placement_counts_whether_or_not_its_instance_is_listed(state: State) -> None:
    members = [Member("east", state, "a"), Member("east", state, "b", "i-1")]
    inventory = listing(Instance("i-1", "b", "pending", "east"))
    assert count_members(Group(members), inventory) == {"east": 2}


@pytest.mark.parametrize(
    ("status", "count"), [("running", 1), ("stopped", 1), ("splendid", 1), ("terminated", 0)]
)
def test_a_closed_placement_counts_as_long_as_its_instance_lives(status: str, count: int) -> None:
    members = [Member("east", State.RUNNING, "a", "i-1")]
    assert count_members(Group(members), listing(Instance("i-1", "a", status, "east")))["east"] == count


def test_a_closed_placement_whose_instance_is_gone_does_not_count() -> None:
    members = [Member("east", State.RUNNING, "a", "i-1"), Member("east", State.FAILED, "b", "i-2")]
    assert count_members(Group(members), listing())["east"] == 0


def test_a_fleets_member_in_doubt_counts_in_its_region_though_a_stranger_has_its_name_elsewhere() -> None:
    inventory = listing(Instance("i-1", "web-aaaaa", "running", "east"), fleets=("web",))
    members = [Member("west", State.VERIFYING, "web-aaaaa")]
    assert count_members(Group(members), inventory, ["web"]) == {"east": 1, "west": 1}


def test_a_fleets_adopted_instances_count_and_none_counts_twice() -> None:
    inventory = listing(
        Instance("i-1", "web-aaaaa", "running", "east"),
        Instance("i-2", "web-bbbbb", "running", "east"),
        Instance("i-3", "web-ccccc", "terminated", "east"),
        Instance("i-4", "other", "running", "east"),
        fleets=("web",),
    )
    members = [
        Member("east", State.RUNNING, "web-bbbbb", "i-2"),
        Member("west", State.VERIFYING, "web-ddddd"),
        Member("west", State.RUNNING, "web-eeeee", "i-9"),
    ]
    assert count_members(Group(members), inventory, ["web"]) == {"east": 2, "west": 1}


def test_those_closed_long_ago_are_counted_by_the_store() -> None:
    group = Group([Member("east", State.CREATING, "a")], {"east": 2, "west": 5})
    assert count_members(group, listing()) == {"east": 3, "west": 5}
