"""Fleets: declared numbers of instances that are kept (product.md, section 3; docs/fleets.md).

`plan_fleet` says what has to be done for one fleet now: how many placements are wanted, which queued ones are
to be cancelled, and why no more is done than that. `provisioning/` does it; `web/` asks the same function.

Nothing can be deleted, so everything errs on the side of too few: an instance counts until its absence is
confirmed, a placement in doubt counts as if its instance existed, and an untrusted listing creates nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nexusd.core.identifiers import fleet_of
from nexusd.core.inventory import Inventory, distrust
from nexusd.core.lifecycle import UNDER_WAY, Placement, State
from nexusd.core.names import MIN_CUT_BYTES, canonical, is_cut_form
from nexusd.core.placement import DEFAULT_IMAGE, PlacementRequest, Spread
from nexusd.core.records import RUNNING, STARTING, STOPPED, TERMINATED, Fleet
from nexusd.core.sweeps import Delta

ALIVE = STARTING | {RUNNING}
QUEUED_AT_MOST = 100
"""Placements of one fleet that wait in the queue at once; more follow as these leave it."""
FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 1800.0
FIRST_WAIT_UNLISTED_S = 3600.0
LONGEST_WAIT_UNLISTED_S = 86_400.0
"""The same where the last create was answered and its instance never listed: each may cost an instance."""
MAX_DOUBLINGS = 16
TRIED_LOOKED_AT = 32
"""How many of a fleet's failed and running placements, the newest, tell how many failed in a row."""


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """One declared fleet. `count`: how many to keep alive. `max_replacements`: how many may be in flight at
    once beyond `count` existing instances.
    """

    name: str
    count: int
    plan: str
    image: str = DEFAULT_IMAGE
    ssh_keys: tuple[str, ...] = ()
    regions: tuple[str, ...] | None = None
    avoid_regions: tuple[str, ...] = ()
    where: str | None = None
    spread: Spread | None = None
    replace_stopped: bool = False
    max_replacements: int = 1

    def request(self, name: str) -> PlacementRequest:
        """What is asked for to get one more member."""
        return PlacementRequest(
            name=name,
            plan=self.plan,
            image=self.image,
            ssh_keys=self.ssh_keys,
            regions=self.regions,
            avoid_regions=self.avoid_regions,
            where=self.where,
            spread=self.spread,
            fleet=self.name,
        )

    def asks_for(self, request: PlacementRequest) -> bool:
        """Whether the request is what this fleet would ask for now, but for the name."""
        return replace(request, name="") == self.request("")

    def counts(self, status: str) -> bool:
        """Whether an instance of this status counts as alive. An unknown status counts as `stopped` does."""
        return status in ALIVE or (status != TERMINATED and not self.replace_stopped)

    def alive(self, members: Mapping[tuple[str, str], int]) -> int:
        """How many of these count as alive; `Inventory.fleet` gives them."""
        return sum(n for (_, status), n in members.items() if self.counts(status))


@dataclass(frozen=True, slots=True)
class Fleets:
    """All declared fleets, by name, and when the listing is good enough to create for them.

    `max_inventory_age_s`: as in `placement.PlacementPolicy`. `recovery_s`: how long nothing is created after
    most instances were lost at once.
    """

    specs: tuple[FleetSpec, ...] = ()
    max_inventory_age_s: float = 90.0
    recovery_s: float = 300.0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)


NO_FLEETS = Fleets()


def fleet_records(fleets: Fleets, inventory: Inventory, delta: Delta | None) -> tuple[Fleet, ...]:
    """What each declared fleet comes to once the sweep is applied, for rules to judge."""
    statuses = {spec.name: Counter[str]() for spec in fleets.specs}
    for name, counts in statuses.items():
        for (_, status), count in inventory.fleet(name).items():
            counts[status] += count
    if delta is not None and statuses:
        _follow(delta, inventory, statuses)
    return tuple(_record(spec, statuses[spec.name]) for spec in fleets.specs)


