"""Two series for each instance: opt-in, capped, and ready before somebody scrapes."""

from __future__ import annotations

import asyncio
import time
import zlib
from itertools import pairwise

import pytest

from nexusd.core.inventory import Inventory
from nexusd.core.records import Instance
from nexusd.web.instance_metrics import CHUNK, InstanceMetrics
from nexusd.web.prepared import Prepared, plain
from tests.web.fakes import EVERYWHERE, instance, world_of
from tests.web.site import Site
from tests.web.test_metrics import samples


async def test_per_instance_series_are_capped_and_the_rest_is_counted() -> None:
    site = Site()
    site.daemon.world = world_of((instance(n) for n in range(7)), EVERYWHERE)
    async with site.running(per_instance=True, max_instances=5):
        found = samples(await site.get("/metrics"))
    assert sum(name == "nexusd_instance_info" for name, _ in found) == 5
    assert sum(name == "nexusd_instance_status" for name, _ in found) == 5
    assert found["nexusd_instance_series_dropped", ()] == 2


async def test_hostile_names_come_back_as_they_were() -> None:
    site = Site()
    name = 'a"} 1\nnexusd_leader 7\\'
    site.daemon.world = world_of([instance(1, status=name)], EVERYWHERE)
    async with site.running(per_instance=True):
        found = samples(await site.get("/metrics"))
    assert found["nexusd_instance_status", (("instance_id", "inst_1"), ("status", name))] == 1
    assert found["nexusd_leader", ()] == 1


class Snapshot:
    """The inventory that per-instance series are rendered from."""

    def __init__(self, *instances: Instance) -> None:
        self.see(*instances)

    def see(self, *instances: Instance) -> None:
        self.inventory = world_of(instances).inventory

    def now(self) -> Inventory:
        return self.inventory


def body(prepared: Prepared) -> bytes:
    return b"".join(plain(prepared, b""))


async def test_per_instance_series_follow_the_snapshot() -> None:
    snapshot = Snapshot(instance(1))
    metrics = InstanceMetrics(100, snapshot.now)
    assert b'status="running"' in body(await metrics.latest())
    snapshot.see(instance(1, "stopped"))
    await metrics.render()
    assert b'status="stopped"' in body(await metrics.latest())
    assert b'status="running"' not in body(await metrics.latest())


async def test_a_scrape_is_given_what_was_ready_before_it() -> None:
    snapshot = Snapshot(instance(1))
    metrics = InstanceMetrics(100, snapshot.now)
    ready = await metrics.latest()
    snapshot.see(instance(1, "stopped"))
    assert await metrics.latest() is ready


async def test_the_first_snapshot_is_waited_for() -> None:
    snapshot = Snapshot()
    metrics = InstanceMetrics(100, snapshot.now)
    await metrics.render()
    snapshot.see(instance(1))
    assert b'status="running"' in body(await metrics.latest())


async def test_a_new_snapshot_is_rendered_without_a_scrape() -> None:
    snapshot = Snapshot(instance(1))
    metrics = InstanceMetrics(100, snapshot.now)
    keeping = asyncio.create_task(metrics.keep_ready())
    while b'status="running"' not in body(await metrics.latest()):
        await asyncio.sleep(0)
    snapshot.see(instance(1, "stopped"))
    metrics.changed()
    async with asyncio.timeout(10):
        while b'status="stopped"' not in body(await metrics.latest()):
            await asyncio.sleep(0.001)
    keeping.cancel()


async def test_only_what_changed_is_rendered_again() -> None:
    fleet = [instance(n) for n in range(3 * CHUNK)]
    snapshot = Snapshot(*fleet)
    metrics = InstanceMetrics(len(fleet), snapshot.now)
    before = await metrics.render()
    assert await metrics.render() is before
    fleet[CHUNK] = instance(CHUNK, "stopped")
    snapshot.see(*fleet)
    after = await metrics.render()
    kept = {id(piece) for piece in before.pieces}
    series = [piece for piece in after.pieces if piece.plain.startswith(b"nexusd_instance_")]
    new = [piece for piece in series if id(piece) not in kept]
    assert len(new) == 2  # of the second chunk: its infos and its statuses
    assert body(after) == body(await InstanceMetrics(len(fleet), snapshot.now).render())


@pytest.mark.parametrize("count", [0, 3, 2 * CHUNK + 1])
async def test_a_gzip_body_is_the_plain_one_whatever_was_ready(count: int) -> None:
    site = Site()
    site.daemon.world = world_of((instance(n) for n in range(count)), EVERYWHERE)
    async with site.running(per_instance=True, max_instances=10_000):
        bare = await site.get("/metrics")
        squeezed = await site.get("/metrics", headers={"Accept-Encoding": "gzip"})
    stream = zlib.decompressobj(wbits=31)
    plain_body = stream.decompress(squeezed.body)
    assert stream.eof
    assert not stream.unused_data
    assert int(bare.headers["Content-Length"]) == len(bare.body)
    of_instances = [line for line in bare.body.splitlines() if b"nexusd_instance_" in line]
    assert [line for line in plain_body.splitlines() if b"nexusd_instance_" in line] == of_instances


async def test_the_head_of_a_large_answer_has_no_body() -> None:
    site = Site()
    site.daemon.world = world_of([instance(1)], EVERYWHERE)
    async with site.running(per_instance=True):
        assert (await site.ask("HEAD", "/metrics")).body == b""


@pytest.mark.slow
async def test_a_hundred_thousand_instances_do_not_hold_the_loop() -> None:
    snapshot = Snapshot(*(instance(n) for n in range(100_000)))
    turns: list[float] = []
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            turns.append(time.thread_time())
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await InstanceMetrics(100_000, snapshot.now).render()
        done.set()
    gaps = sorted(after - before for before, after in pairwise(turns))
    assert len(gaps) > 40
    assert gaps[-1] < 0.1
