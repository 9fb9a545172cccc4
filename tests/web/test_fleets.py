"""`GET /api/v1/fleets`, the fleets' metrics and their part of the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse_text

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import Spread
from nexusd.core.records import Instance
from nexusd.core.world import World
from tests.web.fakes import EVERYWHERE, NOW, world_of
from tests.web.html import read
from tests.web.site import Site

WEB = FleetSpec("web", 4, "pro")


def member(number: int, status: str = "running", region: str = "us-east-1") -> Instance:
    return Instance(f"inst_{number}", f"web-m{number:04}", status, region)


def declared(*specs: FleetSpec, instances: list[Instance] | None = None) -> World:
    """As after a complete listing of 10 s ago."""
    world = world_of(instances or [], EVERYWHERE)
    world.inventory.began_at = NOW - 11
    world.declare(Fleets(specs))
    return world


def asked_for(number: int, state: State = State.QUEUED, spec: FleetSpec = WEB, **more: Any) -> Placement:
    given = {"created_at": NOW - 60, "updated_at": NOW - 60, **more}
    return Placement(f"plc_{number:05}", spec.request(f"{spec.name}-p{number:04}"), state, **given)


async def fleet(site: Site, name: str = "web") -> dict[str, Any]:
    rows = (await site.get("/api/v1/fleets?limit=100")).json["data"]
    found: dict[str, Any] = next(row for row in rows if row["name"] == name)
    return found


async def test_a_fleet_has_the_documented_shape(site: Site) -> None:
    spec = replace(WEB, regions=("us-east-1",), where="region.capacity", spread=Spread("web", 2))
    members = [member(1), member(2, "pending", "eu-west-2"), member(3, "terminated"), member(4, "odd")]
    site.daemon.world = declared(spec, instances=members)
    site.store.placements.put(asked_for(1, State.VERIFYING, spec, region="us-east-1", attempts=1))
    answer = (await site.get("/api/v1/fleets")).json
    assert answer == {
        "data": [
            {
                "name": "web",
                "count": 4,
                "plan": "pro",
                "image": "ubuntu-22.04",
                "ssh_keys": [],
                "constraints": {
                    "regions": ["us-east-1"],
                    "avoid_regions": [],
                    "where": "region.capacity",
                    "spread": {"group": "web", "max_skew": 2},
                },
                "replace_stopped": False,
                "max_replacements": 1,
                "alive": 3,
                "in_flight": 1,
                "missing": 0,
                "surplus": 0,
                "adopted": 2,
                "by_region": {"eu-west-2": 1, "us-east-1": 2},
                "by_status": {
                    "pending": 1,
                    "provisioning": 0,
                    "running": 1,
                    "stopped": 0,
                    "terminated": 1,
                    "odd": 1,
                },
                "reason": None,
                "next_try_at": None,
                "warnings": [],
                "placements": [
                    {
                        "id": "plc_00001",
                        "name": "web-p0001",
                        "state": "verifying",
                        "region": "us-east-1",
                        "reason": None,
                        "created_at": "2023-11-14T22:12:20.000Z",
                    }
                ],
            }
        ],
        "meta": {"total": 1, "limit": 20, "offset": 0},
        "observed_at": "2023-11-14T22:13:10.000Z",
    }


async def test_without_fleets_the_list_is_empty_and_the_store_is_not_asked(site: Site) -> None:
    site.store.error = StoreUnavailableError("disk full")
    answer = await site.get("/api/v1/fleets")
    assert (answer.status, answer.json["data"], answer.json["meta"]["total"]) == (200, [], 0)


async def test_a_surplus_is_told(site: Site) -> None:
    site.daemon.world = declared(WEB, instances=[member(n) for n in range(6)])
    found = await fleet(site)
    assert (found["alive"], found["surplus"], found["missing"]) == (6, 2, 0)


async def test_members_that_the_fleet_did_not_create_are_counted(site: Site) -> None:
    site.daemon.world = declared(WEB, instances=[member(1), member(2), member(3, "terminated")])
    site.store.placements.put(asked_for(1, State.RUNNING, instance_id="inst_1"))
    assert (await fleet(site))["adopted"] == 1
    assert "counts 1 member that the fleet did not create" in (await read(site)).text


async def test_why_a_fleet_waits_and_until_when_is_told(site: Site) -> None:
    site.daemon.world = declared(WEB, instances=[member(1)])
    failed = asked_for(1, State.FAILED, updated_at=NOW - 10, reason="CloudNexus rejected it: 422")
    site.store.placements.put(failed)
    found = await fleet(site)
    assert found["missing"] == 3
    assert found["reason"] == "1 in a row failed, the last: CloudNexus rejected it: 422"
    assert found["next_try_at"] == "2023-11-14T22:14:10.000Z"


async def test_stale_data_is_a_reason(site: Site) -> None:
    site.daemon.world = declared(WEB)
    site.daemon.world.inventory.observed_at = NOW - 3600
    assert (await fleet(site))["reason"] == "instance data is older than the 90s allowed"


async def test_fleets_come_in_the_order_of_the_configuration_page_by_page(site: Site) -> None:
    site.daemon.world = declared(*(FleetSpec(f"f{n}", 1, "pro") for n in range(25)))
    first = (await site.get("/api/v1/fleets")).json
    assert [row["name"] for row in first["data"]] == [f"f{n}" for n in range(20)]
    rest = (await site.get("/api/v1/fleets?limit=10&offset=20")).json
    assert [row["name"] for row in rest["data"]] == [f"f{n}" for n in range(20, 25)]
    assert rest["meta"] == {"total": 25, "limit": 10, "offset": 20}
    assert (await site.get("/api/v1/fleets?offset=99")).json["data"] == []
    assert (await site.get("/api/v1/fleets?limit=0")).fields == ["limit"]


async def test_of_many_placements_in_flight_the_first_hundred_are_listed(site: Site) -> None:
    spec = replace(WEB, count=500)
    site.daemon.world = declared(spec)
    site.store.placements.put(*(asked_for(n, State.VERIFYING, spec) for n in range(150)))
    found = await fleet(site)
    assert (found["in_flight"], len(found["placements"])) == (150, 100)


async def test_without_the_store_it_is_a_503(site: Site) -> None:
    site.daemon.world = declared(WEB)
    site.store.error = StoreUnavailableError("disk full")
    assert (await site.get("/api/v1/fleets")).status == 503


async def test_the_metrics_of_every_declared_fleet_are_there(site: Site) -> None:
    stopped = replace(WEB, name="db", replace_stopped=True)
    there = [
        member(1),
        member(2, "stopped"),
        Instance("inst_8", "db-00001", "stopped", "us-east-1"),
        Instance("inst_9", "cache-00001", "running", "us-east-1"),
    ]
    site.daemon.world = declared(WEB, stopped, instances=there)
    site.store.error = StoreUnavailableError("disk full")
    families = {f.name: f for f in parse_text((await site.get("/metrics")).text)}
    desired = {s.labels["fleet"]: s.value for s in families["nexusd_fleet_desired"].samples}
    alive = {s.labels["fleet"]: s.value for s in families["nexusd_fleet_alive"].samples}
    assert desired == {"web": 4, "db": 4}
    assert alive == {"web": 2, "db": 0}


async def test_the_page_has_a_line_for_each_fleet(site: Site) -> None:
    site.daemon.world = declared(WEB, instances=[member(1)])
    site.store.placements.put(
        asked_for(1, State.FAILED, updated_at=NOW - 10, reason="<b>422</b>"),
        asked_for(2, State.HELD, created_at=NOW - 900),
    )
    text = (await read(site)).text
    assert "web | pro | 1 | 4 | 1 | " in text
    assert "<b>422</b> |  next try  | in 50 s" in text


async def test_the_page_says_that_the_store_does_not_answer_or_that_no_fleet_is_declared(site: Site) -> None:
    assert "No fleet is declared" in (await site.get("/")).text
    site.daemon.world = declared(WEB)
    site.store.error = StoreUnavailableError("disk full")
    site.clock.advance(1.0)
    assert "what is in flight is not known" in (await site.get("/")).text


async def test_a_region_that_is_not_listed_is_warned_of_in_the_answer_and_on_the_page(site: Site) -> None:
    site.daemon.world = declared(replace(WEB, regions=("mars",)))
    warning = "regions: CloudNexus does not list region mars; it lists eu-west-2, us-east-1"
    assert (await fleet(site))["warnings"] == [warning]
    page = (await site.get("/")).text
    assert warning in page
    assert "1 fleet names an unknown region" in page
