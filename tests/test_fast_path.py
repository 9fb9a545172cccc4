"""Random fleets, drift, failures, restarts and take-overs through the whole fast path (pages, listings,
comparison, rules, store, exposition), against a reference that looks at everything every time.

The client is the real one but for HTTP: its pages come from a list in memory.
"""

from __future__ import annotations

import asyncio
import copy
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from nexusd import cycle as cycle_module
from nexusd.beside import Beside
from nexusd.cloud import pages as pages_module
from nexusd.cloud.client import CloudNexus
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.core import after_sweep
from nexusd.core import comparing as comparing_module
from nexusd.core.alerting import Alerting
from nexusd.core.errors import UnavailableError
from nexusd.core.inventory import Inventory
from nexusd.core.notifications import Routing
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import Instance
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.sweeps import Sweep
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts, nobody_is_told
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.web.instance_metrics import InstanceMetrics
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.prepared import plain
from tests.fakes import NullMetrics
from tests.virtual_time import VirtualClock, run_virtual

INTERVALS_S = {REGIONS: 15.0, INSTANCES: 30.0}
PAGE = 5
STATUSES = ("running", "stopped", "pending", "terminated", "resizing")
Transition = tuple[str, str, str]


@dataclass
class Reference:
    """What is known, and what it means, from complete listings. Nothing is remembered to save work."""

    known: dict[str, Instance] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    firing: set[tuple[str, str]] = field(default_factory=set)
    events: list[tuple[str, str]] = field(default_factory=list)
    transitions: Counter[Transition] = field(default_factory=Counter)
    empty: bool = True

    def see(self, listed: dict[str, Instance]) -> None:
        before = self.known
        self.missed = {i: self.missed.get(i, 0) + 1 for i in before if i not in listed}
        gone = {i for i, sweeps in self.missed.items() if sweeps > 1}
        self.known = {i: r for i, r in {**before, **listed}.items() if i not in gone}
        self.ran |= {i for i, r in listed.items() if r.status == "running"}
        flips = [(before[i], r) for i, r in listed.items() if i in before and before[i].status != r.status]
        self.transitions.update((now.region, was.status, now.status) for was, now in flips)
        if not self.empty:
            self.events += [("InstanceAppeared", i) for i in listed if i not in before]
            self.events += [("InstanceVanished", i) for i in gone]
        self.events += [("InstanceStatusChanged", now.id) for _, now in flips]
        self.empty = False
        self._alert({i: before[i] for i in gone})
        self.ran -= gone

    def _alert(self, gone: dict[str, Instance]) -> None:
        held = {
            (name, i)
            for name, i in self.firing
            if (name == "InstanceVanished" and i not in self.known)
            or (name == "InstanceStopped" and self._is(i, not_in=("running", "terminated")))
            or (name == "InstanceTerminated" and self._is(i, not_in=("running",)))
        }
        fell = {"stopped": "InstanceStopped", "terminated": "InstanceTerminated"}
        began = {(fell[r.status], i) for i, r in self.known.items() if r.status in fell and i in self.ran}
        vanished = {("InstanceVanished", i) for i, r in gone.items() if r.status != "terminated"}
        self.firing = held | began | vanished

    def _is(self, instance_id: str, not_in: tuple[str, ...]) -> bool:
        return instance_id in self.known and self.known[instance_id].status not in not_in


class ListedApi(CloudNexus):
    """The client over a list in memory. `fails_at`: the offset from which on pages fail, or None."""

    def __init__(self, rows: list[Instance], clock: VirtualClock, world: World) -> None:
        options = CloudOptions("http://127.0.0.1:1", max_concurrent_requests=2)
        super().__init__(options, LiteralKey("k"), clock, random.Random(1), NullMetrics(), world.known)
        self.rows = rows
        self.fails_at: int | None = None

    async def _get(self, session: object, path: str, query: str, decode: Callable[[bytes], Any]) -> Any:
        offset = int(query.rpartition("=")[2])
        await asyncio.sleep(0.001)
        if self.fails_at is not None and offset >= self.fails_at:
            raise UnavailableError(f"GET {path}: no", "timeout")
        meta = {"total": len(self.rows), "limit": PAGE, "offset": offset}
        return decode(msgspec.json.encode({"data": self.rows[offset : offset + PAGE], "meta": meta}))


