"""PostgreSQL when it goes away, and what its sessions are set to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import psycopg
import pytest
import sqlalchemy as sa

from nexusd.core.errors import StoreBrokenError, StoreDeadlockError, StoreError, StoreUnavailableError
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_on
from nexusd.store.postgres import PostgresDatabase, PostgresSession
from nexusd.store.schema import marks
from nexusd.store.statements import Session, Upsert
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.cluster import Cluster
from tests.store.conftest import SHARED
from tests.store.test_transactions import write, written


class FaultySession(PostgresSession):
    around_commit: Callable[[Callable[[], None]], None] = staticmethod(lambda commit: commit())

    def commit(self) -> None:
        self.around_commit(super().commit)


class FaultyDatabase(PostgresDatabase):
    def __init__(self, url: str) -> None:
        super().__init__(sa.make_url(url).set(drivername="postgresql+psycopg"), 0.2, 5.0, 1.0)
        self.around_commit: Callable[[Callable[[], None]], None] = lambda commit: commit()

    def connect(self) -> Session:
        session = FaultySession(self._connect(autocommit=True, lock_timeout_s=0.2), self._dialect)
        session.around_commit = lambda commit: self.around_commit(commit)
        return session


@pytest.fixture
def database(postgres_url: str) -> FaultyDatabase:
    return FaultyDatabase(postgres_url)


@pytest.fixture
async def store(database: FaultyDatabase) -> AsyncIterator[SqlStore]:
    made = open_on(database, StoreOptions("postgresql://", "me"), FakeClock(), InlineExecutor())
    yield made
    await made.close()


def end_sessions(cluster: Cluster) -> None:
    cluster.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'nexusd'"
    )


async def test_every_wait_is_bounded_by_the_server_and_commits_are_synced(store: SqlStore) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
    shown = [await store.run(lambda tx, n=n: tx.session.script(f"SHOW {n}")[0][0]) for n in names]
    assert shown == ["200ms", "5s", "1s", "on"]


async def test_asynchronous_commits_of_the_server_are_not_accepted(
    cluster: Cluster, database: FaultyDatabase, store: SqlStore
) -> None:
    cluster.execute(f"ALTER DATABASE {SHARED} SET synchronous_commit = off")
    try:
        session = database.connect()
        assert session.script("SHOW synchronous_commit") == [("on",)]
        session.close()
    finally:
        cluster.execute(f"ALTER DATABASE {SHARED} RESET synchronous_commit")


async def test_a_lost_connection_is_passing_and_the_next_transaction_connects_again(
    cluster: Cluster, store: SqlStore
) -> None:
    await store.run(lambda tx: write(tx, "A"))
    end_sessions(cluster)
    with pytest.raises(StoreUnavailableError):
        await store.run(lambda tx: write(tx, "B"))
    await store.run(lambda tx: write(tx, "C"))
    assert await written(store) == ["A", "C"]


async def test_a_connection_lost_within_a_transaction_keeps_nothing_of_it(
    cluster: Cluster, store: SqlStore
) -> None:
    def work(tx):
        write(tx, "A")
        end_sessions(cluster)
        write(tx, "B")

    with pytest.raises(StoreUnavailableError):
        await store.run(work)
    assert await written(store) == []


async def test_a_commit_whose_answer_is_lost_is_told_as_unknown(
    cluster: Cluster, store: SqlStore, database: FaultyDatabase
) -> None:
    def answer_lost(commit: Callable[[], None]) -> None:
        database.around_commit = lambda commit: commit()
        commit()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    database.around_commit = answer_lost
    with pytest.raises(StoreUnavailableError, match="may or may not have happened: read again by key"):
        await store.run(lambda tx: write(tx, "A"))
    assert await written(store) == ["A"]


async def test_a_server_that_is_gone_for_a_while_is_passing(
    store: SqlStore, database: FaultyDatabase
) -> None:
    good = dict(database._arguments)
    await store.run(lambda tx: write(tx, "A"))
    store._commits.close()
    database._arguments["host"] = "/nonexistent"
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.run(lambda tx: write(tx, "B"))
    database._arguments = good
    assert await written(store) == ["A"]


async def test_a_row_locked_by_another_is_waited_for_a_while_and_then_passing(
    cluster: Cluster, store: SqlStore, postgres_url: str
) -> None:
    await store.run(lambda tx: tx.instances.observed(1.0))
    with psycopg.connect(postgres_url) as other:
        other.execute("UPDATE marks SET observed_at = 2")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await store.run(lambda tx: tx.instances.observed(3.0))
    await store.run(lambda tx: tx.instances.observed(3.0))


async def test_two_replicas_cannot_both_open_one_name(
    store: SqlStore, postgres_url: str, clock: FakeClock
) -> None:
    from tests.store.test_placements import insert, placement

    other = open_on(
        FaultyDatabase(postgres_url), StoreOptions("postgresql://", "you"), clock, InlineExecutor()
    )
    results = await asyncio.gather(
        insert(store, placement("a", "web")), insert(other, placement("b", "web")), return_exceptions=True
    )
    assert [type(result).__name__ for result in results] == ["NoneType", "ConflictError"]
    await other.close()


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", StoreUnavailableError),
        ("25006", StoreUnavailableError),
        ("40P01", StoreDeadlockError),
        ("53100", StoreUnavailableError),
        ("55P03", StoreUnavailableError),
        ("57P01", StoreUnavailableError),
        (None, StoreUnavailableError),
        ("XX001", StoreBrokenError),
        ("23503", StoreError),
        ("42703", StoreError),
    ],
)
def test_each_kind_of_failure_is_told_by_what_to_do(state: str | None, kind: type[StoreError]) -> None:
    database = PostgresDatabase(sa.make_url("postgresql+psycopg://u:hunter2@h/d"), 1, 1, 1)

    class Failure(psycopg.OperationalError):
        sqlstate = state

    told = database.error_for(Failure("it failed, hunter2 and all"))
    assert type(told) is kind
    assert "hunter2" not in str(told)


def test_a_refused_commit_is_known_not_to_have_happened() -> None:
    database = PostgresDatabase(sa.make_url("postgresql+psycopg://h/d"), 1, 1, 1)

    class Deferred(psycopg.IntegrityError):
        sqlstate = "23503"

    assert "may or may not" not in str(database.error_for(Deferred("no"), committing=True))


def test_a_commit_that_was_answered_by_rollback_is_an_error() -> None:
    cursor = SimpleNamespace(execute=lambda sql: None, statusmessage="ROLLBACK")
    session = PostgresSession(SimpleNamespace(cursor=lambda: cursor), SimpleNamespace(name="postgresql"))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="ROLLBACK"):
        session.commit()


async def test_the_server_ends_a_transaction_left_idle_after_many_rows_at_once(
    cluster: Cluster, postgres_url: str, store: SqlStore
) -> None:
    session = PostgresDatabase(sa.make_url(postgres_url), 1.0, 5.0, 0.2).connect()
    ((backend,),) = session.script("SELECT pg_backend_pid()")
    session.begin()
    session.many(Upsert(marks, ("resource", "observed_at"), ("observed_at",)), _ROWS)
    for _ in range(200):
        if cluster.execute(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {backend}") == [(0,)]:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        session.commit()
    session.close()


_ROWS = [{"resource": name, "observed_at": 1.0} for name in ("a", "b", "c")]
