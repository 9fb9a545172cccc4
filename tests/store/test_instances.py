"""The stored inventory, on both databases."""

from __future__ import annotations

import time

import pytest

from nexusd.core.records import Instance, Specs
from nexusd.store.store import SqlStore
from tests.store.conftest import Opener

ONE = Instance(
    "i-1", "web-1", "running", "eu-1", "192.0.2.1", "2026-01-01T00:00:00Z", Specs(2, 4, 80), "pro", "img"
)
BARE = Instance("i-2", "web-2", "brand-new-status", "eu-1")


async def test_instances_come_back_as_they_were_saved(store: SqlStore) -> None:
    await store.run(lambda tx: tx.instances.save([ONE, BARE], {}, []))
    instances, missed, observed_at = await store.run(lambda tx: tx.instances.load())
    assert instances == {"i-1": ONE, "i-2": BARE}
    assert missed == {}
    assert observed_at is None


async def test_saving_again_replaces_the_record(store: SqlStore) -> None:
    stopped = Instance("i-1", "web-1", "stopped", "eu-1")
    await store.run(lambda tx: tx.instances.save([ONE], {}, []))
    await store.run(lambda tx: tx.instances.save([stopped], {}, []))
    assert (await store.run(lambda tx: tx.instances.load()))[0] == {"i-1": stopped}


async def test_a_miss_is_remembered_through_a_change_of_the_record_until_it_is_taken_back(
    store: SqlStore,
) -> None:
    await store.run(lambda tx: tx.instances.save([ONE, BARE], {"i-1": 1}, []))
    await store.run(lambda tx: tx.instances.save([ONE], {}, []))
    assert (await store.run(lambda tx: tx.instances.load()))[1] == {"i-1": 1}
    await store.run(lambda tx: tx.instances.save([], {"i-1": 0, "i-2": 1}, []))
    assert (await store.run(lambda tx: tx.instances.load()))[1] == {"i-2": 1}


async def test_what_is_gone_is_deleted(store: SqlStore) -> None:
    await store.run(lambda tx: tx.instances.save([ONE, BARE], {}, []))
    await store.run(lambda tx: tx.instances.save([], {}, ["i-1", "never-there"]))
    assert set((await store.run(lambda tx: tx.instances.load()))[0]) == {"i-2"}


async def test_seen_running_survives_a_stop_and_a_restart(opened: Opener) -> None:
    first = opened()
    await first.run(lambda tx: tx.instances.save([ONE, BARE], {}, []))
    await first.run(lambda tx: tx.instances.seen_running(["i-1"]))
    await first.run(lambda tx: tx.instances.save([Instance("i-1", "web-1", "stopped", "eu-1")], {}, []))
    await first.close()
    assert await opened().run(lambda tx: tx.instances.stopped_running()) == {"i-1"}


async def test_one_that_runs_has_not_stopped_running(store: SqlStore) -> None:
    await store.run(lambda tx: tx.instances.save([ONE, BARE], {}, []))
    await store.run(lambda tx: tx.instances.seen_running(["i-1"]))
    assert await store.run(lambda tx: tx.instances.stopped_running()) == frozenset()


async def test_when_it_was_observed_is_kept(store: SqlStore) -> None:
    await store.run(lambda tx: tx.instances.observed(5.5))
    await store.run(lambda tx: tx.instances.observed(6.25))
    assert (await store.run(lambda tx: tx.instances.load()))[2] == 6.25


async def test_loaded_specs_are_shared(store: SqlStore) -> None:
    twins = [Instance(f"i-{n}", f"n-{n}", "running", "eu-1", specs=Specs(1, 2, 3)) for n in range(3)]
    await store.run(lambda tx: tx.instances.save(twins, {}, []))
    instances, _, _ = await store.run(lambda tx: tx.instances.load())
    assert len({id(instance.specs) for instance in instances.values()}) == 1
    assert len({id(instance.status) for instance in instances.values()}) == 1


async def test_names_with_quotes_emoji_and_nul_are_stored(store: SqlStore) -> None:
    odd = Instance("i-'\"%s:x", "naïve 🚀\n", "running", "eu-1")
    nul = Instance("i-nul", "a\0b", "running", "eu-1")
    await store.run(lambda tx: tx.instances.save([odd, nul], {}, []))
    instances, _, _ = await store.run(lambda tx: tx.instances.load())
    assert instances["i-'\"%s:x"] == odd
    assert instances["i-nul"].name in {"a\0b", "a\N{SYMBOL FOR NULL}b"}


@pytest.mark.slow
async def test_a_hundred_thousand_instances_are_saved_loaded_and_deleted_in_seconds(store: SqlStore) -> None:
    fleet = [
        Instance(
            f"inst_{n:08}",
            f"web-{n}",
            "running",
            f"region-{n % 20}",
            "192.0.2.7",
            "2026-01-01T00:00:00Z",
            Specs(2, 4, 80),
        )
        for n in range(100_000)
    ]
    timings = []
    for work in (
        lambda tx: tx.instances.save(fleet, {}, []),
        lambda tx: tx.instances.save(fleet, {i.id: 1 for i in fleet}, []),
        lambda tx: tx.instances.load(),
        lambda tx: tx.instances.save([], {}, [i.id for i in fleet]),
    ):
        began = time.perf_counter()
        await store.run(work)
        timings.append(time.perf_counter() - began)
    print("insert, update + missed, load, delete:", [f"{t:.2f}s" for t in timings])
    assert (await store.run(lambda tx: tx.instances.load()))[0] == {}
    assert max(timings) < 30
