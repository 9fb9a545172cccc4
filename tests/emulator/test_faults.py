"""Every kind of fault, as a real client meets it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import (
    Answer,
    Drift,
    Drip,
    Drop,
    Effect,
    InstanceChange,
    LateAnswer,
    Latency,
    ListLag,
    Omit,
    PageCap,
    RegionChange,
    Truncate,
)
from nexusd.emulator.faults import Fault, Match, Schedule
from tests.emulator.clients import WORKER, HandClock, a_cloud, emulated

POSTS = Match(method="POST")
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


def outcomes(cloud: Cloud) -> list[tuple[str, bool]]:
    return [(seen.outcome, seen.instance_id is not None) for seen in cloud.creates]


async def test_latency_comes_before_the_work() -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(Latency(0.05), POSTS)) as client:
        asking = asyncio.create_task(client.post())
        await asyncio.sleep(0.02)
        before = cloud.instances()
        assert (await asking)[0] == 201
    assert before == []


async def test_a_late_answer_comes_after_the_work() -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(LateAnswer(0.05), POSTS)) as client:
        asking = asyncio.create_task(client.post())
        await asyncio.sleep(0.03)
        made = cloud.instances()
        assert (await asking)[1]["id"] == made[0].id


async def test_a_client_that_gives_up_on_a_late_answer_has_made_its_instance() -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(LateAnswer(30), POSTS)) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.post(), 0.05)
    assert len(cloud.instances_named("worker-01")) == 1


async def test_an_answer_replaces_the_work() -> None:
    cloud = a_cloud()
    answer = Answer(429, retry_after="7", details=({"field": "rate"},))
    async with (
        emulated(cloud, Fault(answer)) as client,
        client.session.post(f"{client.url}/instances", json=WORKER) as response,
    ):
        seen = (response.status, response.headers["Retry-After"], await response.json())
    error = {"code": "RATE_LIMITED", "message": "rate limited", "details": [{"field": "rate"}]}
    assert seen == (429, "7", {"error": error})
    assert outcomes(cloud) == [("refused", False)]


@pytest.mark.parametrize("status", [401, 403, 404, 422, 500, 503])
async def test_any_status_can_be_answered_to_any_request(status: int) -> None:
    async with emulated(a_cloud(), Fault(Answer(status, code="ODD", message="Because."))) as client:
        for got, body in (await client.get("/regions"), await client.get("/instances"), await client.post()):
            assert (got, body["error"]) == (status, {"code": "ODD", "message": "Because.", "details": None})


async def test_a_body_of_any_kind_can_be_answered() -> None:
    answer = Answer(200, body=b"<html>\xff", content_type="text/html", headers={"X-Odd": "1"})
    async with (
        emulated(a_cloud(), Fault(answer)) as client,
        client.session.get(f"{client.url}/regions") as response,
    ):
        assert (await response.read(), response.content_type) == (b"<html>\xff", "text/html")
        assert response.headers["X-Odd"] == "1"


async def test_commit_then_answer_makes_the_instance_and_says_otherwise() -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(Answer(500, after_commit=True), POSTS)) as client:
        status, body = await client.post()
        listed = await client.names()
    assert (status, body["error"]["code"], listed) == (500, "INTERNAL_ERROR", ["worker-01"])
    assert outcomes(cloud) == [("unanswered", True)]


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_drop_before_makes_nothing_and_answers_nothing(how: Any) -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(Drop("before", how), POSTS)) as client:
        with pytest.raises(LOST):
            await client.post()
        assert await client.names() == []
    assert outcomes(cloud) == [("dropped", False)]


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_drop_after_commit_makes_the_instance_and_answers_nothing(how: Any) -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(Drop("after_commit", how), POSTS)) as client:
        with pytest.raises(LOST):
            await client.post()
        assert await client.names() == ["worker-01"]
    assert outcomes(cloud) == [("unanswered", True)]


async def test_a_reset_is_a_reset_on_the_wire() -> None:
    async with emulated(a_cloud(), Fault(Drop("before", "reset"))) as client:
        port = int(client.url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_dropped_connection_is_not_the_end_of_the_server() -> None:
    async with emulated(a_cloud(), Fault(Drop("before"), schedule=Schedule(nth=1))) as client:
        with pytest.raises(LOST):
            await client.post()
        assert (await client.get("/regions"))[0] == 200


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
async def test_a_truncated_answer_to_a_create_has_made_the_instance(share: float) -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(Truncate(share), POSTS)) as client:
        async with client.session.post(f"{client.url}/instances", json=WORKER) as response:
            assert response.status == 201
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert await client.names() == ["worker-01"]
    assert outcomes(cloud) == [("unanswered", True)]


async def test_a_truncated_page_is_shorter_than_it_promised() -> None:
    async with (
        emulated(a_cloud(instances=50), Fault(Truncate(0.5))) as client,
        client.session.get(f"{client.url}/instances") as response,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_drip_is_whole_in_the_end_and_takes_its_time() -> None:
    async with emulated(a_cloud(instances=5), Fault(Drip(10_000))) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with client.session.get(f"{client.url}/instances") as response:
            size = len(await response.read())
            assert size == response.content_length
    assert loop.time() - began >= size / 10_000 * 0.9


async def test_a_created_instance_can_be_answered_without_its_id() -> None:
    cloud = a_cloud()
    async with emulated(cloud, Fault(Omit(("id",)), POSTS)) as client:
        status, body = await client.post()
        listed = (await client.get("/instances"))[1]["data"]
    assert (status, body["name"], "id" in body, "id" in listed[0]) == (201, "worker-01", False, True)
    assert outcomes(cloud) == [("unanswered", True)]


async def test_fields_can_be_left_out_of_listings() -> None:
    async with emulated(a_cloud(instances=2), Fault(Omit(("status",)))) as client:
        assert all("status" not in one for one in (await client.get("/instances"))[1]["data"])
        assert all("status" not in one for one in (await client.get("/regions"))[1]["regions"])


async def test_list_lag_hides_a_created_instance_for_its_time() -> None:
    clock = HandClock()
    async with emulated(a_cloud(clock), Fault(ListLag(20), Match(name="lag-*"))) as client:
        await client.post({**WORKER, "name": "lag-1"})
        await client.post()
        before = await client.names()
        clock.advance(19.9)
        assert await client.names() == before == ["worker-01"]
        clock.advance(0.1)
        assert await client.names() == ["lag-1", "worker-01"]
        assert await client.names(region="us-east-1") == ["lag-1", "worker-01"]


async def test_list_lag_can_be_how_the_cloud_always_is() -> None:
    clock = HandClock()
    async with emulated(a_cloud(clock, list_lag_s=5.0)) as client:
        await client.post()
        assert await client.names() == []
        clock.advance(5)
        assert await client.names() == ["worker-01"]


async def test_a_page_cap_is_told_in_meta() -> None:
    async with emulated(a_cloud(instances=90), Fault(PageCap(30))) as client:
        _, body = await client.get("/instances", limit=100)
        _, smaller = await client.get("/instances", limit=7)
        assert len(await client.sweep()) == 90
    assert (len(body["data"]), body["meta"]) == (30, {"total": 90, "limit": 30, "offset": 0})
    assert smaller["meta"]["limit"] == 7


async def test_a_region_is_otherwise_for_a_while() -> None:
    clock = HandClock()
    change = RegionChange("us-east-1", status="brownout", latency_ms=400, capacity=False)
    async with emulated(a_cloud(clock), Fault(change, schedule=Schedule(at_s=10, for_s=30))) as client:
        seen = []
        for wait_s in (0, 9.9, 0.1, 29.9, 0.1):
            clock.advance(wait_s)
            region = (await client.get("/regions"))[1]["regions"][0]
            seen.append((region["status"], region["avg_latency_ms"], region["capacity"]))
    well, ill = ("healthy", 12, True), ("brownout", 400, False)
    assert seen == [well, well, ill, ill, well]


async def test_capacity_that_is_out_refuses_creates_until_the_fault_ends() -> None:
    clock = HandClock()
    fault = Fault(RegionChange("us-east-1", capacity=False), schedule=Schedule(for_s=10))
    async with emulated(a_cloud(clock), fault) as client:
        assert (await client.post())[1]["error"]["code"] == "INSUFFICIENT_CAPACITY"
        clock.advance(10)
        assert (await client.post())[0] == 201


async def test_a_region_can_leave_the_list_while_its_instances_stay() -> None:
    cloud = a_cloud(instances=20)
    async with emulated(cloud, Fault(RegionChange("us-east-1", gone=True))) as client:
        _, body = await client.get("/regions")
        assert [region["slug"] for region in body["regions"]] == ["eu-west-2"]
        assert await client.names(region="us-east-1")
        assert (await client.post())[1]["error"]["details"][0]["field"] == "region"


async def test_a_request_can_set_off_a_region_s_trouble() -> None:
    clock = HandClock()
    fault = Fault(
        RegionChange("us-east-1", status="degraded"), POSTS, Schedule(nth=2, for_s=5), name="after two"
    )
    async with emulated(a_cloud(clock), fault) as client:
        seen = []
        for _ in range(2):
            await client.post()
            seen.append((await client.get("/regions"))[1]["regions"][0]["status"])
        clock.advance(5)
        seen.append((await client.get("/regions"))[1]["regions"][0]["status"])
    assert seen == ["healthy", "degraded", "healthy"]


@pytest.mark.parametrize("status", ["stopped", "terminated", "hibernating"])
async def test_an_instance_takes_a_status_and_gets_its_own_back(status: str) -> None:
    clock = HandClock()
    cloud = a_cloud(clock, instances=30)
    name = cloud.instances()[7].name
    fault = Fault(InstanceChange(status, name=name), schedule=Schedule(at_s=5, for_s=5))
    async with emulated(cloud, fault) as client:
        seen = []
        for _ in range(3):
            _, body = await client.get("/instances", limit=100)
            seen.append({one["name"]: one["status"] for one in body["data"] if one["status"] != "running"})
            clock.advance(5)
    assert seen == [{}, {name: status}, {}]


async def test_instances_vanish_and_come_back_to_their_places() -> None:
    clock = HandClock()
    cloud = a_cloud(clock, instances=300)
    fault = Fault(InstanceChange(None, take=100), schedule=Schedule(at_s=5, for_s=5))
    async with emulated(cloud, fault) as client:
        before = await client.sweep()
        clock.advance(5)
        during = await client.sweep()
        clock.advance(5)
        after = await client.sweep()
    assert len(during) == 200
    assert [one for one in before if one in set(during)] == during
    assert after == before


async def test_clearing_the_faults_undoes_what_lasts() -> None:
    cloud = a_cloud(instances=10)
    async with emulated(cloud, Fault(InstanceChange("stopped", take=10))) as client:
        assert {one["status"] for one in (await client.get("/instances"))[1]["data"]} == {"stopped"}
        cloud.clear_faults()
        assert {one["status"] for one in (await client.get("/instances"))[1]["data"]} == {"running"}


async def test_drift_makes_paging_by_offset_skip_and_repeat() -> None:
    cloud = a_cloud(instances=1000)
    wrong = 0
    async with emulated(cloud, Fault(Drift(move=3))) as client:
        everything = {one.id for one in cloud.instances()}
        for _ in range(20):
            found = await client.sweep()
            wrong += len(found) != len(set(found)) or set(found) != everything
    assert wrong >= 10
    assert {one.id for one in cloud.instances()} == everything
    assert cloud.drifted == {"inserted": 0, "removed": 0, "moved": 60}


async def test_drift_comes_once_in_every_sweep_and_never_before_its_first_page() -> None:
    cloud = a_cloud(instances=500)
    async with emulated(cloud, Fault(Drift(insert=1, remove=1))) as client:
        for sweep in range(1, 6):
            _, first = await client.get("/instances", limit=100)
            assert cloud.drifted["inserted"] == sweep - 1
            for offset in range(100, 500, 100):
                _, later = await client.get("/instances", limit=100, offset=offset)
            assert cloud.drifted == {"inserted": sweep, "removed": sweep, "moved": 0}
            assert first["meta"]["total"] == later["meta"]["total"] == 500


async def test_drift_can_come_before_every_page() -> None:
    cloud = a_cloud(instances=300)
    fault = Fault(Drift(insert=1, each="page"), schedule=Schedule(every=2))
    async with emulated(cloud, fault) as client:
        totals = [(await client.get("/instances"))[1]["meta"]["total"] for _ in range(4)]
    assert totals == [300, 301, 301, 302]


async def test_what_drift_inserts_and_removes_is_really_there_and_gone() -> None:
    cloud = a_cloud(instances=300)
    async with emulated(cloud, Fault(Drift(insert=2, remove=3))) as client:
        before = {one.id for one in cloud.instances()}
        await client.sweep()
        cloud.clear_faults()
        after = set(await client.sweep())
    assert (len(after - before), len(before - after)) == (2, 3)


# ── which requests, and when ──────────────────────────────────────────────────────────────────────────


async def struck(client: Any, requests: int) -> list[int]:
    """Which of so many requests got the fault's 503, from 1."""
    statuses = [(await client.get("/regions"))[0] for _ in range(requests)]
    return [number for number, status in enumerate(statuses, 1) if status == 503]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1, 2, 3, 4, 5, 6]),
        (Schedule(nth=3), [3]),
        (Schedule(every=2), [2, 4, 6]),
        (Schedule(count=2), [1, 2]),
        (Schedule(every=2, count=2), [2, 4]),
        (Schedule(probability=0), []),
        (Schedule(probability=1), [1, 2, 3, 4, 5, 6]),
    ],
)
async def test_the_schedule_picks_among_matching_requests(schedule: Schedule, expected: list[int]) -> None:
    async with emulated(a_cloud(), Fault(Answer(503), Match(endpoint="regions"), schedule)) as client:
        await client.get("/instances")
        assert await struck(client, 6) == expected


