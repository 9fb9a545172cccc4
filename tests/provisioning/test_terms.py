"""What a standby that comes to lead may conclude of an attempt that the leader before it made (I1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nexusd.core.lifecycle import Attempt, Placement, State
from nexusd.core.placement import PlacementRequest
from nexusd.ports import Transaction
from nexusd.provisioning.worker import Provisioner
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from tests.fakes import FakeCloudApi, NullMetrics
from tests.provisioning.site import EAST, OPTIONS, SETTLE_S, WEST, Site, site
from tests.virtual_time import VirtualClock, in_virtual_time


@in_virtual_time
async def test_a_standby_waits_the_whole_quiet_time_from_when_it_came_to_lead(tmp_path: Path) -> None:
    clock = VirtualClock()
    options = StoreOptions(f"sqlite:///{tmp_path / 'nexusd.db'}", "standby")
    store = open_store(options, clock, InlineExecutor())
    here = Site(store, clock, FakeCloudApi(clock, [EAST, WEST]))
    await here.poll()
    tasks = [asyncio.ensure_future(here.polls())]
    await asyncio.sleep(10 * SETTLE_S)  # a standby all this time
    now = clock.now()
    request = PlacementRequest("worker-01", "pro")
    doubted = Placement("plc_1", request, State.VERIFYING, now, now, region="us-east-1", attempts=1)
    attempt = Attempt("plc_1", 1, "us-east-1", now, now + 10.0, epoch=store.epoch - 1)

    def transaction(tx: Transaction) -> None:
        tx.placements.insert(doubted)
        tx.placements.add_attempt(attempt)

    await store.run(transaction)
    tasks.append(asyncio.ensure_future(here.worker.run()))
    try:
        await asyncio.sleep(OPTIONS.follow.timeout_s + SETTLE_S)
        assert here.cloud.requests == []
        await here.until(doubted, State.PROVISIONING, within_s=60.0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


@in_virtual_time
async def test_a_reload_does_not_give_an_instance_more_time_to_run(tmp_path: Path) -> None:
    """A file that is reloaded every few minutes would else keep it provisioning for ever."""
    async with site(tmp_path) as here:
        placed = await here.place()
        await here.until(placed, State.PROVISIONING)
        began_at = here.clock.now()
        await asyncio.sleep(OPTIONS.follow.provisioning_timeout_s / 2)
        here.worker.drain()
        here.worker = Provisioner(
            here.world, here.store, here.cloud, here.clock, NullMetrics(), OPTIONS, lambda _: None
        )
        reloaded = asyncio.ensure_future(here.worker.run())
        await here.until(placed, State.FAILED)
        assert here.clock.now() - began_at < OPTIONS.follow.provisioning_timeout_s + 60.0
        reloaded.cancel()
        await asyncio.gather(reloaded, return_exceptions=True)
