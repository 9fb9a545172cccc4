"""Reading a store beside the daemon that writes it, for commands that look back (`nexusd replay`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nexusd.core.errors import StartError, StoreError
from nexusd.store.database import Database
from nexusd.store.opening import StoreOptions, database_for
from nexusd.store.statements import Session
from nexusd.store.transaction import SqlTransaction
from nexusd.store.upgrade import check_readable

T = TypeVar("T")


def read_store(url: str, work: Callable[[SqlTransaction], T]) -> T:
    """What `work`, which may only read, finds in the database as it is committed now.

    No lease is taken and nothing is migrated. Raises `ConfigError` (the URL), `StartError` (missing, or of
    another version) and `StoreError`.
    """
    database = database_for(StoreOptions(url, holder="reader"))
    try:
        session = database.connect_to_read()
    except database.errors as error:
        raise StartError(database.start_advice(error)) from error
    try:
        return _read(database, session, work)
    except StoreError as error:
        raise StoreError(f"cannot read the {error}") from error
    finally:
        session.close()


def _read(database: Database, session: Session, work: Callable[[SqlTransaction], T]) -> T:
    try:
        session.begin()
        check_readable(database, session)
        return work(SqlTransaction(session))
    except database.errors as error:
        raise database.error_for(error) from error
