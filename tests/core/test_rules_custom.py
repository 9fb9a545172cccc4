"""Rules of the user's own, over instances, regions and fleets."""

from __future__ import annotations

import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.expressions import compile_where
from nexusd.core.fleets import FleetSpec
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance, Region
from nexusd.core.rules import Rule
from nexusd.core.rules_custom import condition_over
from tests.core.alert_scenes import EU, US, Scene, instance

SLOW = Region("eu-west-2", "London, UK", "healthy", 450.0, capacity=True)
UNMEASURED = Region("eu-west-2", "London, UK", "healthy", None, capacity=True)


def own(each: str, when: str, **changes: object) -> Rule:
    condition = condition_over(each, compile_where(when, (each,)), when)
    return Rule("MyOwn", condition, "page", **changes)  # type: ignore[arg-type]


def where(each: str, text: str) -> object:
    return compile_where(text, (each,))


class TestOverInstances:
    def test_it_fires_while_the_condition_is_true(self) -> None:
        scene = Scene(own("instance", 'instance.name.startsWith("web-") && instance.status == "stopped"'))
        scene.sweep(instance(1), instance(2, "stopped"))
        alert = scene.alert("MyOwn")
        assert (alert.state, alert.label("severity")) == (AlertState.FIRING, "page")
        assert alert.label("instance") == alert.label("name")
        assert (alert.label("instance_id"), alert.label("name"), alert.label("region")) == (
            "inst_2",
            "web-2",
            "us-east-1",
        )
        assert "web-2 (inst_2) in us-east-1" in dict(alert.annotations)["summary"]
        scene.later(30.0).sweep(instance(1), instance(2))
        assert scene.state("MyOwn") == "resolved"

    def test_it_ends_when_the_instance_is_gone(self) -> None:
        scene = Scene(own("instance", 'instance.status == "stopped"'))
        scene.sweep(instance(1), instance(2, "stopped"))
        scene.later(30.0).sweep(instance(1))
        assert scene.state("MyOwn") == "firing"
        scene.later(30.0).sweep(instance(1))
        assert scene.state("MyOwn") == "resolved"

    def test_for_and_keep_firing_for_are_its_own(self) -> None:
        scene = Scene(own("instance", 'instance.status == "stopped"', for_s=60.0, keep_firing_for_s=60.0))
        scene.sweep(instance(1, "stopped"))
        scene.later(30.0).sweep(instance(1, "stopped"))
        assert scene.state("MyOwn") == "pending"
        scene.later(30.0).evaluate()
        assert scene.state("MyOwn") == "firing"
        scene.later(30.0).sweep(instance(1))
        assert scene.state("MyOwn") == "firing"
        scene.later(60.0).evaluate()
        assert scene.state("MyOwn") == "resolved"

    def test_where_says_what_it_looks_at(self) -> None:
        rule = own(
            "instance", 'instance.status == "stopped"', where=where("instance", 'instance.id == "inst_2"')
        )
        scene = Scene(rule)
        scene.sweep(instance(1, "stopped"), instance(2, "stopped"))
        assert [a.label("instance_id") for a in scene.alerts.values()] == ["inst_2"]

    def test_a_field_that_is_not_known_neither_fires_nor_resolves(self) -> None:
        scene = Scene(own("instance", 'instance.public_ip.startsWith("198.")'))
        public = Instance("inst_1", "web-1", "running", "us-east-1", public_ip="198.51.100.1")
        scene.sweep(instance(1))
        assert scene.alerts == {}
        scene.later(30.0).sweep(public)
        assert scene.state("MyOwn") == "firing"
        scene.later(30.0).sweep(instance(1))
        assert scene.state("MyOwn") == "firing"

    def test_stale_data_neither_fires_nor_resolves(self) -> None:
        scene = Scene(own("instance", 'instance.status == "stopped"', for_s=60.0))
        scene.sweep(instance(1, "stopped"))
        scene.later(600.0).fail(INSTANCES)
        assert scene.state("MyOwn") == "pending"

    def test_labels_and_annotations_are_added_and_the_identity_stays(self) -> None:
        rule = own(
            "instance",
            'instance.status == "stopped"',
            labels=(("team", "infra"), ("instance_id", "mine")),
            annotations=(("summary", "look at it"),),
        )
        scene = Scene(rule)
        scene.sweep(instance(1, "stopped"))
        alert = scene.alert("MyOwn")
        assert (alert.label("team"), alert.label("instance_id")) == ("infra", "inst_1")
        assert dict(alert.annotations)["summary"] == "look at it"


