"""The queue, cooling off, spread and the launch budget, in virtual time: the real worker and store."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nexusd.core.lifecycle import Outcome, State
from nexusd.core.placement import PlacementPolicy, PlacementRequest, Spread
from nexusd.core.records import Region
from nexusd.provisioning.queue import CLASSES_PER_PASS, QueueReader
from tests.fakes import LOST, NEVER_ARRIVED, Create, FakeCloudApi, refusal
from tests.provisioning.site import EAST, OPTIONS, SETTLE_S, WEST, Site, site
from tests.virtual_time import VirtualClock, in_virtual_time

FAST = replace(OPTIONS, max_creates_per_minute=6000.0)
HOUR_S = 3600.0
SLOWLY = {"takes_s": 1.0}


class Posts:
    """When each POST was sent to which region."""

    def __init__(self, here: Site) -> None:
        self.at: list[tuple[float, str]] = []
        create = here.cloud.create_instance

        async def recorded(request, deadline):
            self.at.append((here.clock.now(), request.region))
            return await create(request, deadline)

        here.cloud.create_instance = recorded

    def most_in_an_hour(self, region: str) -> int:
        times = [at for at, where in self.at if where == region]
        return max((sum(1 for t in times if at <= t < at + HOUR_S) for at in times), default=0)

    def by_region(self) -> Counter[str]:
        return Counter(region for _, region in self.at)


async def place_many(here: Site, count: int, prefix: str = "w", **more: object) -> list:
    return [await here.place(f"{prefix}-{n:04d}", **more) for n in range(count)]


async def states(here: Site) -> dict[State, int]:
    return await here.store.run(lambda tx: tx.placements.counts())


# cooling off


@pytest.mark.slow
@in_virtual_time
async def test_a_dry_region_with_a_thousand_queued_gets_ten_posts_an_hour_at_most(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        await here.place("proof")
        await asyncio.sleep(30.0)
        posts = Posts(here)
        here.cloud.go_dry("us-east-1", replace(refusal("capacity"), takes_s=0.2))
        await place_many(here, 1000, regions=("us-east-1",))
        others = await place_many(here, 20, "other", regions=("eu-west-2",))
        for placement in others:
            await here.until(placement, State.PROVISIONING, State.RUNNING, within_s=10.0)
        await asyncio.sleep(1.2 * HOUR_S)
        assert 5 <= posts.most_in_an_hour("us-east-1") <= 10
        assert (await states(here))[State.QUEUED] == 1000


@pytest.mark.slow
@in_virtual_time
async def test_a_region_that_answers_nothing_definite_is_not_hammered_either(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        posts = Posts(here)
        here.cloud.go_dry("us-east-1", NEVER_ARRIVED)
        await place_many(here, 100, regions=("us-east-1",))
        await asyncio.sleep(2 * HOUR_S)
        assert 1 <= posts.most_in_an_hour("us-east-1") <= 10


@pytest.mark.slow
@in_virtual_time
async def test_a_region_that_recovers_is_at_the_full_rate_within_five_successes(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.go_dry("us-east-1", refusal("capacity"))
        await place_many(here, 100, regions=("us-east-1",))
        await asyncio.sleep(2 * HOUR_S)
        here.cloud.recover("us-east-1")
        posts = Posts(here)
        while len(posts.at) < 5:
            await asyncio.sleep(1.0)
        await asyncio.sleep(5.0)
        assert len(posts.at) == 100
        assert here.world.cooling_off == {}


@in_virtual_time
async def test_a_half_open_region_gets_one_probe(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.go_dry("us-east-1", refusal("capacity"))
        await place_many(here, 50, regions=("us-east-1",))
        await asyncio.sleep(30.0)
        here.cloud.go_dry("us-east-1", replace(refusal("capacity"), takes_s=5.0))
        posts = Posts(here)
        await asyncio.sleep(65.0)
        assert len(posts.at) == 1


@in_virtual_time
async def test_cooling_off_survives_a_restart(tmp_path: Path) -> None:
    cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
    async with site(tmp_path, cloud, FAST) as here:
        here.cloud.go_dry("us-east-1", refusal("capacity"))
        await here.place("w", regions=("us-east-1",))
        await asyncio.sleep(10.0)
        sent = len(here.cloud.requests)
    async with site(tmp_path, cloud, FAST) as here:
        await asyncio.sleep(20.0)
        assert len(here.cloud.requests) == sent


@in_virtual_time
async def test_a_quota_of_a_plan_leaves_the_regions_other_plans_alone(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.script_creates(refusal("quota", "region", 403, "QUOTA_EXCEEDED"))
        big = await here.place("big", regions=("us-east-1",))
        await asyncio.sleep(5.0)
        small = await here.intake.accept(PlacementRequest("small", "starter", regions=("us-east-1",)), None)
        await here.until(small, State.PROVISIONING, within_s=10.0)
        waiting = await here.placement(big)
        assert waiting.state is State.QUEUED
        assert waiting.reason is not None
        assert "cooling off after QUOTA_EXCEEDED (1)" in waiting.reason


@pytest.mark.slow
@in_virtual_time
async def test_a_quota_of_the_account_stops_all_regions_but_for_a_probe(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.go_dry("us-east-1", refusal("quota", "account", 402, "QUOTA_EXCEEDED"))
        here.cloud.go_dry("eu-west-2", refusal("quota", "account", 402, "QUOTA_EXCEEDED"))
        await place_many(here, 50)
        await asyncio.sleep(HOUR_S)
        assert 2 <= len(here.cloud.requests) <= 10


# queue


@in_virtual_time
async def test_what_cannot_be_placed_holds_up_nothing_behind_it(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        await here.poll()
        await place_many(here, 600, regions=("us-east-1",), priority=9)
        late = await here.place("late", regions=("eu-west-2",))
        await here.until(late, State.PROVISIONING, within_s=10.0)


@pytest.mark.slow
@in_virtual_time
async def test_a_class_beyond_what_a_pass_looks_at_has_its_turn(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        await here.poll()
        for n in range(2 * CLASSES_PER_PASS):
            await here.place(f"never-{n}", where=f"region.latency_ms < -{n}.5")
        late = [await here.place(f"late-{n}", avoid_regions=(f"other-{n}",)) for n in range(5)]
        for placement in late:
            await here.until(placement, State.PROVISIONING, State.RUNNING, within_s=20.0)


@in_virtual_time
async def test_a_higher_priority_goes_first_across_classes(tmp_path: Path) -> None:
    async with site(tmp_path, options=replace(OPTIONS, max_creates_per_minute=1.0)) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        here.cloud.change_region("eu-west-2", capacity=False)
        await here.poll()
        await here.place("low", avoid_regions=("x",))
        await here.place("high", priority=5)
        await here.place("middle", priority=2, avoid_regions=("y",))
        here.cloud.change_region("eu-west-2", capacity=True)
        await asyncio.sleep(200.0)
        assert [request.name for request in here.cloud.requests] == ["high", "middle", "low"]


@pytest.mark.slow
@in_virtual_time
async def test_a_pass_reads_no_more_of_a_long_queue_than_of_a_short_one(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        here.cloud.change_region("eu-west-2", capacity=False)
        await here.poll()
        await place_many(here, 2000)
        read = await here.store.run(lambda tx: QueueReader().read(tx, here.clock.now(), 64))
        assert len(read.queued) == 64


@in_virtual_time
async def test_why_it_waits_is_written_once_for_as_long_as_it_stays_the_same(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        here.cloud.change_region("eu-west-2", status="down")
        await here.poll()
        accepted = await here.place()
        await asyncio.sleep(HOUR_S)
        decisions = await here.store.run(lambda tx: tx.placements.decisions(accepted.id))
        assert len(decisions) == 1
        here.cloud.change_region("eu-west-2", status="healthy", capacity=False)
        await asyncio.sleep(60.0)
        decisions = await here.store.run(lambda tx: tx.placements.decisions(accepted.id))
        assert [d.reason for d in decisions] == [
            "no region is eligible: no capacity (1), status is down (1)",
            "no region is eligible: no capacity (2)",
        ]


# spread and caps


@in_virtual_time
async def test_a_burst_of_a_group_is_spread_while_all_of_it_is_under_way(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        for region in ("us-east-1", "eu-west-2"):
            here.cloud.go_dry(region, Create(takes_s=8.0))
        await place_many(here, 8, spread=Spread("web", 1))
        await asyncio.sleep(60.0)
        assert Counter(r.region for r in here.cloud.requests) == {"us-east-1": 4, "eu-west-2": 4}


@in_virtual_time
async def test_one_in_doubt_counts_for_the_spread(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        here.cloud.script_creates(LOST)
        here.cloud.put_region(Region("ap-1", "Asia", "healthy", 90.0, capacity=True))
        await here.poll()
        await place_many(here, 3, spread=Spread("web", 1))
        await asyncio.sleep(2.0)
        assert sorted(r.region for r in here.cloud.requests) == ["ap-1", "eu-west-2", "us-east-1"]


@in_virtual_time
async def test_the_spread_counts_instances_that_run_over_a_restart(tmp_path: Path) -> None:
    cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
    async with site(tmp_path, cloud, FAST) as here:
        first = await here.place("first", spread=Spread("web", 1))
        made = await here.until(first, State.PROVISIONING)
        assert made.instance_id is not None
        here.cloud.change(made.instance_id, status="running")
        await here.until(first, State.RUNNING)
    async with site(tmp_path, cloud, FAST) as here:
        second = await here.place("second", spread=Spread("web", 1))
        placed = await here.until(second, State.PROVISIONING)
        assert (made.region, placed.region) == ("us-east-1", "eu-west-2")


@in_virtual_time
async def test_the_cap_counts_what_is_under_way(tmp_path: Path) -> None:
    capped = replace(FAST, policy=PlacementPolicy(max_per_region=3))
    async with site(tmp_path, options=capped) as here:
        for region in ("us-east-1", "eu-west-2"):
            here.cloud.go_dry(region, Create(takes_s=8.0))
        await place_many(here, 10)
        await asyncio.sleep(120.0)
        assert Counter(r.region for r in here.cloud.requests) == {"us-east-1": 3, "eu-west-2": 3}


@in_virtual_time
async def test_a_burst_goes_to_the_best_region_and_waits_for_it(tmp_path: Path) -> None:
    """That many are under way there is no reason to take a worse region."""
    async with site(tmp_path, options=FAST) as here:
        here.cloud.go_dry("us-east-1", Create(takes_s=2.0))
        await place_many(here, 12)
        await asyncio.sleep(30.0)
        assert {r.region for r in here.cloud.requests} == {"us-east-1"}
        assert len(here.cloud.requests) == 12


# the launch budget


@in_virtual_time
async def test_restarts_do_not_refill_the_budget(tmp_path: Path) -> None:
    cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
    async with site(tmp_path, cloud) as here:
        await place_many(here, 200)
    for _ in range(20):
        async with site(tmp_path, cloud):
            await asyncio.sleep(3.0)
    assert len(cloud.requests) <= 10 + 60 / 2 + 1  # a burst and a minute's worth


@in_virtual_time
async def test_a_placement_deep_in_the_queue_expires_in_time(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.change_region("us-east-1", capacity=False)
        here.cloud.change_region("eu-west-2", capacity=False)
        await here.poll()
        await place_many(here, 500)
        deep = await here.place("deep", deadline=here.clock.now() + 60.0, priority=-1)
        await here.until(deep, State.EXPIRED, within_s=70.0)


@in_virtual_time
async def test_what_waits_for_a_pause_says_so(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.cloud.script_creates(refusal("auth", "account", 401))
        await here.place("first")
        await asyncio.sleep(2.0)
        second = await here.place("second")
        await asyncio.sleep(6.0)
        waiting = await here.placement(second)
        assert waiting.reason == "creates are paused: CloudNexus refused the key (401 refused: auth)"


@in_virtual_time
async def test_four_in_doubt_turn_the_others_to_the_next_region(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        await here.place("proof")
        await asyncio.sleep(10.0)
        here.cloud.go_dry("us-east-1", NEVER_ARRIVED)
        placed = await place_many(here, 10)
        await asyncio.sleep(SETTLE_S / 2)
        ended = [await here.placement(p) for p in placed]
        assert Counter(p.state for p in ended) == {State.VERIFYING: 4, State.PROVISIONING: 6}
        outcomes = await here.outcomes(next(p for p in ended if p.state is State.PROVISIONING))
        assert outcomes == [("eu-west-2", Outcome.CREATED)]


@in_virtual_time
async def test_less_than_one_create_a_minute_is_one_now_and_then(tmp_path: Path) -> None:
    async with site(tmp_path, options=replace(OPTIONS, max_creates_per_minute=0.5)) as here:
        await place_many(here, 5)
        await asyncio.sleep(10.0)
        assert len(here.cloud.requests) == 1
        await asyncio.sleep(240.0)
        assert len(here.cloud.requests) == 3


@in_virtual_time
async def test_throttling_without_a_word_of_how_long_is_asked_less_and_less_often(tmp_path: Path) -> None:
    async with site(tmp_path, options=FAST) as here:
        throttled = refusal("throttled", "account", 429)
        for region in ("us-east-1", "eu-west-2"):
            here.cloud.go_dry(region, throttled)
        await here.place()
        await asyncio.sleep(HOUR_S)
        assert len(here.cloud.requests) <= 20