@dataclass(frozen=True)
class Step:
    """What happens before a sweep, and where it fails. `then`: what happens to the daemon after it."""

    changed: list[tuple[int, str]]
    removed: list[int]
    added: list[int]
    fails_at: int | None
    then: str


@dataclass(frozen=True)
class Life:
    size: int
    steps: list[Step]
    beside: bool


places = st.integers(0, 30)
steps = st.builds(
    Step,
    st.lists(st.tuples(places, st.sampled_from(STATUSES)), max_size=4),
    st.lists(places, max_size=2),
    st.lists(places, max_size=2),
    st.sampled_from((None, None, None, 4, 12)),
    st.sampled_from(("", "", "", "restart", "lose the lease", "take over")),
)
lives = st.builds(Life, st.integers(0, 25), st.lists(steps, min_size=1, max_size=5), st.booleans())


class Daemon:
    """World, client and cycle over a store that outlives them."""

    def __init__(self, folder: Path, clock: VirtualClock, rows: list[Instance]) -> None:
        self._options = StoreOptions(f"sqlite:///{folder / 'nexusd.db'}", "test")
        self._clock = clock
        self.rows = rows
        self.metrics = MetricsRegistry()

    async def start(self) -> None:
        now = self._clock.now()
        self.world = World({name: PollState(name, s, now) for name, s in INTERVALS_S.items()})
        self.store = open_store(self._options, self._clock, InlineExecutor())
        self.cloud = ListedApi(self.rows, self._clock, self.world)
        nobody = Observers(lambda: None, lambda _: None, lambda _: None)
        alerting = Alerting(tuple(DEFAULT_RULES.values()), Routing({"ops": True}))
        parts = Parts(self.cloud, alerting, nobody_is_told, INTERVALS_S, nobody)
        self.cycle = Cycle(self.world, self.store, self._clock, self.metrics, parts)
        self.series = InstanceMetrics(1000, lambda: self.world.inventory)
        await self.store.acquire_lease()
        await self.cycle.restore()

    async def stop(self) -> None:
        await self.store.release_lease()
        await self.store.close()

    async def wrong(self, reference: Reference) -> str | None:
        """What differs from the reference."""
        inventory = self.world.inventory
        events = await self.store.run(lambda tx: tx.events.since(0, None, 1000))
        told = [(e.type, e.subject.id) for e in events if e.subject.kind == "instance"]
        firing = {
            (a.name, a.label("instance_id"))
            for a in self.world.alerts.values()
            if a.state == "firing" and a.label("instance_id")
        }
        shown = b"".join(plain(await self.series.render(), b"")).decode()
        rendered = {line for line in shown.splitlines() if line.startswith("nexusd_instance_status")}
        counted = Counter((i.region, i.status) for i in reference.known.values())
        pairs = {
            "snapshot": ({i.id: i for i in inventory}, reference.known),
            "missed": (dict(inventory.missed), {i: n for i, n in reference.missed.items() if n < 2}),
            "counts": (dict(inventory.counts), dict(counted)),
            "changes": (sorted(told), sorted(reference.events)),
            "alerts": (firing, reference.firing),
            "transitions": (self._transitions(), dict(reference.transitions)),
            "series": (rendered, {_series(i) for i in reference.known.values()}),
        }
        different = [f"{what}: {one} is not {other}" for what, (one, other) in pairs.items() if one != other]
        return "; ".join(different) or None

    def _transitions(self) -> dict[Transition, int]:
        return {
            (labels[0], labels[1], labels[2]): int(n)
            for labels, n in self.metrics._transitions._values.items()
            if n
        }


