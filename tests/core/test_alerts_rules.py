"""Each built-in rule: when it finds something, when it ends, and when it cannot know."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from nexusd.core.alerts import AlertState
from nexusd.core.backlog import Backlog
from nexusd.core.lifecycle import Placement, State
from nexusd.core.limits import InstanceLimits, InstanceUsage
from nexusd.core.notifications import Routing
from nexusd.core.placement import PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Region
from nexusd.core.rules_default import DEFAULT_RULES
from tests.core.alert_scenes import EU, START, US, Scene, firing, instance, only
from tests.core.newsroom import Newsroom

MINUTE = 60.0
HOUR = 3600.0


def placement(state: State, reason: str | None = None, at: float = START) -> Placement:
    return Placement("plc_1", PlacementRequest("web-1", "pro"), state, START, at, reason, "us-east-1")


def healthy_polls(scene: Scene) -> None:
    scene.regions(EU, US)
    scene.sweep(instance(1))


def outage(scene: Scene, seconds: float, reason: str = "connect") -> None:
    """Every poll fails on time."""
    until = scene.now + seconds
    while scene.now < until:
        scene.later(15.0).fail(REGIONS, reason)
        if (scene.now - START) % 30 == 0:
            scene.fail(INSTANCES, reason)


@pytest.mark.parametrize(
    ("name", "for_s", "severity", "threshold", "resolve_after_s"),
    [
        ("Watchdog", 0, "none", None, None),
        ("CloudAPIUnreachable", 0, "critical", None, None),
        ("CloudAPIUnauthorized", 0, "critical", None, None),
        ("SnapshotStale", 0, "warning", None, None),
        ("MassDisappearance", 0, "critical", None, None),
        ("NoEligibleRegion", 60, "critical", None, None),
        ("RegionUnhealthy", 120, "warning", None, None),
        ("RegionCapacityExhausted", 900, "info", None, None),
        ("RegionLatencyHigh", 300, "warning", 250, None),
        ("InstanceStopped", 0, "warning", None, 86400),
        ("InstanceTerminated", 0, "warning", None, 86400),
        ("InstanceVanished", 0, "critical", None, 3600),
        ("InstanceStuck", 0, "warning", 900, None),
        ("PlacementFailed", 0, "critical", None, 3600),
        ("PlacementHeld", 0, "critical", None, None),
        ("PlacementDelayed", 0, "warning", 600, None),
        ("DuplicateName", 0, "warning", None, None),
        ("InstanceLimitNear", 0, "warning", None, None),
        ("FleetBelowCount", 300, "critical", None, None),
        ("NotificationsFailing", 0, "critical", 600, 86400),
    ],
)
def test_the_defaults_are_those_of_the_contract(
    name: str, for_s: float, severity: str, threshold: float | None, resolve_after_s: float | None
) -> None:
    rule = DEFAULT_RULES[name]
    found = (rule.for_s, rule.severity, rule.threshold, rule.resolve_after_s, rule.enabled)
    assert found == (for_s, severity, threshold, resolve_after_s, True)


def test_watchdog_always_fires() -> None:
    scene = Scene(only("Watchdog"))
    scene.evaluate()
    assert (scene.state("Watchdog"), scene.alert("Watchdog").label("severity")) == ("firing", "none")


class TestCloudApiUnreachable:
    def test_fires_after_three_intervals_without_any_answer(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        healthy_polls(scene)
        assert scene.last.next_due is not None
        outage(scene, 45.0)
        assert scene.state("CloudAPIUnreachable") is None
        scene.now = START + 45.01
        scene.evaluate()
        assert scene.state("CloudAPIUnreachable") == "firing"

    def test_is_due_by_the_time_alone(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        healthy_polls(scene)
        scene.now += 15.0
        scene.fail(REGIONS)
        scene.fail(INSTANCES)
        due = scene.last.next_due
        assert due is not None
        scene.now = due
        scene.evaluate()
        assert scene.state("CloudAPIUnreachable") == "firing"

    @pytest.mark.parametrize("resource", [REGIONS, INSTANCES])
    def test_polls_of_one_kind_that_fail_are_no_outage(self, resource: str) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        healthy_polls(scene)
        for _ in range(4):
            scene.later(15.0).fail(resource)
        assert scene.state("CloudAPIUnreachable") is None

    def test_time_in_which_no_poll_failed_changes_nothing(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        healthy_polls(scene)
        scene.now += 3600.0
        scene.evaluate()
        assert scene.state("CloudAPIUnreachable") is None

    def test_does_not_fire_while_one_kind_answers(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        healthy_polls(scene)
        for _ in range(40):
            scene.later(15.0).fail(REGIONS)
            if (scene.now - START) % 30 == 0:
                scene.sweep(instance(1))
        assert scene.state("CloudAPIUnreachable") is None

    def test_a_partial_sweep_is_an_answer(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        healthy_polls(scene)
        for _ in range(40):
            scene.later(15.0).fail(INSTANCES, "partial", answered=True)
        assert scene.state("CloudAPIUnreachable") is None

    def test_ends_with_the_first_answer(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        outage(scene, 120.0)
        assert scene.state("CloudAPIUnreachable") == "firing"
        scene.later(15.0).regions(EU)
        assert scene.state("CloudAPIUnreachable") == "resolved"

    def test_goes_on_over_a_restart_that_has_had_no_answer_yet(self) -> None:
        scene = Scene(only("CloudAPIUnreachable"))
        outage(scene, 120.0)
        scene.restart()
        scene.later(1.0).fail(REGIONS, "connect")
        assert scene.state("CloudAPIUnreachable") == "firing"


def test_an_outage_over_ten_thousand_instances_is_one_alert_and_ends_as_one() -> None:
    """I5: nothing about instances or regions in between or after."""
    scene = Scene()
    fleet = [instance(n) for n in range(10_000)]
    scene.regions(EU, US)
    scene.sweep(*fleet)
    outage(scene, 20 * MINUTE)
    assert firing(scene.alerts.values()) == {"Watchdog", "CloudAPIUnreachable"}
    scene.later(15.0).regions(EU, US)
    scene.later(5.0).evaluate()
    scene.later(10.0).sweep(*fleet)
    for _ in range(20):
        scene.later(15.0).regions(EU, US)
        scene.later(15.0).sweep(*fleet)
    assert {(a.name, a.state.value) for a in scene.alerts.values()} == {
        ("Watchdog", "firing"),
        ("CloudAPIUnreachable", "resolved"),
    }


class TestCloudApiUnauthorized:
    def test_fires_on_a_refused_key_and_ends_when_it_is_accepted(self) -> None:
        scene = Scene(only("CloudAPIUnauthorized"))
        scene.fail(REGIONS, "unauthorized")
        assert scene.state("CloudAPIUnauthorized") == "firing"
        scene.later(15.0).regions(EU)
        assert scene.state("CloudAPIUnauthorized") == "resolved"

    def test_a_time_out_does_not_end_it(self) -> None:
        scene = Scene(only("CloudAPIUnauthorized"))
        scene.fail(REGIONS, "unauthorized")
        scene.later(15.0).fail(REGIONS, "timeout")
        assert scene.state("CloudAPIUnauthorized") == "firing"

    def test_a_key_that_may_read_but_not_create_is_refused_too(self) -> None:
        scene = Scene(only("CloudAPIUnauthorized"))
        healthy_polls(scene)
        scene.key_refused = "CloudNexus refused the key (403 read only)"
        scene.later(15.0).regions(EU)
        (alert,) = scene.alerts.values()
        assert alert.state.value == "firing"
        assert "403 read only" in dict(alert.annotations)["description"]
        scene.key_refused = ""
        scene.later(15.0).regions(EU)
        assert scene.state("CloudAPIUnauthorized") == "resolved"


class TestSnapshotStale:
    def test_fires_when_sweeps_stay_partial(self) -> None:
        scene = Scene(only("SnapshotStale"))
        healthy_polls(scene)
        for n in range(1, 5):
            scene.later(30.0).fail(INSTANCES, "partial", answered=True)
            scene.regions(EU)
            assert (scene.state("SnapshotStale") == "firing") is (30.0 * n > 90.0)
        assert "partial" in dict(scene.alert("SnapshotStale").annotations)["description"]

    def test_ends_with_a_complete_sweep(self) -> None:
        scene = Scene(only("SnapshotStale"))
        for _ in range(5):
            scene.later(30.0).fail(INSTANCES, "partial", answered=True)
            scene.regions(EU)
        scene.later(30.0).regions(EU)
        scene.sweep(instance(1))
        assert scene.state("SnapshotStale") == "resolved"

    def test_is_not_for_an_api_that_does_not_answer(self) -> None:
        scene = Scene(only("SnapshotStale"))
        healthy_polls(scene)
        outage(scene, 600.0)
        assert scene.count("SnapshotStale") == 0

    def test_fires_when_one_kind_never_answers_though_the_other_does(self) -> None:
        scene = Scene(only("SnapshotStale"))
        healthy_polls(scene)
        for _ in range(30):
            scene.later(15.0).regions(EU)
            scene.fail(INSTANCES, "server_error")
        assert scene.state("SnapshotStale") == "firing"


class TestMassDisappearance:
    def test_fires_while_a_sweep_is_held_back_and_no_instance_is_reported(self) -> None:
        scene = Scene(only("MassDisappearance"), only("InstanceVanished"))
        scene.sweep(*(instance(n) for n in range(40)))
        scene.later(30.0).sweep()
        assert scene.state("MassDisappearance") == "firing"
        assert "40 of 40" in dict(scene.alert("MassDisappearance").annotations)["summary"]
        assert scene.count("InstanceVanished") == 0

    def test_ends_when_the_instances_are_back(self) -> None:
        scene = Scene(only("MassDisappearance"), only("InstanceVanished"))
        fleet = [instance(n) for n in range(40)]
        scene.sweep(*fleet)
        scene.later(30.0).sweep()
        scene.later(30.0).sweep(*fleet)
        assert scene.state("MassDisappearance") == "resolved"
        assert scene.count("InstanceVanished") == 0

    def test_becomes_vanished_instances_when_three_sweeps_agree(self) -> None:
        scene = Scene(only("MassDisappearance"), only("InstanceVanished"))
        scene.sweep(*(instance(n) for n in range(40)))
        for _ in range(3):
            scene.later(30.0).sweep()
        assert scene.state("MassDisappearance") == "resolved"
        assert scene.count("InstanceVanished") == 40

    def test_does_not_end_because_of_a_restart(self) -> None:
        scene = Scene(only("MassDisappearance"))
        scene.sweep(*(instance(n) for n in range(40)))
        scene.later(30.0).sweep()
        scene.restart()
        scene.later(5.0).evaluate()
        assert scene.state("MassDisappearance") == "firing"


class TestRegions:
    def test_no_eligible_region(self) -> None:
        scene = Scene(only("NoEligibleRegion", for_s=0.0))
        scene.regions(replace_region(EU, status="degraded"), replace_region(US, capacity=False))
        assert scene.state("NoEligibleRegion") == "firing"
        scene.later(15.0).regions(EU, replace_region(US, capacity=False))
        assert scene.state("NoEligibleRegion") == "resolved"

    def test_nothing_is_said_of_regions_before_they_were_read(self) -> None:
        scene = Scene(only("NoEligibleRegion", for_s=0.0))
        scene.evaluate()
        assert scene.alerts == {}

    def test_a_region_that_left_the_list_is_unhealthy(self) -> None:
        scene = Scene(only("RegionUnhealthy", for_s=0.0))
        scene.regions(EU, US)
        scene.later(15.0).regions(US)
        assert "left the list" in dict(scene.alert("RegionUnhealthy").annotations)["summary"]
        scene.later(15.0).regions(EU, US)
        assert scene.state("RegionUnhealthy") == "resolved"

    def test_an_unknown_status_is_not_healthy(self) -> None:
        scene = Scene(only("RegionUnhealthy", for_s=0.0))
        scene.regions(replace_region(EU, status="sparkling"))
        assert scene.state("RegionUnhealthy") == "firing"

    def test_capacity_is_exhausted_only_where_it_is_healthy(self) -> None:
        scene = Scene(only("RegionCapacityExhausted", for_s=0.0))
        scene.regions(replace_region(EU, capacity=False), replace_region(US, capacity=False, status="down"))
        assert [a.label("region") for a in scene.alerts.values()] == ["eu-west-2"]

    def test_latency_above_the_threshold(self) -> None:
        scene = Scene(only("RegionLatencyHigh", for_s=0.0, threshold=40.0))
        scene.regions(EU, US)
        assert [a.label("region") for a in scene.alerts.values()] == ["eu-west-2"]
        scene.later(15.0).regions(replace_region(EU, latency_ms=40.0), US)
        assert scene.state("RegionLatencyHigh") == "resolved"

    def test_a_latency_that_is_missing_changes_nothing(self) -> None:
        scene = Scene(only("RegionLatencyHigh", threshold=40.0))
        scene.regions(EU)
        for _ in range(40):
            scene.later(15.0).regions(replace_region(EU, latency_ms=None))
        assert scene.state("RegionLatencyHigh") == "pending"


def replace_region(region: Region, **changes: object) -> Region:
    values = {name: getattr(region, name) for name in region.__struct_fields__}
    return Region(**{**values, **changes})


class TestInstances:
    def test_stopped_after_it_was_seen_running(self) -> None:
        scene = Scene(only("InstanceStopped"))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        alert = scene.alert("InstanceStopped")
        assert alert.state is AlertState.FIRING
        assert dict(alert.labels) == {
            "alertname": "InstanceStopped",
            "severity": "warning",
            "instance_id": "inst_1",
            "instance": "web-1",
            "name": "web-1",
            "region": "us-east-1",
        }

    def test_an_instance_without_a_name_goes_by_its_id(self) -> None:
        scene = Scene(only("InstanceStopped"))
        unnamed = structs.replace(instance(1), name="")
        scene.sweep(unnamed)
        scene.later(30.0).sweep(structs.replace(unnamed, status="stopped"))
        alert = scene.alert("InstanceStopped")
        assert alert.label("instance") == alert.label("name") == "inst_1"

    def test_one_that_was_never_seen_running_is_not_alerted(self) -> None:
        scene = Scene(only("InstanceStopped"), only("InstanceTerminated"))
        scene.sweep(instance(1, "stopped"), instance(2, "terminated"))
        assert scene.alerts == {}

    def test_seen_running_survives_a_restart(self) -> None:
        scene = Scene(only("InstanceStopped"))
        scene.sweep(instance(1))
        scene.restart()
        scene.later(60.0).sweep(instance(1, "stopped"))
        assert scene.state("InstanceStopped") == "firing"

    @pytest.mark.parametrize("then", ["pending", "provisioning", "rebooting", "stopped"])
    def test_stopped_goes_on_until_it_runs(self, then: str) -> None:
        scene = Scene(only("InstanceStopped"))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        scene.later(30.0).sweep(instance(1, then))
        assert scene.state("InstanceStopped") == "firing"
        scene.later(30.0).sweep(instance(1))
        assert scene.state("InstanceStopped") == "resolved"

    def test_stopped_ends_when_it_is_terminated_which_is_another_alert(self) -> None:
        scene = Scene(only("InstanceStopped"), only("InstanceTerminated"))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        scene.later(30.0).sweep(instance(1, "terminated"))
        assert (scene.state("InstanceStopped"), scene.state("InstanceTerminated")) == ("resolved", "firing")

    def test_stopped_ends_when_the_instance_is_gone(self) -> None:
        scene = Scene(only("InstanceStopped"))
        scene.sweep(instance(1), instance(2))
        scene.later(30.0).sweep(instance(1, "stopped"), instance(2))
        scene.later(30.0).sweep(instance(2))
        assert scene.state("InstanceStopped") == "firing"
        scene.later(30.0).sweep(instance(2))
        assert scene.state("InstanceStopped") == "resolved"

    def test_stopped_ends_after_a_day_and_does_not_come_back(self) -> None:
        scene = Scene(only("InstanceStopped"))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        assert scene.last.next_due == START + 30.0 + 24 * HOUR
        scene.later(24 * HOUR).sweep(instance(1, "stopped"))
        assert scene.state("InstanceStopped") == "resolved"
        scene.told()
        scene.restart()
        scene.later(30.0).sweep(instance(1, "stopped"))
        assert scene.state("InstanceStopped") == "resolved"

    def test_after_it_ran_again_a_day_later_it_may_fire_again(self) -> None:
        scene = Scene(only("InstanceStopped", resolve_after_s=60.0))
        scene.sweep(instance(1))
        for status in ("stopped", "stopped", "stopped", "running"):
            scene.later(30.0).sweep(instance(1, status))
        scene.told()
        assert scene.alerts == {}
        scene.later(30.0).sweep(instance(1, "stopped"))
        assert scene.state("InstanceStopped") == "firing"

    def test_stale_data_does_not_end_it_by_resolve_after(self) -> None:
        scene = Scene(only("InstanceStopped"))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        scene.later(48 * HOUR).fail(INSTANCES)
        assert scene.state("InstanceStopped") == "firing"

    def test_vanished_after_two_sweeps_and_ends_when_seen_again(self) -> None:
        scene = Scene(only("InstanceVanished"))
        scene.sweep(instance(1), instance(2))
        scene.later(30.0).sweep(instance(1))
        assert scene.alerts == {}
        scene.later(30.0).sweep(instance(1))
        assert scene.state("InstanceVanished") == "firing"
        scene.later(30.0).sweep(instance(1), instance(2))
        assert scene.state("InstanceVanished") == "resolved"

    def test_vanished_goes_on_while_other_sweeps_come_and_over_a_restart(self) -> None:
        scene = Scene(only("InstanceVanished"))
        scene.sweep(instance(1), instance(2))
        for _ in range(5):
            scene.later(30.0).sweep(instance(1))
        scene.restart()
        scene.later(30.0).sweep(instance(1))
        assert scene.state("InstanceVanished") == "firing"

    def test_vanished_ends_after_an_hour(self) -> None:
        scene = Scene(only("InstanceVanished"))
        scene.sweep(instance(1), instance(2))
        scene.later(30.0).sweep(instance(1))
        scene.later(30.0).sweep(instance(1))
        scene.later(HOUR).sweep(instance(1))
        assert scene.state("InstanceVanished") == "resolved"
        scene.told()
        assert scene.alerts == {}

    def test_one_last_seen_terminated_may_leave_the_list(self) -> None:
        scene = Scene(only("InstanceVanished"))
        scene.sweep(instance(1), instance(2, "terminated"))
        scene.later(30.0).sweep(instance(1))
        scene.later(30.0).sweep(instance(1))
        assert scene.alerts == {}

    def test_stuck_when_it_has_been_starting_for_longer_than_the_threshold(self) -> None:
        scene = Scene(only("InstanceStuck"))
        scene.sweep(instance(1, "pending"))
        assert scene.last.next_due == START + 7.5 * MINUTE
        scene.later(30.0).sweep(instance(1, "provisioning"))
        scene.later(15 * MINUTE - 31.0).sweep(instance(1, "provisioning"))
        assert scene.state("InstanceStuck") == "pending"
        scene.later(1.0).sweep(instance(1, "provisioning"))
        assert scene.state("InstanceStuck") == "firing"
        scene.later(30.0).sweep(instance(1))
        assert scene.state("InstanceStuck") == "resolved"

    def test_stuck_is_pending_from_half_of_the_threshold(self) -> None:
        scene = Scene(only("InstanceStuck"))
        scene.sweep(instance(1, "pending"))
        scene.later(7.5 * MINUTE - 1.0).sweep(instance(1, "pending"))
        assert scene.last.events == ()
        scene.later(1.0).evaluate()
        assert [event.type for event in scene.last.events] == ["AlertBecamePending"]
        assert scene.last.next_due == START + 15 * MINUTE
        scene.later(1.0).sweep(instance(1))
        assert [event.type for event in scene.last.events] == ["AlertWithdrawn"]

    def test_a_normal_boot_leaves_no_trace_of_stuck(self) -> None:
        room = Newsroom(only("InstanceStuck"))
        room.sweep(instance(1, "pending"))
        for status in ("pending", "provisioning", "provisioning", "running"):
            room.later(30.0).sweep(instance(1, status))
            counts = room.memory.counts
            assert (counts.pending, counts.firing, dict(counts.groups)) == (0, 0, {})
        assert (room.alerts, room.events, room.messages) == ({}, [], [])

    def test_stuck_again_soon_after_it_resolved_is_announced_once_it_is_pending(self) -> None:
        room = Newsroom(only("InstanceStuck", threshold=60.0))
        room.sweep(instance(1, "pending"))
        room.pass_time(60.0)
        room.sweep(instance(1))
        room.later(30.0).sweep(instance(1, "pending"))
        room.pass_time(20.0)
        assert room.events == ["AlertBecamePending", "AlertFired", "AlertResolved"]
        room.pass_time(60.0)
        assert room.events[3:] == ["AlertBecamePending", "AlertFired"]

    def test_stuck_counts_over_a_restart(self) -> None:
        scene = Scene(only("InstanceStuck"))
        scene.sweep(instance(1, "pending"))
        scene.later(10 * MINUTE).restart()
        scene.later(5 * MINUTE).sweep(instance(1, "pending"))
        assert scene.state("InstanceStuck") == "firing"

    def test_a_rule_that_is_changed_looks_at_every_instance_again(self) -> None:
        scene = Scene(only("InstanceStopped", enabled=False))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        scene.reconfigure(only("InstanceStopped"))
        scene.later(5.0).evaluate()
        assert scene.state("InstanceStopped") == "firing"

    def test_that_waits_for_data_that_is_known(self) -> None:
        scene = Scene(only("InstanceStopped", enabled=False))
        scene.sweep(instance(1))
        scene.later(30.0).sweep(instance(1, "stopped"))
        scene.reconfigure(only("InstanceStopped"))
        scene.later(600.0).fail(INSTANCES)
        assert scene.alerts == {}
        scene.later(30.0).sweep(instance(1, "stopped"))
        assert scene.state("InstanceStopped") == "firing"


class TestPlacements:
    def test_failed_says_why_and_ends_after_an_hour(self) -> None:
        scene = Scene(only("PlacementFailed"))
        scene.placements = (placement(State.FAILED, "VALIDATION_ERROR: no such image"),)
        assert scene.evaluate().next_due == START + HOUR
        alert = scene.alert("PlacementFailed")
        assert (alert.label("placement_id"), alert.label("instance")) == ("plc_1", alert.label("name"))
        assert "no such image" in dict(alert.annotations)["description"]
        scene.later(HOUR).evaluate()
        assert scene.state("PlacementFailed") == "resolved"

    def test_an_older_failure_is_not_told(self) -> None:
        scene = Scene(only("PlacementFailed"))
        scene.placements = (placement(State.FAILED),)
        scene.later(2 * HOUR).evaluate()
        assert scene.alerts == {}

    def test_held_until_it_is_not(self) -> None:
        scene = Scene(only("PlacementHeld"))
        scene.placements = (placement(State.HELD),)
        scene.evaluate()
        assert "nexusd resolve plc_1" in dict(scene.alert("PlacementHeld").annotations)["description"]
        scene.placements = ()
        scene.later(5.0).evaluate()
        assert scene.state("PlacementHeld") == "resolved"

    def test_delayed_after_ten_minutes_in_the_queue(self) -> None:
        scene = Scene(only("PlacementDelayed"))
        scene.placements = (placement(State.QUEUED, "no region is eligible"),)
        assert scene.evaluate().next_due == START + 10 * MINUTE
        assert scene.alerts == {}
        scene.later(10 * MINUTE).evaluate()
        assert scene.state("PlacementDelayed") == "firing"
        scene.placements = (replace(scene.placements[0], state=State.CREATING),)
        scene.later(5.0).evaluate()
        assert scene.state("PlacementDelayed") == "resolved"

    def test_a_shared_name_fires_until_one_instance_is_left_also_after_a_restart(self) -> None:
        scene = Scene(only("DuplicateName"))
        mine, other = instance(1), structs.replace(instance(2), name=instance(1).name)
        scene.sweep(mine, other)
        found = placement(State.PROVISIONING)
        scene.shared_names = {mine.name: replace(found, request=replace(found.request, name=mine.name))}
        scene.later(5.0).evaluate()
        assert scene.state("DuplicateName") == "firing"
        scene.shared_names = {}
        scene.later(25.0).sweep(mine, other)
        assert scene.state("DuplicateName") == "firing"
        scene.later(30.0).sweep(mine, structs.replace(other, status="terminated"))
        scene.later(5.0).evaluate()
        assert scene.state("DuplicateName") == "resolved"

    def test_a_limit_on_instances_fires_over_80_percent_each_plan_for_itself(self) -> None:
        scene = Scene(only("InstanceLimitNear"))
        limits = InstanceLimits(total=20, per_plan=10)
        scene.sweep(instance(1))
        scene.evaluate(limits=limits, usage=InstanceUsage(16, Counter(pro=8)))
        assert scene.alerts == {}
        update = scene.later(5.0).evaluate(limits=limits, usage=InstanceUsage(17, Counter(pro=9, starter=8)))
        assert {(a.label("plan"), a.state.value) for a in update.alerts.values()} == {
            ("", "firing"),
            ("pro", "firing"),
        }
        assert {dict(a.annotations)["summary"] for a in update.alerts.values()} == {
            "17 of 20 instances are used",
            "9 of 10 pro instances are used",
        }
        scene.later(5.0).evaluate(limits=limits)
        assert len(scene.alerts) == 2
        scene.later(5.0).evaluate(limits=limits, usage=InstanceUsage(16, Counter(pro=9)))
        assert sorted(a.state.value for a in scene.alerts.values()) == ["firing", "resolved"]
        scene.later(5.0).evaluate()
        assert {a.state.value for a in scene.alerts.values()} == {"resolved"}

    def test_placements_that_were_not_read_change_nothing(self) -> None:
        scene = Scene(only("PlacementHeld"))
        scene.placements = (placement(State.HELD),)
        scene.evaluate()
        scene.later(5.0).evaluate(placements=None)
        assert scene.state("PlacementHeld") == "firing"


class TestNotificationsFailing:
    def scene(self, *backlog: Backlog) -> Scene:
        scene = Scene(only("NotificationsFailing"))
        scene.backlog = backlog
        scene.evaluate()
        return scene

    def test_a_dead_message_is_told_until_it_is_replayed(self) -> None:
        scene = self.scene(Backlog("ops", dead=2, dead_at=START))
        alert = scene.alert("NotificationsFailing")
        assert dict(alert.labels) == {
            "alertname": "NotificationsFailing",
            "receiver": "ops",
            "severity": "critical",
        }
        assert dict(alert.annotations)["description"].startswith("2 messages were given up. ")
        scene.backlog = ()
        scene.later(15.0).evaluate()
        assert scene.state("NotificationsFailing") == "resolved"

    def test_a_dead_message_is_told_for_a_day_and_the_next_one_anew(self) -> None:
        scene = self.scene(Backlog("ops", dead=1, dead_at=START))
        assert scene.last.next_due == START + 24 * HOUR
        scene.later(20 * HOUR)
        scene.backlog = (Backlog("ops", dead=2, dead_at=scene.now),)
        scene.evaluate()
        scene.later(5 * HOUR).evaluate()
        assert scene.state("NotificationsFailing") == "firing"
        scene.later(19 * HOUR).evaluate()
        assert scene.state("NotificationsFailing") == "resolved"
        scene.later(HOUR)
        scene.backlog = (Backlog("ops", dead=3, dead_at=scene.now),)
        scene.evaluate()
        assert scene.state("NotificationsFailing") == "firing"

    def test_one_that_waits_for_ten_minutes_is_told(self) -> None:
        scene = self.scene(Backlog("ops", waiting=3, waiting_since=START - 599.0))
        assert (scene.alerts, scene.last.next_due) == ({}, START + 1.0)
        scene.later(1.0).evaluate()
        assert "older than 10 min" in dict(scene.alert("NotificationsFailing").annotations)["description"]
        scene.backlog = (Backlog("ops", waiting=1, waiting_since=scene.now),)
        scene.later(1.0).evaluate()
        assert scene.state("NotificationsFailing") == "resolved"

    def test_a_receiver_with_several_addresses_is_one_alert(self) -> None:
        scene = self.scene(
            Backlog("am/1", dead=1, dead_at=START), Backlog("am/2", waiting=1, waiting_since=START - 900.0)
        )
        description = dict(scene.alert("NotificationsFailing").annotations)["description"]
        assert description.startswith(
            "1 message was given up and the oldest that waits is older than 10 min."
        )

    def test_an_outbox_that_was_not_read_says_nothing(self) -> None:
        scene = self.scene(Backlog("ops", dead=1, dead_at=START))
        scene.later(15.0).evaluate(backlog=None)
        assert scene.state("NotificationsFailing") == "firing"

    def test_it_is_told_to_others_than_the_one_that_fails(self) -> None:
        room = Newsroom(only("NotificationsFailing"), routing=Routing({"ops": True, "dev": True}))
        room.backlog = (Backlog("ops", dead=1, dead_at=START),)
        room.evaluate()
        room.pass_time(60.0)
        assert [m.receiver for m in room.messages] == ["dev"]
        room.backlog = ()
        room.evaluate()
        room.pass_time(600.0)
        assert [m.receiver for m in room.messages] == ["dev", "dev"]

    def test_with_one_receiver_it_is_shown_and_ends_all_the_same(self) -> None:
        room = Newsroom(only("NotificationsFailing"))
        room.backlog = (Backlog("ops", dead=1, dead_at=START),)
        room.evaluate()
        room.backlog = ()
        room.later(60.0).evaluate()
        assert room.alert("NotificationsFailing").settled
        assert room.messages == []


@pytest.mark.parametrize("name", DEFAULT_RULES)
def test_the_runbook_has_a_section_for_each_rule(name: str) -> None:
    """`runbook_url` leads there."""
    runbook = Path(__file__).parents[2] / "docs" / "runbook.md"
    assert f"\n## {name}\n" in runbook.read_text()
