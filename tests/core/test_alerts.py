"""The state machine: pending, firing, resolved, and what lies between."""

from __future__ import annotations

import pytest

from nexusd.core.alerts import AlertState, fingerprint
from nexusd.core.errors import NexusdError
from nexusd.core.polls import REGIONS
from nexusd.core.records import Instance, Region
from tests.core.alert_scenes import EU, START, US, Scene, instance, only

SICK = Region("eu-west-2", "London, UK", "degraded", 45.0, capacity=True)


def unhealthy_for(scene: Scene, seconds: float) -> None:
    """The region stays sick; it is read every 15 s."""
    for _ in range(int(seconds / 15)):
        scene.later(15.0).regions(SICK, US)


def test_a_condition_is_pending_until_it_has_held_for_its_time() -> None:
    scene = Scene(only("RegionUnhealthy"))
    scene.regions(SICK, US)
    assert scene.state("RegionUnhealthy") == "pending"
    unhealthy_for(scene, 105.0)
    assert scene.state("RegionUnhealthy") == "pending"
    unhealthy_for(scene, 15.0)
    assert scene.state("RegionUnhealthy") == "firing"
    assert scene.alert("RegionUnhealthy").active_at == START
    assert scene.alert("RegionUnhealthy").fired_at == START + 120.0


def test_it_says_when_it_is_to_be_looked_at_again() -> None:
    scene = Scene(only("RegionUnhealthy"))
    assert scene.regions(SICK).next_due == START + 120.0


def test_a_pending_alert_whose_condition_ends_leaves_nothing() -> None:
    scene = Scene(only("RegionUnhealthy"))
    scene.regions(SICK, US)
    mark = scene.alert("RegionUnhealthy").fingerprint
    update = scene.later(15.0).regions(EU, US)
    assert scene.alerts == {}
    assert update.removed == (mark,)
    assert [e.type for e in update.events] == ["AlertWithdrawn"]


def test_a_firing_alert_whose_condition_ends_is_resolved() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0))
    scene.regions(SICK, US)
    update = scene.later(15.0).regions(EU, US)
    assert scene.state("RegionUnhealthy") == "resolved"
    assert scene.alert("RegionUnhealthy").resolved_at == START + 15.0
    assert [e.type for e in update.events] == ["AlertResolved"]


def test_the_time_starts_again_after_a_gap() -> None:
    scene = Scene(only("RegionUnhealthy"))
    unhealthy_for(scene, 60.0)
    scene.later(15.0).regions(EU, US)
    unhealthy_for(scene, 120.0)
    assert scene.state("RegionUnhealthy") == "pending"


def test_keep_firing_for_bridges_a_gap() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0, keep_firing_for_s=60.0))
    scene.regions(SICK)
    scene.later(15.0).regions(EU)
    scene.later(30.0).regions(SICK)
    scene.later(45.0).regions(SICK)
    assert scene.state("RegionUnhealthy") == "firing"
    assert scene.alert("RegionUnhealthy").fired_at == START


def test_after_keep_firing_for_it_is_resolved() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0, keep_firing_for_s=60.0))
    scene.regions(SICK)
    assert scene.later(15.0).regions(EU).next_due == START + 75.0
    for _ in range(4):
        scene.later(15.0).regions(EU)
    assert scene.state("RegionUnhealthy") == "resolved"


def test_stale_data_neither_resolves_nor_fires() -> None:
    scene = Scene(only("RegionUnhealthy"), only("NoEligibleRegion", for_s=0.0))
    scene.regions(SICK)
    before = dict(scene.alerts)
    for _ in range(100):
        scene.later(60.0).fail(REGIONS)
    assert scene.alerts == before
    assert {(a.name, a.state.value) for a in before.values()} == {
        ("RegionUnhealthy", "pending"),
        ("NoEligibleRegion", "firing"),
    }


def test_keep_firing_for_does_not_run_out_on_stale_data() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0, keep_firing_for_s=60.0))
    scene.regions(SICK)
    scene.later(15.0).regions(EU)
    scene.later(600.0).fail(REGIONS)
    assert scene.state("RegionUnhealthy") == "firing"


def test_a_restart_in_the_middle_of_for_loses_no_time() -> None:
    scene = Scene(only("RegionUnhealthy"))
    scene.regions(SICK, US)
    unhealthy_for(scene, 90.0)
    scene.restart()
    scene.later(5.0).evaluate()
    assert scene.state("RegionUnhealthy") == "pending"
    scene.later(25.0).regions(SICK, US)
    assert scene.state("RegionUnhealthy") == "firing"


def test_a_disabled_rule_ends_its_alerts_at_once() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0, keep_firing_for_s=600.0))
    scene.regions(SICK)
    scene.reconfigure(only("RegionUnhealthy", enabled=False))
    scene.later(900.0).evaluate()
    assert scene.state("RegionUnhealthy") == "resolved"


def test_where_leaves_out_what_it_is_false_for() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0, where=lambda region: region.slug == "us-east-1"))
    scene.regions(SICK)
    assert scene.alerts == {}


def test_a_where_that_cannot_be_judged_lets_the_alert_through() -> None:
    def where(region: Region) -> bool:
        raise NexusdError("no such field")

    scene = Scene(only("RegionUnhealthy", for_s=0.0, where=where))
    scene.regions(SICK)
    assert scene.state("RegionUnhealthy") == "firing"


