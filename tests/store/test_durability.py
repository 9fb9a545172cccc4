"""Nothing acknowledged is lost (I2): by kill -9, and by a power cut."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from tests.fakes import FakeClock
from tests.requirements import need, need_program
from tests.store.power_cut import TRACED, cuts
from tests.store.test_transactions import written

WRITER = """
import asyncio, os, sys
from nexusd.core.events import Event, Subject
from nexusd.runtime.clock import SystemClock
from nexusd.store.executors import InlineExecutor, StoreThread
from nexusd.store.opening import StoreOptions, open_store

async def caller(store, first, step, last):
    for number in range(first, last, step):
        event = Event(1.0, f"n{number}", Subject("daemon", "x"), {"padding": "x" * 700})
        await store.run(lambda tx: tx.events.append([event]))
        os.write(1, b"n%d\\n" % number)

async def main(url, callers, last, pragma):
    executor = InlineExecutor() if callers == 1 else StoreThread()
    store = open_store(StoreOptions(url, "writer"), SystemClock(), executor)
    await store.run(lambda tx: None)
    if pragma:
        store._commits._connection.session.script(pragma)
    await asyncio.gather(*(caller(store, n, callers, last) for n in range(callers)))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
"""


@pytest.mark.slow
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nexusd.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, "16", "10000000", ""], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(500)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += writer.communicate()[0].split("\n")[:-1]
    store = open_store(StoreOptions(url, "me"), FakeClock(), InlineExecutor())
    kept = {e.type for e in await store.run(lambda tx: tx.events.since(0, None, 10_000_000))}
    await store.close()
    assert len(acknowledged) >= 500
    assert set(acknowledged) - kept == set()


@pytest.mark.slow
async def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert await _losses(tmp_path, pragma="") == 0


@pytest.mark.slow
async def test_the_simulated_power_cut_catches_commits_that_are_not_synced(tmp_path: Path) -> None:
    assert await _losses(tmp_path, pragma="PRAGMA synchronous = NORMAL") > 100


async def _losses(folder: Path, pragma: str) -> int:
    """In how many power cuts an acknowledged commit was lost."""
    strace = need_program("strace")
    trace, live = folder / "trace", folder / "live"
    live.mkdir()
    command = [strace, "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={TRACED}", "-o", str(trace)]
    command += [sys.executable, "-c", WRITER, f"sqlite:///{live}/nexusd.db", "1", "400", pragma]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    need("ptrace" not in done.stderr, "strace may not trace here")
    assert done.returncode == 0, done.stderr
    lost = 0
    for number, cut in enumerate(cuts(trace, live.resolve(), seed=7)):
        cut.write_to(folder / f"cut{number}")
        lost += await _kept(folder / f"cut{number}" / "nexusd.db") < cut.acknowledged
    assert number == 799
    return lost


async def _kept(path: Path) -> int:
    """Read as a start would; a file that the cut left without its tables keeps nothing."""
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'").fetchone()
    connection.close()
    if not tables[0]:
        return 0
    store = open_store(StoreOptions(f"sqlite:///{path}", "me"), FakeClock(), InlineExecutor())
    kept = len(await written(store))
    await store.close()
    return kept
