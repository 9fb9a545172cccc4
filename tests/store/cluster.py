"""A PostgreSQL of the tests' own: a temporary cluster on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.requirements import need, need_program

_QUICK = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=40",
    "jit=off",
    "deadlock_timeout=100ms",
)


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connections: dict[str, psycopg.Connection] = {}

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        connection = self._connections.get(database)
        if connection is None:
            connection = psycopg.connect(
                host=str(self.folder), user="postgres", dbname=database, autocommit=True
            )
            self._connections[database] = connection
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Made, started and removed. PostgreSQL refuses to run as root, so it runs as its own user then."""
    initdb, postgres = need_program("initdb"), need_program("postgres")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="nexusd-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        _run(
            [
                initdb,
                "-D",
                f"{folder}/data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
                "--no-locale",
            ],
            user,
        )
        settings = [part for setting in _QUICK for part in ("-c", setting)]
        log = (folder / "log").open("wb")
        server = subprocess.Popen(
            [postgres, "-D", f"{folder}/data", "-k", str(folder), *settings],
            stdout=log,
            stderr=log,
            cwd="/",
            **_as(user),
        )
        log.close()
        try:
            cluster = Cluster(folder)
            _await_ready(cluster, server)
            yield cluster
            cluster.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    need(any(entry.pw_name == "postgres" for entry in pwd.getpwall()), "root, and there is no user postgres")
    return "postgres"


def _as(user: str | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def _run(command: list[str], user: str | None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **_as(user))
    assert done.returncode == 0, done.stderr


def _await_ready(cluster: Cluster, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            cluster.execute("SELECT 1")
        except psycopg.OperationalError:
            assert server.poll() is None, (cluster.folder / "log").read_text()
            assert time.monotonic() < deadline, (cluster.folder / "log").read_text()
            time.sleep(0.02)
        else:
            return
