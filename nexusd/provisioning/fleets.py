"""Keeps the declared fleets: takes in the placements that `core.fleets` wants, cancels those it does not.

Run by `worker` in each of its passes. A fleet's placements are ordinary ones: what becomes of them, their
decisions and attempts, is told like everybody's.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import structlog

from nexusd.core.errors import ConflictError
from nexusd.core.events import Event
from nexusd.core.fleets import Cancellation, FleetPlacements, FleetSpec, FleetState, plan_fleets
from nexusd.core.identifiers import MEMBER_LETTERS, member_name, ulid
from nexusd.core.lifecycle import Placement, State, cancel
from nexusd.core.names import MIN_CUT_BYTES
from nexusd.core.region_names import constraint_warnings
from nexusd.core.world import World
from nexusd.ports import Clock, Store, Transaction
from nexusd.provisioning.intake import accepted_event, state_event

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
LETTERS = string.ascii_lowercase + string.digits


class FleetKeeper:
    """`changed` is called with the events of each commit."""

    def __init__(
        self,
        world: World,
        store: Store,
        clock: Clock,
        rng: random.Random,
        changed: Callable[[list[Event]], None],
    ) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._told: dict[str, str | None] = {}
        self._warned: dict[str, list[str]] = {}
        self._adopted: dict[str, int] = {}
        self._cleared = False
        self._looked_at_listing: float | None = None
        self._look_at = 0.0

    def begin_term(self) -> None:
        """This process leads from now on; the one before may have known other fleets."""
        self._cleared = False

    async def keep(self) -> None:
        """Do for each fleet what is to be done now. Raises `StoreError`.

        When nothing is, only a new listing or an ended placement changes that: until one comes a look now and
        then is enough.
        """
        if not self._cleared:
            await self._cancel_undeclared()
            self._cleared = True
        fleets = self._world.fleets
        now, began_at = self._clock.now(), self._world.inventory.began_at
        if not fleets.specs or (began_at == self._looked_at_listing and now < self._look_at):
            return
        count_made = began_at != self._looked_at_listing
        stored = await self._store.run(
            lambda tx: tx.placements.of_fleets(fleets.names, count_made=count_made)
        )
        # The listing is looked at after the placements were read: what one of them made since is either
        # listed, and counts once, or counts as its placement.
        plans = plan_fleets(fleets, self._world.inventory, stored, self._clock.now())
        self._tell(plans)
        busy = [plan for plan in plans if plan.wanted or plan.cancel]
        self._looked_at_listing, self._look_at = began_at, now if busy else now + LOOK_EVERY_S
        await self._carry_out(busy, stored)

    async def _carry_out(self, plans: list[FleetState], stored: Mapping[str, FleetPlacements]) -> None:
        """In one commit, or not at all when a placement has changed since it was read: then look again."""
        if not plans:
            return
        now = self._clock.now()
        cancelled = [_cancelled(c, now) for plan in plans for c in plan.cancel]
        accepted = [p for plan in plans for p in self._new(plan, stored[plan.spec.name].open, now)]

        def transaction(tx: Transaction) -> list[Event] | None:
            for plan in plans:
                name = plan.spec.name
                if _versions(tx.placements.members(name)) != _versions(stored[name].open):
                    return None
            return _write(tx, cancelled, accepted)

        try:
            events = await self._store.run_leading(transaction)
        except ConflictError:
            return  # another replica has just taken one of the names in
        if events is not None:
            self._told_of(events, accepted)

    async def _cancel_undeclared(self) -> None:
        """What waits for a fleet that is not declared any more."""
        declared = set(self._world.fleets.names)
        now = self._clock.now()

        def transaction(tx: Transaction) -> list[Event]:
            waiting = [p for p in tx.placements.queued_for_fleets() if p.request.fleet not in declared]
            reason = "fleet {} is not declared any more"
            return _write(
                tx, [_cancelled(Cancellation(p, reason.format(p.request.fleet)), now) for p in waiting], []
            )

        events = await self._store.run_leading(transaction)
        self._told_of(events, [])

    def _new(self, plan: FleetState, members: Iterable[Placement], now: float) -> list[Placement]:
        """As many placements as are wanted, each with a name that nothing has."""
        taken = {p.request.name for p in members}
        found = []
        for _ in range(plan.wanted):
            name = self._free_name(plan.spec.name, taken)
            taken.add(name)
            key = f"plc_{ulid(now, self._rng.getrandbits(80))}"
            found.append(Placement(key, plan.spec.request(name), State.QUEUED, now, now))
        return found

    def _free_name(self, fleet: str, taken: set[str]) -> str:
        while True:
            name = member_name(fleet, "".join(self._rng.choices(LETTERS, k=MEMBER_LETTERS)))
            if name not in taken and not self._world.inventory.similar(name, MIN_CUT_BYTES):
                return name

    def _told_of(self, events: list[Event], accepted: list[Placement]) -> None:
        for placement in accepted:
            request = placement.request
            log.info("placement_accepted", placement=placement.id, name=request.name, fleet=request.fleet)
        if events:
            self._changed(events)

    def _tell(self, plans: list[FleetState]) -> None:
        """Log why a fleet waits, once for as long as the reason stays the same."""
        for plan in plans:
            name = plan.spec.name
            if self._told.get(name) != plan.reason:
                log.info("fleet_waits" if plan.reason else "fleet_goes_on", fleet=name, reason=plan.reason)
                self._told[name] = plan.reason
            self._report_adopted(plan)
        for spec in self._world.fleets.specs:
            self._warn(spec)

    def _report_adopted(self, plan: FleetState) -> None:
        """Log the number of members that the fleet did not create when it grows."""
        fleet, adopted = plan.spec.name, plan.adopted
        if adopted is None:
            return
        if adopted > self._adopted.get(fleet, 0):
            log.warning("fleet_members_adopted", fleet=fleet, adopted=adopted, alive=plan.alive)
        elif plan.in_flight:
            return  # while a create is under way its instance may hide an adopted one
        self._adopted[fleet] = adopted

    def _warn(self, spec: FleetSpec) -> None:
        """Log unlisted regions that a fleet names, once until the warnings change."""
        found = constraint_warnings(spec.regions, spec.avoid_regions, self._world.regions)
        for warning in found if found != self._warned.get(spec.name) else ():
            log.warning("fleet_region_unknown", fleet=spec.name, warning=warning)
        self._warned[spec.name] = found


def _cancelled(cancellation: Cancellation, now: float) -> tuple[Placement, Placement]:
    before = cancellation.placement
    return before, replace(cancel(before, now), reason=cancellation.reason)


def _versions(placements: Iterable[Placement]) -> list[tuple[str, State]]:
    return [(p.id, p.state) for p in placements]


def _write(
    tx: Transaction, cancelled: Iterable[tuple[Placement, Placement]], accepted: Iterable[Placement]
) -> list[Event]:
    events = [
        state_event(before, after) for before, after in cancelled if tx.placements.update(after, State.QUEUED)
    ]
    for placement in accepted:
        tx.placements.insert(placement)
        events.append(accepted_event(placement))
    return tx.events.append(events)
