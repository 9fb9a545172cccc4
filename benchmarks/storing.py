"""Placements accepted and synced, beside SQLite's own single-row commits with `synchronous=FULL`."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rounds import interleaved, median_round
from benchmarks.table import Figure, Limit, Row, at_least
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.polls import PollState
from nexusd.core.world import World
from nexusd.provisioning.intake import Intake
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store

FOR_S = 2.0
CALLERS = 64


def rows() -> Iterator[Row]:
    what = f"accept placements, synced, {CALLERS} callers"
    yield beside_single_rows(what, lambda: asyncio.run(accepted_per_second(CALLERS)), at_least(10))


def beside_single_rows(what: str, measure: Callable[[], float], limit: Limit) -> Row:
    """What a sync costs can change from one second to the next, so each round has both."""
    ours, single = median_round(interleaved(what, measure, single_row_commits_per_second), float)
    return Row("G7", what, Figure(ours, "/s"), Figure(single, "/s", "SQLite FULL, single rows"), limit)


async def accepted_per_second(callers: int) -> float:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StoreOptions(f"sqlite:///{folder}/b.db", "benchmark"), clock)
        world = World({"regions": PollState("regions", 15.0, clock.now())})
        intake = Intake(world, store, clock, random.Random(1), PlacementPolicy(), lambda _: None)
        done = 0

        async def caller(number: int, until: float) -> None:
            nonlocal done
            made = 0
            while time.perf_counter() < until:
                await intake.accept(PlacementRequest(f"b-{number}-{made}", "pro"), None)
                made += 1
            done += made

        await asyncio.gather(*(caller(n, time.perf_counter() + FOR_S) for n in range(callers)))
        await store.close()
    return done / FOR_S


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
