"""Fleets through random histories: never more than declared, and as many as declared when trouble ends."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.core.fleets import FleetPlacements, FleetSpec, FleetState, plan_fleet
from nexusd.core.identifiers import fleet_of
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import IN_DOUBT, State
from tests.core.fleet_histories import BoundBrokenError, Life, Planner
from tests.core.inventories import Watcher, instance
from tests.effort import examples

specs = st.builds(
    FleetSpec,
    name=st.just("web"),
    count=st.integers(0, 20),
    plan=st.just("pro"),
    replace_stopped=st.booleans(),
    max_replacements=st.integers(0, 3),
)


@pytest.mark.slow
@given(specs, st.integers(0, 2**32))
@settings(max_examples=examples(150), deadline=None)
def test_a_fleet_never_makes_more_than_declared(spec: FleetSpec, seed: int) -> None:
    life = Life(spec, random.Random(seed))
    for _ in range(60):
        life.step()


@pytest.mark.slow
@given(specs.filter(lambda spec: spec.max_replacements > 0), st.integers(0, 2**32))
@settings(max_examples=examples(100), deadline=None)
def test_when_trouble_ends_every_fleet_has_what_was_declared(spec: FleetSpec, seed: int) -> None:
    life = Life(spec, random.Random(seed))
    for _ in range(40):
        life.step()
    state = life.calm(60 + 8 * spec.count)  # the longest wait after failures, and replacements one by one
    assert (state.wanted, state.missing, state.reason, state.in_flight) == (0, 0, None, ())
    assert life.alive() == state.alive >= spec.count
    assert state.surplus == state.alive - spec.count


def without(*states: State) -> Planner:
    def planner(
        spec: FleetSpec, inventory: Inventory, placements: FleetPlacements, guard: str | None, now: float
    ) -> FleetState:
        seen = [p for p in placements.open if p.state not in states]
        return plan_fleet(spec, inventory, replace(placements, open=seen), guard, now)

    return planner


def ignoring(what: str) -> Planner:
    def planner(
        spec: FleetSpec, inventory: Inventory, placements: FleetPlacements, guard: str | None, now: float
    ) -> FleetState:
        heeded = None if guard is not None and what in guard else guard
        return plan_fleet(spec, inventory, placements, heeded, now)

    return planner


def declared_as(**changes: Any) -> Planner:
    def planner(
        spec: FleetSpec, inventory: Inventory, placements: FleetPlacements, guard: str | None, now: float
    ) -> FleetState:
        return plan_fleet(replace(spec, **changes), inventory, placements, guard, now)

    return planner


BROKEN = {
    "what is in doubt is taken for absent": without(*IN_DOUBT),
    "what is provisioning is taken for absent": without(State.PROVISIONING),
    "replacements without limit": declared_as(max_replacements=100),
    "what is stopped is taken for dead": declared_as(replace_stopped=True),
    "stale data is good enough": ignoring("older than"),
    "a mass disappearance is believed": ignoring("mass disappearance"),
    "a listing that lacks most is believed": ignoring("missing from the last listing"),
    "the loss of most instances is made good at once": ignoring("lost at once"),
}


@pytest.mark.parametrize("planner", BROKEN.values(), ids=BROKEN)
def test_the_bounds_catch_a_broken_plan(planner: Planner) -> None:
    assert any(breaks(seed, planner) for seed in range(100))


def breaks(seed: int, planner: Planner) -> bool:
    spec = FleetSpec("web", 6 if seed % 3 else 30, "pro", replace_stopped=seed % 2 == 0)
    life = Life(spec, random.Random(seed), planner)
    try:
        for _ in range(60):
            life.step()
    except BoundBrokenError:
        return True
    return False


members = st.builds(
    instance,
    st.integers(0, 12),
    st.sampled_from(("web-abc12", "web-def34", "web", "web-abcdef", "db-00001", "web-eu-00001")),
    st.sampled_from(("running", "stopped", "terminated", "resizing")),
    st.sampled_from(("us-east-1", "eu-west-2")),
)


@given(st.lists(st.lists(members, max_size=8), max_size=8), st.integers(0, 8))
@settings(max_examples=examples(150), deadline=None)
def test_members_counted_one_by_one_equal_a_recount(sweeps: list[list[object]], declared_at: int) -> None:
    watcher = Watcher()
    for number, seen in enumerate(sweeps):
        if number == declared_at:
            watcher.inventory.count_fleets(["web", "web-eu"])
        watcher.see(seen)  # type: ignore[arg-type]
        for fleet in ("web", "web-eu") if number >= declared_at else ():
            recount = Counter((i.region, i.status) for i in watcher.inventory if fleet_of(i.name) == fleet)
            assert dict(watcher.inventory.fleet(fleet)) == recount
    assert watcher.inventory.fleet("db") == {}
