"""The API as the reference has it, over real HTTP."""

from __future__ import annotations

import asyncio
import io

import aiohttp
import pytest

from nexusd.core.errors import StartError
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions, RegionSpec
from nexusd.emulator.server import EmulatorServer
from tests.emulator.clients import WORKER, HandClock, a_cloud, emulated


def fields_of(body: dict[str, dict[str, list[dict[str, str]]]]) -> list[str]:
    return [detail["field"] for detail in body["error"]["details"]]


async def test_regions_have_exactly_the_fields_of_the_reference() -> None:
    async with emulated(a_cloud()) as client:
        status, body = await client.get("/regions")
    assert status == 200
    assert body == {
        "regions": [
            {
                "slug": "us-east-1",
                "name": "Virginia, US",
                "status": "healthy",
                "avg_latency_ms": 12,
                "capacity": True,
            },
            {
                "slug": "eu-west-2",
                "name": "London, UK",
                "status": "healthy",
                "avg_latency_ms": 45,
                "capacity": True,
            },
        ]
    }


async def test_an_instance_has_exactly_the_fields_of_the_reference() -> None:
    async with emulated(a_cloud(instances=1)) as client:
        _, body = await client.get("/instances")
    (instance,) = body["data"]
    assert list(instance) == ["id", "name", "status", "region", "public_ip", "specs", "created_at"]
    assert set(instance["specs"]) == {"cpu", "ram_gb", "disk_gb"}
    assert body["meta"] == {"total": 1, "limit": 20, "offset": 0}


async def test_pages_are_20_unless_asked_otherwise_and_100_at_most() -> None:
    async with emulated(a_cloud(instances=250)) as client:
        assert len(await client.names()) == 20
        assert len(await client.names(limit=100)) == 100
        assert len(await client.names(limit=100, offset=200)) == 50
        assert await client.names(limit=100, offset=250) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limit", "abc"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", ""),
        ("limit", "5.0"),
        ("limit", "٥"),
        ("limit", "9" * 5000),
        ("offset", "-1"),
        ("offset", "x"),
        ("region", ""),
    ],
)
async def test_a_bad_query_value_is_a_400_that_names_the_field(key: str, value: str) -> None:
    async with emulated(a_cloud()) as client:
        status, body = await client.get("/instances", **{key: value})
    assert (status, body["error"]["code"], fields_of(body)) == (400, "VALIDATION_ERROR", [key])


async def test_a_parameter_given_twice_is_refused() -> None:
    async with (
        emulated(a_cloud()) as client,
        client.session.get(f"{client.url}/instances?limit=5&limit=6") as response,
    ):
        assert response.status == 400
        assert fields_of(await response.json()) == ["limit"]


async def test_unknown_query_parameters_are_ignored() -> None:
    async with emulated(a_cloud(instances=3)) as client:
        status, body = await client.get("/instances", colour="blue")
    assert (status, body["meta"]["total"]) == (200, 3)


async def test_the_region_filter_counts_and_pages_its_region_only() -> None:
    cloud = a_cloud(instances=100)
    expected = [instance.name for instance in cloud.instances() if instance.region == "eu-west-2"]
    async with emulated(cloud) as client:
        _, body = await client.get("/instances", region="eu-west-2", limit=7, offset=3)
        _, nowhere = await client.get("/instances", region="mars-1")
    assert [instance["name"] for instance in body["data"]] == expected[3:10]
    assert body["meta"] == {"total": len(expected), "limit": 7, "offset": 3}
    assert nowhere == {"data": [], "meta": {"total": 0, "limit": 20, "offset": 0}}


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic demo-key", "demo-key", "Bearer  "])
async def test_without_the_right_key_every_endpoint_is_401(given: str) -> None:
    async with emulated(a_cloud(), headers={"Authorization": given}) as client:
        answers = [await client.get("/regions"), await client.get("/instances"), await client.post()]
    assert [(status, body["error"]["code"]) for status, body in answers] == [(401, "UNAUTHORIZED")] * 3


async def test_a_changed_key_counts_at_once() -> None:
    cloud = a_cloud()
    async with emulated(cloud) as client:
        cloud.api_key = "rotated"
        assert (await client.get("/regions"))[0] == 401


