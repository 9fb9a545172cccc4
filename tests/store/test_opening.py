"""Opening: which URLs are taken, and what is refused with which words."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nexusd.core.errors import ConfigError, StartError
from nexusd.ports import Transaction
from nexusd.store.executors import InlineExecutor
from nexusd.store.files import unusable
from nexusd.store.opening import StoreOptions, database_for, open_store
from nexusd.store.postgres import PostgresDatabase
from nexusd.store.sqlite import SqliteDatabase
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock

HOLDER = """
import sys, time
from nexusd.store.opening import StoreOptions, open_store
from nexusd.runtime.clock import SystemClock
store = open_store(StoreOptions(sys.argv[1], "other"), SystemClock())
print("open", flush=True)
time.sleep(60)
"""


def options(url: str) -> StoreOptions:
    return StoreOptions(url, "me")


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def opened(url: str) -> SqlStore:
    return open_store(options(url), FakeClock(), InlineExecutor())


def refusal(url: str) -> str:
    with pytest.raises(StartError) as caught:
        opened(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_absolute_and_a_relative_sqlite_url_name_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = database_for(options("sqlite:////var/lib/nexusd/nexusd.db"))
    relative = database_for(options("sqlite:///nexusd.db"))
    assert isinstance(absolute, SqliteDatabase)
    assert isinstance(relative, SqliteDatabase)
    assert absolute.path == Path("/var/lib/nexusd/nexusd.db")
    assert relative.path == tmp_path / "nexusd.db"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgresql_url_means_psycopg_and_its_label_has_no_password(scheme: str) -> None:
    database = database_for(options(f"{scheme}://user:hunter2@db.example/nexusd"))
    assert isinstance(database, PostgresDatabase)
    assert database.label == "PostgreSQL database nexusd at db.example:5432"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense hunter2", "not a database URL"),
        ("mysql://u:hunter2@h/d", "'mysql' is not supported"),
        ("postgresql+asyncpg://u:hunter2@h/d", "not supported"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://host/file", "a path only"),
        ("sqlite:///file.db?mode=ro", "a path only"),
    ],
)
def test_any_other_url_is_a_configuration_error_that_repeats_no_password(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        database_for(options(url))
    assert "hunter2" not in str(caught.value)
    assert "store.url" in str(caught.value)


def test_the_options_show_no_password() -> None:
    assert "hunter2" not in repr(options("postgresql://u:hunter2@h/d"))


def test_without_psycopg_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'nexusd\[postgres\]'"):
        database_for(options("postgresql://u@h/d"))


def test_an_unreachable_postgresql_is_named_without_its_password() -> None:
    message = refusal("postgresql://u:hunter2@127.0.0.1:1/nexusd")
    assert "PostgreSQL database nexusd at 127.0.0.1:1" in message
    assert "hunter2" not in message


async def test_the_file_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    before = os.umask(0)
    try:
        store = opened(url_of(path))
    finally:
        os.umask(before)
    await store.run(lambda tx: tx.instances.observed(1.0))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes.keys() >= {"nexusd.db", "nexusd.db-wal", "nexusd.db.lock"}
    assert set(modes.values()) == {0o600}
    await store.close()


@pytest.mark.parametrize(("mode", "warned"), [(0o666, True), (0o640, True), (0o600, False)])
async def test_a_file_that_others_may_read_or_change_is_warned_of(
    tmp_path: Path, mode: int, warned: bool
) -> None:
    path = tmp_path / "nexusd.db"
    await opened(url_of(path)).close()
    path.chmod(mode)
    with capture_logs() as logs:
        await opened(url_of(path)).close()
    found = [entry for entry in logs if entry["event"] == "store_accessible_to_others"]
    assert [entry["mode"] for entry in found] == [f"{mode:04o}"] * warned


async def test_a_damaged_schema_is_one_line_with_advice(tmp_path: Path) -> None:
    """SQLite quotes the damaged bytes, which are no text: there was a traceback."""
    path = tmp_path / "nexusd.db"
    await opened(url_of(path)).close()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE instances", b"CREATE TABLE \xff\xa3st\xf0nces"))
    message = refusal(url_of(path))
    assert "is damaged or not a database" in message
    assert "restore it from a backup" in message
    assert message.isprintable()


async def test_a_file_that_another_program_locks_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    await opened(url_of(path)).close()
    backup = sqlite3.connect(path, isolation_level=None)
    backup.execute("BEGIN IMMEDIATE")
    with pytest.raises(StartError, match="database is locked: end the program that locks it"):
        open_store(StoreOptions(url_of(path), "me", lock_timeout_s=0.01), FakeClock(), InlineExecutor())
    backup.close()


def test_a_full_disk_is_refused_with_advice(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "No space left on device: free some space" in str(unusable(tmp_path / "nexusd.db", error))


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    message = refusal(url_of(tmp_path / "none" / "nexusd.db"))
    assert f"the folder {tmp_path}/none does not exist: create it" in message


def test_a_folder_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    assert "is a folder" in refusal(url_of(tmp_path))


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:
        folder = Path("/proc/self")
    message = refusal(url_of(folder / "nexusd.db"))
    assert "cannot write" in message
    assert "store.url" in message


@pytest.mark.parametrize("content", [b"this is text, and no database at all\n" * 200, os.urandom(8192)])
def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nexusd.db"
    path.write_bytes(content)
    message = refusal(url_of(path))
    assert "restore it from a backup, or move it" in message
    assert path.read_bytes() == content


async def test_a_damaged_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    store = opened(url_of(path))
    await store.close()
    content = bytearray(path.read_bytes())
    for page in range(3, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert "restore it from a backup, or move it" in refusal(url_of(path))


def test_the_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    assert "database of something else" in refusal(url_of(path))


async def test_a_second_store_on_the_same_file_is_refused_and_names_the_first(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    store = opened(url_of(path))
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for other in (path, link):
        message = refusal(url_of(other))
        assert f"in use by another nexusd (pid {os.getpid()})" in message
    await store.close()
    again = opened(url_of(path))
    await again.close()


async def test_a_hard_link_and_a_deleted_lock_file_let_no_second_daemon_in(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    store = opened(url_of(path))
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "other.db"
    link.hardlink_to(path)
    assert "in use by another nexusd, which opened it by another name" in refusal(url_of(link))
    (tmp_path / "nexusd.db.lock").unlink()
    assert "whose .lock file was deleted" in refusal(url_of(path))
    await store.run(lambda tx: tx.instances.load())
    await store.close()
    again = opened(url_of(link))
    await again.close()


async def test_a_refused_second_daemon_leaves_the_locks_of_sqlite_alone(tmp_path: Path) -> None:
    """Closing a descriptor of a file drops this process's POSIX locks on it, which SQLite relies on."""
    path = tmp_path / "nexusd.db"
    store = opened(url_of(path))
    link = tmp_path / "other.db"
    link.hardlink_to(path)

    def transaction(_tx: Transaction) -> str:
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0.01, isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE')"
        )
        return subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        ).stderr

    other = subprocess.run(
        [sys.executable, "-c", HOLDER, url_of(link)], capture_output=True, text=True, check=False
    )
    assert "in use by another nexusd" in other.stderr
    assert "database is locked" in await store.run(transaction)
    await store.close()


async def test_the_lock_of_another_process_ends_with_it_even_by_kill_9(tmp_path: Path) -> None:
    url = url_of(tmp_path / "nexusd.db")
    other = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        assert f"(pid {other.pid})" in refusal(url)
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    store = opened(url)
    assert store.epoch == 2
    await store.close()


def test_a_refused_start_gives_the_file_back(tmp_path: Path) -> None:
    path = tmp_path / "nexusd.db"
    path.write_bytes(b"no database" * 1000)
    refusal(url_of(path))
    assert "in use" not in refusal(url_of(path))


async def test_a_store_that_opens_needs_no_alembic_when_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    url = url_of(tmp_path / "nexusd.db")
    await opened(url).close()
    code = (
        "import sys; from nexusd.store.opening import *; from nexusd.runtime.clock import SystemClock;"
        f"open_store(StoreOptions({url!r}, 'me'), SystemClock()); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
