"""Who leads. The fence on both databases; taking the lease over needs PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator

import pytest

from nexusd.core.errors import LeaseLostError, StoreUnavailableError
from nexusd.ports import MAX_SLEW
from nexusd.store.commits import Job, Kind
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.cluster import Cluster
from tests.store.conftest import SHARED, Opener
from tests.store.test_transactions import gated, write, written

TTL_S = 30.0


class Replicas:
    def __init__(self, url: str, clock: FakeClock) -> None:
        self._url = url
        self._clock = clock
        self.stores: list[SqlStore] = []

    def start(self, holder: str, ttl_s: float = TTL_S) -> SqlStore:
        options = StoreOptions(self._url, holder, lease_ttl_s=ttl_s, lock_timeout_s=0.5, idle_s=1.0)
        self.stores.append(open_store(options, self._clock, InlineExecutor()))
        return self.stores[-1]


@pytest.fixture
async def replicas(postgres_url: str, clock: FakeClock) -> AsyncIterator[Replicas]:
    made = Replicas(postgres_url, clock)
    yield made
    for store in made.stores:
        await store.close()


def expire(cluster: Cluster) -> None:
    cluster.execute("UPDATE leases SET expires_at = 1", SHARED)


async def test_a_leader_writes(store: SqlStore) -> None:
    assert store.leading
    assert store.epoch == 1
    await store.run_leading(lambda tx: write(tx, "A"))
    assert await written(store) == ["A"]


async def test_the_epoch_grows_with_every_process(opened: Opener) -> None:
    for epoch in (1, 2, 3):
        store = opened()
        assert await store.acquire_lease()
        assert store.epoch == epoch
        await store.release_lease()
        await store.close()


async def test_who_released_the_lease_writes_nothing_as_leader_and_may_take_it_again(store: SqlStore) -> None:
    await store.release_lease()
    assert not store.leading
    with pytest.raises(LeaseLostError):
        await store.run_leading(lambda tx: write(tx, "lost"))
    assert await written(store) == []
    assert await store.acquire_lease()
    assert store.epoch == 2


async def test_taking_the_lease_again_while_it_is_held_changes_nothing(store: SqlStore) -> None:
    assert await store.acquire_lease()
    assert await store.renew_lease()
    assert (store.leading, store.epoch) == (True, 1)


async def test_a_fence_lost_behind_the_back_is_noticed_and_nothing_is_written(store: SqlStore) -> None:
    def usurp(tx):
        tx.session.script("UPDATE leases SET holder = 'somebody', epoch = epoch + 1")

    await store.run_leading(lambda tx: write(tx, "A"))
    await store.run(usurp)
    assert store.leading
    with pytest.raises(LeaseLostError):
        await store.run_leading(lambda tx: write(tx, "lost"))
    assert not store.leading
    assert await written(store) == ["A"]


async def test_followers_of_a_batch_are_not_failed_by_a_lost_lease(store: SqlStore) -> None:
    gate = await gated(store)
    usurping = asyncio.ensure_future(
        store.run(lambda tx: tx.session.script("UPDATE leases SET holder = 'somebody'"))  # type: ignore[attr-defined]
    )
    leader = asyncio.ensure_future(store.run_leading(lambda tx: write(tx, "lost")))
    plain = asyncio.ensure_future(store.run(lambda tx: write(tx, "plain")))
    await asyncio.sleep(0)
    await gate.open()
    results = await asyncio.gather(usurping, leader, plain, return_exceptions=True)
    assert isinstance(results[1], LeaseLostError)
    assert results[2] == "plain"
    assert await written(store) == ["plain"]


async def test_a_leaders_write_waiting_behind_its_own_release_is_refused(store: SqlStore) -> None:
    gate = await gated(store)
    first = asyncio.ensure_future(store.run_leading(lambda tx: write(tx, "A")))
    await asyncio.sleep(0)
    late = store.run_leading(lambda tx: write(tx, "late"))
    release = asyncio.ensure_future(store.release_lease())
    await asyncio.sleep(0)
    await gate.open()
    await asyncio.gather(first, release)
    with pytest.raises(LeaseLostError):
        await late
    assert await written(store) == ["A"]


async def test_an_undone_transaction_does_not_open_the_fence_for_the_next(store: SqlStore) -> None:
    def fail(tx) -> None:
        raise ValueError

    gate = await gated(store)
    failing = asyncio.ensure_future(store.run_leading(fail))
    following = asyncio.ensure_future(store.run_leading(lambda tx: write(tx, "A")))
    await asyncio.sleep(0)
    await gate.open()
    results = await asyncio.gather(failing, following, return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] == "A"


async def test_a_held_lease_is_nobody_elses(replicas: Replicas) -> None:
    one, two = replicas.start("one"), replicas.start("two")
    assert await one.acquire_lease()
    assert not await two.acquire_lease()
    assert (two.leading, two.epoch) == (False, 0)
    with pytest.raises(LeaseLostError):
        await two.run_leading(lambda tx: write(tx, "lost"))


async def test_an_expired_lease_is_taken_over_in_a_new_epoch_and_the_old_leader_writes_nothing(
    replicas: Replicas, cluster: Cluster
) -> None:
    one, two = replicas.start("one"), replicas.start("two")
    assert await one.acquire_lease()
    expire(cluster)
    assert await two.acquire_lease()
    assert two.epoch == 2
    assert one.leading  # it cannot know yet
    with pytest.raises(LeaseLostError):
        await one.run_leading(lambda tx: write(tx, "stale"))
    assert not one.leading
    assert not await one.renew_lease()
    assert await written(two) == []


async def test_an_expired_lease_writes_nothing_even_while_nobody_took_it(
    replicas: Replicas, cluster: Cluster
) -> None:
    one = replicas.start("one")
    assert await one.acquire_lease()
    expire(cluster)
    with pytest.raises(LeaseLostError):
        await one.run_leading(lambda tx: write(tx, "stale"))


async def test_a_released_lease_is_free_at_once(replicas: Replicas) -> None:
    one, two = replicas.start("one"), replicas.start("two")
    assert await one.acquire_lease()
    await one.release_lease()
    assert await two.acquire_lease()
    assert two.epoch == 2


async def test_renewing_extends_the_lease_by_the_servers_clock(replicas: Replicas, cluster: Cluster) -> None:
    one = replicas.start("one")
    assert await one.acquire_lease()
    cluster.execute("UPDATE leases SET expires_at = extract(epoch FROM clock_timestamp()) + 1", SHARED)
    assert await one.renew_lease()
    ((left_s,),) = cluster.execute(
        "SELECT expires_at - extract(epoch FROM clock_timestamp()) FROM leases", SHARED
    )
    assert TTL_S - 5 < float(left_s) <= TTL_S


async def test_a_leader_that_could_not_renew_stops_leading_when_its_lease_ends(
    replicas: Replicas, clock: FakeClock
) -> None:
    one = replicas.start("one")
    assert await one.acquire_lease()
    ends_s = TTL_S * (1 - MAX_SLEW)  # by a clock that may be slow
    clock.advance(ends_s - 0.1)
    assert one.leading
    clock.advance(0.2)
    assert not one.leading
    with pytest.raises(LeaseLostError):
        await one.run_leading(lambda tx: write(tx, "late"))


async def test_work_begun_in_an_earlier_term_is_not_written_in_a_later_one(
    replicas: Replicas, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replicas.start("one")
    assert await one.acquire_lease()
    expire(cluster)
    late = one._commits  # what was submitted in term 1 …
    job = Job(lambda tx: write(tx, "stale"), Kind.LEADING, 1, asyncio.get_running_loop().create_future())
    assert await one.acquire_lease()  # … runs in term 2
    assert one.epoch == 2
    late.process(iter((job,)))
    assert isinstance(job.error, LeaseLostError)
    assert one.leading
    assert await written(one) == []


async def test_a_takeover_waits_for_the_leaders_commit_under_way(
    replicas: Replicas, cluster: Cluster, postgres_url: str
) -> None:
    one, two = replicas.start("one"), replicas.start("two")
    assert await one.acquire_lease()
    taken: list[object] = []

    def work(tx):
        write(tx, "A")
        cluster_sees = cluster.execute("SELECT count(*) FROM pg_locks WHERE NOT granted", SHARED)
        assert cluster_sees == [(0,)]
        try:
            cluster.execute("SET LOCAL lock_timeout = 50; UPDATE leases SET holder = 'two'", SHARED)
        except Exception as error:
            taken.append(error)
        return "A"

    assert await one.run_leading(work) == "A"
    assert len(taken) == 1
    assert "lock timeout" in str(taken[0])
    assert not await two.acquire_lease()


LEADER = """
import asyncio, sys
from nexusd.core.events import Event, Subject
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store

