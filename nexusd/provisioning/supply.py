"""What the next decisions rest on, put together from the world and the open placements.

Used by `worker` (a pass decides for many), `intake` (plan) and `app` (which regions are eligible at all).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from nexusd.core import expressions
from nexusd.core.inventory import distrust
from nexusd.core.lifecycle import Placement, State
from nexusd.core.limits import InstanceLimits, InstanceUsage, limit_reason, measure_usage
from nexusd.core.names import canonical
from nexusd.core.placement import (
    Decision,
    PlacementPolicy,
    PlacementRequest,
    Shortlist,
    Supply,
    Where,
    choose,
    decide,
    nothing_now,
    shortlist,
)
from nexusd.core.polls import unauthorized
from nexusd.core.regions import RegionSnapshot
from nexusd.core.spread import Group, count_members
from nexusd.core.world import World
from nexusd.ports import Transaction

CLASSES_KEPT = 1024
SETTLED_AFTER_S = 3600.0
"""A placement that was closed so long ago is looked for in the stored inventory, not in the world's: what the
store could not take at once is written by then."""
ANYTHING = PlacementRequest(name="", plan="")
"""A request without constraints."""

Groups = Mapping[str, Group]


@lru_cache(maxsize=CLASSES_KEPT)
def compiled(where: str | None) -> Where | None:
    """The compiled expression, None when there is none. Raises `expressions.ExpressionError`."""
    return expressions.region_where(where) if where is not None else None


def read_groups(tx: Transaction, requests: Iterable[PlacementRequest], world: World, now: float) -> Groups:
    """The spread groups of these, each read once."""
    spreads = {r.spread.group for r in requests if r.spread is not None}
    since = now - SETTLED_AFTER_S
    return {name: tx.placements.group(name, _fleets_in(world, name), since) for name in sorted(spreads)}


class Shortlists:
    """The shortlist of each constraint class, made once a region snapshot."""

    def __init__(self) -> None:
        self._snapshot: RegionSnapshot | None = None
        self._made: dict[str, Shortlist] = {}

    def get(self, request: PlacementRequest, snapshot: RegionSnapshot) -> Shortlist:
        if snapshot is not self._snapshot or len(self._made) >= CLASSES_KEPT:
            self._snapshot = snapshot
            self._made.clear()
        key = request.constraint_class
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = shortlist(request, snapshot, compiled(request.where))
        return found


class Standing:
    """The world at one time with what is under way, and with each create that is begun counted in.

    `under_way`: placements in a state of `UNDER_WAY`. `groups`: members of the spread groups decided for.
    """

    def __init__(
        self,
        world: World,
        policy: PlacementPolicy,
        shortlists: Shortlists,
        under_way: Iterable[Placement] = (),
        groups: Groups | None = None,
    ) -> None:
        self._world = world
        self._policy = policy
        self._shortlists = shortlists
        self._instances = Counter(world.inventory.live_by_region)
        self._in_flight: Counter[str] = Counter()
        self._in_doubt: Counter[str] = Counter()
        self._names: set[str] = set()
        self._limits = InstanceLimits.of(policy)
        self._usage = InstanceUsage()
        placements = list(under_way)
        for placement in placements:
            self._count(placement)
        if self._limits.any:
            self._usage = measure_usage(world.inventory, placements, world.placed_plans)
        self._groups = {
            name: count_members(members, world.inventory, _fleets_in(world, name))
            for name, members in (groups or {}).items()
        }
        self._chosen: dict[str, str | None] = {}

    def choose(self, request: PlacementRequest, now: float) -> str | None:
        """The region for it, None when there is none now. The same for all of its class until `began`."""
        key = request.constraint_class
        if key not in self._chosen:
            supply = self._supply(request, now)
            self._chosen[key] = choose(request, self._listed(request), supply, self._policy, now)
        return self._chosen[key]

    def nothing(self, now: float) -> str | None:
        """Why nothing at all may be created now, or None."""
        return nothing_now(self._supply(ANYTHING, now), self._policy, now)

    def decide(self, request: PlacementRequest, now: float) -> Decision:
        """The same with every region and reason."""
        return decide(request, self._listed(request), self._supply(request, now), self._policy, now)

    def in_flight(self, region: str) -> int:
        """Creates sent to a region and not answered definitely yet."""
        return self._in_flight[region] + self._in_doubt[region]

    def name_in_use(self, name: str) -> bool:
        """Return whether a create with a similar name is under way.

        CloudNexus may store both names in one form.
        """
        return canonical(name) in self._names

    def began(self, placement: Placement) -> None:
        """A create of it is under way: what is decided next takes it into account.

        It makes no region better than it was, so only who had chosen the same one may choose another.
        """
        self._count(placement)
        if self._limits.any:
            self._usage.add(placement, self._world.inventory)
            self._chosen.clear()
        spread = placement.request.spread
        if spread is not None and placement.region is not None:
            self._groups.setdefault(spread.group, Counter())[placement.region] += 1
        self._chosen = {key: chosen for key, chosen in self._chosen.items() if chosen != placement.region}

    def _count(self, placement: Placement) -> None:
        self._names.add(canonical(placement.request.name))
        region = placement.region
        if region is None:
            return
        if (placement.instance_id or "") not in self._world.inventory:
            self._instances[region] += 1
        if placement.state is State.CREATING:
            self._in_flight[region] += 1
        elif placement.state is State.VERIFYING:
            self._in_doubt[region] += 1

    def _listed(self, request: PlacementRequest) -> Shortlist:
        return self._shortlists.get(request, self._world.regions)

    def _supply(self, request: PlacementRequest, now: float) -> Supply:
        world = self._world
        group = request.spread.group if request.spread is not None else ""
        return Supply(
            world.regions,
            self._instances,
            world.cooling_off,
            self._in_flight,
            self._in_doubt,
            self._groups.get(group, {}),
            blocked=distrust(world.inventory, self._policy.max_inventory_age_s, now)
            or _unread(world)
            or key_refused(world)
            or world.pause.reason_at(now)
            or limit_reason(self._limits, self._usage, request.plan),
            incumbent=world.incumbents.get(request.constraint_class),
        )


def _fleets_in(world: World, group: str) -> list[str]:
    """The declared fleets that spread in the group."""
    return [s.name for s in world.fleets.specs if s.spread is not None and s.spread.group == group]


def key_refused(world: World) -> str | None:
    """Return why the key forbids creates, or None.

    The key was refused for the last poll of a kind.
    """
    if not unauthorized(tuple(world.polls.values())):
        return None
    return "creates are paused: CloudNexus refused the key for the last poll (401 or 403)"


def _unread(world: World) -> str | None:
    """Why regions or instances are not known well enough, or None: only what this process has read has an
    age. What the store remembers was told by another process's clock.
    """
    if world.regions is world.restored and world.regions.observed_at is not None:
        return "the regions have not been read since nexusd began to place"
    if world.inventory.began_at is None:
        return "the instances have not been read since nexusd began to place"
    unread = [poll.resource for poll in world.polls.values() if poll.predates_suspension]
    if unread:
        return f"nexusd was suspended, and the {unread[0]} have not been read since"
    return None