def test_own_labels_and_annotations_are_added_but_identity_stays() -> None:
    rule = only(
        "RegionUnhealthy",
        for_s=0.0,
        severity="page",
        labels=(("team", "infra"), ("region", "none"), ("empty", "")),
        annotations=(("summary", "mine"),),
    )
    scene = Scene(rule)
    scene.regions(SICK)
    alert = scene.alert("RegionUnhealthy")
    assert alert.labels == (
        ("alertname", "RegionUnhealthy"),
        ("region", "eu-west-2"),
        ("severity", "page"),
        ("team", "infra"),
    )
    annotations = dict(alert.annotations)
    assert annotations["summary"] == "mine"
    assert "degraded" in annotations["description"]
    assert annotations["runbook_url"].endswith("/runbook.md#regionunhealthy")


def test_a_pass_that_changes_nothing_says_so_and_copies_nothing() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0))
    scene.regions(SICK)
    before = scene.alerts
    facts_again = scene.later(15.0).regions(SICK)
    assert facts_again.changed == ()
    assert facts_again.events == ()
    assert scene.alerts == before


def test_an_alert_that_is_pending_again_remembers_the_end_that_was_not_told() -> None:
    scene = Scene(only("RegionUnhealthy"))
    unhealthy_for(scene, 150.0)
    scene.later(15.0).regions(EU)
    resolved_at = scene.now
    scene.later(15.0).regions(SICK)
    again = scene.alert("RegionUnhealthy")
    assert (again.state, again.resolved_at, again.ended) == (AlertState.PENDING, resolved_at, True)
    scene.later(15.0).regions(EU)
    assert scene.alert("RegionUnhealthy").state is AlertState.RESOLVED


def test_events_carry_the_labels() -> None:
    scene = Scene(only("RegionUnhealthy", for_s=0.0))
    (event,) = scene.regions(SICK).events
    assert (event.type, event.subject.kind, event.subject.name) == ("AlertFired", "alert", "RegionUnhealthy")
    assert event.subject.region == "eu-west-2"
    assert event.detail["labels"] == dict(scene.alert("RegionUnhealthy").labels)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, "cbf29ce484222325"),
        ({"alertname": "Watchdog", "severity": "none"}, "448881ef475b9b26"),
        (
            {
                "alertname": "InstanceStopped",
                "severity": "warning",
                "instance_id": "inst_8x92j1k0",
                "name": "prod-api-primary",
                "region": "us-east-1",
            },
            "126e1818384b0d78",
        ),
        ({"a": '\x01\n"x"\\', "alertname": "ünï", "name": "日本"}, "602c4de684ae1b4a"),
    ],
)
def test_fingerprints_are_those_of_alertmanager(labels: dict[str, str], expected: str) -> None:
    assert fingerprint(labels.items()) == expected


def test_the_order_of_labels_does_not_matter_to_a_fingerprint() -> None:
    assert fingerprint([("b", "2"), ("a", "1")]) == fingerprint([("a", "1"), ("b", "2")])


def test_nothing_of_instances_is_looked_at_when_no_sweep_came() -> None:
    scene = Scene(only("InstanceStopped"))
    scene.sweep(*(instance(n) for n in range(50)))
    looked = 0

    def where(_: object) -> bool:
        nonlocal looked
        looked += 1
        return True

    scene.rules = (only("InstanceStopped", where=where),)
    scene.later(15.0).evaluate()
    scene.later(15.0).sweep(*(instance(n) for n in range(49)), instance(49, "stopped"))
    assert looked == 1


def test_a_where_that_is_configured_ends_what_it_leaves_out() -> None:
    scene = Scene(only("InstanceStopped"))
    scene.sweep(instance(1), instance(2))
    scene.later(30.0).sweep(instance(1, "stopped"), instance(2, "stopped"))
    scene.reconfigure(only("InstanceStopped", where=lambda i: i.id == "inst_2"))
    scene.later(5.0).evaluate()
    firing = [a.label("instance_id") for a in scene.alerts.values() if a.state is AlertState.FIRING]
    assert firing == ["inst_2"]


@pytest.mark.parametrize("status", ["stopped", "terminated"])
def test_an_instance_that_is_renamed_is_one_alert(status: str) -> None:
    scene = Scene(only("InstanceStopped"), only("InstanceTerminated"))
    scene.sweep(instance(1))
    scene.later(30.0).sweep(instance(1, status))
    renamed = Instance("inst_1", "api-1", status, "us-east-1")
    scene.later(30.0).sweep(renamed)
    assert [a.label("name") for a in scene.alerts.values() if a.state is AlertState.FIRING] == ["api-1"]


def test_another_severity_is_another_alert_and_ends_the_first() -> None:
    scene = Scene(only("InstanceStopped", keep_firing_for_s=600.0))
    scene.sweep(instance(1))
    scene.later(30.0).sweep(instance(1, "stopped"))
    scene.reconfigure(only("InstanceStopped", severity="page"))
    scene.later(5.0).evaluate()
    firing = [a.label("severity") for a in scene.alerts.values() if a.state is AlertState.FIRING]
    assert firing == ["page"]