def _follow(delta: Delta, inventory: Inventory, statuses: Mapping[str, Counter[str]]) -> None:
    for instance_id in (*delta.upserts, *delta.vanished):
        before, after = inventory.get(instance_id), delta.upserts.get(instance_id)
        for instance, step in ((before, -1), (after, 1)):
            fleet = inventory.fleet_names.fleet_of(instance.name) if instance is not None else None
            if instance is not None and fleet is not None and fleet in statuses:
                statuses[fleet][instance.status] += step


def _record(spec: FleetSpec, counts: Counter[str]) -> Fleet:
    alive = sum(n for status, n in counts.items() if spec.counts(status))
    return Fleet(spec.name, spec.plan, spec.count, alive, counts[RUNNING], counts[STOPPED])


@dataclass(frozen=True, slots=True)
class FleetPlacements:
    """Stored placements of one fleet.

    `open`: all that are named like members, whoever asked for them, oldest first. `tried`: the newest that
    the fleet asked for and that failed or reached running, newest first. `made`: how many listed instances
    closed placements of the fleet have made; None if not counted.
    """

    open: Sequence[Placement] = ()
    tried: Sequence[Placement] = ()
    made: int | None = None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A queued placement that is no longer wanted, and why."""

    placement: Placement
    reason: str


@dataclass(frozen=True, slots=True)
class FleetState:
    """One fleet now, and what is to be done.

    `alive` and `existing` (all but terminated) count instances, `in_flight` are the placements without one.
    `wanted`: placements to take in now. `reason`: why fewer than are missing; `next_try_at`: when that ends
    by itself, where it is known. `adopted`: existing members that the fleet did not create; None if not
    counted.
    """

    spec: FleetSpec
    alive: int
    existing: int
    in_flight: tuple[Placement, ...]
    adopted: int | None = None
    cancel: tuple[Cancellation, ...] = ()
    wanted: int = 0
    reason: str | None = None
    next_try_at: float | None = None

    @property
    def missing(self) -> int:
        """How many fewer there are, those in flight included, than declared."""
        return max(0, self.spec.count - self.alive - len(self.in_flight))

    @property
    def surplus(self) -> int:
        """How many more are alive than declared: nothing can be deleted."""
        return max(0, self.alive - self.spec.count)

    @property
    def replacing(self) -> int:
        """How many of those in flight make more instances than declared, once they exist."""
        return min(len(self.in_flight), max(0, self.existing + len(self.in_flight) - self.spec.count))


def creation_guard(inventory: Inventory, fleets: Fleets, now: float) -> str | None:
    """Why no fleet may create anything now, or None when they may."""
    if inventory.began_at is None:
        return "no complete listing of the instances has been read since nexusd began to place"
    doubt = distrust(inventory, fleets.max_inventory_age_s, now)
    if doubt is not None:
        return doubt
    lost_at = inventory.lost_most_at
    if lost_at is not None and now - lost_at < fleets.recovery_s:
        return f"most instances were lost at once less than {fleets.recovery_s:.0f}s ago"
    return None


def plan_fleets(
    fleets: Fleets, inventory: Inventory, placements: Mapping[str, FleetPlacements], now: float
) -> list[FleetState]:
    """What is to be done for each of the fleets whose placements are given, by name."""
    guard = creation_guard(inventory, fleets, now)
    known = [spec for spec in fleets.specs if spec.name in placements]
    return [plan_fleet(spec, inventory, placements[spec.name], guard, now) for spec in known]


def plan_fleet(
    spec: FleetSpec, inventory: Inventory, placements: FleetPlacements, guard: str | None, now: float
) -> FleetState:
    """What is to be done. `guard`: what `creation_guard` says."""
    members = inventory.fleet(spec.name)
    existing = sum(n for (_, status), n in members.items() if status != TERMINATED)
    state = FleetState(
        spec,
        alive=spec.alive(members),
        existing=existing,
        in_flight=tuple(p for p in placements.open if _without_instance(p, spec, inventory)),
        adopted=_adopted(spec, existing, placements),
    )
    streak = _streak(spec, placements)
    state = _cancel_useless(state, streak, now)
    if guard is None:
        state = _cancel_excess(state)
    if state.missing == 0:
        return state
    reason = guard or _uncounted(spec, placements, inventory)
    if reason is not None:
        return replace(state, reason=reason)
    return _create(state, streak, now)


def _adopted(spec: FleetSpec, existing: int, placements: FleetPlacements) -> int | None:
    """Return how many of the existing members the fleet did not create.

    Each create under way may have made one of them.
    """
    if placements.made is None:
        return None
    under_way = sum(p.request.fleet == spec.name and p.state in UNDER_WAY for p in placements.open)
    return max(0, existing - placements.made - under_way)


def _uncounted(spec: FleetSpec, placements: FleetPlacements, inventory: Inventory) -> str | None:
    """Return why members cannot be counted, or None.

    CloudNexus cuts their names too short, or to those of another fleet.

    Without this a fleet would create instances without end.
    """
    for placement in (*placements.open, *placements.tried):
        instance = inventory.get(placement.instance_id) if placement.instance_id is not None else None
        if instance is None or not instance.live:
            continue
        name = placement.request.name
        if inventory.fleet_names.fleet_of(instance.name) == spec.name:
            continue
        if is_cut_form(instance.name, name) or canonical(instance.name) == canonical(name):
            return (
                f"CloudNexus lists {name} ({instance.id}) as {instance.name}, so the members cannot be "
                "counted; rename the fleet"
            )
    return None


def _without_instance(placement: Placement, spec: FleetSpec, inventory: Inventory) -> bool:
    """Return whether none of an open placement's instances is listed and live.

    Then the placement counts for the fleet by itself.

    An instance of the same name counts only in the placement's region: elsewhere it is another's.
    """
    name, region = placement.request.name, placement.region
    made = inventory.get(placement.instance_id) if placement.instance_id is not None else None
    if made is not None and made.live and inventory.fleet_names.fleet_of(made.name) == spec.name:
        return False
    similar = inventory.similar(name, MIN_CUT_BYTES)
    return fleet_of(name) == spec.name and not any(i.live and region in {None, i.region} for i in similar)


@dataclass(frozen=True, slots=True)
class _Streak:
    """Failures in a row of what the fleet asks for now. Those that were under way together count once.

    `tested`: CloudNexus did not reject it when it was last asked for it, as far as is known.
    """

    failures: int = 0
    last: Placement | None = None
    tested: bool = False

    @property
    def rejected(self) -> bool:
        """Whether the last failed before anything was made: all that ask for the same will."""
        return self.last is not None and self.last.attempts > 0 and self.last.provisioning_at is None

    def over_at(self, now: float) -> float:
        """When the fleet may try again. A failure ahead of `now` was told before the clock was set back."""
        if self.last is None or self.last.updated_at > now:
            return now
        first_s, longest_s = FIRST_WAIT_S, LONGEST_WAIT_S
        if self.last.was_never_listed:
            first_s, longest_s = FIRST_WAIT_UNLISTED_S, LONGEST_WAIT_UNLISTED_S
        doublings = min(self.failures - 1, MAX_DOUBLINGS)
        return self.last.updated_at + min(longest_s, first_s * 2.0**doublings)

    def since(self, state: FleetState, now: float) -> list[Placement]:
        """The fleet's own in flight that were asked for knowing of the last failure; all of them where it was
        told before the clock was set back, for nothing can be after it then.
        """
        if self.last is None:
            return []
        known_at = self.last.updated_at if self.last.updated_at <= now else float("-inf")
        return [p for p in _own(state) if p.created_at > known_at]


def _streak(spec: FleetSpec, placements: FleetPlacements) -> _Streak:
    ran = False
    failed: list[Placement] = []
    for placement in placements.tried:
        if not spec.asks_for(placement.request):
            continue
        if ran := placement.state is State.RUNNING:
            break
        failed.append(placement)
    rounds, known_at = 0, float("-inf")
    for placement in reversed(failed):
        if placement.created_at > known_at:
            rounds, known_at = rounds + 1, placement.updated_at
    sent = any(_was_sent(p) for p in placements.open if spec.asks_for(p.request))
    return _Streak(rounds, failed[0] if failed else None, tested=ran or sent)


def _was_sent(placement: Placement) -> bool:
    """Whether an attempt of it has ended, or is in doubt: it was not rejected."""
    begun = placement.attempts if placement.state is not State.CREATING else placement.attempts - 1
    return begun > 0


def _cancel_useless(state: FleetState, streak: _Streak, now: float) -> FleetState:
    """What asks for something else than the fleet does now, or for what CloudNexus has just rejected."""
    others = [p for p in _queued(state) if not state.spec.asks_for(p.request)]
    state = _cancelled(state, others, f"fleet {state.spec.name} asks for something else now")
    if not streak.rejected or streak.last is None:
        return state
    known = streak.since(state, now)
    doomed = [p for p in _queued(state) if p.attempts == 0 and p not in known]
    return _cancelled(state, doomed, f"{streak.last.request.name}, asked for with it, was rejected")


def _cancel_excess(state: FleetState) -> FleetState:
    """The newest of what is queued beyond `count`, or beyond `max_replacements`."""
    over = state.alive + len(state.in_flight) - state.spec.count
    over = max(over, state.replacing - state.spec.max_replacements, 0)
    newest = sorted(_queued(state), key=lambda p: (p.created_at, p.id), reverse=True)[:over]
    return _cancelled(state, newest, f"fleet {state.spec.name} needs no more than {state.spec.count}")


def _own(state: FleetState) -> list[Placement]:
    """Those in flight that the fleet asked for, and not a person by a member's name."""
    return [p for p in state.in_flight if p.request.fleet == state.spec.name]


