"""The same request under one idempotency key, sent twice at the same time."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import replace

import pytest

from nexusd.core.errors import ConflictError
from nexusd.core.lifecycle import Placement
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.world import World
from nexusd.ports import IdempotencyKey, Transaction
from nexusd.provisioning.intake import Intake
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.conftest import Opener
from tests.store.test_placements import placement

PAIRS = 30


def intake(store: SqlStore, seed: int) -> Intake:
    return Intake(World({}), store, FakeClock(), random.Random(seed), PlacementPolicy(), lambda _: None)


async def accept_pairs(first: Intake, second: Intake) -> list[list[Placement | BaseException]]:
    """Send each request to both at the same time, all pairs concurrently."""
    requests = [(PlacementRequest(f"web-{n}", "pro"), IdempotencyKey(f"k{n}", f"d{n}")) for n in range(PAIRS)]
    # The second receives them in the opposite order, so that their batches lock the keys crosswise.
    opposite = [second.accept(*request) for request in reversed(requests)]
    results = await asyncio.gather(
        *(first.accept(*request) for request in requests), *opposite, return_exceptions=True
    )
    return [list(pair) for pair in zip(results[:PAIRS], reversed(results[PAIRS:]), strict=True)]


async def test_one_store_gives_both_requests_the_same_placement(store: SqlStore) -> None:
    pairs = await accept_pairs(intake(store, 1), intake(store, 2))
    assert all(first == second and isinstance(first, Placement) for first, second in pairs)


async def test_two_replicas_give_both_requests_the_same_placement(postgres_url: str) -> None:
    clock = FakeClock()
    stores = [open_store(StoreOptions(postgres_url, name), clock) for name in ("a", "b")]
    try:
        pairs = await accept_pairs(intake(stores[0], 1), intake(stores[1], 2))
        _, stored = await stores[0].run(lambda tx: tx.placements.page(None, 1, 0))
    finally:
        for store in stores:
            await store.close()
    assert all(first == second and isinstance(first, Placement) for first, second in pairs)
    assert stored == PAIRS


async def test_another_body_under_the_same_key_is_a_conflict(store: SqlStore) -> None:
    key = IdempotencyKey("k", "digest")
    service = intake(store, 1)
    await service.accept(PlacementRequest("web-1", "pro"), key)
    with pytest.raises(ConflictError, match="another body"):
        await service.accept(PlacementRequest("web-2", "pro"), replace(key, digest="other"))


async def test_a_refused_request_leaves_its_key_free(store: SqlStore) -> None:
    key = IdempotencyKey("k", "digest")
    service = intake(store, 1)
    await service.accept(PlacementRequest("web-1", "pro"), None)
    with pytest.raises(ConflictError, match="'web-1'"):
        await service.accept(PlacementRequest("web-1", "pro"), key)
    accepted = await service.accept(PlacementRequest("web-2", "pro"), key)
    assert await service.accept(PlacementRequest("web-2", "pro"), key) == accepted


async def test_a_transaction_rolled_back_by_a_deadlock_runs_again(postgres_url: str) -> None:
    """Two replicas insert the same two names in opposite order: one waits for the other, none fails."""
    clock = FakeClock()
    stores = [open_store(StoreOptions(postgres_url, name), clock) for name in ("a", "b")]
    both_hold_one = threading.Barrier(2)
    runs: list[str] = []

    def claim(tx: Transaction, first: str, second: str) -> list[bool]:
        runs.append(first)
        claimed = [tx.placements.claim_key(first, "d", placement(first).id, 1.0)]
        if runs.count(first) == 1:
            both_hold_one.wait(10)
        return [*claimed, tx.placements.claim_key(second, "d", placement(second).id, 1.0)]

    try:
        results = await asyncio.gather(
            stores[0].run(lambda tx: claim(tx, "x", "y")), stores[1].run(lambda tx: claim(tx, "y", "x"))
        )
    finally:
        for store in stores:
            await store.close()
    assert sorted(results) == [[False, False], [True, True]]
    assert len(runs) > 2


async def test_a_key_is_stored_for_one_placement(opened: Opener) -> None:
    store = opened()
    assert await store.run(lambda tx: tx.placements.idempotent("k")) is None
    assert await store.run(lambda tx: tx.placements.claim_key("k", "digest", "a", 1.0))
    assert not await store.run(lambda tx: tx.placements.claim_key("k", "other", "b", 2.0))
    assert await store.run(lambda tx: tx.placements.idempotent("k")) == ("digest", "a")
