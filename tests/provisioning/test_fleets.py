"""Fleets, in virtual time: the real worker, keeper and store against a cloud in memory."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from nexusd.core.comparing import compare
from nexusd.core.errors import ConflictError, UnavailableError
from nexusd.core.fleets import Fleets, FleetSpec, FleetState, plan_fleets
from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance
from nexusd.core.regions import next_snapshot
from nexusd.core.sweeps import SweepPolicy
from nexusd.ports import Transaction
from nexusd.provisioning.fleets import FleetKeeper
from nexusd.provisioning.worker import Provisioner, ProvisioningOptions
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import NEVER_ARRIVED, Create, FakeCloudApi, NullMetrics, refusal
from tests.provisioning.site import EAST, OPTIONS, SETTLE_S, WEST, Site
from tests.virtual_time import VirtualClock, in_virtual_time

T = TypeVar("T")
WEB = FleetSpec("web", 6, "pro")
BOOT_S = 20.0
REJECTED = refusal("rejected", "request", 422, "VALIDATION_ERROR")


class FleetSite(Site):
    """Instances begin to run by themselves, or become something else."""

    def __init__(
        self,
        store: SqlStore,
        clock: VirtualClock,
        cloud: FakeCloudApi,
        fleets: tuple[FleetSpec, ...],
        options: ProvisioningOptions = OPTIONS,
    ) -> None:
        super().__init__(store, clock, cloud, options)
        self.becomes = "running"
        self.world.declare(Fleets(fleets, recovery_s=SETTLE_S))
        keeper = FleetKeeper(self.world, store, clock, random.Random(7), lambda _: None)
        self.worker = Provisioner(
            self.world, store, cloud, clock, NullMetrics(), options, lambda _: None, keeper
        )

    async def poll(self) -> None:
        """The two apart: one may fail and the other not."""
        with suppress(UnavailableError):
            self.world.regions, _ = next_snapshot(self.world.regions, await self.cloud.read_regions())
        with suppress(UnavailableError):
            delta = compare(self.world.inventory, await self.cloud.sweep_instances(), SweepPolicy())
            self.world.inventory.apply(delta)
            if delta.hold is None:
                self.worker.swept(delta.vanished)

    async def boots(self) -> None:
        while True:
            await asyncio.sleep(BOOT_S)
            for instance in self.cloud.existing():
                if instance.status == "pending":
                    self.cloud.change(instance.id, status=self.becomes)

    async def fleet(self, name: str = "web") -> FleetState:
        """As `GET /api/v1/fleets` computes it."""
        stored = await self.store.run(lambda tx: tx.placements.of_fleets([name], count_made=True))
        [state] = plan_fleets(self.world.fleets, self.world.inventory, stored, self.clock.now())
        return state

    async def ran_before(self, spec: FleetSpec) -> None:
        """An instance of the kind ran once, so none is tried alone first."""
        request = spec.request(f"{spec.name}-first")
        placement = Placement(f"plc_{spec.image}", request, State.RUNNING, 0.0, 0.0)
        await self.store.run(lambda tx: tx.placements.insert(placement))

    async def save_inventory(self) -> None:
        """Store what is listed, as the cycle does."""
        listed = list(self.world.inventory)
        await self.store.run(lambda tx: tx.instances.save(listed, {}, ()))

    async def placements(self) -> list[Placement]:
        """But for those of `ran_before`."""
        rows, _ = await self.store.run(lambda tx: tx.placements.page(None, 1000, 0))
        return [row for row in rows if row.created_at > 0.0]

    def alive(self) -> list[Instance]:
        return [i for i in self.cloud.existing() if i.status in {"pending", "provisioning", "running"}]

    def lose(self, *instances: Instance) -> None:
        for instance in instances:
            self.cloud.remove(instance.id)


@asynccontextmanager
async def site(
    folder: Path,
    *fleets: FleetSpec,
    cloud: FakeCloudApi | None = None,
    placing: bool = True,
    options: ProvisioningOptions = OPTIONS,
) -> AsyncIterator[FleetSite]:
    """Polling, and placing, until the block ends, which is like `kill -9`."""
    clock = VirtualClock()
    cloud = cloud if cloud is not None else FakeCloudApi(clock, [EAST, WEST])
    url = f"sqlite:///{folder / 'nexusd.db'}"
    store = open_store(StoreOptions(url, f"test {clock.now()} {id(clock)}"), clock, InlineExecutor())
    here = FleetSite(store, clock, cloud, fleets, options)
    works = [here.polls(), here.boots(), *([here.worker.run()] if placing else [])]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield here
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


@in_virtual_time
async def test_an_empty_fleet_is_filled_with_instances_named_after_it(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, regions=("eu-west-2",), image="debian-12")) as here:
        await asyncio.sleep(120.0)
        made = here.cloud.existing()
        assert [i.status for i in made] == ["running"] * 6
        assert len({i.name for i in made}) == 6
        assert all(re.fullmatch(r"web-[a-z0-9]{5}", i.name) for i in made)
        assert {(i.region, i.plan, i.image) for i in made} == {("eu-west-2", "pro", "debian-12")}
        assert {p.request.fleet for p in await here.placements()} == {"web"}
        assert (await here.fleet()).reason is None


@in_virtual_time
async def test_nothing_is_done_before_the_first_complete_listing(tmp_path: Path) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    cloud.break_(INSTANCES, UnavailableError("down"))
    async with site(tmp_path, WEB, cloud=cloud) as here:
        await asyncio.sleep(600.0)
        assert await here.placements() == []
        assert (await here.fleet()).reason is not None
        cloud.mend(INSTANCES)
        await asyncio.sleep(120.0)
        assert len(cloud.requests) == 6


@in_virtual_time
async def test_existing_members_are_adopted(tmp_path: Path) -> None:
    cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
    for n, status in enumerate(("running", "pending", "stopped", "terminated")):
        cloud.put(Instance(f"inst_{n}", f"web-old0{n}", status, "us-east-1"))
    cloud.put(Instance("inst_9", "web", "running", "us-east-1"))
    async with site(tmp_path, WEB, cloud=cloud):
        await asyncio.sleep(300.0)
        assert len(cloud.requests) == 3


@in_virtual_time
async def test_what_vanished_is_replaced_once_it_is_confirmed(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        await asyncio.sleep(125.0)
        here.lose(*here.cloud.existing()[:2])
        await asyncio.sleep(10.0)
        assert len(here.world.inventory.missed) == 2
        assert len(here.cloud.requests) == 6
        await asyncio.sleep(60.0)
        assert len(here.cloud.requests) == 8
        assert len(here.alive()) == 6


@in_virtual_time
async def test_what_terminated_is_replaced_and_what_stopped_is_not(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        await asyncio.sleep(120.0)
        first, second, *_ = here.cloud.existing()
        here.cloud.change(first.id, status="terminated")
        here.cloud.change(second.id, status="stopped")
        await asyncio.sleep(120.0)
        assert len(here.cloud.requests) == 7


@in_virtual_time
async def test_what_stopped_is_replaced_one_at_a_time_where_asked_for(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, replace_stopped=True)) as here:
        await asyncio.sleep(120.0)
        for instance in here.cloud.existing()[:3]:
            here.cloud.change(instance.id, status="stopped")
        most = 0
        for _ in range(300):
            await asyncio.sleep(1.0)
            most = max(most, len((await here.fleet()).in_flight))
        assert most == 1
        assert len(here.cloud.requests) == 9
        assert (await here.fleet()).alive == 6


@in_virtual_time
async def test_a_stopped_instance_that_comes_back_is_a_surplus_and_told_so(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, replace_stopped=True)) as here:
        await asyncio.sleep(120.0)
        stopped = here.cloud.existing()[0]
        here.cloud.change(stopped.id, status="stopped")
        await asyncio.sleep(120.0)
        here.cloud.change(stopped.id, status="running")
        await asyncio.sleep(120.0)
        state = await here.fleet()
        assert (state.alive, state.surplus, state.wanted) == (7, 1, 0)
        assert len(here.cloud.requests) == 7


@in_virtual_time
async def test_a_mass_disappearance_and_an_empty_list_create_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=20)) as here:
        await asyncio.sleep(305.0)
        lost = here.cloud.existing()
        assert len(lost) == 20
        here.lose(*lost)
        await asyncio.sleep(20.0)
        assert here.world.inventory.hold is not None
        for instance in lost:
            here.cloud.put(instance)
        await asyncio.sleep(300.0)
        assert len(here.cloud.requests) == 20


@in_virtual_time
async def test_a_small_account_that_an_outage_empties_is_not_made_anew(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        await asyncio.sleep(120.0)
        lost = here.cloud.existing()
        here.lose(*lost)
        await asyncio.sleep(SETTLE_S)
        assert len(here.world.inventory) == 0  # believed by now
        assert "lost at once" in ((await here.fleet()).reason or "")
        for instance in lost:
            here.cloud.put(instance)
        await asyncio.sleep(2 * SETTLE_S)
        assert len(here.cloud.requests) == 6


@in_virtual_time
async def test_what_is_truly_lost_at_once_is_made_anew_in_the_end(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        await asyncio.sleep(120.0)
        here.lose(*here.cloud.existing())
        await asyncio.sleep(SETTLE_S + 120.0)
        assert len(here.alive()) == 6


@in_virtual_time
async def test_nothing_is_created_on_stale_instance_data(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        await asyncio.sleep(120.0)
        here.lose(here.cloud.existing()[0])
        here.cloud.break_(INSTANCES, UnavailableError("down"))
        await asyncio.sleep(600.0)
        assert len(here.cloud.requests) == 6
        here.cloud.mend(INSTANCES)
        await asyncio.sleep(60.0)
        assert len(here.cloud.requests) == 7


@in_virtual_time
async def test_stale_region_data_leaves_the_fleet_s_placements_in_the_queue(tmp_path: Path) -> None:
    cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
    cloud.break_(REGIONS, UnavailableError("down"))
    async with site(tmp_path, WEB, cloud=cloud) as here:
        await here.ran_before(WEB)
        await asyncio.sleep(600.0)
        assert [p.state for p in await here.placements()] == [State.QUEUED] * 6
        assert cloud.requests == []


@in_virtual_time
async def test_a_placement_in_doubt_is_never_replaced(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=1)) as here:
        here.cloud.script_creates(NEVER_ARRIVED)
        await asyncio.sleep(SETTLE_S)
        assert len(here.cloud.requests) == 1
        assert [p.state for p in await here.placements()] == [State.VERIFYING]
        await asyncio.sleep(120.0)  # proven absent, so sent again, under the same name
        assert len({r.name for r in here.cloud.requests}) == 1
        assert len(here.cloud.requests) == 2


@in_virtual_time
async def test_a_lost_create_is_adopted_and_the_fleet_is_complete(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=2)) as here:
        here.cloud.script_creates(Create(NEVER_ARRIVED.answer, listed_after_s=SETTLE_S - 20.0))
        await asyncio.sleep(2 * SETTLE_S)
        assert len(here.cloud.existing()) == 2


@pytest.mark.slow
@in_virtual_time
async def test_a_rejected_fleet_tries_one_create_now_and_then(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        here.cloud.script_creates(*[REJECTED] * 1000)
        await asyncio.sleep(50.0)
        assert len(here.cloud.requests) == 1
        state = await here.fleet()
        assert state.next_try_at is not None
        assert "422 VALIDATION_ERROR" in (state.reason or "")
        await asyncio.sleep(3600.0 - 50.0)
        assert len(here.cloud.requests) == 6  # after 1, 2, 4, 8 and 16 minutes
        await asyncio.sleep(3600.0)
        assert len(here.cloud.requests) == 8


@in_virtual_time
async def test_a_fleet_that_was_rejected_is_filled_at_once_when_it_asks_for_something_else(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    cloud.script_creates(REJECTED)
    async with site(tmp_path, replace(WEB, image="debian-1"), cloud=cloud):
        await asyncio.sleep(50.0)
        assert len(cloud.requests) == 1
    async with site(tmp_path, replace(WEB, image="debian-12"), cloud=cloud):
        await asyncio.sleep(30.0)
        assert len(cloud.requests) == 7


@in_virtual_time
async def test_the_wait_after_failures_survives_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    cloud.script_creates(*[REJECTED] * 1000)
    async with site(tmp_path, WEB, cloud=cloud):
        await asyncio.sleep(1000.0)
        tried = len(cloud.requests)
        assert tried == 5
    for _ in range(5):
        async with site(tmp_path, WEB, cloud=cloud):
            await asyncio.sleep(60.0)
    assert len(cloud.requests) == tried


@pytest.mark.slow
@in_virtual_time
async def test_instances_that_never_run_are_replaced_with_pauses(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=1)) as here:
        here.becomes = "terminated"
        await asyncio.sleep(3 * 3600.0)
        assert 9 <= len(here.cloud.requests) <= 11  # 1, 2, 4, 8, 16, and then 30 minutes between


@in_virtual_time
async def test_one_that_runs_ends_the_pause(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        here.cloud.script_creates(REJECTED)
        await asyncio.sleep(30.0)
        assert len(here.cloud.requests) == 1
        await asyncio.sleep(120.0)
        assert len(here.alive()) == 6


@in_virtual_time
async def test_a_lower_count_cancels_what_is_queued_and_leaves_the_rest(tmp_path: Path) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    cloud.script_creates(*[Create(takes_s=8.0)] * 3)
    async with site(tmp_path, replace(WEB, count=30), cloud=cloud) as here:
        await here.ran_before(WEB)
        await asyncio.sleep(12.0)
        sent = len(cloud.requests)
        assert 1 <= sent < 12
    async with site(tmp_path, replace(WEB, count=12), cloud=cloud) as here:
        await asyncio.sleep(300.0)
        assert len(cloud.existing()) == 12
        states = [p.state for p in await here.placements()]
        assert states.count(State.CANCELLED) == 18
        assert (await here.fleet()).surplus == 0


@in_virtual_time
async def test_a_fleet_that_is_not_declared_any_more_asks_for_nothing(tmp_path: Path) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    cloud.change_region("us-east-1", capacity=False)
    cloud.change_region("eu-west-2", capacity=False)
    async with site(tmp_path, WEB, cloud=cloud) as here:
        await here.ran_before(WEB)
        await asyncio.sleep(60.0)
        assert [p.state for p in await here.placements()] == [State.QUEUED] * 6
        by_hand = await here.intake.accept(PlacementRequest("web-hand1", "pro"), None)
    async with site(tmp_path, FleetSpec("db", 0, "pro"), cloud=cloud) as here:
        await asyncio.sleep(60.0)
        cancelled = [p for p in await here.placements() if p.state is State.CANCELLED]
        assert len(cancelled) == 6
        assert {p.reason for p in cancelled} == {"fleet web is not declared any more"}
        assert (await here.placement(by_hand)).state is State.QUEUED


@in_virtual_time
async def test_a_person_s_placement_with_a_member_s_name_is_a_member(tmp_path: Path) -> None:
    cloud = FakeCloudApi(VirtualClock(), [EAST, WEST])
    cloud.break_(INSTANCES, UnavailableError("down"))
    async with site(tmp_path, WEB, cloud=cloud) as here:
        await here.place("web-hand1")
        cloud.mend(INSTANCES)
        await asyncio.sleep(120.0)
        assert len(cloud.existing()) == 6
        assert [i.name for i in cloud.existing() if i.name == "web-hand1"] == ["web-hand1"]


@in_virtual_time
async def test_restarts_in_the_middle_keep_exactly_what_was_declared(tmp_path: Path) -> None:
    clock = VirtualClock()
    cloud = FakeCloudApi(clock, [EAST, WEST])
    rng = random.Random(3)
    cloud.script_creates(*[Create(takes_s=rng.uniform(0.0, 6.0)) for _ in range(40)])
    for _ in range(25):
        async with site(tmp_path, replace(WEB, count=15), cloud=cloud):
            await asyncio.sleep(rng.uniform(1.0, 25.0))
    async with site(tmp_path, replace(WEB, count=15), cloud=cloud):
        await asyncio.sleep(3 * SETTLE_S)
    assert len(cloud.existing()) == 15
    assert len({i.name for i in cloud.existing()}) == 15


@in_virtual_time
async def test_two_fleets_are_kept_apart(tmp_path: Path) -> None:
    async with site(tmp_path, FleetSpec("web", 2, "pro"), FleetSpec("web-eu", 3, "starter")) as here:
        await asyncio.sleep(120.0)
        names = [i.name.rpartition("-")[0] for i in here.cloud.existing()]
        assert sorted(names) == ["web", "web", "web-eu", "web-eu", "web-eu"]


@pytest.mark.slow
@in_virtual_time
async def test_many_are_asked_for_a_hundred_at_a_time(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=300)) as here:
        most = 0
        for _ in range(20):
            await asyncio.sleep(10.0)
            queued = await here.store.run(lambda tx: tx.placements.counts())
            most = max(most, queued.get(State.QUEUED, 0))
        assert most == 100
        assert len(here.cloud.requests) > 80


@pytest.mark.parametrize("max_replacements", [0, 1])
def test_a_fleet_whose_only_trouble_is_stopped_instances_says_what_limits_it(
    max_replacements: int, tmp_path: Path
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        spec = replace(WEB, replace_stopped=True, max_replacements=max_replacements)
        async with site(tmp_path, spec) as here:
            await asyncio.sleep(120.0)
            for instance in here.cloud.existing():
                here.cloud.change(instance.id, status="stopped")
            await asyncio.sleep(15.0)
            assert f"at most {max_replacements} at a time" in ((await here.fleet()).reason or "")

    scenario()


class Meanwhile:
    """The store, in which something else happens between the keeper's reading and its writing."""

    def __init__(self, store: SqlStore, happens: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._store = store
        self._happens = happens
        self.writes = 0

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.run(transaction)

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        self.writes += 1
        if self.writes == 2:  # the first cancels what is not declared
            await self._happens()
        return await self._store.run_leading(transaction)

    async def read(self, transaction: Callable[[Transaction], T]) -> T:
        return await self._store.read(transaction)

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading


@in_virtual_time
async def test_what_somebody_placed_meanwhile_is_counted_before_anything_is_written(tmp_path: Path) -> None:
    async with site(tmp_path, WEB, placing=False) as here:
        await asyncio.sleep(25.0)
        await here.ran_before(WEB)
        store = Meanwhile(here.store, lambda: here.place("web-hand1"))
        keeper = FleetKeeper(here.world, store, here.clock, random.Random(1), lambda _: None)
        await keeper.keep()
        assert [p.request.name for p in await here.placements()] == ["web-hand1"]
        await keeper.keep()
        assert len(await here.placements()) == 6


@in_virtual_time
async def test_a_name_that_another_replica_took_in_meanwhile_only_delays(tmp_path: Path) -> None:
    async def taken() -> None:
        raise ConflictError("the name 'web-aaaaa' belongs to another open placement")

    async with site(tmp_path, WEB, placing=False) as here:
        await asyncio.sleep(25.0)
        store = Meanwhile(here.store, taken)
        keeper = FleetKeeper(here.world, store, here.clock, random.Random(1), lambda _: None)
        await keeper.keep()
        assert await here.placements() == []
        await keeper.keep()
        assert len(await here.placements()) == 1


@in_virtual_time
async def test_a_name_that_is_taken_is_not_given_again(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=3), placing=False) as here:
        here.cloud.put(Instance("inst_1", "web-aaaaa", "terminated", "us-east-1"))
        await asyncio.sleep(25.0)
        await here.ran_before(WEB)
        rng = random.Random(1)
        given = iter("aaaaa aaaaa bbbbb bbbbb aaaaa ccccc bbbbb ddddd".split())
        rng.choices = lambda *_args, **_more: list(next(given))  # type: ignore[method-assign,assignment]
        await FleetKeeper(here.world, here.store, here.clock, rng, lambda _: None).keep()
        assert {p.request.name for p in await here.placements()} == {"web-bbbbb", "web-ccccc", "web-ddddd"}