class TestOverRegions:
    def test_it_fires_while_the_condition_is_true(self) -> None:
        scene = Scene(own("region", "region.latency_ms > 100 && region.capacity"))
        scene.regions(SLOW, US)
        assert [(a.label("region"), a.state.value) for a in scene.alerts.values()] == [
            ("eu-west-2", "firing")
        ]
        scene.later(15.0).regions(EU, US)
        assert scene.state("MyOwn") == "resolved"

    def test_a_latency_that_is_missing_changes_nothing(self) -> None:
        scene = Scene(own("region", "region.latency_ms > 100"))
        scene.regions(SLOW)
        scene.later(15.0).regions(UNMEASURED)
        assert scene.state("MyOwn") == "firing"

    def test_it_ends_when_the_region_leaves_the_list(self) -> None:
        scene = Scene(own("region", "region.latency_ms > 100"))
        scene.regions(SLOW, US)
        scene.later(15.0).regions(US)
        assert scene.state("MyOwn") == "resolved"

    def test_stale_data_neither_fires_nor_resolves(self) -> None:
        scene = Scene(own("region", "region.latency_ms > 100"))
        scene.regions(SLOW)
        scene.later(600.0).fail(REGIONS)
        assert scene.state("MyOwn") == "firing"


class TestOverFleets:
    @pytest.mark.parametrize(
        ("when", "fires"),
        [
            ("fleet.alive * 2 < fleet.count", True),
            ("fleet.missing > 2", True),
            ("fleet.missing > 3", False),
            ("fleet.surplus > 0", False),
            ('fleet.name == "web" && fleet.running == 1 && fleet.stopped == 2', True),
            ("double(fleet.alive) / double(fleet.count) < 0.3", True),
        ],
    )
    def test_it_counts_members(self, when: str, fires: bool) -> None:
        scene = Scene(own("fleet", when))
        scene.declare(FleetSpec("web", 4, "pro", replace_stopped=True), FleetSpec("api", 0, "pro"))
        members = [member("a"), member("b", "stopped"), member("c", "stopped"), member("d", "terminated")]
        scene.sweep(*members)
        names = [a.label("fleet") for a in scene.alerts.values()]
        assert names == (["web"] if fires else [])


class TestFleetBelowCount:
    def scene(self, count: int = 3) -> Scene:
        from tests.core.alert_scenes import only

        scene = Scene(only("FleetBelowCount"))
        scene.declare(FleetSpec("web", count, "pro"))
        scene.sweep(*(member(letter) for letter in "abc"))
        return scene

    def test_it_fires_when_too_few_have_been_alive_for_five_minutes(self) -> None:
        scene = self.scene()
        assert scene.alerts == {}
        scene.later(30.0).sweep(member("a"), member("b"), member("c", "terminated"))
        assert scene.state("FleetBelowCount") == "pending"
        scene.later(299.0).sweep(member("a"), member("b"))
        assert scene.state("FleetBelowCount") == "pending"
        scene.later(1.0).evaluate()
        alert = scene.alert("FleetBelowCount")
        assert (alert.state.value, dict(alert.labels)) == (
            "firing",
            {"alertname": "FleetBelowCount", "fleet": "web", "severity": "critical"},
        )
        assert "2 of the 3" in dict(alert.annotations)["description"]

    def test_the_sweep_that_ends_it_is_counted_at_once(self) -> None:
        scene = self.scene(count=4)
        scene.later(300.0).sweep(*(member(letter) for letter in "abc"))
        assert scene.state("FleetBelowCount") == "firing"
        scene.later(30.0).sweep(*(member(letter) for letter in "abcd"))
        assert scene.state("FleetBelowCount") == "resolved"

    def test_a_stopped_member_is_alive_unless_it_is_replaced(self) -> None:
        scene = self.scene()
        scene.later(30.0).sweep(member("a"), member("b"), member("c", "stopped"))
        assert scene.alerts == {}
        scene.declare(FleetSpec("web", 3, "pro", replace_stopped=True))
        scene.later(15.0).evaluate()
        assert scene.state("FleetBelowCount") == "pending"

    def test_a_fleet_that_is_not_declared_any_more_is_not_missed(self) -> None:
        scene = self.scene(count=4)
        scene.later(300.0).sweep(*(member(letter) for letter in "abc"))
        scene.declare()
        scene.later(15.0).evaluate()
        assert scene.state("FleetBelowCount") == "resolved"

    def test_stale_data_and_a_mass_disappearance_say_nothing(self) -> None:
        scene = self.scene()
        scene.later(600.0).fail(INSTANCES)
        assert scene.alerts == {}
        many = [Instance(f"i{n}", f"web-{n:05}", "running", "us-east-1") for n in range(40)]
        scene.declare(FleetSpec("web", 40, "pro"))
        scene.later(30.0).sweep(*many)
        scene.later(30.0).sweep()
        assert scene.alerts == {}


def member(letter: str, status: str = "running") -> Instance:
    return Instance(f"inst_{letter}", f"web-{letter * 5}", status, "us-east-1")
