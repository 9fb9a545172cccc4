"""The stored regions and coolings off, on both databases."""

from __future__ import annotations

from nexusd.core.cooling import CoolingOff
from nexusd.core.records import Region
from nexusd.core.regions import KnownRegion, RegionSnapshot
from nexusd.store.store import SqlStore

EU = KnownRegion(Region("eu-1", "Europe", "healthy", 12.5, True), smoothed_ms=14.25)
LEFT = KnownRegion(Region("us-1", "", "who-knows", None, False), left_at=99.0)


async def test_nothing_was_ever_read_of_an_empty_store(store: SqlStore) -> None:
    assert await store.run(lambda tx: tx.regions.load()) == RegionSnapshot(None, {})


async def test_a_snapshot_comes_back_whole(store: SqlStore) -> None:
    snapshot = RegionSnapshot(100.0, {"eu-1": EU, "us-1": LEFT})
    await store.run(lambda tx: tx.regions.save(snapshot))
    assert await store.run(lambda tx: tx.regions.load()) == snapshot


async def test_a_snapshot_replaces_the_one_before(store: SqlStore) -> None:
    await store.run(lambda tx: tx.regions.save(RegionSnapshot(100.0, {"eu-1": EU, "us-1": LEFT})))
    after = RegionSnapshot(115.0, {"eu-1": KnownRegion(Region("eu-1", "Europe", "degraded", 80.0, False))})
    await store.run(lambda tx: tx.regions.save(after))
    assert await store.run(lambda tx: tx.regions.load()) == after


async def test_a_cooling_off_is_kept_replaced_and_cleared(store: SqlStore) -> None:
    first = CoolingOff("eu-1", 160.0, 1, "no capacity")
    second = CoolingOff("eu-1", 280.0, 2, "no capacity", allowed=2)
    await store.run(lambda tx: tx.regions.save_cooling_off(first))
    assert await store.run(lambda tx: tx.regions.cooling_off()) == {first.place: first}
    await store.run(lambda tx: tx.regions.save_cooling_off(second))
    of_a_plan = CoolingOff("eu-1", 300.0, 1, "quota", plan="pro")
    await store.run(lambda tx: tx.regions.save_cooling_off(of_a_plan))
    both = {second.place: second, of_a_plan.place: of_a_plan}
    assert await store.run(lambda tx: tx.regions.cooling_off()) == both
    await store.run(lambda tx: tx.regions.clear_cooling_off(("eu-1", "pro")))
    assert await store.run(lambda tx: tx.regions.cooling_off()) == {second.place: second}
    await store.run(lambda tx: tx.regions.clear_cooling_off(("eu-1", "")))
    assert await store.run(lambda tx: tx.regions.cooling_off()) == {}