def _series(instance: Instance) -> str:
    return f'nexusd_instance_status{{instance_id="{instance.id}",status="{instance.status}"}} 1'


def _drift(rows: list[Instance], step: Step, names: Iterator[int]) -> None:
    for place, status in step.changed:
        if rows:
            at = place % len(rows)
            rows[at] = msgspec.structs.replace(rows[at], status=status)
    for place in step.removed:
        if rows:
            del rows[place % len(rows)]
    for place in step.added:
        number = next(names)
        new = Instance(f"inst_{number}", f"web-{number}", STATUSES[number % 3], f"eu-{number % 2}")
        rows.insert(place % (len(rows) + 1), new)


async def _live(life: Life, folder: Path) -> str | None:
    clock, names = VirtualClock(), iter(range(1000))
    rows: list[Instance] = []
    _drift(rows, Step([], [], list(range(life.size)), None, ""), names)
    daemon, reference, stored = Daemon(folder, clock, rows), Reference(), None
    await daemon.start()
    try:
        for step in (Step([], [], [], None, ""), *life.steps, Step([], [], [], None, "")):
            _drift(rows, step, names)
            daemon.cloud.fails_at = step.fails_at
            await daemon.cycle.poll_instances()
            await asyncio.sleep(30.0)
            if daemon.world.polls[INSTANCES].failure is None:
                reference.see({row.id: row for row in rows})
            if stored is None and (found := await daemon.wrong(reference)) is not None:
                return found
            if step.then == "restart" and stored is None:
                await daemon.stop()
                await daemon.start()
            elif step.then == "lose the lease" and stored is None:
                stored = copy.deepcopy(reference)
                await daemon.store.release_lease()
            elif step.then == "take over" and stored is not None:
                await daemon.store.acquire_lease()
                await daemon.cycle.restore()
                stored.transitions = reference.transitions
                reference, stored = stored, None
    finally:
        await daemon.stop()
    return None


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty store in it."""
    folder = tmp_path_factory.mktemp("store")

    async def make() -> None:
        await open_store(
            StoreOptions(f"sqlite:///{folder / 'nexusd.db'}", "test"), VirtualClock(), InlineExecutor()
        ).close()

    run_virtual(make())
    return folder


def _disagrees(life: Life, migrated: Path) -> str | None:
    """`beside`: however few the records are, long steps run beside the loop and inventories are copied."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        shutil.copy(migrated / "nexusd.db", folder)
        if life.beside:
            patches.enter_context(patch.object(cycle_module, "beside", Beside(1)))
            patches.enter_context(patch.object(cycle_module, "MOST_ON_LOOP", 1))
            patches.enter_context(patch.object(after_sweep, "MOST_IN_PLACE", 1))
        return run_virtual(_live(life, Path(folder)))


def _given(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@given(life=lives)
@_given(8)
def test_the_fast_path_ends_up_where_looking_at_everything_does(life: Life, migrated: Path) -> None:
    assert _disagrees(life, migrated) is None


@pytest.mark.slow
@given(life=lives)
@_given(100)
def test_the_fast_path_ends_up_where_looking_at_everything_does_often(life: Life, migrated: Path) -> None:
    assert _disagrees(life, migrated) is None


def _any_renewal(_inventory: Inventory, sweep: Sweep) -> Any:
    return sweep.renewal


BROKEN: dict[str, tuple[object, str, object]] = {
    "a renewal is believed whatever the inventory has": (comparing_module, "_renewal", _any_renewal),
    "bytes of one length are taken for the same": (pages_module, "hash", len),
}


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name", "broken"), BROKEN.values(), ids=BROKEN)
def test_a_broken_fast_path_is_caught(owner: object, name: str, broken: object, migrated: Path) -> None:
    quick = settings(
        max_examples=2000,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with patch.object(owner, name, broken, create=True):
        assert find(lives, lambda life: _disagrees(life, migrated) is not None, settings=quick)
