"""The snapshot: what it has by name and region, and what of it a restart keeps."""

from __future__ import annotations

import gc
import sys

from nexusd.core.inventory import Inventory
from tests.core.inventories import Watcher, fleet, instance, restarted

HUNDRED = range(100)


def watched() -> Watcher:
    watcher = Watcher()
    watcher.see(fleet(*HUNDRED))
    return watcher


def test_a_copy_is_not_changed_by_sweeps() -> None:
    watcher = watched()
    copied = watcher.inventory.copied()
    watcher.see(fleet(*HUNDRED, 100))
    assert list(copied.values()) == fleet(*HUNDRED)


def test_the_garbage_collector_does_not_traverse_the_records_of_a_copy() -> None:
    """Before Python 3.14 it does not traverse the dictionary either."""
    copied = watched().inventory.copied()
    assert not any(gc.is_tracked(one) for pair in copied.items() for one in pair)
    assert sys.version_info >= (3, 14) or not gc.is_tracked(copied)


def test_a_restored_inventory_proves_nothing_absent_until_a_sweep() -> None:
    watcher = restarted(watched())
    assert watcher.inventory.observed_at is not None
    assert watcher.inventory.began_at is None


def test_counts_of_misses_for_unknown_instances_are_not_restored() -> None:
    inventory = Inventory()
    inventory.restore({"1": instance(1)}, {"1": 1, "2": 1, "3": 0}, 0.0)
    assert inventory.missed == {"1": 1}


# indexes


def test_instances_are_found_by_name_in_the_order_they_took_it() -> None:
    watcher = Watcher()
    watcher.see([instance(2, "web")])
    watcher.see([instance(1, "web"), instance(2, "web")])
    assert [i.id for i in watcher.inventory.named("web")] == ["2", "1"]


def test_a_renamed_instance_is_found_by_its_new_name_only() -> None:
    watcher = Watcher()
    watcher.see([instance(1, "old")])
    watcher.see([instance(1, "new")])
    assert watcher.inventory.named("old") == []
    assert [i.id for i in watcher.inventory.named("new")] == ["1"]


def test_a_vanished_instance_is_not_found_by_name() -> None:
    watcher = Watcher()
    for seen in ([1], [], []):
        watcher.see(fleet(*seen))
    assert watcher.inventory.named("vm-1") == []


def test_an_instance_that_moves_is_counted_in_its_new_region() -> None:
    watcher = Watcher()
    watcher.see([instance(1, region="us-east-1")])
    watcher.see([instance(1, region="eu-west-2")])
    assert dict(watcher.inventory.counts) == {("eu-west-2", "running"): 1}
    assert (watcher.inventory.in_region("us-east-1"), watcher.inventory.in_region("eu-west-2")) == (0, 1)


def test_terminated_instances_are_not_live() -> None:
    watcher = Watcher()
    watcher.see([instance(1), instance(2, status="terminated"), instance(3, status="resizing")])
    assert dict(watcher.inventory.live_by_region) == {"us-east-1": 2}


def test_terminated_instances_that_leave_the_list_do_not_make_it_doubtful() -> None:
    watcher = Watcher()
    watcher.see([*fleet(1, 2), *(instance(n, status="terminated") for n in range(3, 9))])
    watcher.see(fleet(1, 2))
    assert len(watcher.inventory.missed) == 6
    assert not watcher.inventory.mostly_missed
    watcher.see([])
    assert watcher.inventory.mostly_missed
