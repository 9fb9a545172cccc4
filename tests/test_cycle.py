"""The cycle over a real store and a cloud in memory, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from nexusd.core.alerting import Alerting
from nexusd.core.alerts import AlertState
from nexusd.core.cooling import CoolingOff
from nexusd.core.errors import UnavailableError
from nexusd.core.events import Event
from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.lifecycle import Attempt, Placement, State, Verdict
from nexusd.core.matchers import parse_matcher
from nexusd.core.notifications import Message, Routing
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import Instance, Region
from nexusd.core.rules import Rule
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.silences import Silence
from nexusd.core.world import World
from nexusd.cycle import MOST_ON_LOOP, Cycle, Observers, Parts
from nexusd.ports import OutboxMessage, Transaction
from nexusd.provisioning.intake import Intake
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeCloudApi, NullMetrics
from tests.virtual_time import VIRTUAL_EPOCH, VirtualClock, in_virtual_time, run_virtual

EAST = Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True)
WEST = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=True)
INTERVALS_S = {REGIONS: 15.0, INSTANCES: 30.0}
HELD = Placement(
    "plc_held",
    PlacementRequest("worker-01", "pro"),
    State.HELD,
    created_at=1.0,
    updated_at=2.0,
    reason="sweeps stay incomplete",
    region="us-east-1",
    attempts=1,
)


class Watch:
    """A cycle that nobody polls for unless the test does."""

    def __init__(
        self,
        store: SqlStore,
        clock: VirtualClock,
        cloud: FakeCloudApi,
        smoothing_s: float | None,
        rules: Iterable[Rule],
    ) -> None:
        self.store = store
        self.clock = clock
        self.cloud = cloud
        now = clock.now()
        self.world = World({name: PollState(name, s, now) for name, s in INTERVALS_S.items()})
        nobody = Observers(lambda: None, lambda _: None, lambda _: None)
        self.told: list[tuple[float, Message]] = []
        alerting = Alerting(tuple(rules), Routing({"ops": True}))
        self.parts = Parts(cloud, alerting, self._tell, INTERVALS_S, nobody, smoothing_s)
        self.cycle = Cycle(self.world, store, clock, NullMetrics(), self.parts)

    async def _tell(self, messages: Iterable[Message], now: float) -> list[OutboxMessage]:
        self.told += [(now, message) for message in messages]
        return []

    def intake(self, changed: Callable[[list[Event]], None]) -> Intake:
        return Intake(self.world, self.store, self.clock, random.Random(1), PlacementPolicy(), changed)

    async def poll(self) -> None:
        await self.cycle.poll_regions()
        await self.cycle.poll_instances()

    def states(self, alertname: str) -> list[AlertState]:
        return [a.state for a in self.world.alerts.values() if a.label("alertname") == alertname]

    async def put_held(self) -> None:
        attempt = Attempt(HELD.id, 1, "us-east-1", 1.0, 11.0, 1, detail="no answer")

        def transaction(tx: Transaction) -> None:
            tx.placements.insert(HELD)
            tx.placements.add_attempt(attempt)

        await self.store.run(transaction)


@asynccontextmanager
async def watch(
    folder: Path,
    smoothing_s: float | None = None,
    regions: Iterable[Region] = (EAST, WEST),
    set_back_s: float = 0.0,
    rules: Iterable[Rule] = DEFAULT_RULES.values(),
) -> AsyncIterator[Watch]:
    """Leading, restored and polled once; the cycle runs until the block ends."""
    clock = VirtualClock(epoch=VIRTUAL_EPOCH - set_back_s)
    options = StoreOptions(f"sqlite:///{folder / 'nexusd.db'}", f"test {clock.now()}")
    store = open_store(options, clock, InlineExecutor())
    here = Watch(store, clock, FakeCloudApi(clock, regions), smoothing_s, rules)
    assert await store.acquire_lease()
    await here.cycle.restore()
    await here.poll()
    running = asyncio.ensure_future(here.cycle.run())
    try:
        yield here
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.release_lease()
        await store.close()


@in_virtual_time
async def test_the_alert_of_a_held_placement_ends_when_a_person_resolves_it(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        await here.put_held()
        here.cycle.wake()
        await asyncio.sleep(1.0)
        assert here.states("PlacementHeld") == [AlertState.FIRING]
        intake = here.intake(lambda _: here.cycle.wake())
        await intake.resolve(HELD.id, Verdict.EXISTS)
        await asyncio.sleep(1.0)
        assert here.states("PlacementHeld") in ([], [AlertState.RESOLVED])


def stopped_in(told: list[tuple[float, Message]]) -> list[str]:
    alerts = (alert for _, message in told for alert in message.alerts)
    return [alert.label("instance_id") for alert in alerts if alert.name == "InstanceStopped"]


@in_virtual_time
async def test_a_clock_that_was_behind_fires_and_resolves_nothing(tmp_path: Path) -> None:
    async with watch(tmp_path, set_back_s=7200.0) as here:
        here.cloud.put(Instance("inst_1", "web-00001", "provisioning", EAST.slug))
        here.cloud.put(Instance("inst_2", "web-00002", "running", EAST.slug))
        await here.poll()
        here.cloud.change("inst_2", status="stopped")
        queued = replace(HELD, state=State.QUEUED, region=None, created_at=here.clock.now())
        await here.store.run(lambda tx: tx.placements.insert(queued))
        await asyncio.sleep(30.0)
        await here.poll()
        assert here.states("InstanceStopped") == [AlertState.FIRING]
        rule = DEFAULT_RULES["InstanceStopped"]
    short = {**DEFAULT_RULES, rule.name: replace(rule, resolve_after_s=3600.0)}
    async with watch(tmp_path, rules=short.values()) as here:
        here.cloud.put(Instance("inst_1", "web-00001", "provisioning", EAST.slug))
        here.cloud.put(Instance("inst_2", "web-00002", "stopped", EAST.slug))
        await here.poll()
        assert here.states("InstanceStopped") == [AlertState.FIRING]
        assert here.states("PlacementDelayed") == []
        assert AlertState.FIRING not in here.states("InstanceStuck")
        for _ in range(29):
            await asyncio.sleep(30.0)
            await here.poll()
        assert here.states("InstanceStuck") == [AlertState.FIRING]


@pytest.mark.parametrize("ahead_s", [7200.0, 90 * 86_400.0])
@in_virtual_time
async def test_a_clock_that_was_ahead_delays_nothing(tmp_path: Path, ahead_s: float) -> None:
    async with watch(tmp_path, set_back_s=-ahead_s) as here:
        cooling = CoolingOff(EAST.slug, here.clock.now() + 60.0, 1, "INSUFFICIENT_CAPACITY")
        await here.store.run(lambda tx: tx.regions.save_cooling_off(cooling))
        here.cloud.put(Instance("inst_1", "web-00001", "running", EAST.slug))
        here.cloud.put(Instance("inst_2", "web-00002", "running", EAST.slug))
        await here.poll()
        here.cloud.change("inst_1", status="stopped")
        await here.poll()
        await asyncio.sleep(15.0)
        assert stopped_in(here.told) == ["inst_1"]
    async with watch(tmp_path) as here:
        assert here.world.cooling_off[cooling.place].until <= here.clock.now() + 60.0
        here.cloud.put(Instance("inst_1", "web-00001", "stopped", EAST.slug))
        here.cloud.put(Instance("inst_2", "web-00002", "stopped", EAST.slug))
        await here.poll()
        await asyncio.sleep(400.0)
        assert "inst_2" in stopped_in(here.told)


@in_virtual_time
async def test_an_inhibition_ends_with_the_next_snapshots_of_both_kinds(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        here.cloud.put(Instance("inst_1", "web-00001", "running", WEST.slug))
        await here.poll()
        here.cloud.change_region(WEST.slug, status="degraded")
        here.cloud.change("inst_1", status="stopped")
        await here.poll()
        await asyncio.sleep(130.0)
        await here.poll()
        assert here.states("RegionUnhealthy") == [AlertState.FIRING]
        assert len(here.world.muting.muted) == 1
        here.cloud.change_region(WEST.slug, status="healthy")
        await here.cycle.poll_regions()
        await asyncio.sleep(5.0)
        await here.cycle.poll_instances()
        assert here.states("RegionUnhealthy") == [AlertState.RESOLVED]
        assert len(here.world.muting.muted) == 1
        await asyncio.sleep(10.0)
        await here.cycle.poll_regions()
        assert here.world.muting.muted == {}


@pytest.mark.parametrize("set_back_s", [0.0, 7200.0])
@in_virtual_time
async def test_a_restart_remembers_that_most_instances_were_lost(tmp_path: Path, set_back_s: float) -> None:
    """Else a fleet whose account an outage had emptied would be made anew at once (docs/fleets.md)."""
    async with watch(tmp_path) as here:
        for n in range(6):
            here.cloud.put(Instance(f"inst_{n}", f"web-0000{n}", "running", "us-east-1"))
        await here.poll()
        for n in range(6):
            here.cloud.remove(f"inst_{n}")
        await asyncio.sleep(30.0)
        await here.poll()
        await here.poll()
        lost_at = here.world.inventory.lost_most_at
        assert (lost_at, len(here.world.inventory)) == (here.clock.now(), 0)
    async with watch(tmp_path, set_back_s=set_back_s) as here:
        assert here.world.inventory.lost_most_at == lost_at - set_back_s


@in_virtual_time
async def test_an_alert_ends_within_a_minute_of_what_another_replica_resolved(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        await here.put_held()
        here.cycle.wake()
        await asyncio.sleep(1.0)
        await here.intake(lambda _: None).resolve(HELD.id, Verdict.ABSENT)
        await asyncio.sleep(61.0)
        assert here.states("PlacementHeld") in ([], [AlertState.RESOLVED])


@in_virtual_time
async def test_a_placement_that_nothing_ever_happens_to_is_told_as_delayed(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        now = here.clock.now()
        queued = replace(HELD, state=State.QUEUED, created_at=now, updated_at=now)
        await here.store.run(lambda tx: tx.placements.insert(queued))
        await asyncio.sleep(599.0)
        assert here.states("PlacementDelayed") == []
        await asyncio.sleep(2.0)
        assert here.states("PlacementDelayed") == [AlertState.FIRING]


@in_virtual_time
async def test_a_short_delay_is_told_in_time_though_a_new_placement_wakes_nobody(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        delayed = replace(DEFAULT_RULES["PlacementDelayed"], threshold=5.0)
        here.cycle.reconfigure(replace(here.parts, alerting=replace(here.parts.alerting, rules=(delayed,))))
        await asyncio.sleep(1.0)
        now = here.clock.now()
        queued = replace(HELD, state=State.QUEUED, created_at=now, updated_at=now)
        await here.store.run(lambda tx: tx.placements.insert(queued))
        await asyncio.sleep(4.9)
        assert here.states("PlacementDelayed") == []
        await asyncio.sleep(0.2)
        assert here.states("PlacementDelayed") == [AlertState.FIRING]


@in_virtual_time
async def test_latencies_are_smoothed_from_one_process_to_the_next(tmp_path: Path) -> None:
    async with watch(tmp_path, smoothing_s=60.0) as here:
        here.cloud.change_region("us-east-1", latency_ms=112.0)
        await asyncio.sleep(60.0)
        await here.cycle.poll_regions()
        assert here.world.regions.known["us-east-1"].smoothed_ms == 62.0
    async with watch(tmp_path, smoothing_s=60.0) as here:
        assert here.world.regions.known["us-east-1"].smoothed_ms == 62.0


@in_virtual_time
async def test_what_regions_answered_is_recorded_each_time_it_differs(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        began = here.clock.now()
        await asyncio.sleep(15.0)
        await here.cycle.poll_regions()
        await asyncio.sleep(15.0)
        here.cloud.change_region("us-east-1", latency_ms=80.0)
        await here.cycle.poll_regions()
        recorded = await here.store.run(lambda tx: list(tx.region_history.between(0.0, here.clock.now())))
        assert [(a.at - began, a.until - began) for a in recorded] == [(0.0, 15.0), (30.0, 30.0)]
        assert [r.latency_ms for r in recorded[1].regions] == [45.0, 80.0]


@in_virtual_time
async def test_a_poll_that_failed_is_a_gap_in_what_is_recorded(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        here.cloud.fail_next(REGIONS, UnavailableError("down"))
        for _ in range(2):
            await asyncio.sleep(15.0)
            await here.cycle.poll_regions()
        recorded = await here.store.run(lambda tx: list(tx.region_history.between(0.0, here.clock.now())))
        assert [a.until - a.at for a in recorded] == [0.0, 0.0]


@pytest.mark.slow
@in_virtual_time
async def test_many_changes_at_once_are_judged_in_steps_and_at_once(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        for number in range(5_000):
            here.cloud.put(Instance(f"inst_{number}", f"web-{number}", "running", "us-east-1"))
        await here.poll()
        for number in range(4_500):
            here.cloud.change(f"inst_{number}", status="stopped")
        await here.poll()
        await asyncio.sleep(1.0)
        assert here.states("InstanceStopped") == [AlertState.FIRING] * 4_500


@in_virtual_time
async def test_what_a_poll_makes_due_is_not_late(tmp_path: Path) -> None:
    """However long the cycle meant to sleep before that poll."""
    async with watch(tmp_path) as here:
        here.cloud.put(Instance("inst_1", "web-1", "running", "us-east-1"))
        await here.cycle.poll_instances()
        await asyncio.sleep(20.0)
        here.cloud.change("inst_1", status="stopped")
        await here.cycle.poll_instances()
        polled_at = here.clock.now()
        await asyncio.sleep(30.0)
        assert [(at - polled_at, m.alerts[0].name) for at, m in here.told] == [(10.0, "InstanceStopped")]


@pytest.mark.parametrize(
    ("state", "name", "told"),
    [
        (State.QUEUED, "PlacementDelayed", {"plc_0", "plc_1", "plc_2"}),
        (State.HELD, "PlacementHeld", {"plc_0", "plc_1", "plc_2"}),
        (State.FAILED, "PlacementFailed", {"plc_3", "plc_4", "plc_5"}),
    ],
)
@in_virtual_time
async def test_of_very_many_placements_a_bounded_number_is_told_and_how_many_more_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, name: str, told: set[str]
) -> None:
    monkeypatch.setattr("nexusd.passes.MOST_PRESSING", 3)
    async with watch(tmp_path) as here:
        now = here.clock.now()

        def transaction(tx: Transaction) -> None:
            for n in range(6):
                request = PlacementRequest(f"worker-{n}", "pro")
                tx.placements.insert(Placement(f"plc_{n}", request, state, now + n, now + n))

        await here.store.run(transaction)
        await asyncio.sleep(700.0)
        alerts = [a for a in here.world.alerts.values() if a.name == name]
        assert {a.label("placement_id") for a in alerts} == told
        said = [dict(a.annotations)["description"] for a in alerts]
        more = f"3 more are {state}, without an alert of their own."
        assert [text.endswith(more) for text in said].count(True) == 1


@pytest.mark.parametrize("killed_at_s", [1.0, 14.0, 59.0, 100.0, 119.5])
def test_a_restart_in_the_middle_of_for_shifts_firing_by_one_evaluation_at_most(
    tmp_path: Path, killed_at_s: float
) -> None:
    sick = msgspec.structs.replace(EAST, status="down")

    async def play() -> float:
        """How long after the region fell ill it was told."""
        began_at = VirtualClock().now()
        async with watch(tmp_path, regions=[sick, WEST]) as here:
            await polled(here, killed_at_s)
            assert here.states("RegionUnhealthy") == [AlertState.PENDING]
        await asyncio.sleep(3.0)
        async with watch(tmp_path, regions=[sick, WEST]) as here:
            while here.states("RegionUnhealthy") == [AlertState.PENDING]:
                await polled(here, 1.0)
            (alert,) = (a for a in here.world.alerts.values() if a.name == "RegionUnhealthy")
            assert alert.active_at == began_at
            return here.clock.now() - began_at

    assert 120.0 <= run_virtual(play()) <= 120.0 + INTERVALS_S[REGIONS]


async def polled(here: Watch, seconds: float) -> None:
    """So long, with a poll every 15 s."""
    until = here.clock.now() + seconds
    while here.clock.now() < until:
        await asyncio.sleep(min(INTERVALS_S[REGIONS], until - here.clock.now()))
        await here.poll()


@in_virtual_time
async def test_flapping_silences_and_what_was_told_survive_a_restart(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        here.cloud.put(Instance("inst_1", "web-1", "running", "us-east-1"))
        for status in ("running", *("stopped", "running") * 3):
            here.cloud.change("inst_1", status=status)
            await here.poll()
            await asyncio.sleep(30.0)
        (before,) = (a for a in here.world.alerts.values() if a.name == "InstanceStopped")
        assert before.flapping_since is not None
        now = here.clock.now()
        matchers = (parse_matcher("alertname=RegionUnhealthy"),)
        silence = Silence("s1", matchers, now, now + 3600.0, now, "me", "why")
        await here.store.run(lambda tx: tx.silences.save([silence]))
        told = len(here.told)
    async with watch(tmp_path) as here:
        here.cloud.put(Instance("inst_1", "web-1", "running", "us-east-1"))
        await here.poll()
        (after,) = (a for a in here.world.alerts.values() if a.name == "InstanceStopped")
        assert (after.flapping_since, after.changes) == (before.flapping_since, before.changes)
        assert here.world.silences == {"s1": silence}
        await polled(here, 300.0)
        assert (told, [m.alerts[0].name for _, m in here.told]) == (1, ["InstanceStopped"])  # that it flaps


@in_virtual_time
async def test_an_outage_over_ten_thousand_instances_is_one_message_and_one_when_it_ends(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as here:
        for number in range(10_000):
            here.cloud.put(Instance(f"inst_{number}", f"web-{number}", "running", "us-east-1"))
        await polled(here, 60.0)
        for resource in (REGIONS, INSTANCES):
            here.cloud.break_(resource, UnavailableError("connection refused", "connect"))
        await polled(here, 1200.0)
        assert [[a.name for a in m.alerts] for _, m in here.told] == [["CloudAPIUnreachable"]]
        for resource in (REGIONS, INSTANCES):
            here.cloud.mend(resource)
        await polled(here, 1800.0)
        assert [(m.alerts[0].name, m.alerts[0].state.value) for _, m in here.told] == [
            ("CloudAPIUnreachable", "firing"),
            ("CloudAPIUnreachable", "resolved"),
        ]


@pytest.mark.parametrize("strangers", [0, MOST_ON_LOOP])
@in_virtual_time
async def test_a_fleet_is_counted_in_sweeps_of_any_size(tmp_path: Path, strangers: int) -> None:
    """Large ones are looked at on a thread."""
    async with watch(tmp_path) as here:
        here.cycle.reconfigure(replace(here.parts, fleets=Fleets((FleetSpec("web", 2, "pro"),))))
        for n in range(strangers):
            here.cloud.put(Instance(f"inst_{n}", f"prod-{n}", "running", "us-east-1"))
        here.cloud.put(Instance("inst_a", "web-aaaaa", "running", "us-east-1"))
        await here.poll()
        assert here.states("FleetBelowCount") == [AlertState.PENDING]
        here.cloud.put(Instance("inst_b", "web-bbbbb", "running", "us-east-1"))
        await asyncio.sleep(30.0)
        await here.poll()
        assert here.states("FleetBelowCount") == []
