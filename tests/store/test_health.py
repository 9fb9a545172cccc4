"""Health of the store, as its transactions show it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexusd.core.errors import ConflictError, LeaseLostError, StoreError, StoreUnavailableError
from nexusd.store.commits import Job, Kind
from nexusd.store.executors import StoreThread
from nexusd.store.health import Progress
from nexusd.store.opening import StoreOptions, open_on, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.cluster import Cluster
from tests.store.conftest import SHARED
from tests.store.test_sqlite_faults import FaultyDatabase, failure
from tests.store.test_transactions import write

FULL = StoreUnavailableError("SQLite file x: database or disk is full")


class Followed:
    """Jobs of one executor, which the test ends."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.progress = Progress(self.clock)

    def begin(self) -> Job:
        job = Job(lambda _: None, Kind.PLAIN, 1, asyncio.get_running_loop().create_future())
        self.progress.begin(job)
        return job

    def end(self, error: BaseException | None = None, *, wrote: bool = True, ran: bool = True) -> None:
        self.finish(self.begin(), error, wrote=wrote, ran=ran)

    def finish(
        self, job: Job, error: BaseException | None = None, *, wrote: bool = True, ran: bool = True
    ) -> None:
        job.error, job.wrote, job.ran = error, wrote, ran
        self.progress.end(job)


@pytest.fixture
async def followed() -> Followed:
    return Followed()


async def test_an_idle_store_has_no_problem(followed: Followed) -> None:
    followed.end()
    followed.clock.advance(3600)
    assert followed.progress.problem(5) is None


async def test_a_request_without_an_answer_is_a_problem_until_it_ends(followed: Followed) -> None:
    job = followed.begin()
    followed.clock.advance(6)
    assert followed.progress.problem(5) == "the store has not answered for 6 s"
    followed.finish(job)
    assert followed.progress.problem(5) is None


async def test_time_in_which_the_process_was_suspended_does_not_count(followed: Followed) -> None:
    followed.begin()
    followed.clock.advance(3600)
    resumed_at = followed.clock.now()
    assert followed.progress.problem(5, resumed_at) is None
    followed.clock.advance(6)
    assert followed.progress.problem(5, resumed_at) == "the store has not answered for 6 s"


async def test_reads_that_succeed_do_not_hide_commits_that_fail(followed: Followed) -> None:
    """A full disk: BEGIN and SELECT work, and nothing is kept."""
    for _ in range(7):
        followed.end(FULL)
        followed.end(wrote=False)
        followed.clock.advance(1)
    assert followed.progress.problem(5) == f"the store has not committed anything for 7 s: {FULL}"
    followed.end()
    assert followed.progress.problem(5) is None


async def test_a_lock_that_is_held_by_another_is_a_problem_until_anything_succeeds(
    followed: Followed,
) -> None:
    locked = StoreUnavailableError("database is locked")
    for _ in range(7):
        followed.end(locked, wrote=False)
        followed.clock.advance(1)
    assert followed.progress.problem(5) == "the store has not answered for 7 s: database is locked"
    followed.end(wrote=False)
    assert followed.progress.problem(5) is None


@pytest.mark.parametrize("error", [ConflictError("taken"), LeaseLostError("another leads")])
async def test_a_refusal_of_the_transaction_itself_is_an_answer(followed: Followed, error: Exception) -> None:
    followed.end(FULL, wrote=False)
    followed.end(error)
    followed.clock.advance(60)
    assert followed.progress.problem(5) is None


async def test_an_undone_transaction_is_no_commit(followed: Followed) -> None:
    followed.end(FULL)
    followed.end(ConflictError("taken"))
    followed.clock.advance(60)
    assert followed.progress.problem(5) is not None


async def test_a_refused_value_is_a_problem(followed: Followed) -> None:
    followed.end(StoreError("value too long"))
    followed.clock.advance(60)
    assert followed.progress.problem(5) is not None


async def test_a_transaction_that_was_cancelled_before_it_ran_proves_nothing(followed: Followed) -> None:
    followed.end(FULL, wrote=False)
    followed.end(ran=False)
    followed.clock.advance(60)
    assert followed.progress.problem(5) is not None


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> FaultyDatabase:
    return FaultyDatabase(Path(shutil.copy(migrated_file, tmp_path)))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(database: FaultyDatabase, clock: FakeClock) -> AsyncIterator[SqlStore]:
    made = open_on(database, StoreOptions("sqlite:///", "me"), clock, StoreThread())
    yield made
    await made.close()


async def test_a_full_disk_is_noticed_though_the_lease_is_renewed(
    store: SqlStore, database: FaultyDatabase, clock: FakeClock
) -> None:
    def full() -> None:
        raise failure(sqlite3.SQLITE_FULL, "database or disk is full")

    database.before_commit = full
    with pytest.raises(StoreUnavailableError):
        await store.run_leading(lambda tx: write(tx, "A"))
    database.before_commit = lambda: None
    assert await store.renew_lease()
    clock.advance(60)
    problem = store.health.not_committing(45)
    assert problem is not None
    assert "has not committed anything for 60 s" in problem
    assert "database or disk is full" in problem
    await store.run_leading(lambda tx: write(tx, "A"))
    assert store.health.not_committing(45) is None
    assert store.health.not_answering(5) is None


async def test_a_commit_that_hangs_is_noticed_while_it_does(
    store: SqlStore, database: FaultyDatabase, clock: FakeClock
) -> None:
    reached, leave = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        leave.wait(10)

    database.before_commit = hang
    running = asyncio.ensure_future(store.run(lambda tx: write(tx, "A")))
    await asyncio.to_thread(reached.wait, 10)
    clock.advance(60)
    assert store.health.not_committing(45) == "the store has not answered for 60 s"
    assert store.health.not_answering(5) == "the store has not answered for 60 s"
    leave.set()
    await running
    assert store.health.not_committing(45) is None


async def test_a_follower_is_judged_by_its_tries_for_the_lease(postgres_url: str, cluster: Cluster) -> None:
    """It commits nothing of its own while another replica leads."""
    clock = FakeClock()
    leader, follower = (
        open_store(StoreOptions(postgres_url, name, lock_timeout_s=0.05), clock) for name in "ab"
    )
    try:
        assert await leader.acquire_lease()
        cluster.execute("BEGIN; LOCK TABLE leases, events IN ACCESS EXCLUSIVE MODE", SHARED)
        with pytest.raises(StoreUnavailableError):
            await follower.run(lambda tx: write(tx, "A"))
        with pytest.raises(StoreUnavailableError):
            await follower.acquire_lease()
        clock.advance(60)
        assert "has not" in str(follower.health.not_committing(45))
        cluster.execute("ROLLBACK", SHARED)
        assert not await follower.acquire_lease()
        assert follower.health.not_committing(45) is None
    finally:
        await follower.close()
        await leader.close()