async def test_an_unknown_path_is_a_404_error_response() -> None:
    async with emulated(a_cloud()) as client:
        for path in ("/", "/instances/", "/instances/inst_8x92j1k0", "/images"):
            status, body = await client.get(path)
            assert (status, body["error"]["code"], body["error"]["details"]) == (404, "NOT_FOUND", None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/instances", "GET, POST"),
        ("PATCH", "/instances", "GET, POST"),
        ("POST", "/regions", "GET"),
        ("OPTIONS", "/regions", "GET"),
    ],
)
async def test_an_undocumented_method_is_a_405_error_response(method: str, path: str, allowed: str) -> None:
    async with emulated(a_cloud()) as client, client.session.request(method, client.url + path) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)
        assert (await response.json())["error"]["code"] == "METHOD_NOT_ALLOWED"


async def test_what_is_not_http_gets_an_error_response() -> None:
    async with EmulatorServer(a_cloud()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nBad\x00Header: y\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b" 400 Bad Request\r\n" in answer
    assert b'{"error":{"code":"BAD_REQUEST","message":' in answer


async def test_a_created_instance_is_answered_201_pending_and_without_address() -> None:
    async with emulated(a_cloud()) as client:
        status, body = await client.post()
    assert status == 201
    assert body["id"].startswith("inst_")
    assert {**WORKER, "status": "pending", "public_ip": None}.items() >= {
        key: body[key] for key in ("name", "region", "status", "public_ip")
    }.items()
    assert body["specs"] == {"cpu": 4, "ram_gb": 16, "disk_gb": 200}
    assert body["created_at"] == "2023-11-14T22:13:20.000Z"


async def test_an_instance_goes_from_pending_over_provisioning_to_running() -> None:
    clock = HandClock()
    cloud = a_cloud(clock, pending_s=2.0, provisioning_s=6.0)
    async with emulated(cloud) as client:
        await client.post()
        seen = []
        for wait_s in (0, 1.9, 0.1, 5.9, 0.1, 1000):
            clock.advance(wait_s)
            _, body = await client.get("/instances")
            seen.append((body["data"][0]["status"], body["data"][0]["public_ip"] is not None))
    assert seen == [
        ("pending", False),
        ("pending", False),
        ("provisioning", False),
        ("provisioning", False),
        ("running", True),
        ("running", True),
    ]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"name": None}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": "x" * 256}, ["name"]),
        ({"region": "mars-1"}, ["region"]),
        ({"region": 7}, ["region"]),
        ({"plan": "huge"}, ["plan"]),
        ({"plan": ["pro"]}, ["plan"]),
        ({"image": None}, ["image"]),
        ({"ssh_keys": "key_abc123"}, ["ssh_keys"]),
        ({"ssh_keys": ["key_abc123", 5]}, ["ssh_keys[1]"]),
        ({"name": 1, "plan": "x"}, ["name", "plan"]),
    ],
)
async def test_a_bad_field_is_a_400_that_names_it(change: dict[str, object], wrong: list[str]) -> None:
    cloud = a_cloud()
    async with emulated(cloud) as client:
        status, body = await client.post({**WORKER, **change})
    assert (status, body["error"]["code"], fields_of(body)) == (400, "VALIDATION_ERROR", wrong)
    assert cloud.instances() == []


