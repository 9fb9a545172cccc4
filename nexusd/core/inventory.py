"""The snapshot of all instances, which each complete sweep moves on (`comparing`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, KeysView, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from nexusd.core.names import FleetNames, canonical, cut_forms
from nexusd.core.records import TERMINATED, Instance
from nexusd.core.sweeps import Delta, Hold

K = TypeVar("K")

_PLACE = attrgetter("region", "status")
Place = tuple[str, str]
"""Region and status."""


@dataclass(frozen=True, slots=True)
class Net:
    """What a delta moves in an inventory: how many more there are by region and status, likewise of each
    fleet, and the records that give up their name or take one.
    """

    places: Mapping[Place, int]
    members: Mapping[str, Mapping[Place, int]]
    unnamed: Sequence[Instance]
    named: Sequence[Instance]
    plans: Mapping[str, int]
    """How many more live ones there are by the plan that the listing states."""


class Inventory:
    """All instances as last known. Changed in place by `apply`, so that no second copy exists; `applied`
    makes one where so much changes that readers would have to wait.

    An instance that one complete sweep missed stays in, listed in `missed`, until the next confirms.
    `began_at` and `observed_at` are those of the last sweep that was applied: one that is held back moves
    neither, so it proves nothing absent. `began_at` is None until this process has applied one.
    `mark`: the last applied sweep's.
    `lost_most_at`: when a sweep last confirmed that most of the live instances are gone. `fleets`: the names
    of those whose members are counted.
    """

    def __init__(self, fleets: Iterable[str] = ()) -> None:
        self.observed_at: float | None = None
        self.began_at: float | None = None
        self.hold: Hold | None = None
        self.lost_most_at: float | None = None
        self.mark: object = None
        self._instances: dict[str, Instance] = {}
        self._missed: dict[str, int] = {}
        self._by_name = _NameIndex()
        self._by_canonical_name = _NameIndex()
        self._counts: dict[tuple[str, str], int] = {}
        self._live: dict[str, int] = {}
        self._live_by_plan: dict[str, int] = {}
        self.fleet_names = FleetNames(fleets)
        self._fleets: dict[str, dict[tuple[str, str], int]] = {name: {} for name in self.fleet_names.names}

    def __len__(self) -> int:
        return len(self._instances)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._instances.values())

    def __contains__(self, instance_id: object) -> bool:
        return instance_id in self._instances

    @property
    def ids(self) -> KeysView[str]:
        return self._instances.keys()

    def copied(self) -> dict[str, Instance]:
        """Return all instances by id, for readers that run while listings change this.

        Before Python 3.14 the garbage collector traverses a list but no dictionary of untracked records;
        since then either costs 0.2 ms of a young collection for 100,000 instances.
        """
        return dict(self._instances)

    def get(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    def named(self, name: str) -> list[Instance]:
        """All instances of that name, in the order in which they were seen to take it."""
        return [self._instances[i] for i in self._by_name.ids(name)]

    def similar(self, name: str, min_cut_bytes: int) -> list[Instance]:
        """Return all instances of this name in any form of storage (`core.names`).

        `min_cut_bytes`: the shortest name that is taken for one that was cut.
        """
        form = canonical(name)
        exact = [name] if name != form else []
        forms = [form, *cut_forms(form, min_cut_bytes)]
        ids = [
            i
            for index, names in ((self._by_name, exact + forms), (self._by_canonical_name, forms))
            for n in names
            for i in index.ids(n)
        ]
        return [self._instances[i] for i in dict.fromkeys(ids)]

    def listed(self, instance_id: str) -> bool:
        """Whether the last applied sweep had it (not merely remembered)."""
        return instance_id in self._instances and instance_id not in self._missed

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """Instances by (region, status); zero counts are absent."""
        return self._counts

    @property
    def live_by_region(self) -> Mapping[str, int]:
        """Live instances by region, as `placement.Supply` wants them; zero counts are absent."""
        return self._live

    @property
    def live_by_plan(self) -> Mapping[str, int]:
        """Live instances by plan, without those whose plan the listing does not state."""
        return self._live_by_plan

    @property
    def missed(self) -> Mapping[str, int]:
        """Ids absent from the latest complete sweeps, with how many in a row."""
        return self._missed

    @property
    def mostly_missed(self) -> bool:
        """Whether the last listing lacked most of the live instances: such a one proves nothing absent. Those
        that were terminated are bound to leave it.
        """
        return self.are_most(self._missed)

    def are_most(self, ids: Collection[str]) -> bool:
        """Whether these are most of the live instances."""
        live = sum(self._live.values())
        if 2 * len(ids) <= live:
            return False
        return 2 * sum(self._instances[i].live for i in ids if i in self._instances) > live

    def in_region(self, slug: str) -> int:
        """Live instances in a region."""
        return self._live.get(slug, 0)

    def count_fleets(self, names: Iterable[str]) -> None:
        """Count the members of these fleets from now on. Looks at every instance, once."""
        self.fleet_names = FleetNames(names)
        self._fleets = {name: {} for name in self.fleet_names.names}
        if self._fleets:
            members = self._members_of(self._instances.values(), ())
            self._fleets = {name: dict(counts) for name, counts in members.items()}

    def fleet(self, name: str) -> Mapping[tuple[str, str], int]:
        """The members of a fleet by (region, status), terminated ones included; zero counts are absent."""
        return self._fleets.get(name, {})

    def restore(
        self, instances: Mapping[str, Instance], missed: Mapping[str, int], observed_at: float
    ) -> None:
        """Start from what the store remembers of an earlier process. A hold is not remembered: its count
        of agreeing sweeps begins again.
        """
        self._move(self.net(instances))
        self._instances.update(instances)
        self._missed = {i: n for i, n in missed.items() if n > 0 and i in self._instances}
        self.observed_at = observed_at

    def applied(self, delta: Delta) -> Inventory:
        """A copy that the delta was applied to; this one stays as it is."""
        changed = copy(self)
        vars(changed).update(
            _instances=dict(self._instances),
            _missed=dict(self._missed),
            _by_name=self._by_name.copy(),
            _by_canonical_name=self._by_canonical_name.copy(),
            _counts=dict(self._counts),
            _live=dict(self._live),
            _live_by_plan=dict(self._live_by_plan),
            _fleets={name: dict(counts) for name, counts in self._fleets.items()},
        )
        changed.apply(delta)
        return changed

    def apply(self, delta: Delta, net: Net | None = None) -> None:
        """Make the snapshot that `compare` computed the current one. `net`: of the delta, if it is known."""
        self.hold = delta.hold
        for instance_id in delta.returned:
            self._missed.pop(instance_id, None)
        if delta.hold is not None:
            return
        self._move(net if net is not None else self.net(delta.upserts, delta.vanished))
        self._instances.update(delta.upserts)
        self._missed.update(delta.missed)
        if delta.lost_most:
            self.lost_most_at = delta.sweep.ended_at
        for instance_id in delta.vanished:
            del self._instances[instance_id]
            self._missed.pop(instance_id, None)
        self.observed_at = delta.sweep.ended_at
        self.began_at = delta.sweep.began_at
        self.mark = delta.sweep.mark

    def net(self, put: Mapping[str, Instance], dropped: Iterable[str] = ()) -> Net:
        """What putting and dropping these would move. Only reads."""
        gone = [self._instances[i] for i in dropped]
        named, unnamed = [], list(gone)
        for before, instance in zip(map(self._instances.get, put), put.values(), strict=True):
            if before is not None:
                gone.append(before)
            if before is None or before.name != instance.name:
                named.append(instance)
                if before is not None:
                    unnamed.append(before)
        places = Counter(map(_PLACE, put.values()))
        places.subtract(Counter(map(_PLACE, gone)))
        members = self._members_of(put.values(), gone) if self._fleets else {}
        plans = Counter(i.plan for i in put.values() if i.plan is not None and i.live)
        plans.subtract(Counter(i.plan for i in gone if i.plan is not None and i.live))
        return Net(places, members, unnamed, named, plans)

    def _members_of(self, put: Iterable[Instance], gone: Iterable[Instance]) -> dict[str, Counter[Place]]:
        members = {name: Counter[Place]() for name in self._fleets}
        for instances, step in ((gone, -1), (put, 1)):
            for instance in instances:
                fleet = self.fleet_names.fleet_of(instance.name)
                if fleet is not None:
                    members[fleet][instance.region, instance.status] += step
        return members

    def _move(self, net: Net) -> None:
        for (region, status), step in net.places.items():
            _add(self._counts, (region, status), step)
            if status != TERMINATED:
                _add(self._live, region, step)
        for name, counts in net.members.items():
            for place, step in counts.items():
                _add(self._fleets[name], place, step)
        for plan, step in net.plans.items():
            _add(self._live_by_plan, plan, step)
        for instance in net.unnamed:
            self._by_name.remove(instance.name, instance.id)
            if (form := canonical(instance.name)) != instance.name:
                self._by_canonical_name.remove(form, instance.id)
        for instance in net.named:
            self._by_name.add(instance.name, instance.id)
            if (form := canonical(instance.name)) != instance.name:
                self._by_canonical_name.add(form, instance.id)


class _NameIndex:
    """Ids by name, in the order in which they were added.

    A name has a dictionary of ids only where several instances share it: one for each of a million instances
    would take 200 MB.
    """

    __slots__ = ("_ids",)

    def __init__(self, ids: dict[str, str | dict[str, None]] | None = None) -> None:
        self._ids = ids if ids is not None else {}

    def copy(self) -> _NameIndex:
        return _NameIndex(
            {name: ids if isinstance(ids, str) else dict(ids) for name, ids in self._ids.items()}
        )

    def ids(self, name: str) -> Iterable[str]:
        ids = self._ids.get(name, ())
        return (ids,) if isinstance(ids, str) else ids

    def add(self, name: str, instance_id: str) -> None:
        ids = self._ids.setdefault(name, instance_id)
        if isinstance(ids, dict):
            ids[instance_id] = None
        elif ids is not instance_id:
            self._ids[name] = {ids: None, instance_id: None}

    def remove(self, name: str, instance_id: str) -> None:
        ids = self._ids[name]
        if isinstance(ids, str) or len(ids) == 1:
            del self._ids[name]
        else:
            del ids[instance_id]


def _add(counts: dict[K, int], key: K, step: int) -> None:
    """Zero counts are removed."""
    total = counts.get(key, 0) + step
    if total:
        counts[key] = total
    else:
        counts.pop(key, None)


def distrust(inventory: Inventory, max_age_s: float, now: float) -> str | None:
    """Why the snapshot cannot be trusted to have every instance, or None when it can. Exactly the allowed age
    is not too old; an instant ahead of `now` was told before somebody set the clock back.
    """
    if inventory.observed_at is None:
        return "no instance data yet"
    if inventory.hold is not None:
        return "a mass disappearance of instances is being confirmed"
    if inventory.mostly_missed:
        return "most known instances are missing from the last listing"
    if abs(now - inventory.observed_at) > max_age_s:
        return f"instance data is older than the {max_age_s:.0f}s allowed"
    return None
