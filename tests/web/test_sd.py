"""`/api/v1/sd`: Prometheus's HTTP service discovery."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.polls import INSTANCES
from nexusd.core.records import Instance, Specs
from nexusd.web.sd import Labels
from tests.web.fakes import EVERYWHERE, NOW, instance, world_of
from tests.web.site import Reply, Site


def addresses(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.text
    return [target for group in reply.json for target in group["targets"]]


async def test_an_instance_with_a_public_ip_is_a_target_with_all_that_is_known_of_it(site: Site) -> None:
    one = replace_name(instance(7, public_ip="192.0.2.7", specs=Specs(4, 16, 200)), "web-x7f2k")
    site.daemon.world = world_of([one], EVERYWHERE)
    site.daemon.world.fleets = Fleets((FleetSpec("web", 1, "pro"),))
    answer = await site.get("/api/v1/sd")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == [
        {
            "targets": ["192.0.2.7:9100"],
            "labels": {
                "__meta_cloudnexus_instance_id": "inst_7",
                "__meta_cloudnexus_instance_name": "web-x7f2k",
                "__meta_cloudnexus_instance_status": "running",
                "__meta_cloudnexus_region": "us-east-1",
                "__meta_cloudnexus_public_ip": "192.0.2.7",
                "__meta_cloudnexus_fleet": "web",
                "__meta_cloudnexus_cpu": "4",
                "__meta_cloudnexus_ram_gb": "16",
                "__meta_cloudnexus_disk_gb": "200",
            },
        }
    ]


async def test_a_name_like_a_fleets_is_no_fleet_that_is_not_declared(site: Site) -> None:
    site.daemon.world = world_of([replace_name(instance(1, public_ip="192.0.2.1"), "web-x7f2k")])
    [group] = (await site.get("/api/v1/sd")).json
    assert "__meta_cloudnexus_fleet" not in group["labels"]


@pytest.mark.parametrize(
    ("public_ip", "targets"),
    [
        ("2001:db8::7", ["[2001:db8::7]:9100"]),
        ("2001:0db8:0:0:0:0:0:0007", ["[2001:db8::7]:9100"]),
        (None, []),
        ("", []),
        ("pending", []),
        ("192.0.2.1/32", []),
        ("192.0.2.1:80", []),
        ("fe80::1%eth0", []),
        ('192.0.2.1"\n', []),
    ],
)
async def test_a_target_is_an_address_as_urls_write_it_or_left_out(
    site: Site, public_ip: str | None, targets: list[str]
) -> None:
    site.daemon.world = world_of([instance(1, public_ip=public_ip)])
    assert addresses(await site.get("/api/v1/sd")) == targets


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["192.0.2.0:9100", "192.0.2.1:9100", "192.0.2.2:9100", "192.0.2.3:9100"]),
        ("?port=80", ["192.0.2.0:80", "192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]),
        ("?region=r1", ["192.0.2.1:9100", "192.0.2.3:9100"]),
        ("?status=running", ["192.0.2.0:9100", "192.0.2.1:9100"]),
        ("?port=1&region=r0&status=stopped", ["192.0.2.2:1"]),
    ],
)
async def test_targets_are_chosen_by_whole_values(site: Site, query: str, expected: list[str]) -> None:
    site.daemon.world = world_of(
        instance(n, "stopped" if n >= 2 else "running", f"r{n % 2}", public_ip=f"192.0.2.{n}")
        for n in range(4)
    )
    assert addresses(await site.get(f"/api/v1/sd{query}")) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("port=0", "port"),
        ("port=65536", "port"),
        ("port=http", "port"),
        ("port=", "port"),
        ("region=", "region"),
        ("status=", "status"),
        ("status=a&status=b", "status"),
    ],
)
async def test_a_bad_parameter_is_named(site: Site, query: str, field: str) -> None:
    answer = await site.get(f"/api/v1/sd?{query}")
    assert (answer.status, answer.error["code"], answer.fields) == (400, "VALIDATION_ERROR", [field])


async def test_no_instances_are_no_targets(site: Site) -> None:
    site.daemon.world = world_of([])
    assert (await site.get("/api/v1/sd")).json == []


async def test_a_stale_snapshot_is_503_however_many_instances_were_known(site: Site) -> None:
    site.daemon.world = world_of([instance(1, public_ip="192.0.2.1")])
    assert addresses(await site.get("/api/v1/sd")) == ["192.0.2.1:9100"]
    site.clock.advance(81)
    answer = await site.get("/api/v1/sd")
    assert (answer.status, answer.error["code"]) == (503, "SNAPSHOT_STALE")
    assert answer.headers["Retry-After"] == "5"


async def test_what_an_earlier_process_stored_is_not_served_before_it_was_read_anew(site: Site) -> None:
    world = world_of([instance(1, public_ip="192.0.2.1")])
    world.polls = {**world.polls, INSTANCES: replace(world.polls[INSTANCES], succeeded_at=None)}
    site.daemon.world = world
    answer = await site.get("/api/v1/sd")
    assert (answer.status, answer.error["message"]) == (
        503,
        "no instance data yet: keep the targets you have",
    )


async def test_the_next_snapshot_has_the_new_targets(site: Site) -> None:
    site.daemon.world = world_of([instance(1, public_ip="192.0.2.1")])
    assert addresses(await site.get("/api/v1/sd")) == ["192.0.2.1:9100"]
    site.daemon.world.inventory.restore({"inst_2": instance(2, public_ip="192.0.2.2")}, {}, NOW - 1)
    assert addresses(await site.get("/api/v1/sd")) == ["192.0.2.1:9100", "192.0.2.2:9100"]


async def test_each_of_many_queries_gets_its_own_targets(site: Site) -> None:
    site.daemon.world = world_of([instance(1, public_ip="192.0.2.1")])
    for _ in range(2):
        replies = await asyncio.gather(*(site.get(f"/api/v1/sd?port={port}") for port in range(1, 30)))
        assert [addresses(reply) for reply in replies] == [[f"192.0.2.1:{port}"] for port in range(1, 30)]


async def test_prometheus_gets_it_compressed_whole_and_in_order(site: Site) -> None:
    site.daemon.world = world_of(instance(n, public_ip=f"10.0.{n >> 8}.{n & 255}") for n in range(2500))
    packed = await site.get("/api/v1/sd", headers={"Accept-Encoding": "gzip"})
    plain = await site.get("/api/v1/sd")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert addresses(plain) == [f"10.0.{n >> 8}.{n & 255}:9100" for n in range(2500)]


def replace_name(one: Instance, name: str) -> Instance:
    return msgspec.structs.replace(one, name=name)


def test_every_label_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()
    assert [name for name in Labels.__struct_encode_fields__ if f"`{name}`" not in documented] == []
