"""Inhibition and silences: what is not told, and what is told when that ends."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.matchers import parse_matcher
from nexusd.core.muting import MAX_GRACE_S, UNMUTED, Mutes, mute
from nexusd.core.notifications import Routing
from nexusd.core.records import Instance, Region
from nexusd.core.silences import Silence
from tests.core.alert_scenes import EU, US, instance, only
from tests.core.newsroom import Newsroom, states

T0 = 1_000_000.0
MINUTE = 60.0
HOUR = 3600.0
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


def fired(name: str, at: float = T0, **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": name, "severity": "warning", **labels}.items()))
    return Alert(fingerprint(pairs), pairs, (), FIRING, at, at)


def silence(*matchers: str, starts_at: float = T0, ends_at: float = T0 + 3600.0) -> Silence:
    return Silence("s1", tuple(map(parse_matcher, matchers)), starts_at, ends_at, starts_at, "me", "why")


def muted(*alerts: Alert, now: float = T0 + 1.0) -> list[str]:
    """The names of the alerts that others inhibit."""
    found = mute(alerts, (), now).muted
    return [a.name for a in alerts if a.fingerprint in found]


UNREACHABLE = fired("CloudAPIUnreachable")
UNHEALTHY = fired("RegionUnhealthy", region="eu-west-2")


class TestInhibition:
    @pytest.mark.parametrize(
        "name",
        [
            "SnapshotStale",
            "MassDisappearance",
            "NoEligibleRegion",
            "RegionUnhealthy",
            "RegionLatencyHigh",
            "InstanceStopped",
            "InstanceVanished",
            "InstanceStuck",
            "FleetBelowCount",
            "PlacementDelayed",
            "MyOwnRule",
        ],
    )
    def test_an_api_that_is_away_mutes_what_depends_on_its_data(self, name: str) -> None:
        assert muted(UNREACHABLE, fired(name, region="eu-west-2")) == [name]

    @pytest.mark.parametrize(
        "name",
        [
            "Watchdog",
            "CloudAPIUnauthorized",
            "PlacementFailed",
            "PlacementHeld",
            "NotificationsFailing",
        ],
    )
    def test_and_nothing_else(self, name: str) -> None:
        assert muted(UNREACHABLE, fired(name)) == []

    def test_an_unhealthy_region_mutes_its_other_alerts_and_its_instances(self) -> None:
        region = {"region": "eu-west-2"}
        assert muted(
            UNHEALTHY,
            fired("RegionLatencyHigh", region="eu-west-2"),
            fired("InstanceStopped", instance_id="inst_1", **region),
            fired("MyOwnRule", instance_id="inst_1", **region),
            fired("PlacementFailed", placement_id="plc_1", **region),
            fired("InstanceStopped", instance_id="inst_2", region="us-east-1"),
            fired("FleetBelowCount", fleet="web"),
        ) == ["RegionLatencyHigh", "InstanceStopped", "MyOwnRule"]

    def test_no_eligible_region_mutes_exhausted_capacity_and_delayed_placements(self) -> None:
        assert muted(
            fired("NoEligibleRegion"),
            fired("RegionCapacityExhausted", region="eu-west-2"),
            fired("PlacementDelayed", placement_id="plc_1"),
            fired("RegionLatencyHigh", region="eu-west-2"),
        ) == ["RegionCapacityExhausted", "PlacementDelayed"]

    def test_one_that_is_only_pending_mutes_nothing(self) -> None:
        assert muted(altered(UNREACHABLE, state=AlertState.PENDING), fired("InstanceStopped")) == []

    def test_one_that_is_itself_muted_mutes_on(self) -> None:
        stopped = fired("InstanceStopped", instance_id="inst_1", region="eu-west-2")
        found = mute([UNREACHABLE, UNHEALTHY, stopped], (), T0).muted
        assert set(found[stopped.fingerprint].inhibited_by) == {
            UNREACHABLE.fingerprint,
            UNHEALTHY.fingerprint,
        }

    def test_it_lingers_until_the_next_sweep_can_have_shown_what_ended_with_it(self) -> None:
        stopped = fired("InstanceStopped", instance_id="inst_1", region="eu-west-2")
        over = altered(UNHEALTHY, state=RESOLVED, resolved_at=T0 + 100.0, settled=True)
        assert muted(over, stopped, now=T0 + 100.0 + MAX_GRACE_S - 1.0) == ["InstanceStopped"]
        assert mute([over, stopped], (), T0 + 100.0).next_due == T0 + 100.0 + MAX_GRACE_S
        assert muted(over, stopped, now=T0 + 100.0 + MAX_GRACE_S) == []

    def test_it_ends_when_a_snapshot_begun_after_its_cause_resolved_was_evaluated(self) -> None:
        stopped = fired("InstanceStopped", instance_id="inst_1", region="eu-west-2")
        over = altered(UNHEALTHY, state=RESOLVED, resolved_at=T0 + 100.0, settled=True)
        alerts = {a.fingerprint: a for a in (over, stopped)}
        mutes = Mutes(alerts.values())
        before, _ = mutes.mute({}, alerts, (), UNMUTED, T0 + 100.0, evaluated_from=T0 + 99.0)
        assert stopped in before
        assert before.ended_by(T0 + 100.1)
        assert not before.ended_by(T0 + 100.0)
        after, changed = mutes.mute({}, alerts, (), before, T0 + 115.0, evaluated_from=T0 + 100.1)
        assert stopped not in after
        assert changed == [stopped.fingerprint]
        assert after.grace_since is None

    def test_one_that_flaps_inhibits_only_while_what_it_says_holds(self) -> None:
        stopped = fired("InstanceStopped", instance_id="inst_1", region="eu-west-2")
        flaps = altered(UNHEALTHY, flapping_since=T0)
        assert muted(flaps, stopped, now=T0 + HOUR) == ["InstanceStopped"]
        calm = altered(flaps, keep_firing_since=T0 + 100.0)
        assert muted(calm, stopped, now=T0 + 100.0 + MAX_GRACE_S - 1.0) == ["InstanceStopped"]
        assert mute([calm, stopped], (), T0 + 100.0).next_due == T0 + 100.0 + MAX_GRACE_S
        assert muted(calm, stopped, now=T0 + 100.0 + MAX_GRACE_S) == []


class TestSilences:
    def test_all_matchers_must_match(self) -> None:
        eu = fired("InstanceStopped", region="eu-west-2", instance_id="inst_1")
        us = fired("InstanceStopped", region="us-east-1", instance_id="inst_2")
        found = mute([eu, us], [silence("alertname=~Instance.*", 'region!="us-east-1"')], T0)
        assert {f: m.silenced_by for f, m in found.muted.items()} == {eu.fingerprint: ("s1",)}

    def test_it_holds_from_its_start_to_its_end(self) -> None:
        one = silence("alertname=InstanceStopped", starts_at=T0 + 10.0, ends_at=T0 + 20.0)
        stopped = fired("InstanceStopped")
        seen = [bool(mute([stopped], [one], T0 + s).muted) for s in (9.9, 10.0, 19.9, 20.0)]
        assert seen == [False, True, True, False]
        assert [mute([stopped], [one], T0 + s).next_due for s in (0.0, 15.0, 25.0)] == [
            T0 + 10.0,
            T0 + 20.0,
            None,
        ]

    def test_both_reasons_are_told(self) -> None:
        stopped = fired("InstanceStopped", instance_id="inst_1")
        pending = altered(fired("InstanceStuck", instance_id="inst_2"), state=AlertState.PENDING)
        alerts = [UNREACHABLE, stopped, pending]
        found = mute(alerts, [silence("severity=warning", "alertname!=CloudAPIUnreachable")], T0).muted
        assert found[stopped.fingerprint].inhibited_by == (UNREACHABLE.fingerprint,)
        assert found[stopped.fingerprint].silenced_by == ("s1",)


class TestTelling:
    """What muting does to messages."""

    def room(self) -> Newsroom:
        room = Newsroom(only("RegionUnhealthy", for_s=0.0), only("InstanceStopped"))
        self.read(room)
        return room

    @staticmethod
    def read(room: Newsroom, *, stopped: bool = False, sick: bool = False, seconds: float = 0.0) -> None:
        """Regions and instances are read every 15 s, for so long."""
        eu = Region("eu-west-2", "London, UK", "down" if sick else "healthy", 45.0, capacity=True)
        status = "stopped" if stopped else "running"
        for _ in range(max(1, int(seconds // 15))):
            room.regions(eu, US)
            room.sweep(Instance("inst_1", "web-1", status, "eu-west-2"))
            room.pass_time(15.0)

    def test_what_is_silenced_is_not_told_and_is_told_when_the_silence_ends(self) -> None:
        room = self.room()
        room.silence(silence("alertname=InstanceStopped", ends_at=room.now + 600.0))
        ends_at = room.now + 600.0
        self.read(room, stopped=True, seconds=590.0)
        assert room.sent == []
        self.read(room, stopped=True, seconds=60.0)
        assert [(at, states([list(m.alerts)])) for at, m in room.sent] == [(ends_at, [[FIRING]])]

    def test_an_end_within_a_silence_is_told_after_it_to_who_knows_of_the_alert(self) -> None:
        room = self.room()
        self.read(room, stopped=True, seconds=60.0)
        room.silence(silence("alertname=InstanceStopped", ends_at=room.now + 600.0))
        self.read(room, seconds=585.0)
        assert len(room.sent) == 1
        self.read(room, seconds=60.0)
        assert states(room.about("InstanceStopped")) == [[FIRING], [RESOLVED]]

    def test_what_began_and_ended_within_a_silence_is_never_told(self) -> None:
        room = self.room()
        room.silence(silence("alertname=InstanceStopped", ends_at=room.now + 600.0))
        self.read(room, stopped=True, seconds=300.0)
        self.read(room, seconds=3600.0)
        assert room.sent == []
        assert room.alerts == {}

    def test_what_was_told_before_a_silence_is_not_told_again_after_it(self) -> None:
        room = self.room()
        self.read(room, stopped=True, seconds=60.0)
        room.silence(silence("alertname=InstanceStopped", ends_at=room.now + 600.0))
        self.read(room, stopped=True, seconds=1200.0)
        assert len(room.sent) == 1

    def test_what_is_silenced_is_not_repeated(self) -> None:
        room = self.room()
        self.read(room, stopped=True, seconds=60.0)
        room.silence(silence("alertname=InstanceStopped", ends_at=room.now + 5 * 3600.0))
        self.read(room, stopped=True, seconds=4.9 * 3600.0)
        assert len(room.sent) == 1
        self.read(room, stopped=True, seconds=600.0)
        assert len(room.sent) == 2

    def test_a_silence_that_is_taken_back_lets_the_alert_through_at_once(self) -> None:
        room = self.room()
        room.silence(silence("alertname=InstanceStopped"))
        self.read(room, stopped=True, seconds=60.0)
        assert room.sent == []
        room.silence()
        assert len(room.sent) == 1

    def test_the_rest_of_a_group_is_told(self) -> None:
        room = Newsroom(only("InstanceStopped"))
        fleet = [instance(1), instance(2)]
        room.sweep(*fleet)
        room.silence(silence("alertname=InstanceStopped", "instance_id=inst_1"))
        room.sweep(instance(1, "stopped"), instance(2, "stopped"))
        room.pass_time(30.0)
        assert [[a.label("instance_id") for a in m.alerts] for m in room.messages] == [["inst_2"]]

    def test_a_receiver_that_is_not_told_of_ends_is_not_told_of_this_one_either(self) -> None:
        room = Newsroom(only("InstanceStopped"), routing=Routing({"ops": False}))
        self.read(room)
        self.read(room, stopped=True, seconds=60.0)
        room.silence(silence("alertname=InstanceStopped", ends_at=room.now + 600.0))
        self.read(room, seconds=3600.0)
        assert len(room.sent) == 1
        self.read(room, stopped=True, seconds=60.0)
        assert len(room.sent) == 2

    def test_a_region_that_falls_ill_is_told_and_its_instances_are_not(self) -> None:
        room = self.room()
        self.read(room, sick=True)
        self.read(room, sick=True, stopped=True, seconds=600.0)
        room.regions(EU, US)
        room.pass_time(20.0)
        self.read(room, seconds=3600.0)
        assert room.about("InstanceStopped") == []
        assert states(room.about("RegionUnhealthy")) == [[FIRING], [RESOLVED]]

    def test_one_that_stays_stopped_after_its_region_is_well_is_told(self) -> None:
        room = self.room()
        self.read(room, sick=True)
        self.read(room, sick=True, stopped=True, seconds=600.0)
        self.read(room, stopped=True, seconds=120.0)
        assert states(room.about("InstanceStopped")) == [[FIRING]]

    def test_the_history_says_what_is_muted_and_when_it_is_no_more(self) -> None:
        room = self.room()
        self.read(room, sick=True)
        self.read(room, sick=True, stopped=True)
        room.silence(silence("instance_id=inst_1", ends_at=room.now + 60.0))
        assert room.events == ["AlertFired", "AlertFired", "AlertInhibited", "AlertSilenced"]
        room.restart()
        self.read(room, sick=True, stopped=True, seconds=30.0)
        self.read(room, stopped=True, seconds=300.0)
        assert room.events[4:] == ["AlertResolved", "AlertUnmuted"]
