"""Every contract test runs on a SQLite file and on PostgreSQL."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from nexusd.store.executors import Executor
from nexusd.store.opening import StoreOptions, database_for, open_store
from nexusd.store.schema import metadata
from nexusd.store.store import SqlStore
from nexusd.store.upgrade import bring_up_to_date
from tests.fakes import FakeClock
from tests.store.cluster import Cluster, running_cluster

SHARED = "shared"
_numbers = itertools.count(1)

Opener = Callable[..., SqlStore]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        running.execute(f"CREATE DATABASE {SHARED}")
        yield running


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with tables and nothing in them: copying it is quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("migrated") / "nexusd.db"
    database = database_for(StoreOptions(f"sqlite:///{path}", "template"))
    database.claim()
    session = database.connect()
    bring_up_to_date(database, session)
    session.close()
    database.release()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> str:
    """A database without rows."""
    if request.param == "sqlite":
        shutil.copy(migrated_file, tmp_path)
        return f"sqlite:///{tmp_path}/nexusd.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def postgres_url(cluster: Cluster) -> str:
    there = {row[0] for row in cluster.execute("SELECT tablename FROM pg_tables", SHARED)}
    ours = [table.name for table in reversed(metadata.sorted_tables) if table.name in there]
    if ours:  # quicker than TRUNCATE for a few rows
        cluster.execute("; ".join(f"DELETE FROM {name}" for name in ours), SHARED)
    return cluster.url(SHARED)


@pytest.fixture
def fresh_postgres_url(cluster: Cluster) -> Iterator[str]:
    """A database without tables."""
    name = f"fresh_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name}")
    yield cluster.url(name)
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def opened(url: str, clock: FakeClock) -> AsyncIterator[Opener]:
    """Opens stores on the database, and closes what the test left open."""
    stores: list[SqlStore] = []

    def opener(*, executor: Executor | None = None, lock_timeout_s: float = 5.0) -> SqlStore:
        options = StoreOptions(url, f"test-{next(_numbers)}", lock_timeout_s=lock_timeout_s)
        stores.append(open_store(options, clock, executor))
        return stores[-1]

    yield opener
    for store in stores:
        await store.close()


@pytest.fixture
async def store(opened: Opener) -> SqlStore:
    made = opened()
    assert await made.acquire_lease()
    return made
