"""What follows from a sweep for who keeps the inventory and its history. Used by `cycle`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from nexusd.core.changes import InstanceStatusChanged
from nexusd.core.inventory import Inventory, Net
from nexusd.core.records import RUNNING
from nexusd.core.sweeps import Delta

MOST_IN_PLACE = 20_000
"""Records put or dropped in place at once, which takes 10 ms at most; where more change, a copy is made."""


@dataclass(frozen=True, slots=True)
class AfterSweep:
    """What follows from a delta for who keeps an inventory and its history, before any of it is changed.

    `inventory`: a copy that the delta was applied to; None when it is so small that it is applied in place,
    with `net`.
    `first_running`: ids that run and never did, `stopped_running`: ids that run no more. `transitions`: how
    many changed their status, by region, status before and status now.
    """

    inventory: Inventory | None
    net: Net | None
    first_running: tuple[str, ...]
    stopped_running: frozenset[str]
    transitions: Mapping[tuple[str, str, str], int]


NO_SWEEP = AfterSweep(None, None, (), frozenset(), {})


def after(inventory: Inventory, delta: Delta, stopped: AbstractSet[str]) -> AfterSweep:
    """`stopped`: ids that ran once and had stopped before."""
    first: list[str] = []
    no_more: list[str] = []
    for instance_id, instance in delta.upserts.items():
        before = inventory.get(instance_id)
        ran, runs = before is not None and before.status == RUNNING, instance.status == RUNNING
        if ran and not runs:
            no_more.append(instance_id)
        elif runs and not ran and instance_id not in stopped:
            first.append(instance_id)
    changed = (c for c in delta.changes if isinstance(c, InstanceStatusChanged))
    transitions = Counter((c.instance.region, c.before.status, c.instance.status) for c in changed)
    small = len(delta.upserts) + len(delta.vanished) <= MOST_IN_PLACE
    copied = None if small else inventory.applied(delta)
    net = inventory.net(delta.upserts, delta.vanished) if small else None
    return AfterSweep(copied, net, tuple(first), frozenset(no_more), transitions)
