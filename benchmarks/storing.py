"""Placements accepted and synced, beside SQLite's own single-row commits with `synchronous=FULL`."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.rounds import interleaved, median_of, median_round
from benchmarks.table import Figure, Limit, Row, at_least
from nexusd.core.events import Event, Subject
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.polls import PollState
from nexusd.core.world import World
from nexusd.provisioning.intake import Intake
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore

FOR_S = 2.0
DISK_FOR_S = 0.5
CALLERS = 64


def rows() -> Iterator[Row]:
    synced = median_of("a 4 KiB write and its sync", disk_syncs_per_second)
    yield Row("", "a 4 KiB write and its sync, to read the next rows by", Figure(synced, "/s"))
    yield beside_single_rows(
        f"the store, transactions of one row, synced, {CALLERS} callers",
        lambda: asyncio.run(one_row_transactions_per_second(CALLERS)),
        at_least(10),
    )
    yield beside_single_rows(
        f"placements accepted, synced, {CALLERS} callers",
        lambda: asyncio.run(accepted_per_second(CALLERS)),
    )


def beside_single_rows(what: str, measure: Callable[[], float], limit: Limit | None = None) -> Row:
    """What a sync costs can change from one second to the next, so each round has both."""
    ours, single = median_round(interleaved(what, measure, single_row_commits_per_second), float)
    beside = Figure(single, "/s", "SQLite FULL, single rows")
    return Row("G7" if limit is not None else "", what, Figure(ours, "/s"), beside, limit)


async def one_row_transactions_per_second(callers: int) -> float:
    """As small as SQLite's own beside them: one row, here of the history."""
    event = Event(0.0, "Measured", Subject("benchmark", "b"), {})
    async with _opened() as store:
        return await _rate(callers, lambda _: store.run(lambda tx: tx.events.append([event])))


async def accepted_per_second(callers: int) -> float:
    """By `provisioning.Intake`: each with its event, and all indexes that placing needs."""
    clock = SystemClock()
    world = World({"regions": PollState("regions", 15.0, clock.now())})
    async with _opened() as store:
        intake = Intake(world, store, clock, random.Random(1), PlacementPolicy(), lambda _: None)
        return await _rate(callers, lambda name: intake.accept(PlacementRequest(name, "pro"), None))


@asynccontextmanager
async def _opened() -> AsyncIterator[SqlStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StoreOptions(f"sqlite:///{folder}/b.db", "benchmark"), SystemClock())
        try:
            yield store
        finally:
            await store.close()


async def _rate(callers: int, act: Callable[[str], Awaitable[object]]) -> float:
    """How often a second, by callers that act again as soon as they are answered."""
    until = time.perf_counter() + FOR_S

    async def caller(number: int) -> int:
        made = 0
        while time.perf_counter() < until:
            await act(f"b-{number}-{made}")
            made += 1
        return made

    return sum(await asyncio.gather(*(caller(number) for number in range(callers)))) / FOR_S


def disk_syncs_per_second() -> float:
    """What the disk does when nothing is in between."""
    block = bytes(4096)
    with tempfile.TemporaryFile(buffering=0) as file:
        done, until = 0, time.perf_counter() + DISK_FOR_S
        while time.perf_counter() < until:
            file.write(block)
            os.fdatasync(file.fileno())
            done += 1
    return done / DISK_FOR_S


def single_row_commits_per_second() -> float:
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder) / "b.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        done, until = 0, time.perf_counter() + FOR_S
        while time.perf_counter() < until:
            db.execute("INSERT INTO t (text) VALUES ('x')")
            done += 1
        db.close()
    return done / FOR_S
