"""Log lines of a pass: what they name, and how many there are at most."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from structlog.testing import capture_logs

from nexusd.core.alerts import AlertState
from nexusd.core.changes import (
    InstanceAppeared,
    InstanceStatusChanged,
    InstanceVanished,
    RegionAppeared,
    RegionCapacityChanged,
    RegionStatusChanged,
    RegionVanished,
)
from nexusd.core.muting import UNMUTED, Muted, Muting
from nexusd.core.records import Instance
from nexusd.pass_log import MAX_LINES, log_alerts, log_changes
from tests.core.alert_scenes import EU, US, instance, only
from tests.core.newsroom import Newsroom
from tests.test_cycle import watch
from tests.virtual_time import in_virtual_time


def stopped(count: int) -> Newsroom:
    room = Newsroom(only("InstanceStopped"))
    room.sweep(*(instance(n) for n in range(count)))
    room.later(30.0).sweep(*(instance(n, "stopped") for n in range(count)))
    return room


def test_an_alert_that_fires_is_logged_with_its_labels_and_texts() -> None:
    room = stopped(1)
    with capture_logs() as logged:
        log_alerts(room.judged.events, room.alerts, UNMUTED)
    [alert] = room.alerts.values()
    assert logged == [
        {
            "event": "alert_fired",
            "log_level": "warning",
            "alertname": "InstanceStopped",
            "severity": "warning",
            "region": "us-east-1",
            "instance": "web-0",
            "instance_id": "inst_0",
            "summary": "Instance web-0 is stopped",
            "description": "web-0 (inst_0) in us-east-1 was seen running and is now stopped.",
            "fingerprint": alert.fingerprint,
        }
    ]


def test_an_alert_that_resolves_or_is_muted_is_no_warning() -> None:
    room = stopped(1)
    [alert] = room.alerts.values()
    muting = Muting({alert.fingerprint: Muted(inhibited_by=("a", "b"), silenced_by=("s",))})
    with capture_logs() as logged:
        log_alerts(room.judged.events, room.alerts, muting)
        room.later(30.0).sweep(instance(0))
        log_alerts(room.judged.events, room.alerts, UNMUTED)
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("alert_fired", "info"),
        ("alert_resolved", "info"),
    ]
    assert (logged[0]["inhibited_by"], logged[0]["silenced_by"]) == (2, ["s"])
    assert room.alerts[alert.fingerprint].state is AlertState.RESOLVED


def test_many_alerts_are_a_bounded_number_of_lines() -> None:
    room = stopped(MAX_LINES + 5)
    with capture_logs() as logged:
        log_alerts(room.judged.events, room.alerts, UNMUTED)
    assert [line["event"] for line in logged] == ["alert_fired"] * MAX_LINES + ["more_alerts_changed"]
    assert (logged[-1]["alert_fired"], logged[-1]["alertnames"]) == (5, {"InstanceStopped": 5})


def test_changes_are_logged_by_their_kind() -> None:
    one = Instance("inst_1", "web-1", "running", "us-east-1")
    changes = (
        InstanceAppeared(one),
        InstanceStatusChanged(one, replace(one, status="stopped")),
        InstanceVanished(one),
        RegionAppeared(EU),
        RegionStatusChanged(EU, replace(EU, status="degraded")),
        RegionCapacityChanged(US, replace(US, capacity=False)),
        RegionVanished(US),
    )
    with capture_logs() as logged:
        log_changes(changes)
    assert [line["event"] for line in logged] == [
        "instance_appeared",
        "instance_status_changed",
        "instance_vanished",
        "region_appeared",
        "region_status_changed",
        "region_capacity_changed",
        "region_vanished",
    ]
    assert logged[1] == {
        "event": "instance_status_changed",
        "log_level": "info",
        "instance": "web-1",
        "instance_id": "inst_1",
        "region": "us-east-1",
        "before": "running",
        "status": "stopped",
    }
    assert (logged[5]["region"], logged[5]["before"], logged[5]["capacity"]) == ("us-east-1", True, False)


def test_many_changes_are_a_bounded_number_of_lines() -> None:
    with capture_logs() as logged:
        log_changes([InstanceAppeared(instance(n)) for n in range(1000)])
    assert len(logged) == MAX_LINES + 1
    assert logged[-1] == {"event": "more_changes", "log_level": "info", "instance_appeared": 1000 - MAX_LINES}


@in_virtual_time
async def test_only_the_leader_logs_the_findings_of_its_passes(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        here.cloud.put(Instance("inst_1", "web-1", "running", "us-east-1"))
        await here.poll()
        for status, leads in (("stopped", True), ("running", False)):
            if not leads:
                await here.store.release_lease()
            here.cloud.change("inst_1", status=status)
            with capture_logs() as logged:
                await here.poll()
            events = [line["event"] for line in logged]
            assert ("instance_status_changed" in events) is leads
            assert ("alert_fired" in events) is leads
            assert "poll_finished" in events
