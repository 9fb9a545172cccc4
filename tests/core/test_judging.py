"""Which instances a pass looks at: what changed, and of what waits a bounded number."""

from __future__ import annotations

import pytest

from nexusd.core.comparing import compare
from nexusd.core.inventory import Inventory
from nexusd.core.judging import AT_ONCE, Unjudged
from nexusd.core.records import Instance
from nexusd.core.sweeps import Sweep, SweepPolicy
from tests.core.alert_scenes import Scene, instance, only


def inventory_of(count: int) -> Inventory:
    inventory = Inventory()
    inventory.restore({i.id: i for i in map(instance, range(count))}, {}, 0.0)
    return inventory


def taken(unjudged: Unjudged, inventory: Inventory) -> list[frozenset[str]]:
    """Pass after pass until nothing is left."""
    found = []
    while True:
        found.append(unjudged.take(inventory, None))
        if not unjudged.judged(known=True):
            return found


def test_at_first_all_are_looked_at_a_bounded_number_a_pass() -> None:
    inventory = inventory_of(2 * AT_ONCE + 1)
    passes = taken(Unjudged(), inventory)
    assert [len(ids) for ids in passes] == [AT_ONCE, AT_ONCE, 1]
    assert frozenset[str]().union(*passes) == set(inventory.ids)


def test_after_that_only_what_a_sweep_changed() -> None:
    inventory, unjudged = inventory_of(10), Unjudged()
    taken(unjudged, inventory)
    listed = {i.id: i for i in map(instance, range(10))} | {"inst_3": instance(3, "stopped")}
    delta = compare(inventory, Sweep(1.0, 2.0, listed), SweepPolicy())
    assert unjudged.take(inventory, delta) == {"inst_3"}
    assert not unjudged.judged(known=True)
    assert unjudged.take(inventory, None) == frozenset()


def test_what_is_not_known_waits() -> None:
    inventory, unjudged = inventory_of(10), Unjudged()
    first = unjudged.take(inventory, None)
    assert not unjudged.judged(known=False)
    assert unjudged.take(inventory, None) == first


def test_a_sweep_that_changes_very_many_is_looked_at_in_steps() -> None:
    inventory, unjudged = Inventory(), Unjudged()
    taken(unjudged, inventory)
    listed = {i.id: i for i in map(instance, range(AT_ONCE + 500))}
    delta = compare(inventory, Sweep(1.0, 2.0, listed), SweepPolicy())
    first = unjudged.take(inventory, delta)
    assert len(first) == AT_ONCE
    assert unjudged.judged(known=True)
    inventory.apply(delta)
    assert first | unjudged.take(inventory, None) == listed.keys()
    assert not unjudged.judged(known=True)


def test_all_anew_forgets_what_waited() -> None:
    inventory, unjudged = inventory_of(AT_ONCE + 1), Unjudged()
    unjudged.take(inventory, None)
    unjudged.add_all()
    assert unjudged.judged(known=True)
    assert sum(len(ids) for ids in taken(unjudged, inventory)) == AT_ONCE + 1


@pytest.mark.slow
def test_ten_thousand_that_stop_at_once_are_all_found() -> None:
    scene = Scene(only("InstanceStopped"))
    scene.sweep(*(instance(n) for n in range(5 * AT_ONCE)))
    for _ in range(6):
        scene.later(1.0).evaluate()
    scene.later(30.0).sweep(*(instance(n, "stopped") for n in range(5 * AT_ONCE)))
    for _ in range(6):
        scene.later(1.0).evaluate()
    assert scene.count("InstanceStopped") == 5 * AT_ONCE


def test_an_alert_ends_when_its_instance_is_gone_though_others_wait() -> None:
    scene = Scene(only("InstanceStopped"))
    fleet = [instance(n) for n in range(20)]
    scene.sweep(*fleet)
    scene.later(30.0).sweep(instance(0, "stopped"), *fleet[1:])
    scene.later(30.0).sweep(*fleet[1:])
    scene.reconfigure(only("InstanceStopped"))
    scene.later(30.0).sweep(*fleet[1:], Instance("new", "new", "running", "us-east-1"))
    assert scene.state("InstanceStopped") == "resolved"
