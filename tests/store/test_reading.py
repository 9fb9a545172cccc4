"""Reading a store beside its daemon, on both databases."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nexusd.core.errors import ConfigError, StartError, StoreError
from nexusd.store.opening import StoreOptions, database_for
from nexusd.store.reading import read_store
from nexusd.store.store import SqlStore
from nexusd.store.upgrade import HEAD
from tests.store.conftest import Opener
from tests.store.test_placements import placement


def set_version(url: str, version: str) -> None:
    engine = database_for(StoreOptions(url, "me")).engine()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    engine.dispose()


async def test_what_a_running_daemon_has_committed_is_read(store: SqlStore, url: str) -> None:
    await store.run(lambda tx: tx.placements.insert(placement("plc_1")))
    found = read_store(url, lambda tx: tx.placements.get("plc_1"))
    assert found == placement("plc_1")
    assert store.leading
    await store.run_leading(lambda tx: tx.placements.insert(placement("plc_2", name="other")))


async def test_the_whole_reading_is_of_one_time(store: SqlStore, url: str) -> None:
    def look_twice(tx: Any) -> list[int]:
        before = len(tx.placements.in_states([placement("x").state]))
        engine = database_for(StoreOptions(url, "me")).engine()
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM placements"))
        engine.dispose()
        return [before, len(tx.placements.in_states([placement("x").state]))]

    await store.run(lambda tx: tx.placements.insert(placement("plc_1")))
    assert read_store(url, look_twice) == [1, 1]


async def test_a_reader_cannot_write(store: SqlStore, url: str) -> None:
    with pytest.raises(StoreError, match=r"(readonly|read-only)"):
        read_store(url, lambda tx: tx.placements.insert(placement("plc_1")))
    assert await store.run(lambda tx: tx.placements.get("plc_1")) is None


async def test_reading_says_nothing_of_who_opened_it_last(opened: Opener, url: str) -> None:
    await opened().close()
    set_opened_by = "UPDATE meta SET value = '0.0.1' WHERE key = 'opened_by'"
    engine = database_for(StoreOptions(url, "me")).engine()
    with engine.begin() as connection:
        connection.execute(sa.text(set_opened_by))
    engine.dispose()
    rows = read_store(url, lambda tx: tx.session.script("SELECT value FROM meta WHERE key = 'opened_by'"))
    assert list(rows) == [("0.0.1",)]


@pytest.mark.parametrize(
    ("version", "said"),
    [("v0001", r"is of an older nexusd \(schema v0001\): start"), ("v9999", r"is older than the .* v9999")],
)
async def test_a_store_of_another_version_is_refused_and_not_migrated(
    opened: Opener, url: str, version: str, said: str
) -> None:
    await opened().close()
    set_version(url, version)
    with pytest.raises(StartError, match=said):
        read_store(url, lambda tx: tx.placements.get("plc_1"))
    engine = database_for(StoreOptions(url, "me")).engine()
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == version
    engine.dispose()
    set_version(url, HEAD)


def test_a_file_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no SQLite file"):
        read_store(f"sqlite:///{tmp_path}/nexusd.db", lambda tx: None)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_said(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(StartError, match="has no tables of nexusd"):
        read_store(f"sqlite:///{tmp_path}/x.db", lambda tx: None)


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StartError, match="not a database") as caught:
        read_store(f"sqlite:///{tmp_path}/x.db", lambda tx: None)
    assert "\n" not in str(caught.value)


def test_an_empty_postgresql_database_is_said(fresh_postgres_url: str) -> None:
    with pytest.raises(StartError, match="has no tables of nexusd"):
        read_store(fresh_postgres_url, lambda tx: None)


def test_a_server_that_is_away_is_said_without_the_password() -> None:
    with pytest.raises(StartError, match="cannot use the PostgreSQL database") as caught:
        read_store("postgresql://me:secret@127.0.0.1:1/nexusd", lambda tx: None)
    assert "secret" not in str(caught.value)


def test_a_url_that_cannot_be_used_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        read_store("mysql://somewhere/x", lambda tx: None)