def _queued(state: FleetState) -> list[Placement]:
    """Those of its own that may be cancelled: no create is under way or in doubt."""
    return [p for p in _own(state) if p.state is State.QUEUED]


def _cancelled(state: FleetState, placements: Sequence[Placement], reason: str) -> FleetState:
    gone = {p.id for p in placements}
    return replace(
        state,
        in_flight=tuple(p for p in state.in_flight if p.id not in gone),
        cancel=(*state.cancel, *(Cancellation(p, reason) for p in placements)),
    )


def _create(state: FleetState, streak: _Streak, now: float) -> FleetState:
    """As many as are missing, but for failures, the limit on replacements, and the queue's."""
    if streak.last is not None:
        told = f"{streak.failures} in a row failed, the last: {streak.last.reason}"
        over_at = streak.over_at(now)
        if now < over_at:
            return replace(state, reason=told, next_try_at=over_at)
        wanted = min(_allowed(state), 1 - len(streak.since(state, now)))
        return _wanting(state, wanted, f"{told}; one is tried at a time")
    if not streak.tested:
        first = 1 - len([p for p in _own(state) if state.spec.asks_for(p.request)])
        return _wanting(state, min(first, _allowed(state)), "the first of its kind is tried alone")
    allowed = _allowed(state)
    room = QUEUED_AT_MOST - len(_queued(state))
    if room < min(allowed, state.missing):
        return _wanting(state, room, f"at most {QUEUED_AT_MOST} wait in the queue at once")
    return _wanting(state, allowed, _replacement_limit(state))


def _allowed(state: FleetState) -> int:
    """How many may be created so that at most `max_replacements` in flight make more than `count`."""
    fitting = max(0, state.spec.count - state.existing - len(state.in_flight))
    return fitting + max(0, state.spec.max_replacements - state.replacing)


def _wanting(state: FleetState, wanted: int, limit: str) -> FleetState:
    wanted = max(0, min(wanted, state.missing))
    return replace(state, wanted=wanted, reason=limit if wanted < state.missing else None)


def _replacement_limit(state: FleetState) -> str:
    dead = state.existing - state.alive
    return f"{dead} that are not alive are replaced at most {state.spec.max_replacements} at a time"