async def test_a_probability_is_drawn_by_the_seed() -> None:
    async def drawn(seed: int) -> list[int]:
        fault = Fault(Answer(503), schedule=Schedule(probability=0.3))
        async with emulated(a_cloud(seed=seed), fault) as client:
            return await struck(client, 40)

    assert await drawn(1) == await drawn(1) != await drawn(2)
    assert 4 <= len(await drawn(1)) <= 20


async def test_a_fault_strikes_only_in_its_time() -> None:
    clock = HandClock()
    async with emulated(a_cloud(clock), Fault(Answer(503), schedule=Schedule(at_s=10, for_s=30))) as client:
        seen = []
        for wait_s in (0, 9.9, 0.1, 29.9, 0.1):
            clock.advance(wait_s)
            seen.append((await client.get("/regions"))[0])
    assert seen == [200, 200, 503, 503, 200]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), [503] * 5),
        (Match(endpoint="regions"), [503, 200, 200, 201, 201]),
        (Match(endpoint="instances"), [200, 503, 503, 503, 503]),
        (Match(method="POST"), [200, 200, 200, 503, 503]),
        (Match(region="eu-*"), [200, 200, 503, 201, 503]),
        (Match(name="web-?"), [200, 200, 200, 503, 201]),
        (Match(method="GET", region="eu-west-2"), [200, 200, 503, 201, 201]),
        (Match(name="*"), [200, 200, 200, 503, 503]),
    ],
)
async def test_a_match_is_by_endpoint_method_region_and_name(match: Match, expected: list[int]) -> None:
    async with emulated(a_cloud(), Fault(Answer(503), match)) as client:
        answers = [
            await client.get("/regions"),
            await client.get("/instances"),
            await client.get("/instances", region="eu-west-2"),
            await client.post({"name": "web-1", "region": "us-east-1", "plan": "pro"}),
            await client.post({"name": "worker-1", "region": "eu-west-2", "plan": "pro"}),
        ]
    assert [status for status, _ in answers] == expected