async def test_every_missing_field_is_named() -> None:
    async with emulated(a_cloud()) as client:
        _, body = await client.post({})
    assert fields_of(body) == ["name", "region", "plan"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"NaN",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name":"\\ud800"}',
        b'{"name":"\xc3"}',
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(data: bytes) -> None:
    async with emulated(a_cloud()) as client:
        headers = {"Content-Type": "application/json"}
        async with client.session.post(f"{client.url}/instances", data=data, headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["error"]["code"] == "VALIDATION_ERROR"


async def test_a_body_of_another_type_is_a_415() -> None:
    async with (
        emulated(a_cloud()) as client,
        client.session.post(f"{client.url}/instances", data={"name": "x"}) as response,
    ):
        assert (response.status, (await response.json())["error"]["code"]) == (
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        )


async def test_a_body_over_a_mebibyte_is_a_413() -> None:
    data = io.BytesIO(b" " * 1_100_000)
    async with (
        emulated(a_cloud()) as client,
        client.session.post(f"{client.url}/instances", data=data) as response,
    ):
        assert (response.status, (await response.json())["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_names_with_any_characters_come_back_as_they_were_given() -> None:
    name = 'a"b\\c\n\x00\x1b[31m<b>é😀'
    async with emulated(a_cloud()) as client:
        assert (await client.post({**WORKER, "name": name}))[1]["name"] == name
        assert await client.names() == [name]


async def test_names_need_not_be_unique_and_all_of_a_name_can_be_counted() -> None:
    cloud = a_cloud()
    async with emulated(cloud) as client:
        await client.post()
        await client.post()
    assert [instance.name for instance in cloud.instances_named("worker-01")] == ["worker-01"] * 2


async def test_a_region_without_capacity_refuses_with_409() -> None:
    cloud = a_cloud()
    cloud.set_region("us-east-1", capacity=False)
    async with emulated(cloud) as client:
        status, body = await client.post()
        _, regions = await client.get("/regions")
    assert (status, body["error"]["code"]) == (409, "INSUFFICIENT_CAPACITY")
    assert [region["capacity"] for region in regions["regions"]] == [False, True]


async def test_capacity_ends_when_the_slots_are_taken() -> None:
    cloud = a_cloud(regions=(RegionSpec("us-east-1", "Virginia, US", 12, slots=1),))
    async with emulated(cloud) as client:
        statuses = [(await client.post())[0] for _ in range(2)]
        _, regions = await client.get("/regions")
    assert statuses == [201, 409]
    assert regions["regions"][0]["capacity"] is False


@pytest.mark.parametrize(("status", "answer"), [("down", 409), ("maintenance", 409), ("degraded", 201)])
async def test_only_a_closed_region_refuses_instances(status: str, answer: int) -> None:
    cloud = a_cloud()
    cloud.set_region("us-east-1", status=status)
    async with emulated(cloud) as client:
        assert (await client.post())[0] == answer


async def test_the_quota_counts_live_instances_only() -> None:
    cloud = a_cloud(instances=1, quota=1)
    async with emulated(cloud) as client:
        refused = await client.post()
        cloud.terminate_instance(cloud.instances()[0].id)
        made = await client.post()
    assert (refused[0], refused[1]["error"]["code"], made[0]) == (409, "QUOTA_EXCEEDED", 201)


async def test_the_log_of_creates_tells_made_from_refused() -> None:
    cloud = a_cloud()
    async with emulated(cloud) as client:
        _, made = await client.post()
        await client.post({**WORKER, "name": "worker-02", "plan": "huge"})
    assert [(seen.name, seen.outcome, seen.instance_id, seen.code) for seen in cloud.creates] == [
        ("worker-01", "created", made["id"], None),
        ("worker-02", "refused", None, "VALIDATION_ERROR"),
    ]


async def test_a_taken_port_is_a_start_error() -> None:
    async with EmulatorServer(a_cloud()) as server:
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            async with EmulatorServer(a_cloud(), port=server.port):
                pass


async def test_clients_are_refused_until_it_accepts_again() -> None:
    cloud = a_cloud()
    async with EmulatorServer(cloud) as server:
        headers = {"Authorization": "Bearer demo-key"}
        async with aiohttp.ClientSession(server.url + "/", headers=headers) as session:
            async with session.get("regions") as response:
                assert response.status == 200
            await server.refuse()
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("regions")
            await server.accept()
            async with session.get("regions") as response:
                assert response.status == 200


async def test_stopping_does_not_wait_for_a_client() -> None:
    loop = asyncio.get_running_loop()
    async with EmulatorServer(a_cloud()) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        await asyncio.sleep(0.01)
        began = loop.time()
    assert loop.time() - began < 2
    writer.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": ""},
        {"instances": -1},
        {"regions": ()},
        {"page_cap": 0},
        {"page_cap": 101},
        {"pending_s": -1.0},
        {"stopped_share": 1.5},
        {"quota": -1},
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    (key,) = wrong
    with pytest.raises(ValueError, match=key):
        Cloud(EmulatorOptions(**wrong))  # type: ignore[arg-type]
