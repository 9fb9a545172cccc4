"""What a fleet wants: one rule a test. Random histories are in `test_fleets_properties`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nexusd.core.fleets import (
    QUEUED_AT_MOST,
    FleetPlacements,
    Fleets,
    FleetSpec,
    FleetState,
    creation_guard,
    plan_fleet,
)
from nexusd.core.identifiers import fleet_of, member_name
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import IN_DOUBT, OPEN, Placement, State
from nexusd.core.placement import Spread
from nexusd.core.records import Instance
from nexusd.core.world import World
from tests.core.inventories import Watcher

NOW = 1_000_000.0
WEB = FleetSpec("web", 3, "pro")


def members(*statuses: str, start: int = 0) -> list[Instance]:
    return [
        Instance(f"inst_{n}", member_name("web", f"m{n:04}"), status, "us-east-1")
        for n, status in enumerate(statuses, start)
    ]


def inventory_of(*instances: Instance) -> Inventory:
    watcher = Watcher()
    watcher.inventory.count_fleets(["web"])
    watcher.see(instances)
    return watcher.inventory


def placement(number: int, state: State = State.QUEUED, spec: FleetSpec = WEB, **more: Any) -> Placement:
    request = spec.request(member_name("web", f"p{number:04}"))
    given = {"created_at": NOW - 100 + number, "updated_at": NOW - 100 + number, **more}
    return Placement(f"plc_{number:04}", request, state, **given)


def failure(number: int, seconds_ago: float, **more: Any) -> Placement:
    """One that CloudNexus rejected at once."""
    at = NOW - seconds_ago
    given = {"created_at": at, "updated_at": at, "reason": "rejected: 422", "attempts": 1, **more}
    return placement(number, State.FAILED, **given)


def ran(spec: FleetSpec = WEB) -> Placement:
    """One of long ago."""
    return placement(9999, State.RUNNING, spec, created_at=NOW - 1e6, updated_at=NOW - 1e6)


def plan(
    spec: FleetSpec = WEB,
    there: list[Instance] | None = None,
    under_way: list[Placement] | None = None,
    ended: list[Placement] | None = None,
    guard: str | None = None,
) -> FleetState:
    """For a fleet whose kind of placement has reached running before."""
    placements = FleetPlacements(under_way or [], [*(ended or []), ran(spec)])
    return plan_fleet(spec, inventory_of(*(there or [])), placements, guard, NOW)


def first_plan(
    spec: FleetSpec = WEB, under_way: list[Placement] | None = None, there: list[Instance] | None = None
) -> FleetState:
    """For one that nothing is known of."""
    return plan_fleet(spec, inventory_of(*(there or [])), FleetPlacements(under_way or []), None, NOW)


def test_an_empty_fleet_wants_all_of_its_members() -> None:
    state = plan()
    assert (state.wanted, state.alive, state.missing, state.reason) == (3, 0, 3, None)


@pytest.mark.parametrize(
    ("name", "fleet"),
    [
        ("web-abc12", "web"),
        ("web-ABC12", "web"),
        ("web-eu-00000", "web-eu"),
        ("web-abc1", None),
        ("web-abc123", None),
        ("web-ab.12", None),
        ("web-äbc12", None),
        ("webabc12", None),
        ("-abc12", None),
        ("abc12", None),
        ("", None),
    ],
)
def test_a_member_is_known_by_its_name(name: str, fleet: str | None) -> None:
    assert fleet_of(name) == fleet


@pytest.mark.parametrize("status", ["pending", "provisioning", "running", "stopped", "resizing"])
def test_existing_instances_are_adopted(status: str) -> None:
    assert plan(there=members(status)).wanted == 2


def test_a_terminated_instance_never_counts() -> None:
    state = plan(there=members("running", "terminated"))
    assert (state.alive, state.existing, state.wanted) == (1, 1, 2)


@pytest.mark.parametrize("status", ["stopped", "resizing"])
def test_what_is_not_alive_is_replaced_where_declared_so(status: str) -> None:
    spec = replace(WEB, replace_stopped=True)
    state = plan(spec, members("running", "running", status))
    assert (state.alive, state.existing, state.wanted) == (2, 3, 1)


def test_replacements_are_made_one_at_a_time() -> None:
    spec = replace(WEB, replace_stopped=True)
    assert plan(spec, members("stopped", "stopped", "stopped")).wanted == 1
    state = plan(spec, members("stopped", "stopped", "stopped"), [placement(1, State.CREATING)])
    assert (state.wanted, state.replacing) == (0, 1)
    assert state.reason == "3 that are not alive are replaced at most 1 at a time"


def test_what_makes_no_more_than_declared_is_no_replacement() -> None:
    spec = FleetSpec("web", 5, "pro", replace_stopped=True)
    assert plan(spec, members("stopped", "running")).wanted == 4  # 3 to 5 existing, and 1 replacement


def test_more_replacements_may_be_allowed_or_none() -> None:
    stopped = members("stopped", "stopped", "stopped")
    assert plan(replace(WEB, replace_stopped=True, max_replacements=2), stopped).wanted == 2
    assert plan(replace(WEB, replace_stopped=True, max_replacements=0), stopped).wanted == 0


@pytest.mark.parametrize("state", sorted(OPEN))
def test_open_placements_count_in_doubt_or_not(state: State) -> None:
    assert plan(under_way=[placement(1, state)]).wanted == 2


@pytest.mark.parametrize("state", sorted(IN_DOUBT | {State.PROVISIONING}))
def test_a_placement_whose_instance_is_listed_counts_once(state: State) -> None:
    there = Instance("inst_1", "web-p0001", "pending", "us-east-1")
    now = plan(there=[there], under_way=[placement(1, state)])
    assert (now.alive, now.in_flight, now.wanted) == (1, (), 2)


def test_the_terminated_namesake_of_a_placement_is_not_its_instance() -> None:
    there = Instance("inst_1", "web-p0001", "terminated", "us-east-1")
    assert len(plan(there=[there], under_way=[placement(1, State.CREATING)]).in_flight) == 1


def test_a_person_s_placement_with_a_member_s_name_counts_and_is_not_cancelled() -> None:
    own = placement(1)
    by_hand = replace(own, request=replace(own.request, fleet=None, plan="starter"))
    assert plan(under_way=[by_hand]).wanted == 2
    assert plan(replace(WEB, count=0), under_way=[by_hand]).cancel == ()


def test_placements_of_another_name_do_not_count() -> None:
    other = replace(placement(1), request=replace(WEB.request("web-eu-00001"), fleet="web-eu"))
    assert plan(under_way=[other]).in_flight == ()


def test_an_instance_that_one_listing_missed_counts() -> None:
    watcher = Watcher()
    watcher.inventory.count_fleets(["web"])
    watcher.see(members("running", "running", "running"))
    watcher.see(members("running", "running"))
    assert plan_fleet(WEB, watcher.inventory, FleetPlacements(), None, NOW).missing == 0
    watcher.see(members("running", "running"))
    assert plan_fleet(WEB, watcher.inventory, FleetPlacements(), None, NOW).missing == 1


def test_a_surplus_is_told_and_left_alone() -> None:
    state = plan(there=members(*["running"] * 5))
    assert (state.surplus, state.missing, state.wanted, state.cancel) == (2, 0, 0, ())


def test_what_is_queued_beyond_the_count_is_cancelled_newest_first() -> None:
    queued = [placement(n) for n in range(3)]
    state = plan(replace(WEB, count=2), members("running"), queued)
    assert [c.placement.id for c in state.cancel] == ["plc_0002", "plc_0001"]
    assert (len(state.in_flight), state.wanted) == (1, 0)


def test_what_is_past_queued_is_never_cancelled() -> None:
    sent = [placement(n, state) for n, state in enumerate(sorted(OPEN - {State.QUEUED}))]
    assert plan(replace(WEB, count=0, plan="starter"), under_way=sent).cancel == ()


def test_a_stopped_instance_that_runs_again_makes_its_queued_replacement_needless() -> None:
    spec = replace(WEB, replace_stopped=True)
    assert plan(spec, members("running", "running", "stopped"), [placement(1)]).cancel == ()
    back = plan(spec, members("running", "running", "running"), [placement(1)])
    assert [c.placement.id for c in back.cancel] == ["plc_0001"]


def test_queued_replacements_beyond_their_limit_are_cancelled() -> None:
    spec = replace(WEB, replace_stopped=True)
    state = plan(spec, members(*["stopped"] * 3), [placement(1), placement(2)])
    assert [c.placement.id for c in state.cancel] == ["plc_0002"]


@pytest.mark.parametrize(
    "change",
    [
        {"plan": "starter"},
        {"image": "debian-12"},
        {"ssh_keys": ("key_1",)},
        {"regions": ("us-east-1",)},
        {"avoid_regions": ("us-east-1",)},
        {"where": "region.capacity"},
        {"spread": Spread("web")},
    ],
)
def test_queued_placements_that_ask_for_something_else_are_cancelled_and_asked_for_anew(
    change: dict[str, Any],
) -> None:
    state = plan(replace(WEB, **change), under_way=[placement(1), placement(2, State.CREATING)])
    assert [c.placement.id for c in state.cancel] == ["plc_0001"]
    assert state.cancel[0].reason == "fleet web asks for something else now"
    assert state.wanted == 2


def test_a_guard_lets_nothing_be_created_and_says_so() -> None:
    state = plan(there=members("running"), guard="no instance data yet")
    assert (state.wanted, state.missing, state.reason) == (0, 2, "no instance data yet")


def test_while_the_listing_is_not_trusted_nothing_is_cancelled_because_of_it() -> None:
    there = members("running", "running", "running")
    assert plan(there=there, under_way=[placement(1)], guard="stale").cancel == ()


def test_a_guard_is_no_reason_when_nothing_is_missing() -> None:
    assert plan(there=members(*["running"] * 3), guard="stale").reason is None


def test_the_queue_of_one_fleet_is_bounded() -> None:
    spec = FleetSpec("web", 1000, "pro")
    assert plan(spec).wanted == QUEUED_AT_MOST
    state = plan(spec, under_way=[placement(n) for n in range(QUEUED_AT_MOST - 1)])
    assert (state.wanted, state.reason) == (1, "at most 100 wait in the queue at once")


def test_the_first_of_its_kind_is_tried_alone() -> None:
    state = first_plan()
    assert (state.wanted, state.missing, state.reason) == (1, 3, "the first of its kind is tried alone")
    assert first_plan(there=members("running")).wanted == 1


@pytest.mark.parametrize(
    ("attempts", "state", "wanted"),
    [
        (0, State.QUEUED, 0),
        (1, State.CREATING, 0),
        (1, State.QUEUED, 2),
        (2, State.CREATING, 2),
        (1, State.VERIFYING, 2),
        (1, State.HELD, 2),
        (1, State.PROVISIONING, 2),
    ],
)
def test_the_others_follow_once_it_was_not_rejected(attempts: int, state: State, wanted: int) -> None:
    assert first_plan(under_way=[placement(1, state, attempts=attempts)]).wanted == wanted


def test_a_first_one_that_is_listed_already_was_not_rejected() -> None:
    there = Instance("inst_1", "web-p0001", "pending", "us-east-1")
    assert first_plan(under_way=[placement(1, State.PROVISIONING, attempts=1)], there=[there]).wanted == 2


def test_one_in_doubt_is_in_flight_though_a_stranger_has_its_name_in_another_region() -> None:
    doubted = placement(1, State.VERIFYING, attempts=1, region="us-west-2")
    stranger = Instance("inst_1", "web-p0001", "running", "us-east-1")
    assert len(plan(under_way=[doubted], there=[stranger]).in_flight) == 1
    assert plan(under_way=[replace(doubted, region="us-east-1")], there=[stranger]).in_flight == ()


def test_what_was_sent_of_another_kind_says_nothing() -> None:
    sent = placement(1, State.PROVISIONING, attempts=1)
    assert first_plan(replace(WEB, image="debian-12"), under_way=[sent]).wanted == 1


def test_a_failure_is_followed_by_a_wait_and_then_by_one_try() -> None:
    waiting = plan(ended=[failure(1, 59.0)])
    assert (waiting.wanted, waiting.next_try_at) == (0, NOW + 1.0)
    assert waiting.reason == "1 in a row failed, the last: rejected: 422"
    trying = plan(ended=[failure(1, 60.0)])
    assert (trying.wanted, trying.next_try_at) == (1, None)
    assert trying.reason == "1 in a row failed, the last: rejected: 422; one is tried at a time"


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 960), (6, 1800), (20, 1800)]
)
def test_the_wait_doubles_from_one_minute_to_thirty(failures: int, wait_s: float) -> None:
    ended = [failure(n, 10.0 + 5000.0 * n) for n in range(failures)]
    assert plan(ended=ended).next_try_at == NOW - 10.0 + wait_s


def test_failures_that_were_under_way_together_count_once() -> None:
    together = [failure(n, 10.0, created_at=NOW - 500 - n) for n in range(8)]
    assert plan(ended=together).next_try_at == NOW - 10.0 + 60.0


def test_after_a_failure_one_is_tried_at_a_time() -> None:
    tried = placement(2, State.PROVISIONING, created_at=NOW - 5)
    assert plan(ended=[failure(1, 100.0)], under_way=[tried]).wanted == 0
    older = placement(2, State.HELD, created_at=NOW - 500)
    assert plan(ended=[failure(1, 100.0)], under_way=[older]).wanted == 1


def test_one_that_reached_running_ends_the_row() -> None:
    running = placement(2, State.RUNNING, created_at=NOW - 50, updated_at=NOW - 5)
    assert plan(ended=[running, failure(1, 10.0)]).wanted == 3
    assert plan(ended=[failure(1, 10.0), running]).wanted == 0


def test_a_change_of_what_is_asked_for_ends_the_row() -> None:
    assert plan(replace(WEB, image="debian-12"), ended=[failure(1, 1.0)]).wanted == 3


def test_a_change_of_the_count_does_not_end_the_row() -> None:
    assert plan(replace(WEB, count=9), ended=[failure(1, 1.0)]).wanted == 0


def test_a_failure_told_before_the_clock_was_set_back_makes_nobody_wait_for_ever() -> None:
    assert plan(ended=[failure(1, -3600.0)]).wanted == 1


def test_one_asked_for_after_the_clock_was_set_back_is_not_cancelled_for_a_failure_before_that() -> None:
    state = plan(ended=[failure(9, -3600.0)], under_way=[placement(1)])
    assert (state.cancel, state.wanted) == ((), 0)


def test_what_waits_in_the_queue_beside_a_rejected_one_is_cancelled() -> None:
    queued = placement(1, created_at=NOW - 100)
    state = plan(ended=[failure(9, 10.0)], under_way=[queued])
    assert [c.reason for c in state.cancel] == ["web-p0009, asked for with it, was rejected"]


def test_a_queued_one_stays_when_another_was_made_and_failed_later() -> None:
    failed = failure(9, 10.0, provisioning_at=NOW - 500)
    assert plan(ended=[failed], under_way=[placement(1)]).cancel == ()


def test_a_queued_one_that_was_tried_already_stays_beside_a_rejected_one() -> None:
    assert plan(ended=[failure(9, 10.0)], under_way=[placement(1, attempts=1)]).cancel == ()


FLEETS = Fleets((WEB,), max_inventory_age_s=90.0, recovery_s=300.0)


def test_nothing_is_created_before_the_first_complete_listing() -> None:
    inventory = Inventory()
    assert "no complete listing" in (creation_guard(inventory, FLEETS, NOW) or "")
    inventory.restore({i.id: i for i in members("running")}, {}, NOW)
    assert "no complete listing" in (creation_guard(inventory, FLEETS, NOW) or "")


def test_nothing_is_created_on_stale_data() -> None:
    watcher = Watcher(at=NOW)
    watcher.see(members("running"))
    seen_at = watcher.inventory.observed_at or 0.0
    assert creation_guard(watcher.inventory, FLEETS, seen_at + 90.0) is None
    assert "older than the 90s" in (creation_guard(watcher.inventory, FLEETS, seen_at + 90.1) or "")


def test_nothing_is_created_while_a_mass_disappearance_is_being_confirmed() -> None:
    watcher = Watcher(at=NOW)
    watcher.see(members(*["running"] * 30))
    watcher.see(members(*["running"] * 15))
    assert "mass disappearance" in (creation_guard(watcher.inventory, FLEETS, watcher.at) or "")


def test_nothing_is_created_while_most_are_missing_nor_soon_after_they_are_given_up() -> None:
    watcher = Watcher(at=NOW)
    watcher.see(members("running", "running", "running"))
    watcher.see([])
    assert "missing from the last listing" in (creation_guard(watcher.inventory, FLEETS, watcher.at) or "")
    watcher.see([])
    given_up_at = watcher.inventory.observed_at or 0.0
    assert "lost at once" in (creation_guard(watcher.inventory, FLEETS, given_up_at + 59.0) or "")
    while watcher.at < given_up_at + 300.0:
        watcher.see([])
    assert creation_guard(watcher.inventory, FLEETS, watcher.at) is None


def test_terminated_instances_that_leave_the_list_are_no_loss() -> None:
    watcher = Watcher(at=NOW)
    watcher.see(members("running", "terminated", "terminated", "terminated"))
    watcher.see(members("running"))
    watcher.see(members("running"))
    assert creation_guard(watcher.inventory, FLEETS, watcher.at) is None


def test_a_world_counts_the_members_of_the_fleets_that_are_declared() -> None:
    world = World({})
    world.inventory.restore({i.id: i for i in members("running", "stopped")}, {}, NOW)
    world.declare(FLEETS)
    assert world.inventory.fleet("web") == {("us-east-1", "running"): 1, ("us-east-1", "stopped"): 1}
    world.declare(Fleets())
    assert world.inventory.fleet("web") == {}


def test_an_inventory_may_begin_with_fleets() -> None:
    inventory = Inventory(["web"])
    inventory.restore({i.id: i for i in members("running")}, {}, NOW)
    assert inventory.fleet("web") == {("us-east-1", "running"): 1}
