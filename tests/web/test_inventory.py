"""`/api/v1/regions` and `/api/v1/instances`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from nexusd.core.comparing import compare
from nexusd.core.inventory import Inventory
from nexusd.core.records import Specs
from nexusd.core.sweeps import Sweep, SweepPolicy
from nexusd.web.beside import INSTANCES_ON_LOOP
from nexusd.web.inventory import Filter
from tests.web.fakes import EVERYWHERE, instance, world_of
from tests.web.site import Site


async def test_regions_come_with_what_makes_them_eligible_or_not(site: Site) -> None:
    answer = await site.get("/api/v1/regions")

    assert answer.status == 200
    assert answer.json["observed_at"] == "2023-11-14T22:13:10.000Z"
    london = next(r for r in answer.json["regions"] if r["slug"] == "eu-west-2")
    assert london == {
        "slug": "eu-west-2",
        "name": "London, UK",
        "status": "healthy",
        "latency_ms": 45.0,
        "capacity": False,
        "eligible": False,
        "rank": None,
        "reasons": ["no capacity"],
        "instances": 7,
    }


async def test_a_moving_average_stands_beside_the_latency_it_smooths(site: Site) -> None:
    world = world_of([], EVERYWHERE)
    known = {slug: replace(known, smoothed_ms=40.5) for slug, known in world.regions.known.items()}
    world.regions = replace(world.regions, known=known)
    site.daemon.world = world
    answer = await site.get("/api/v1/regions")
    assert [(r["latency_ms"], r["smoothed_ms"]) for r in answer.json["regions"]] == [
        (45.0, 40.5),
        (12.0, 40.5),
    ]


async def test_regions_are_empty_and_undated_before_the_first_poll(site: Site) -> None:
    site.daemon.world = world_of()
    site.daemon.world.regions = site.daemon.world.regions.__class__(None, {})
    answer = await site.get("/api/v1/regions")
    assert answer.json == {"regions": [], "observed_at": None}


async def test_a_listed_region_that_was_not_judged_yet_is_not_eligible(site: Site) -> None:
    site.daemon.judged = ()
    answer = await site.get("/api/v1/regions")
    assert [r["eligible"] for r in answer.json["regions"]] == [False, False]


async def test_an_instance_has_the_fields_that_cloudnexus_documents(site: Site) -> None:
    specs = Specs(4, 16, 200)
    one = instance(7, public_ip="192.0.2.7", created_at="2023-01-02T05:04:05+02:00", specs=specs)
    site.daemon.world = world_of([one], EVERYWHERE)

    row = (await site.get("/api/v1/instances")).json["data"][0]

    assert row == {
        "id": "inst_7",
        "name": "worker-7",
        "status": "running",
        "region": "us-east-1",
        "public_ip": "192.0.2.7",
        "specs": {"cpu": 4, "ram_gb": 16, "disk_gb": 200},
        "plan": None,
        "image": None,
        "created_at": "2023-01-02T03:04:05.000Z",
    }


async def test_a_creation_time_that_cannot_be_read_is_null(site: Site) -> None:
    site.daemon.world = world_of([instance(1, created_at="yesterday")])
    assert (await site.get("/api/v1/instances")).json["data"][0]["created_at"] is None


async def test_instances_are_paged_twenty_at_a_time_unless_asked_otherwise(site: Site) -> None:
    site.daemon.world = world_of(instance(n) for n in range(45))

    first = (await site.get("/api/v1/instances")).json
    last = (await site.get("/api/v1/instances?limit=30&offset=30")).json

    assert first["meta"] == {"total": 45, "limit": 20, "offset": 0}
    assert len(first["data"]) == 20
    assert [r["id"] for r in last["data"]] == [f"inst_{n}" for n in range(30, 45)]


async def test_pages_put_together_are_the_whole_fleet_once(site: Site) -> None:
    site.daemon.world = world_of(instance(n, region=f"r{n % 3}") for n in range(37))
    seen = [
        row["id"]
        for offset in range(0, 40, 10)
        for row in (await site.get(f"/api/v1/instances?limit=10&offset={offset}")).json["data"]
    ]
    assert sorted(seen) == sorted(f"inst_{n}" for n in range(37))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("region=r0", {"a0", "a2"}),
        ("status=stopped", {"a2", "a3"}),
        ("region=r0&status=stopped", {"a2"}),
        ("name=worker-1", {"a1"}),
        ("name=worker-1&region=r0", set()),
        ("name=worker", set()),
    ],
)
async def test_instances_are_filtered_by_whole_values(site: Site, query: str, expected: set[str]) -> None:
    fleet = [instance(n, "stopped" if n >= 2 else "running", f"r{n % 2}") for n in range(4)]
    site.daemon.world = world_of(fleet)

    answer = (await site.get(f"/api/v1/instances?{query}")).json

    assert {row["id"].replace("inst_", "a") for row in answer["data"]} == expected
    assert answer["meta"]["total"] == len(expected)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=" + "9" * 30, "limit"),
        ("offset=-1", "offset"),
        ("offset=" + "9" * 18, "offset"),
        ("limit=5&limit=6", "limit"),
        ("region=" + "x" * 1025, "region"),
        ("name=a&name=b", "name"),
    ],
)
async def test_a_bad_parameter_is_named(site: Site, query: str, field: str) -> None:
    answer = await site.get(f"/api/v1/instances?{query}")
    assert (answer.status, answer.error["code"], answer.fields) == (400, "VALIDATION_ERROR", [field])
    assert field in answer.error["message"]


async def test_an_offset_past_the_end_is_an_empty_page(site: Site) -> None:
    answer = (await site.get("/api/v1/instances?offset=1000000000")).json
    assert (answer["data"], answer["meta"]["total"]) == ([], 1)


async def test_hostile_text_from_the_cloud_is_answered_as_it_is(site: Site) -> None:
    site.daemon.world = world_of([instance(1, status='</script>\x00"\n\u202e')])
    assert (await site.get("/api/v1/instances")).json["data"][0]["status"] == '</script>\x00"\n\u202e'


def _hundred_thousand() -> Inventory:
    return world_of(
        instance(n, "stopped" if n == 99_999 else "running", f"r{n % 10}") for n in range(100_000)
    ).inventory


async def test_any_page_of_a_hundred_thousand_instances_is_quick() -> None:
    inventory = _hundred_thousand()
    pages = [
        (Filter(), 99_900),
        (Filter("r3"), 9_900),
        (Filter(status="stopped"), 0),
        (Filter(name="worker-5"), 0),
    ]
    started = time.process_time()
    for wanted, offset in pages * 5:
        await wanted.page(inventory, 100, offset)
    assert (time.process_time() - started) / 20 < 0.05


async def test_a_page_that_is_far_in_is_of_the_moment_it_was_asked_for() -> None:
    """It is read on a thread; a sweep that is taken in meanwhile changes nothing of it."""
    known = [instance(n, "stopped" if n % 4_000 == 0 else "running") for n in range(2 * INSTANCES_ON_LOOP)]
    stopped = [i for i in known if i.status == "stopped"]
    for wanted, offset, expected in (
        (Filter(status="stopped"), 1, stopped[1:4]),
        (Filter(), 15_000, known[15_000:15_003]),
        (Filter(), 5, known[5:8]),
    ):
        inventory = world_of(known).inventory
        asked = asyncio.create_task(wanted.page(inventory, 3, offset))
        await asyncio.sleep(0)
        inventory.apply(compare(inventory, Sweep(1.0, 2.0, {}), SweepPolicy(1, mass_share=1.0)))
        assert len(inventory) == 0
        rows, total = await asked
        assert (rows, total) == (expected, len(stopped) if wanted.status else len(known))


@pytest.mark.parametrize("path", ["/api/v1/instances", "/api/v1/sd"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("region=mars", "region: 'mars' is unknown; known: eu-west-2, old-1, us-east-1"),
        ("region=us-eats-1", "region: 'us-eats-1' is unknown; did you mean us-east-1? known: "),
        ("status=runing", "status: 'runing' is unknown; did you mean running? known: hibernated, pending, "),
    ],
)
async def test_a_filter_with_an_unknown_value_is_an_error(
    site: Site, path: str, query: str, said: str
) -> None:
    site.daemon.world = world_of([instance(1, "hibernated", region="old-1")], EVERYWHERE)
    answer = await site.get(f"{path}?{query}")
    assert answer.status == 400
    assert answer.error["message"].startswith(said)
    assert answer.fields == [query.partition("=")[0]]


@pytest.mark.parametrize(
    "query", ["region=old-1", "status=hibernated", "status=terminated", "region=eu-west-2"]
)
async def test_values_that_only_instances_have_are_accepted(site: Site, query: str) -> None:
    site.daemon.world = world_of([instance(1, "hibernated", region="old-1")], EVERYWHERE)
    assert (await site.get(f"/api/v1/instances?{query}")).status == 200


async def test_before_regions_are_read_every_region_is_accepted(site: Site) -> None:
    site.daemon.world = world_of([instance(1)], EVERYWHERE)
    site.daemon.world.regions = site.daemon.world.regions.__class__(None, {})
    assert (await site.get("/api/v1/instances?region=mars")).status == 200
