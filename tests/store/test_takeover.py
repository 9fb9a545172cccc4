"""A replica takes over from the one that led, on PostgreSQL: the real cycle over two real stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from nexusd.core.alerting import Alerting
from nexusd.core.cooling import CoolingOff
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.lifecycle import Placement, State
from nexusd.core.notifications import Routing
from nexusd.core.pauses import Pause
from nexusd.core.placement import PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import Instance, Region
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts, nobody_is_told
from nexusd.ports import Transaction
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock, FakeCloudApi, NullMetrics

INTERVALS_S = {REGIONS: 15.0, INSTANCES: 30.0}
EAST = Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True)
WEST = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=True)
FIRST = Instance("inst_1", "worker-01", "running", "us-east-1")
SECOND = Instance("inst_2", "worker-02", "running", "us-east-1")
QUEUED = Placement("plc_1", PlacementRequest("worker-09", "pro"), State.QUEUED, 1.0, 1.0)


class Replica:
    def __init__(self, store: SqlStore, clock: FakeClock, cloud: FakeCloudApi) -> None:
        self.store = store
        self.world = World({name: PollState(name, s, clock.now()) for name, s in INTERVALS_S.items()})
        nobody = Observers(lambda: None, lambda _: None, lambda _: None)
        alerting = Alerting(tuple(DEFAULT_RULES.values()), Routing({}))
        parts = Parts(cloud, alerting, nobody_is_told, INTERVALS_S, nobody)
        self.cycle = Cycle(self.world, store, clock, NullMetrics(), parts)

    async def lead(self) -> None:
        assert await self.store.acquire_lease()
        await self.cycle.restore()

    async def poll(self) -> None:
        await self.cycle.poll_regions()
        await self.cycle.poll_instances()

    async def stored(self) -> set[str]:
        instances, _, _ = await self.store.run(lambda tx: tx.instances.load())
        return set(instances)


Start = Callable[[str], Replica]


@pytest.fixture
def cloud(clock: FakeClock) -> FakeCloudApi:
    return FakeCloudApi(clock, [EAST, WEST], [FIRST])


@pytest.fixture
async def start(postgres_url: str, clock: FakeClock, cloud: FakeCloudApi) -> AsyncIterator[Start]:
    replicas: list[Replica] = []

    def started(holder: str) -> Replica:
        store = open_store(StoreOptions(postgres_url, holder, lease_ttl_s=300.0), clock, InlineExecutor())
        replicas.append(Replica(store, clock, cloud))
        return replicas[-1]

    yield started
    for replica in replicas:
        await replica.store.close()


async def test_what_only_the_successor_had_seen_is_written_once_it_leads(
    start: Start, cloud: FakeCloudApi, clock: FakeClock
) -> None:
    first, second = start("first"), start("second")
    await first.lead()
    await second.cycle.restore()
    await first.poll()
    await second.poll()
    cloud.put(SECOND)
    clock.advance(30.0)
    await second.poll()  # and the leader has died before its next poll
    await first.store.release_lease()
    await second.lead()
    clock.advance(30.0)
    await second.poll()
    assert await second.stored() == {"inst_1", "inst_2"}
    events = await second.store.run(lambda tx: tx.events.since(None, None, 10))
    appeared = [event.subject.id for event in events if event.type == "InstanceAppeared"]
    assert appeared == ["inst_2"]


async def test_what_a_leader_could_not_write_in_an_earlier_term_is_not_written_in_a_later_one(
    start: Start, cloud: FakeCloudApi, clock: FakeClock
) -> None:
    first, second = start("first"), start("second")
    await first.lead()
    await first.poll()
    cloud.put(SECOND)
    release, first.store.run_leading = first.store.run_leading, _unavailable  # type: ignore[method-assign]
    await first.poll()
    first.store.run_leading = release  # type: ignore[method-assign]
    await first.store.release_lease()
    await second.lead()
    cloud.remove(SECOND.id)
    await second.poll()
    await second.store.release_lease()
    await first.lead()
    await first.poll()
    assert await first.stored() == {"inst_1"}


async def test_an_instance_that_stopped_before_any_replica_stored_a_snapshot_is_an_alert(
    start: Start, cloud: FakeCloudApi, clock: FakeClock
) -> None:
    first = start("first")
    await first.cycle.restore()
    await first.poll()  # running, and before the lease is acquired
    cloud.change("inst_1", status="stopped")
    await first.lead()
    clock.advance(30.0)
    await first.poll()
    assert [alert.name for alert in first.world.alerts.values() if alert.name == "InstanceStopped"]


async def test_a_first_snapshot_does_not_replace_a_stored_one(
    start: Start, cloud: FakeCloudApi, clock: FakeClock
) -> None:
    first, second = start("first"), start("second")
    await first.lead()
    await first.poll()
    cloud.put(SECOND)
    await second.poll()
    await first.store.release_lease()
    await second.lead()
    assert await second.stored() == {"inst_1"}


async def test_a_follower_shows_the_state_of_the_leaders_decisions(start: Start, clock: FakeClock) -> None:
    leader, follower = start("leader"), start("follower")
    await leader.lead()
    await follower.cycle.restore()
    cooling = CoolingOff("us-east-1", clock.now() + 60.0, 1, "INSUFFICIENT_CAPACITY")
    pause = Pause(clock.now() + 300.0, "CloudNexus refused the key", 1, auth=True)

    def decided(tx: Transaction) -> None:
        tx.regions.save_cooling_off(cooling)
        tx.queue.save_pause(pause)
        tx.placements.insert(QUEUED)

    await leader.store.run_leading(decided)
    await follower.poll()
    assert follower.world.cooling_off == {cooling.place: cooling}
    assert follower.world.pause == pause
    assert follower.world.alerts == {}  # the leader has not evaluated anything yet


async def test_a_follower_shows_the_alerts_of_the_leader(
    start: Start, cloud: FakeCloudApi, clock: FakeClock
) -> None:
    leader, follower = start("leader"), start("follower")
    await leader.lead()
    await leader.poll()
    cloud.change("inst_1", status="stopped")  # the follower never saw it running
    await leader.store.run_leading(lambda tx: tx.placements.insert(QUEUED))
    clock.advance(30.0)
    leader.cycle.wake()
    await leader.poll()
    await follower.cycle.restore()
    await follower.poll()
    names = {alert.name for alert in follower.world.alerts.values()}
    assert {"InstanceStopped", "PlacementDelayed", "Watchdog"} <= names
    assert follower.world.alerts == leader.world.alerts
    assert follower.world.alert_counts == leader.world.alert_counts
    cloud.change("inst_1", status="running")
    clock.advance(30.0)
    await follower.poll()
    assert follower.world.alerts == leader.world.alerts
    await leader.poll()
    await follower.poll()
    assert follower.world.alerts == leader.world.alerts
    await leader.store.release_lease()
    await follower.lead()
    await follower.poll()
    assert {alert.name for alert in follower.world.alerts.values()} >= {"PlacementDelayed", "Watchdog"}


async def _unavailable(transaction: object) -> None:
    raise StoreUnavailableError("away")


async def test_a_sweep_is_taken_in_before_or_after_a_takeover_and_not_across_it(
    start: Start, cloud: FakeCloudApi
) -> None:
    """Else it is compared with one snapshot and applied to the other, which need not have its instances."""
    first, second = start("first"), start("second")
    await first.lead()
    await first.poll()
    await second.cycle.restore()
    cloud.put(SECOND)
    await second.poll()
    cloud.remove(SECOND.id)
    await second.poll()
    await first.store.release_lease()
    assert await second.store.acquire_lease()
    second.cycle.wake()
    await asyncio.gather(second.cycle.poll_instances(), second.cycle.restore())
    await second.poll()
    assert {i.id for i in second.world.inventory} == await second.stored() == {"inst_1"}
