"""PostgreSQL through psycopg 3, for several replicas. Every wait is bounded, on both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

from nexusd.core.errors import (
    ConfigError,
    StartError,
    StoreBrokenError,
    StoreDeadlockError,
    StoreError,
    StoreUnavailableError,
)
from nexusd.store.database import one_line
from nexusd.store.statements import Insert, InsertReturningId, Session, Statement, Values

_MIGRATION_LOCK = 0x6E65787573  # "nexus": the advisory lock that migrations share
_MIGRATION_WAIT_S = 60

_UNAVAILABLE_CLASSES = frozenset({"08", "25", "40", "53", "55", "57", "58"})
"""SQLSTATE classes that pass: connection, read-only or ended transaction, deadlock, resources, locks,
operator intervention, the server's own system."""

_DEADLOCKS = frozenset({"40001", "40P01"})
_DAMAGED = frozenset({"XX001", "XX002"})
_LOST_CLASSES = frozenset({"08", "57"})
"""After one of these, or no SQLSTATE at all, nobody told how a COMMIT ended."""


_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND relation = %(table)s::regclass"""
"""A transaction locks a table so before it takes the first id of a row in it, and until it has ended, when
what it committed is seen by everybody (PostgreSQL's manual, Explicit Locking)."""


class PostgresSession(Session):
    _begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

    def __init__(self, connection: Any, dialect: sa.Dialect) -> None:
        super().__init__(connection, dialect)
        self._returning: dict[Insert, InsertReturningId] = {}

    def commit(self) -> None:
        super().commit()
        # COMMIT of a failed transaction is answered by ROLLBACK, without an error.
        if self._cursor.statusmessage != "COMMIT":
            raise StoreError(f"the commit was answered by {self._cursor.statusmessage}")

    def writers(self, table: sa.Table) -> frozenset[str]:
        self._cursor.execute(_WRITERS, {"table": table.name})
        return frozenset(row[0] for row in self._cursor.fetchall())

    def _execute_many(self, sql: str, rows: Sequence[Values]) -> int:
        if len(rows) == 1:
            self._cursor.execute(sql, rows[0])
            count: int = self._cursor.rowcount
            return count
        count = super()._execute_many(sql, rows)
        self._rearm()
        return count

    def _insert_numbered(self, statement: Insert, rows: Sequence[Values]) -> list[int]:
        sql, defaults = self._compile(self._returning.setdefault(statement, InsertReturningId(statement)))
        clean = self._clean_many(defaults, rows)
        if len(rows) == 1:
            self._cursor.execute(sql, clean[0])
            return [row[0] for row in self._cursor.fetchall()]
        self._cursor.executemany(sql, clean, returning=True)
        numbers = [row[0] for row in self._cursor.fetchall()]
        while self._cursor.nextset():
            numbers += (row[0] for row in self._cursor.fetchall())
        self._rearm()
        return numbers

    def _rearm(self) -> None:
        """psycopg's pipeline ends with a Flush, after which PostgreSQL does not time an idle transaction."""
        self._cursor.execute("SELECT")

    def _clean(self, values: Values) -> Values:
        """PostgreSQL's text cannot hold NUL, which a cloud's answer may well contain."""
        for value in values.values():
            if isinstance(value, str) and "\0" in value:
                return {name: _without_nul(value) for name, value in values.items()}
        return values

    def _clean_many(self, defaults: Values, rows: Sequence[Values]) -> Sequence[Values]:
        return [self._clean(row) for row in super()._clean_many(defaults, rows)]


class PostgresReader(PostgresSession):
    _begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresDatabase:
    """`url` may hold a password, which no message repeats. The times bound every wait, in seconds."""

    def __init__(self, url: sa.URL, lock_timeout_s: float, statement_timeout_s: float, idle_s: float) -> None:
        self._psycopg = _import_psycopg()
        self.errors: tuple[type[Exception], ...] = (self._psycopg.Error,)
        self._url = url
        self._lock_timeout_s = lock_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._idle_s = idle_s
        self._dialect = cast("Any", PGDialect_psycopg)(dbapi=self._psycopg)
        self._arguments: dict[str, Any] = {**_KEEPALIVE, **self._dialect.create_connect_args(url)[1]}
        where = f" at {url.host}:{url.port or 5432}" if url.host else ""
        self.label = f"PostgreSQL database {url.database or ''}{where}"

    def claim(self) -> None:
        """Check the encoding.

        Several replicas share the database, and the holder of the lease leads.

        Raises `StartError` unless it holds every character that CloudNexus may send.
        """
        try:
            connection = self._connect(autocommit=True, lock_timeout_s=self._lock_timeout_s)
        except self._psycopg.Error as error:
            raise StartError(self.start_advice(error)) from error
        with connection:
            encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            name = self._url.database or "nexusd"
            raise StartError(
                f"the {self.label} has the encoding {encoding}, which lacks characters that names may have: "
                f"create one with UTF8 (createdb --encoding UTF8 --template template0 {name}) and set "
                "store.url to it"
            )

    def connect(self) -> Session:
        connection = self._connect(autocommit=True, lock_timeout_s=self._lock_timeout_s)
        return PostgresSession(connection, self._dialect)

    def connect_to_read(self) -> Session:
        connection = self._connect(autocommit=True, lock_timeout_s=self._lock_timeout_s)
        return PostgresReader(connection, self._dialect)

    def engine(self) -> sa.Engine:
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._connect(autocommit=False, lock_timeout_s=_MIGRATION_WAIT_S),
            poolclass=NullPool,
        )

    def tables(self, session: Session) -> frozenset[str]:
        rows = session.script("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        return frozenset(row[0] for row in rows)

    def error_for(self, error: Exception, *, committing: bool = False) -> StoreError:
        state: str | None = getattr(error, "sqlstate", None)
        text = f"{self.label}: {self._safe(error)}"
        if isinstance(error, StoreError):
            return StoreError(text)
        if committing and (state is None or state[:2] in _LOST_CLASSES):
            return StoreUnavailableError(
                f"{text}; the connection was lost during the commit, "
                "which may or may not have happened: read again by key"
            )
        if state in _DAMAGED:
            return StoreBrokenError(text)
        if state in _DEADLOCKS and not committing:
            return StoreDeadlockError(text)
        lost = state is None and isinstance(
            error, self._psycopg.OperationalError | self._psycopg.InterfaceError
        )
        if lost or (state is not None and state[:2] in _UNAVAILABLE_CLASSES):
            return StoreUnavailableError(text)
        return StoreError(text)

    def start_advice(self, error: Exception) -> str:
        return f"cannot use the {self.label}: {self._safe(error)}"

    def migration_lock(self) -> Statement:
        return sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK))

    def release(self) -> None:
        """Nothing was claimed."""

    def _connect(self, *, autocommit: bool, lock_timeout_s: float) -> Any:
        connection = self._psycopg.connect(**self._arguments, autocommit=True)
        try:
            # An idle or stuck transaction of a stopped process must not keep its locks (I4).
            connection.execute(
                f"SET lock_timeout = {_ms(lock_timeout_s)};"
                f"SET statement_timeout = {_ms(max(self._statement_timeout_s, lock_timeout_s))};"
                f"SET idle_in_transaction_session_timeout = {_ms(self._idle_s)};"
                # An acknowledged commit is on disk (I2), whatever the server's default.
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
        return connection

    def _safe(self, error: Exception) -> str:
        text = one_line(error)
        for secret in (self._arguments.get("password"), self._arguments.get("sslpassword")):
            if secret:
                text = text.replace(str(secret), "***")
        return text


_KEEPALIVE: dict[str, Any] = {
    "application_name": "nexusd",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def _import_psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise ConfigError(
            "store.url names PostgreSQL, whose driver is not installed: pip install 'nexusd[postgres]'"
        ) from error
    return psycopg


def _without_nul(value: object) -> object:
    return value.replace("\0", "\N{SYMBOL FOR NULL}") if isinstance(value, str) else value


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
