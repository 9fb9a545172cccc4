"""A million random cases of spread, caps and fleets: the rules, written again in a few lines each, hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from nexusd.core.cooling import CoolingOff
from nexusd.core.fleets import FleetPlacements, FleetSpec, FleetState, plan_fleet
from nexusd.core.identifiers import member_name
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import PlacementPolicy, PlacementRequest, Spread, Supply, choose, decide, shortlist
from nexusd.core.records import Instance, Region
from nexusd.core.regions import KnownRegion, RegionSnapshot

NOW = 1_000_000.0
CASES = 500_000
PLACED_IN_A_ROW = 25
SLUGS = ("a", "b", "c", "d", "e")
OPEN_STATES = (State.QUEUED, State.CREATING, State.VERIFYING, State.PROVISIONING, State.HELD)
STATUSES = ("pending", "provisioning", "running", "running", "stopped", "terminated", "resizing")


class Ground:
    """Regions with instances, in which one after the other is placed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        regions = [
            Region(
                s,
                s,
                rng.choice(("healthy", "healthy", "down")),
                rng.choice((10.0, 10.0, 20.0, None)),
                rng.random() < 0.8,
            )
            for s in SLUGS[: rng.randint(1, 5)]
        ]
        self.snapshot = RegionSnapshot(NOW, {r.slug: KnownRegion(r) for r in regions})
        self.policy = PlacementPolicy(max_per_region=rng.choice((None, 2, 5)))
        self.request = PlacementRequest(
            "w",
            "pro",
            regions=rng.choice((None, None, ("a", "b"))),
            avoid_regions=rng.choice(((), (), ("c",))),
            spread=Spread("g", rng.randint(1, 3)) if rng.random() < 0.8 else None,
        )
        self.listed = shortlist(self.request, self.snapshot)
        self.group = Counter({s: rng.randint(0, 3) for s in SLUGS})
        self.instances = Counter({s: self.group[s] + rng.randint(0, 2) for s in SLUGS})
        cools = {(s, ""): CoolingOff(s, NOW + 9.0, 1, "DRY") for s in SLUGS if rng.random() < 0.1}
        self.supply = Supply(self.snapshot, self.instances, cools, group=self.group)

    def fits(self, slug: str) -> bool:
        """Whether the request could go there as far as region, constraints and cap go."""
        region, most = self.snapshot.known[slug].region, self.policy.max_per_region
        return (
            region.healthy
            and region.capacity
            and (self.request.regions is None or slug in self.request.regions)
            and slug not in self.request.avoid_regions
            and (most is None or self.instances[slug] < most)
        )

    def may_take_one(self, slug: str) -> bool:
        spread = self.request.spread
        least = min(self.group[s] for s in self.snapshot.known if self.fits(s)) if self.fits(slug) else 0
        apart = spread is None or self.group[slug] + 1 - least <= spread.max_skew
        return self.fits(slug) and apart and (slug, "") not in self.supply.cooling_off

    def place(self) -> None:
        chosen = choose(self.request, self.listed, self.supply, self.policy, NOW)
        allowed = {slug for slug in self.snapshot.known if self.may_take_one(slug)}
        assert (chosen in allowed) if allowed else chosen is None
        if self.rng.random() < 0.02:
            decision = decide(self.request, self.listed, self.supply, self.policy, NOW)
            assert {c.region for c in decision.considered if c.eligible} == allowed
            assert decision.region == chosen
        for slug in [chosen] if chosen is not None else []:
            self.group[slug] += 1
            self.instances[slug] += 1
        if self.rng.random() < 0.3:
            self.lose_one()

    def lose_one(self) -> None:
        slug = self.rng.choice(SLUGS)
        self.instances[slug] -= self.group[slug] > 0
        self.group[slug] -= self.group[slug] > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_placement_is_further_apart_or_above_the_cap_than_allowed(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(CASES // 2 // PLACED_IN_A_ROW):
        ground = Ground(rng)
        for _ in range(PLACED_IN_A_ROW):
            ground.place()


def fleet_cases(rng: random.Random) -> Iterator[tuple[FleetSpec, list[Instance], FleetState]]:
    """Instances in any state, placements in any state (some of them listed already), failures and guards."""
    while True:
        spec = FleetSpec(
            "web",
            rng.randint(0, 6),
            "pro",
            replace_stopped=rng.random() < 0.5,
            max_replacements=rng.randint(0, 2),
        )
        instances = [
            Instance(f"i-{n}", member_name("web", f"m{n:04}"), rng.choice(STATUSES), rng.choice(SLUGS))
            for n in range(rng.randint(0, 6))
        ]
        inventory = Inventory(("web",))
        inventory.restore({i.id: i for i in instances}, {}, NOW)
        under_way = [
            Placement(
                f"p{n}",
                spec.request(member_name("web", f"m{n:04}")),
                rng.choice(OPEN_STATES),
                NOW,
                NOW,
                attempts=n % 2,
            )
            for n in rng.sample(range(9), rng.randint(0, 5))
        ]
        tried = [
            Placement(
                "t",
                spec.request("web-ttttt"),
                rng.choice((State.RUNNING, State.FAILED)),
                NOW - 90.0,
                NOW - 70.0,
            )
        ]
        guard = "stale" if rng.random() < 0.1 else None
        yield spec, instances, plan_fleet(spec, inventory, FleetPlacements(under_way, tried), guard, NOW)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_fleet_asks_for_more_than_it_may(seed: int) -> None:
    cases = fleet_cases(random.Random(seed))
    created = 0
    for _ in range(CASES // 2):
        spec, instances, state = next(cases)
        dead = {"terminated", "stopped", "resizing"} if spec.replace_stopped else {"terminated"}
        alive = sum(i.status not in dead for i in instances)
        existing = sum(i.status != "terminated" for i in instances)
        in_flight = len(state.in_flight)
        assert state.alive == alive
        if state.wanted:
            created += 1
            assert state.reason != "stale"
            assert alive + in_flight + state.wanted <= spec.count
            beyond = existing + in_flight + state.wanted - spec.count
            assert min(beyond, in_flight + state.wanted) <= spec.max_replacements
    assert created > CASES // 20
