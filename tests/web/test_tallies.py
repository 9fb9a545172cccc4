"""What the store counts, when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import pytest

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.lifecycle import State
from nexusd.web.page.reading import STORE_TIMEOUT_S, Reading
from nexusd.web.tallies import COMMIT_TIMEOUT_S, FIRST_WAIT_S, WAIT_S, TallyReader, committed
from tests.virtual_time import VirtualClock, in_virtual_time
from tests.web.fakes import FakeDaemon, FakeStore, placement

T = TypeVar("T")


async def elapsed_s(clock: VirtualClock, calls: Iterable[Awaitable[object]]) -> list[float]:
    """Return how long each of the concurrent calls takes."""
    began_at = clock.now()

    async def timed(call: Awaitable[object]) -> float:
        await call
        return clock.now() - began_at

    return list(await asyncio.gather(*map(timed, calls)))


@in_virtual_time
async def test_no_caller_waits_for_the_read_of_another() -> None:
    """Five readers of a silent PostgreSQL were answered after 5, 10, 15, 20 and 25 s."""
    store, clock = FakeStore(), VirtualClock()
    store.placements.put(placement())
    reader = TallyReader(store, clock)
    counts = await reader.latest()
    store.hangs = True
    await asyncio.sleep(60)
    assert await elapsed_s(clock, (reader.latest() for _ in range(5))) == pytest.approx([WAIT_S] * 5)
    assert await elapsed_s(clock, (reader.latest() for _ in range(5))) == [0.0] * 5
    assert await reader.latest() == counts
    assert counts.placements[State.QUEUED] == 1
    assert store.runs == 2


@in_virtual_time
async def test_a_read_that_ends_late_is_served_to_later_callers() -> None:
    store, clock = FakeStore(), VirtualClock()
    release = asyncio.Event()
    read = store.read

    async def slow(transaction: Callable[[Any], T]) -> T:
        await release.wait()
        return await read(transaction)

    store.read = slow  # type: ignore[method-assign]
    reader = TallyReader(store, clock)
    assert await elapsed_s(clock, [reader.latest()]) == [FIRST_WAIT_S]
    store.placements.put(placement())
    release.set()
    await asyncio.sleep(0.1)
    assert (await reader.latest()).placements[State.QUEUED] == 1


@in_virtual_time
async def test_counts_are_new_again_once_the_store_answers() -> None:
    store, clock = FakeStore(), VirtualClock()
    reader = TallyReader(store, clock)
    store.error = StoreUnavailableError("connection refused")
    assert (await reader.latest()).counted_at is None
    store.error = None
    store.placements.put(placement())
    assert (await reader.latest()).placements[State.QUEUED] == 1


@in_virtual_time
async def test_a_page_waits_for_a_store_that_hangs_no_longer_than_it_says() -> None:
    store, clock = FakeStore(), VirtualClock()
    store.hangs = True
    reading = Reading("1.2.3", FakeDaemon(), store, clock, TallyReader(store, clock))
    began_at = clock.now()
    view = await reading.view()
    assert view.stored is None
    assert clock.now() - began_at == STORE_TIMEOUT_S
    await asyncio.sleep(60)
    assert await elapsed_s(clock, (reading.view() for _ in range(5))) == [0.0] * 5


@in_virtual_time
async def test_a_request_that_changes_something_waits_in_bounds_for_a_silent_store() -> None:
    clock = VirtualClock()
    began_at = clock.now()
    with pytest.raises(StoreUnavailableError, match="may still take effect"):
        await committed(asyncio.Event().wait())
    assert clock.now() - began_at == COMMIT_TIMEOUT_S
