"""The simulator's own parts: what a kill leaves, what the ledger believes, what a story tells."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import PlacementRequest
from nexusd.ports import Transaction
from nexusd.simulator.disk import Disk
from nexusd.simulator.killing import Crossing, KilledError, Life
from nexusd.simulator.ledger import Ledger
from nexusd.simulator.options import Fault
from nexusd.simulator.process import ObservedStore
from nexusd.simulator.trace import Trace, moment
from nexusd.simulator.weather import Weather
from tests.virtual_time import VirtualClock, in_virtual_time


def queued(name: str) -> Placement:
    return Placement(f"plc_{name}", PlacementRequest(name, "pro"), State.QUEUED, 0.0, 0.0)


class Machine:
    """A disk, and one process's store on it."""

    def __init__(self, folder: Path) -> None:
        self.trace = Trace(asyncio.get_running_loop())
        self.weather = Weather(random.Random(1), frozenset(Fault), self.trace)
        self.ledger = Ledger()
        self.disk = Disk(folder / "nexusd.db", self.ledger, self.weather)
        self.start()

    def start(self) -> None:
        self.life = Life(1, self.trace, Counter())
        self.store = ObservedStore(self.disk.open(self.life, VirtualClock()), self.ledger, self.life)

    async def insert(self, *names: str) -> None:
        for name in names:
            await self._insert(name)

    async def _insert(self, name: str) -> None:
        await self.store.run_leading(lambda tx: tx.placements.insert(queued(name)))

    def die_at(self, where: Crossing) -> None:
        self.life._at, self.life._crossings_left = where, 1


Boot = Callable[[], Machine]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """Return a function that starts a machine; its disk is closed after the test."""
    with ExitStack() as stack:

        def start() -> Machine:
            machine = Machine(tmp_path)
            stack.callback(machine.disk.close)
            return machine

        yield start


@in_virtual_time
async def test_a_kill_before_the_commit_leaves_nothing_and_after_it_everything(boot: Boot) -> None:
    machine = boot()
    for name, where in (("lost", Crossing.BEFORE_COMMIT), ("kept", Crossing.AFTER_COMMIT)):
        machine.die_at(where)
        with pytest.raises(KilledError), machine.life.seen_from_outside():
            await machine.insert(name)
        machine.disk.crash()
        machine.start()
    assert machine.disk.open_placements() == {"plc_kept": "queued"}
    assert list(machine.ledger.records) == ["plc_kept"]


@in_virtual_time
async def test_a_dead_process_can_do_nothing_more(boot: Boot) -> None:
    machine = boot()
    machine.life.kill("here")
    with pytest.raises(asyncio.CancelledError):
        await machine.insert("late")
    machine.disk.crash()
    assert machine.disk.open_placements() == {}


@in_virtual_time
async def test_the_ledger_believes_nothing_of_a_transaction_that_was_undone(boot: Boot) -> None:
    machine = boot()

    def transaction(tx: Transaction) -> None:
        tx.placements.insert(queued("undone"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await machine.store.run_leading(transaction)
    await machine.insert("kept")
    assert list(machine.ledger.records) == ["plc_kept"]


@in_virtual_time
async def test_a_full_disk_commits_nothing_and_the_ledger_knows(boot: Boot) -> None:
    machine = boot()
    machine.weather._set(Fault.STORE, on=True)
    with pytest.raises(StoreUnavailableError):
        await machine.insert(*(f"n{n}" for n in range(20)))
    machine.weather.clear()
    await machine.insert("later")
    stored = machine.disk.open_placements()
    assert stored.keys() == machine.ledger.records.keys()
    assert "plc_later" in stored


@in_virtual_time
async def test_a_story_has_the_events_of_one_and_those_of_all_in_between() -> None:
    trace = Trace(asyncio.get_running_loop())
    trace.happened("before its time")
    trace.happened_to("plc_a", "accepted")
    await asyncio.sleep(3725.5)
    trace.happened("process 2 starts")
    trace.happened_to("plc_b", "accepted")
    trace.happened_to("plc_a", "creating")
    assert trace.story("plc_a") == [
        "0d 00:00:00.000   accepted",
        "0d 01:02:05.500 · process 2 starts",
        "0d 01:02:05.500   creating",
    ]


def test_a_moment_reads_as_days_and_hours() -> None:
    assert moment(2 * 86_400.0 + 3 * 3600.0 + 4 * 60.0 + 5.25) == "2d 03:04:05.250"
