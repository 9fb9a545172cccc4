"""Migrations: what they make is what the queries expect, from base and by several replicas at once."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from nexusd.core.cooling import CoolingOff
from nexusd.core.errors import StartError
from nexusd.core.placement import PlacementRequest
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, database_for, open_store
from nexusd.store.schema import metadata
from nexusd.store.upgrade import HEAD, SCRIPTS
from tests.fakes import FakeClock

REPLICA = """
import sys
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store
open_store(StoreOptions(sys.argv[1], "replica"), SystemClock())
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/nexusd.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


def engine_for(url: str) -> sa.Engine:
    return database_for(StoreOptions(url, "me")).engine()


async def open_and_close(url: str) -> None:
    store = open_store(StoreOptions(url, "me"), FakeClock(), InlineExecutor())
    await store.close()


def indices(connection: sa.Connection) -> set[tuple[str, str]]:
    """Every index as the database itself words it, conditions and directions included."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    rows = connection.execute(sa.text(query + " ORDER BY 1"))
    return {(name, re.sub(r"\s+", " ", sql)) for name, sql in rows if "alembic" not in name}


async def test_a_migrated_database_is_what_the_tables_say(fresh_url: str) -> None:
    await open_and_close(fresh_url)
    engine = engine_for(fresh_url)
    with engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # indices with a direction are compared by the next test
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_the_indices_are_what_the_tables_say(fresh_url: str) -> None:
    await open_and_close(fresh_url)
    engine = engine_for(fresh_url)
    with engine.connect() as connection, connection.begin():
        migrated = indices(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert indices(connection) == migrated
    engine.dispose()


async def test_opening_again_changes_nothing_and_keeps_what_is_there(fresh_url: str) -> None:
    store = open_store(StoreOptions(fresh_url, "me"), FakeClock(), InlineExecutor())
    await store.run(lambda tx: tx.instances.observed(7.0))
    await store.close()
    store = open_store(StoreOptions(fresh_url, "me"), FakeClock(), InlineExecutor())
    assert (await store.run(lambda tx: tx.instances.load()))[2] == 7.0
    await store.close()


async def test_a_newer_schema_is_refused_saying_which_is_older(fresh_url: str) -> None:
    await open_and_close(fresh_url)
    engine = engine_for(fresh_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v9999'"))
        connection.execute(sa.text("UPDATE meta SET value = '9.9' WHERE key = 'opened_by'"))
    engine.dispose()
    with pytest.raises(
        StartError, match=r"this nexusd .* is older than .*schema v9999, last opened by nexusd 9\.9"
    ):
        await open_and_close(fresh_url)


@pytest.mark.slow
def test_several_replicas_may_start_at_once(fresh_postgres_url: str) -> None:
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", REPLICA, fresh_postgres_url], stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [(replica.communicate(timeout=60)[1], replica.returncode) for replica in starting]
    assert ended == [("", 0)] * 3


def test_the_newest_migration_is_the_one_that_the_start_expects() -> None:
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_migrations_are_files_of_the_package() -> None:
    folder = files("nexusd.store") / "migrations"
    assert (folder / "env.py").is_file()
    assert (folder / "script.py.mako").is_file()
    assert any(file.name.startswith(HEAD) for file in (folder / "versions").iterdir())


async def test_placements_of_an_earlier_version_are_known_as_members_by_their_names(fresh_url: str) -> None:
    if fresh_url.startswith("sqlite:///"):
        Path(fresh_url.removeprefix("sqlite:///")).touch()
    engine = engine_for(fresh_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", SCRIPTS)
        config.attributes["connection"] = connection
        command.upgrade(config, "v0001")
        for name in ("web-abc12", "web", "worker-01", "-abc12"):
            request = f'{{"name":"{name}","plan":"pro"}}'
            connection.execute(
                sa.text(
                    "INSERT INTO placements (id, name, state, priority, created_at, updated_at, request) "
                    "VALUES (:name, :name, 'queued', 0, 1.0, 1.0, :request)"
                ),
                {"name": name, "request": request},
            )
    engine.dispose()
    store = open_store(StoreOptions(fresh_url, "me"), FakeClock(), InlineExecutor())
    assert [p.id for p in await store.run(lambda tx: tx.placements.members("web"))] == ["web-abc12"]
    assert await store.run(lambda tx: tx.placements.members("")) == []
    await store.close()


def migrate_to(url: str, revision: str) -> sa.Engine:
    """A database as an earlier nexusd left it."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).touch()
    engine = engine_for(url)
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


async def test_what_waited_under_the_first_schema_is_in_the_queue_of_its_class(fresh_url: str) -> None:
    request = PlacementRequest("w", "pro", regions=("b", "a"), where="region.latency_ms < 80.0", priority=3)
    row = {
        "id": "plc_1",
        "name": "w",
        "state": "queued",
        "priority": 3,
        "created_at": 1.0,
        "updated_at": 1.0,
        "request": msgspec.json.encode(request).decode(),
    }
    cooling = {"region": "a", "until": 9.0, "step": 2, "reason": "DRY"}
    engine = migrate_to(fresh_url, "v0001")
    with engine.begin() as connection:
        for table, values in (("placements", row), ("coolings", cooling)):
            columns = ", ".join(values)
            places = ", ".join(f":{name}" for name in values)
            connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({places})"), values)  # noqa: S608 - names above
    engine.dispose()
    store = open_store(StoreOptions(fresh_url, "me"), FakeClock(), InlineExecutor())
    [waiting] = await store.run(lambda tx: tx.queue.heads(request.constraint_class, 5))
    assert waiting.request == request
    kept = await store.run(lambda tx: tx.regions.cooling_off())
    assert kept == {("a", ""): CoolingOff("a", 9.0, 2, "DRY")}
    await store.close()