@in_virtual_time
async def test_events_tell_of_each_placement_and_whose_it_is(tmp_path: Path) -> None:
    async with site(tmp_path, replace(WEB, count=1)) as here:
        await asyncio.sleep(25.0)
        events = await here.store.run(lambda tx: tx.events.since(None, None, 100))
        accepted = [e for e in events if e.type == "PlacementAccepted"]
        assert [e.detail for e in accepted] == [{"plan": "pro", "fleet": "web"}]


@in_virtual_time
async def test_a_new_term_cancels_what_the_leader_before_knew_and_it_does_not(tmp_path: Path) -> None:
    async with site(tmp_path, placing=False) as here:
        keeper = FleetKeeper(here.world, here.store, here.clock, random.Random(1), lambda _: None)
        await keeper.keep()
        now = here.clock.now()
        other = Placement("plc_1", FleetSpec("db", 1, "pro").request("db-aaaaa"), State.QUEUED, now, now)
        await here.store.run(lambda tx: tx.placements.insert(other))
        await keeper.keep()
        assert (await here.placement(other)).state is State.QUEUED
        keeper.begin_term()
        await keeper.keep()
        assert (await here.placement(other)).state is State.CANCELLED


@in_virtual_time
async def test_a_region_that_is_not_listed_is_logged_once_and_named_in_the_reason(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with site(tmp_path, replace(WEB, regions=("mars",))) as here:
            await asyncio.sleep(600.0)
            [first] = await here.placements()
    warned = [entry for entry in logs if entry["event"] == "fleet_region_unknown"]
    assert [(entry["log_level"], entry["fleet"]) for entry in warned] == [("warning", "web")]
    assert "regions: CloudNexus does not list region mars" in warned[0]["warning"]
    assert (first.reason or "").startswith("no region is eligible: unknown region: mars")


@in_virtual_time
async def test_members_that_others_made_are_reported_when_they_become_more(tmp_path: Path) -> None:
    async with site(tmp_path, WEB) as here:
        here.cloud.put(Instance("inst_a", "web-api01", "running", "us-east-1"))
        with capture_logs() as logs:
            await asyncio.sleep(120.0)
            await here.save_inventory()
            await asyncio.sleep(60.0)
            assert (await here.fleet()).adopted == 1
            here.cloud.put(Instance("inst_b", "web-api02", "running", "us-east-1"))
            await asyncio.sleep(15.0)
            await here.save_inventory()
            await asyncio.sleep(60.0)
        reported = [e for e in logs if e["event"] == "fleet_members_adopted"]
        assert (reported[0]["fleet"], reported[0]["adopted"]) == ("web", 1)
        assert (await here.fleet()).adopted == 2