async def main():
    store = open_store(StoreOptions(sys.argv[1], "stopped", lease_ttl_s=0.4, idle_s=0.5), SystemClock())
    assert await store.acquire_lease()
    def work(tx):
        tx.events.append([Event(1.0, "Stale", Subject("daemon", "x"))])
        if number == 3:
            print("inside" if sys.argv[2] == "inside" else "", flush=True)
            if sys.argv[2] == "inside":
                sys.stdin.readline()
    for number in range(1, 4):
        if number == 3 and sys.argv[2] == "before":
            print("before", flush=True)
            sys.stdin.readline()
            store._lease._until = float("inf")  # even if its own clock had stood still
        try:
            await store.run_leading(work)
        except Exception as error:
            print(type(error).__name__, flush=True)
            return
        await store.renew_lease()
    print("written", flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "inside"])
async def test_a_leader_that_was_stopped_and_goes_on_writes_nothing(
    replicas: Replicas, cluster: Cluster, postgres_url: str, moment: str
) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER, postgres_url, moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert leader.stdout is not None
        assert leader.stdout.readline() == f"{moment}\n"
        os.kill(leader.pid, signal.SIGSTOP)
        successor = replicas.start("successor", ttl_s=60)
        await _until_acquired(successor)
        await successor.run_leading(lambda tx: write(tx, "Successor"))
        os.kill(leader.pid, signal.SIGCONT)
        answer, _ = await asyncio.to_thread(leader.communicate, "\n", 20)
    finally:
        leader.kill()
        leader.wait()
    assert answer.split() == ["LeaseLostError" if moment == "before" else "StoreUnavailableError"]
    assert await written(successor) == ["Stale", "Stale", "Successor"]


