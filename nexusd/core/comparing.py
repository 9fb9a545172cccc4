"""What a complete sweep changes in the inventory. Used by `cycle`, which commits what follows from it and
only then applies it (`Inventory.apply`): a commit that fails leaves the snapshot as it was, and the next
sweep finds the same differences again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nexusd.core.changes import InstanceAppeared, InstanceChange, InstanceStatusChanged, InstanceVanished
from nexusd.core.inventory import Inventory
from nexusd.core.records import Instance
from nexusd.core.sweeps import Delta, Hold, Renewal, Sweep, SweepPolicy


def compare(inventory: Inventory, sweep: Sweep, policy: SweepPolicy) -> Delta:
    """What a complete sweep changes in the inventory; the inventory itself is not touched.

    The very first sweep reports no changes: "appeared" is for later ones (product.md, section 11).
    """
    renewal = _renewal(inventory, sweep)
    listed = renewal.records if renewal is not None else sweep.instances
    upserts, changes = _present(inventory, listed.values())
    absent = _absent(inventory, sweep, renewal, upserts)
    hold = _hold(inventory, absent, sweep, policy)
    if hold is not None and hold.sweeps < policy.mass_sweeps:
        return Delta(sweep, hold=hold, returned=frozenset(inventory.missed))
    missed = _missed(inventory, absent)
    confirmed = hold.gone if hold is not None else frozenset()
    vanished = confirmed.union(i for i, sweeps in missed.items() if sweeps >= policy.vanish_after_sweeps)
    changes += [InstanceVanished(i) for i in sorted(absent, key=_id) if i.id in vanished]
    return Delta(
        sweep,
        upserts,
        missed={i: sweeps for i, sweeps in missed.items() if i not in vanished},
        returned=frozenset(inventory.missed) - missed.keys(),
        vanished=vanished,
        changes=tuple(changes),
        lost_most=inventory.are_most(vanished),
    )


def _id(instance: Instance) -> str:
    return instance.id


def compared(inventory: Inventory, sweep: Sweep) -> int:
    """How many records `compare` looks at."""
    renewal = _renewal(inventory, sweep)
    return len(renewal.records if renewal is not None else sweep.instances)


def _renewal(inventory: Inventory, sweep: Sweep) -> Renewal | None:
    """The sweep's renewal if it tells the difference to what the inventory has."""
    renewal = sweep.renewal
    return renewal if renewal is not None and renewal.of is inventory.mark else None


def _present(
    inventory: Inventory, listed: Iterable[Instance]
) -> tuple[dict[str, Instance], list[InstanceChange]]:
    """New and changed records, and what changed.

    One pass over what may be new, and what is unchanged is neither copied nor replaced (performance.md).
    """
    first = inventory.observed_at is None
    known = inventory.get
    upserts: dict[str, Instance] = {}
    changes: list[InstanceChange] = []
    for instance in listed:
        before = known(instance.id)
        if before is instance or before == instance:
            continue
        upserts[instance.id] = instance
        if before is None:
            if not first:
                changes.append(InstanceAppeared(instance))
        elif before.status != instance.status:
            changes.append(InstanceStatusChanged(before, instance))
    return upserts, changes


def _absent(
    inventory: Inventory, sweep: Sweep, renewal: Renewal | None, upserts: Mapping[str, Instance]
) -> list[Instance]:
    """The known instances that are not listed."""
    if renewal is not None:  # the same ids are as they were, so the same are absent
        return [instance for i in inventory.missed if (instance := inventory.get(i)) is not None]
    appeared = sum(i not in inventory for i in upserts)
    if len(sweep.instances) - appeared == len(inventory):
        return []
    return [i for i in inventory if i.id not in sweep.instances]


def _missed(inventory: Inventory, absent: list[Instance]) -> dict[str, int]:
    """How many sweeps in a row missed each absent instance."""
    return {i.id: inventory.missed.get(i.id, 0) + 1 for i in absent}


def _hold(inventory: Inventory, absent: list[Instance], sweep: Sweep, policy: SweepPolicy) -> Hold | None:
    """The mass disappearance that this sweep begins or confirms, or None when it is plausible.

    Terminated instances are expected to leave the list and count on neither side.
    """
    live = sum(inventory.live_by_region.values())
    gone = frozenset(i.id for i in absent if i.live)
    if not _implausible(len(gone), live, policy):
        return None
    before = inventory.hold
    if before is None:
        return Hold(sweep.began_at, 1, gone, live)
    both = gone & before.gone
    if not _implausible(len(both), live, policy):
        return Hold(before.since, 1, gone, live)
    return Hold(before.since, before.sweeps + 1, both, live)


def _implausible(gone: int, known: int, policy: SweepPolicy) -> bool:
    return gone > policy.mass_count and gone > known * policy.mass_share
