"""`/api/v1/status`, `/api/v1/events` and the probes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.errors import ConfigError, StoreUnavailableError
from nexusd.core.events import Event, Subject
from nexusd.core.lifecycle import State
from tests.web.fakes import EVERYWHERE, NOW, alert, instance, muted_world, placement, world_of
from tests.web.site import Site


async def test_status_says_how_the_daemon_is(site: Site) -> None:
    site.daemon.world = world_of([instance(1), instance(2, "stopped"), instance(3, "odd")], EVERYWHERE)
    site.store.placements.put(placement(1), placement(2, State.RUNNING))
    site.store.outbox.numbers = {("ops", "pending"): 2, ("ops", "dead"): 1}
    site.store.outbox.oldest = {"ops": NOW - 60}

    status = (await site.get("/api/v1/status")).json

    assert status["version"] == "1.2.3"
    assert (status["started_at"], status["uptime_s"]) == ("2023-11-14T22:11:40.000Z", 100)
    assert (status["leader"], status["ready"], status["not_ready_reason"]) == (True, True, None)
    assert status["observed_at"] == "2023-11-14T22:13:10.000Z"
    assert status["instances"]["total"] == 3
    assert status["instances"]["by_status"] == {
        "pending": 0,
        "provisioning": 0,
        "running": 1,
        "stopped": 1,
        "terminated": 0,
        "odd": 1,
    }
    assert status["regions"] == {
        "total": 2,
        "healthy": 2,
        "with_capacity": 1,
        "eligible": 1,
        "best": "us-east-1",
    }
    assert status["placements"]["by_state"]["queued"] == 1
    assert status["placements"]["by_state"]["failed"] == 0
    assert (status["outbox"]["pending"], status["outbox"]["dead"]) == (2, 1)
    assert status["outbox"]["oldest_pending_at"] == "2023-11-14T22:12:20.000Z"


async def test_status_says_how_fresh_each_resource_is(site: Site) -> None:
    poll = site.daemon.world.polls["regions"]
    site.daemon.world.polls["regions"] = replace(
        poll, succeeded_at=NOW - 100, failure="timeout", failure_message="no answer within 10s"
    )
    resources = (await site.get("/api/v1/status")).json["resources"]
    assert resources["regions"]["stale"] is True
    assert resources["regions"]["age_s"] == 100
    assert resources["regions"]["failure"] == "timeout"
    assert resources["instances"]["stale"] is False


async def test_before_the_first_snapshots_nothing_is_dated(site: Site) -> None:
    world = world_of()
    world.inventory.observed_at = None
    world.polls = {k: replace(p, succeeded_at=None) for k, p in world.polls.items()}
    site.daemon.world, site.daemon.unready, site.daemon.judged = world, "no first snapshot", ()

    status = (await site.get("/api/v1/status")).json

    assert status["observed_at"] is None
    assert status["resources"]["regions"]["age_s"] is None
    assert (status["ready"], status["not_ready_reason"]) == (False, "no first snapshot")


async def test_alerts_come_with_the_most_pressing_first(site: Site) -> None:
    site.daemon.world.alerts = {
        "1": alert("A", AlertState.PENDING, "critical"),
        "2": alert("B", AlertState.FIRING, "info"),
        "3": alert("C", AlertState.FIRING, "critical"),
        "4": alert("D", AlertState.RESOLVED, "critical"),
        "5": alert("Watchdog", AlertState.FIRING, "none"),
    }
    alerts = (await site.get("/api/v1/status")).json["alerts"]
    assert [a["labels"]["alertname"] for a in alerts["active"]] == ["C", "B", "A", "Watchdog"]
    assert (alerts["firing"], alerts["pending"]) == (2, 1)


async def test_thousands_of_alerts_are_counted_and_not_all_listed(site: Site) -> None:
    site.daemon.world.alerts = {str(n): alert(instance_id=str(n)) for n in range(3000)}
    alerts = (await site.get("/api/v1/status")).json["alerts"]
    assert (alerts["firing"], len(alerts["active"])) == (3000, 100)


async def test_status_goes_on_without_the_store(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    answer = await site.get("/api/v1/status")
    assert answer.status == 200
    assert answer.json["placements"]["observed_at"] is None


async def test_a_fresh_count_is_dated(site: Site) -> None:
    assert (await site.get("/api/v1/status")).json["placements"]["observed_at"] == "2023-11-14T22:13:20.000Z"


def _event(number: int) -> Event:
    subject = Subject("instance", "inst_1", "worker-1", "us-east-1")
    return Event(NOW + number, "InstanceVanished", subject, {"status": "running"}, id=number)


async def test_an_event_has_the_documented_shape(site: Site) -> None:
    site.store.events.rows = [_event(1)]
    answer = (await site.get("/api/v1/events")).json
    assert answer["data"] == [
        {
            "id": 1,
            "at": "2023-11-14T22:13:21.000Z",
            "type": "InstanceVanished",
            "subject": {"kind": "instance", "id": "inst_1", "name": "worker-1", "region": "us-east-1"},
            "detail": {"status": "running"},
        }
    ]
    assert answer["observed_at"] == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("?limit=2", [4, 5]),
        ("?since=3", [4, 5]),
        ("?since=1&limit=2", [2, 3]),
        ("?since=2023-11-14T22:13:24Z", [4, 5]),
        ("?since=2023-11-14T23:13:24%2B01:00", [4, 5]),
        ("?since=9999999999999999999", []),
    ],
)
async def test_events_are_told_from_an_id_or_a_time_on(site: Site, query: str, ids: list[int]) -> None:
    site.store.events.rows = [_event(n) for n in range(1, 6)]
    answer = (await site.get(f"/api/v1/events{query}")).json
    assert [event["id"] for event in answer["data"]] == ids


async def test_a_time_is_taken_as_the_wall_clock_shows_it(site: Site) -> None:
    site.store.events.rows = [_event(n) for n in range(1, 6)]
    site.clock.step_wall_clock(3600)
    answer = (await site.get("/api/v1/events?since=2023-11-14T23:13:24Z")).json
    assert [event["id"] for event in answer["data"]] == [4, 5]


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=", "since=-1", "since=2023-11-14", "limit=1001", "limit=0"]
)
async def test_a_bad_question_about_events_names_the_parameter(site: Site, query: str) -> None:
    answer = await site.get(f"/api/v1/events?{query}")
    assert (answer.status, answer.fields) == (400, [query.partition("=")[0]])


async def test_events_without_the_store_are_a_503(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    answer = await site.get("/api/v1/events")
    assert (answer.status, answer.error["code"]) == (503, "STORE_UNAVAILABLE")


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_a_probe_is_200_when_all_is_well(site: Site, path: str) -> None:
    answer = await site.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")


async def test_a_probe_is_503_with_the_reason(site: Site) -> None:
    site.daemon.unready, site.daemon.unhealthy = "CloudNexus refuses the API key", "delivery is stuck"
    ready, healthy = await site.get("/-/ready"), await site.get("/-/healthy")
    assert (ready.status, ready.text) == (503, "nexusd is not ready: CloudNexus refuses the API key\n")
    assert (healthy.status, healthy.text) == (503, "nexusd is not healthy: delivery is stuck\n")


async def test_a_reload_that_fails_is_a_400_with_the_reason(site: Site) -> None:
    site.daemon.reload_error = ConfigError("nexusd.yaml:3: polling.region: no such key")
    answer = await site.post("/-/reload", {})
    assert (answer.status, answer.error["code"]) == (400, "CONFIG_ERROR")
    assert answer.error["message"] == "nexusd.yaml:3: polling.region: no such key"


async def test_a_reload_that_works_is_a_200(site: Site) -> None:
    assert (await site.post("/-/reload", {})).status == 200
    assert site.daemon.reloads == 1


async def test_alerts_say_what_mutes_them(site: Site) -> None:
    site.daemon.world = world = muted_world()
    alerts = (await site.get("/api/v1/status")).json["alerts"]
    assert alerts["suppressed"] == {"inhibited": 1, "silenced": 1}
    assert alerts["firing"] == 3
    shown = next(a for a in alerts["active"] if a["labels"].get("instance_id") == "inst_1")
    source = next(f for f, a in world.alerts.items() if a.name == "RegionUnhealthy")
    assert (shown["inhibited_by"], shown["silenced_by"]) == ([source], list(world.silences))
