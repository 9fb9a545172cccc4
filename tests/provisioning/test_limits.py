"""`placement.max_instances` and `max_instances_per_plan` limit creates."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from nexusd.core.fleets import FleetSpec
from nexusd.core.lifecycle import State
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.records import Instance
from nexusd.provisioning.worker import ProvisioningOptions
from tests.fakes import LOST, FakeCloudApi
from tests.provisioning import test_fleets as fleets
from tests.provisioning.site import EAST, OPTIONS, SETTLE_S, WEST, Site, site
from tests.virtual_time import VirtualClock, in_virtual_time


def limited(**limits: int) -> ProvisioningOptions:
    return replace(OPTIONS, policy=PlacementPolicy(**limits), max_creates_per_minute=600.0)  # type: ignore[arg-type]


async def run_all(here: Site) -> None:
    for instance in here.cloud.existing():
        here.cloud.change(instance.id, status="running")


@in_virtual_time
async def test_placements_beyond_the_limit_wait_with_the_reason_until_there_is_room(tmp_path: Path) -> None:
    async with site(tmp_path, options=limited(max_instances=3)) as here:
        here.cloud.put(Instance("inst_other", "other", "running", "us-east-1"))
        await here.poll()
        accepted = [await here.place(f"worker-{n}") for n in range(5)]
        await asyncio.sleep(60.0)
        assert len(here.cloud.requests) == 2
        await run_all(here)
        await asyncio.sleep(SETTLE_S)
        assert len(here.cloud.requests) == 2
        waiting = [p for p in [await here.placement(p) for p in accepted] if p.state is State.QUEUED]
        assert {p.reason for p in waiting} == {
            "placement.max_instances: 3 instances exist or are being created, at most 3 are allowed"
        }
        here.cloud.change("inst_other", status="terminated")
        await asyncio.sleep(60.0)
        assert len(here.cloud.requests) == 3


@in_virtual_time
async def test_one_whose_outcome_is_unknown_counts(tmp_path: Path) -> None:
    async with site(tmp_path, options=limited(max_instances=1)) as here:
        here.cloud.script_creates(replace(LOST, listed_after_s=SETTLE_S))
        await here.until(await here.place("worker-0"), State.VERIFYING)
        await here.place("worker-1")
        await asyncio.sleep(2 * SETTLE_S)
        assert len(here.cloud.requests) == 1


@in_virtual_time
async def test_each_plan_has_a_limit_of_its_own(tmp_path: Path) -> None:
    async with site(tmp_path, options=limited(max_instances_per_plan=2)) as here:
        for n in range(4):
            for plan in ("pro", "starter"):
                await here.intake.accept(PlacementRequest(f"{plan}-{n}", plan), None)
        await asyncio.sleep(60.0)
        assert sorted(r.plan for r in here.cloud.requests) == ["pro", "pro", "starter", "starter"]
        decision = await here.intake.plan(PlacementRequest("another", "pro"))
        assert decision.reason == (
            "placement.max_instances_per_plan: 2 pro instances exist or are being created, "
            "at most 2 are allowed"
        )
        enterprise = await here.intake.plan(PlacementRequest("another", "enterprise"))
        assert enterprise.region == "us-east-1"


@pytest.mark.parametrize("limits", [{"max_instances": 2}, {"max_instances_per_plan": 2}])
def test_a_restart_exceeds_no_limit_though_listings_state_no_plan(
    limits: dict[str, int], tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
        cloud.lists_plans = False
        async with site(tmp_path, cloud, limited(**limits)) as here:
            for n in range(6):
                await here.place(f"worker-{n}")
            await asyncio.sleep(60.0)
            await run_all(here)
            await asyncio.sleep(60.0)
            assert len(cloud.requests) == 2
            await save_inventory(here)
        for _ in range(3):
            async with site(tmp_path, cloud, limited(**limits)):
                await asyncio.sleep(200.0)
                assert len(cloud.requests) == 2

    scenario()


async def save_inventory(here: Site) -> None:
    """Store what is listed, as the cycle does."""
    listed = list(here.world.inventory)
    await here.store.run(lambda tx: tx.instances.save(listed, {}, ()))


@in_virtual_time
async def test_a_fleet_stops_at_the_limit(tmp_path: Path) -> None:
    options = limited(max_instances=4)
    async with fleets.site(tmp_path, FleetSpec("web", 10, "pro"), options=options) as here:
        await asyncio.sleep(4 * SETTLE_S)
        assert len(here.cloud.requests) == 4