async def test_waits_add_up_and_the_first_answer_counts() -> None:
    faults = (Fault(Latency(0.03)), Fault(Answer(503)), Fault(Latency(0.03)), Fault(Answer(500)))
    async with emulated(a_cloud(), *faults) as client:
        began = asyncio.get_running_loop().time()
        assert (await client.get("/regions"))[0] == 503
    assert asyncio.get_running_loop().time() - began >= 0.055


@pytest.mark.parametrize("match", [Match(name="web-*"), Match(region="us-east-1")])
def test_what_is_not_read_cannot_be_matched(match: Match) -> None:
    with pytest.raises(ValueError, match="cannot match by name or region"):
        Fault(Drop("before"), match)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Answer(99),
        lambda: Truncate(1.0),
        lambda: Drip(0),
        lambda: Omit(()),
        lambda: PageCap(101),
        lambda: InstanceChange("stopped", take=0),
        lambda: Drift(),
        lambda: Drift(insert=-1),
    ],
)
def test_effects_that_cannot_be_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        make()


@pytest.mark.parametrize(
    "effect",
    [Latency(0.0), LateAnswer(0.0), ListLag(0.0), PageCap(100), InstanceChange(None, id="inst_zzzzzzzz")],
)
async def test_effects_that_do_nothing_do_no_harm(effect: Effect) -> None:
    async with emulated(a_cloud(instances=2), Fault(effect)) as client:
        assert (await client.get("/instances"))[1]["meta"]["total"] == 2
        assert (await client.post())[0] == 201
