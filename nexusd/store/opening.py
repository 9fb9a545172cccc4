"""Opening the store: which database the URL means, whether it can be used, its schema brought up to date."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from nexusd.core.errors import ConfigError, StartError
from nexusd.ports import Clock
from nexusd.store.database import Database
from nexusd.store.executors import Executor, StoreThread
from nexusd.store.lease import Follow, Lease, postgres_lease, sqlite_lease
from nexusd.store.postgres import PostgresDatabase
from nexusd.store.sqlite import SqliteDatabase
from nexusd.store.store import SqlStore
from nexusd.store.upgrade import bring_up_to_date

_POSTGRES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_EXPECTED = "use sqlite:////absolute/path.db or postgresql://user@host/database"


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """`url` as product.md, section 7; it may hold a password. `holder` names this process and no other, ever
    (host, pid and something random). Times in seconds.

    `lock_timeout_s` bounds the wait for another's lock. `idle_s`: PostgreSQL ends a transaction that a
    process leaves unfinished for so long, as a stopped one does.
    """

    url: str = field(repr=False)
    holder: str
    lease_ttl_s: float = 15.0
    lock_timeout_s: float = 5.0
    statement_timeout_s: float = 30.0
    idle_s: float = 10.0


def open_store(
    options: StoreOptions, clock: Clock, executor: Executor | None = None, follow: Follow | None = None
) -> SqlStore:
    """Open, check and migrate.

    Blocks for as long as that takes; call it before the work begins.

    Raises `ConfigError` (the URL, or a driver that is not installed) and `StartError` (the database cannot be
    used, is damaged, is newer than this nexusd, or is in use). `executor`: None means threads of its own.
    `follow`: called with a function that reads PostgreSQL's clock, first before this returns.
    """
    chosen = executor if executor is not None else StoreThread()
    return open_on(database_for(options), options, clock, chosen, follow)


def open_on(
    database: Database,
    options: StoreOptions,
    clock: Clock,
    executor: Executor,
    follow: Follow | None = None,
) -> SqlStore:
    """The same on a database of one's own making. Raises `StartError`."""
    database.claim()
    try:
        lease = _ready(database, options, clock, follow)
        return SqlStore(database, lease, executor, clock)
    except BaseException:
        database.release()
        raise


def _ready(database: Database, options: StoreOptions, clock: Clock, follow: Follow | None) -> Lease:
    one_daemon = isinstance(database, SqliteDatabase)
    statements = sqlite_lease() if one_daemon else postgres_lease(options.idle_s)
    lease = Lease(statements, options.holder, options.lease_ttl_s, clock, follow)
    try:
        session = database.connect()
        try:
            lease.follow_clock(session)
            bring_up_to_date(database, session)
            if one_daemon:
                lease.take_at_start(session)
        finally:
            session.close()
    except database.errors as error:
        raise StartError(database.start_advice(error)) from error
    return lease


def database_for(options: StoreOptions) -> Database:
    """Raises `ConfigError`, never with the URL's password in it."""
    try:
        url = sa.make_url(options.url)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigError(f"store.url is not a database URL: {_EXPECTED}") from None
    if url.drivername == "sqlite":
        try:
            return SqliteDatabase(_sqlite_path(url), options.lock_timeout_s)
        except OSError as error:
            raise StartError(f"store.url: {url.database}: {error.strerror}; give an absolute path") from error
    if url.drivername in _POSTGRES:
        return PostgresDatabase(
            url.set(drivername="postgresql+psycopg"),
            options.lock_timeout_s,
            options.statement_timeout_s,
            options.idle_s,
        )
    raise ConfigError(f"store.url: {url.drivername!r} is not supported: {_EXPECTED}")


def _sqlite_path(url: sa.URL) -> Path:
    if url.host or url.query or url.username:
        raise ConfigError("store.url: sqlite takes a path only, as in sqlite:////var/lib/nexusd/nexusd.db")
    if not url.database or url.database == ":memory:":
        raise ConfigError("store.url: a database in memory would forget everything: name a file")
    return Path(url.database)