@pytest.mark.slow
async def test_an_expired_leader_stuck_where_the_server_does_not_end_it_is_evicted(
    replicas: Replicas, cluster: Cluster, postgres_url: str, clock: FakeClock
) -> None:
    threaded = open_store(
        StoreOptions(postgres_url, "stuck", lease_ttl_s=0.5, lock_timeout_s=0.5, idle_s=1.0), clock
    )
    assert await threaded.acquire_lease()
    inside, leave = threading.Event(), threading.Event()

    def stuck(tx) -> None:
        tx.session.script("SET idle_in_transaction_session_timeout = 0")
        write(tx, "stale")
        inside.set()
        leave.wait(10)
        write(tx, "stale")

    writing = asyncio.ensure_future(threaded.run_leading(stuck))
    await asyncio.to_thread(inside.wait, 10)
    successor = replicas.start("successor")
    await _until_acquired(successor)
    leave.set()
    with pytest.raises(StoreUnavailableError):
        await writing
    await successor.run_leading(lambda tx: write(tx, "Successor"))
    assert await written(successor) == ["Successor"]
    await threaded.close()


async def _until_acquired(store: SqlStore) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            if await store.acquire_lease():
                return
        except StoreUnavailableError:
            pass  # the old leader's transaction still holds the row
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
