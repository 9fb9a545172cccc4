"""A fleet's life, at random: a cloud that loses, stops and hides instances, creates that fail or are lost,
and listings that come late, lie, or not at all. After every step the fleet is planned, and the plan done.

What is checked is checked against what truly exists, which the planner does not see.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from nexusd.core.fleets import (
    TRIED_LOOKED_AT,
    FleetPlacements,
    Fleets,
    FleetSpec,
    FleetState,
    creation_guard,
    plan_fleet,
)
from nexusd.core.identifiers import member_name
from nexusd.core.inventory import Inventory, distrust
from nexusd.core.lifecycle import CLOSED, Placement, State
from nexusd.core.records import Instance
from tests.core.inventories import Watcher

Planner = Callable[[FleetSpec, Inventory, FleetPlacements, str | None, float], FleetState]
REGIONS = ("us-east-1", "eu-west-2")
LONGEST_LIE = 4
"""Sweeps in a row that an outage's empty list may last: less than `Fleets.recovery_s`."""
LONGEST_SILENCE = 6


class BoundBrokenError(AssertionError):
    """There is, or will be, more than was declared."""


@dataclass
class Life:
    """`trouble`: whether anything may go wrong. `honest`: the last listing was; one outage at a time."""

    spec: FleetSpec
    rng: random.Random
    planner: Planner = plan_fleet
    watcher: Watcher = field(default_factory=Watcher)
    cloud: dict[str, Instance] = field(default_factory=dict)
    hidden_until: dict[str, float] = field(default_factory=dict)
    placements: dict[str, Placement] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    trouble: bool = True
    honest: bool = True
    lying: int = 0
    silent: int = 0
    made: int = 0

    def __post_init__(self) -> None:
        self.fleets = Fleets((self.spec,))
        self.inventory.count_fleets([self.spec.name])

    @property
    def inventory(self) -> Inventory:
        return self.watcher.inventory

    @property
    def now(self) -> float:
        return self.watcher.at

    @property
    def open(self) -> list[Placement]:
        return [p for p in self.placements.values() if p.state not in CLOSED]

    def step(self) -> FleetState:
        """30 s of the fleet's life."""
        if self.trouble:
            self._disturb()
        self._look()
        for placement in self.open:
            self._advance(placement)
        return self._plan()

    def calm(self, steps: int) -> FleetState:
        """Nothing goes wrong any more."""
        self.trouble, self.lying, self.silent = False, 0, 0
        self.hidden_until.clear()
        for _ in range(steps - 1):
            self.step()
        return self.step()

    def alive(self) -> int:
        return sum(self.spec.counts(i.status) for i in self.cloud.values())

    def _chance(self, share: float) -> bool:
        return self.trouble and self.rng.random() < share

    def _disturb(self) -> None:
        for instance_id, instance in list(self.cloud.items()):
            if self._chance(0.05):
                del self.cloud[instance_id]
            elif instance.live and self._chance(0.10):
                self._set(instance, self.rng.choice(("stopped", "running", "terminated", "resizing")))
        if self._chance(0.03):  # somebody else makes a member
            self._make(member_name(self.spec.name, f"x{self.made:04}"))

    def _look(self) -> None:
        """A listing: complete, an outage's empty one, or none at all."""
        if self.lying == 0 and self.honest and self._chance(0.04):
            self.honest = False
            self.lying = self.rng.randint(1, LONGEST_LIE)
        if self.lying:
            self.lying -= 1
            self.watcher.see([])
            return
        if self.silent == 0 and self._chance(0.1):
            self.silent = self.rng.randint(1, LONGEST_SILENCE)
        if self.silent:
            self.silent -= 1
            self.watcher.at += 30.0
            return
        self.honest = True
        at = self.watcher.at + 30.0
        listed = [i for i in self.cloud.values() if self.hidden_until.get(i.id, 0.0) <= at]
        self.watcher.see(listed)
        self.seen.update(i.id for i in listed)

    def _advance(self, placement: Placement) -> None:
        match placement.state:
            case State.QUEUED:
                if distrust(self.inventory, self.fleets.max_inventory_age_s, self.now) is None:
                    self._move(placement, State.CREATING, attempts=placement.attempts + 1)
            case State.CREATING:
                self._answer(placement)
            case State.VERIFYING | State.HELD:
                self._verify(placement)
            case State.PROVISIONING:
                self._follow(placement)

    def _answer(self, placement: Placement) -> None:
        if self._chance(0.3):
            return  # still under way
        if self._chance(0.15):
            self._move(placement, State.FAILED, reason="CloudNexus rejected it: 422")
        elif self._chance(0.1):
            self._move(placement, State.QUEUED)  # no capacity
        elif self._chance(0.15):
            self._move(placement, State.VERIFYING)  # lost, and never arrived
        else:
            made = self._make(placement.request.name)
            lost = self._chance(0.4)
            self.hidden_until[made.id] = self.now + (self.rng.choice((0, 60, 240)) if self.trouble else 0)
            if lost:
                self._move(placement, State.VERIFYING)
            else:
                self._move(placement, State.PROVISIONING, instance_id=made.id, provisioning_at=self.now)

    def _verify(self, placement: Placement) -> None:
        listed = self.inventory.named(placement.request.name)
        if listed:
            self._move(placement, State.PROVISIONING, instance_id=listed[0].id, provisioning_at=self.now)
        elif not any(i.name == placement.request.name for i in self.cloud.values()):
            if not self._chance(0.7):
                self._move(placement, State.QUEUED)
        elif placement.state is State.VERIFYING and self._chance(0.1):
            self._move(placement, State.HELD)

    def _follow(self, placement: Placement) -> None:
        instance_id = placement.instance_id or ""
        instance = self.inventory.get(instance_id)
        if instance is None:
            gone = instance_id in self.seen or (instance_id not in self.cloud and not self._chance(0.9))
            if gone:
                self._move(placement, State.FAILED, reason="vanished")
        elif instance.status == "running":
            self._move(placement, State.RUNNING)
        elif instance.status in {"stopped", "terminated"}:
            self._move(placement, State.FAILED, reason=instance.status)
        elif instance_id in self.cloud and not self._chance(0.5):
            self._set(self.cloud[instance_id], "running")

    def _plan(self) -> FleetState:
        guard = creation_guard(self.inventory, self.fleets, self.now)
        tried = [p for p in self.placements.values() if p.state in {State.FAILED, State.RUNNING}]
        tried.sort(key=lambda p: (p.updated_at, p.id), reverse=True)
        placements = FleetPlacements(self.open, tried[:TRIED_LOOKED_AT])
        plan = self.planner(self.spec, self.inventory, placements, guard, self.now)
        for cancellation in plan.cancel:
            assert self.placements[cancellation.placement.id].state is State.QUEUED
            self._move(cancellation.placement, State.CANCELLED)
        for _ in range(plan.wanted):
            self._accept()
        if plan.wanted:
            self._check()
        return plan

    def _accept(self) -> None:
        number = len(self.placements)
        request = self.spec.request(member_name(self.spec.name, f"{number:05}"))
        placement = Placement(f"plc_{number:05}", request, State.QUEUED, self.now, self.now)
        self.placements[placement.id] = placement

    def _check(self) -> None:
        """What truly exists, alive as far as can be known, and what is in flight, is no more than declared.

        What somebody else made and no listing has shown yet is nobody's fault.
        """
        observed_at = self.inventory.observed_at
        if observed_at is None or self.now - observed_at > self.fleets.max_inventory_age_s:
            raise BoundBrokenError("created on stale data")
        if self.inventory.hold is not None or self.inventory.mostly_missed:
            raise BoundBrokenError("created while most instances are missing")
        asked_for = {p.request.name for p in self.placements.values()}
        known = [i for i in self.cloud.values() if i.id in self.seen or i.name in asked_for]
        believed = [self.inventory.get(i.id) or i for i in known]
        names = {i.name for i in (*believed, *self.inventory) if i.live}
        in_flight = sum(p.request.name not in names for p in self.open)
        alive = sum(self.spec.counts(i.status) for i in believed)
        existing = sum(i.live for i in believed)
        if alive + in_flight > self.spec.count:
            raise BoundBrokenError(f"{alive} alive and {in_flight} in flight of {self.spec.count}")
        replacing = min(in_flight, existing + in_flight - self.spec.count)
        if replacing > self.spec.max_replacements:
            raise BoundBrokenError(f"{replacing} replacements in flight")

    def _make(self, name: str) -> Instance:
        self.made += 1
        instance = Instance(f"inst_{self.made}", name, "pending", self.rng.choice(REGIONS))
        self.cloud[instance.id] = instance
        return instance

    def _set(self, instance: Instance, status: str) -> None:
        self.cloud[instance.id] = msgspec.structs.replace(instance, status=status)

    def _move(self, placement: Placement, state: State, **changes: object) -> None:
        moved = replace(placement, state=state, updated_at=self.now, **changes)  # type: ignore[arg-type]
        self.placements[placement.id] = moved
