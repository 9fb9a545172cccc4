"""Group commit against SQLite's own single-row commits, in one run (performance.md, G7)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from nexusd.core.events import Event, Subject
from nexusd.store.opening import StoreOptions, open_store
from tests.fakes import FakeClock

CALLERS = 64
COMMITS = 19_200
EVENT = Event(1.0, "InstanceAppeared", Subject("instance", "i-1", "web-1", "eu-1"))


@pytest.mark.slow
async def test_sixty_four_callers_commit_several_times_faster_than_one_row_at_a_time(tmp_path: Path) -> None:
    ratios = [
        await _store_rate(tmp_path / f"{n}.db") / _single_row_rate(tmp_path / f"s{n}.db") for n in range(3)
    ]
    print("rows/s against single-row FULL:", [f"{ratio:.1f}" for ratio in ratios])
    assert max(ratios) > 4  # about 9 on a quiet machine; another's load falls on both, but not evenly


def _single_row_rate(path: Path) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, at REAL, text TEXT)")
    began = time.perf_counter()
    for number in range(2_000):
        connection.execute("INSERT INTO one VALUES (?, ?, ?)", (number, 1.0, "x" * 40))
    rate = 2_000 / (time.perf_counter() - began)
    connection.close()
    return rate


async def _store_rate(path: Path) -> float:
    store = open_store(StoreOptions(f"sqlite:///{path}", "me"), FakeClock())

    async def caller() -> None:
        for _ in range(COMMITS // CALLERS):
            await store.run(lambda tx: tx.events.append([EVENT]))

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    rate = COMMITS / (time.perf_counter() - began)
    await store.close()
    return rate
