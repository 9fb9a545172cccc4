"""A connection that is opened when first wanted, and again after it failed: of `commits`, of `reads`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from nexusd.store.database import Database
from nexusd.store.statements import Session
from nexusd.store.transaction import SqlTransaction


class Connection:
    """`connect`: the database's way to open it. `session` None: none is open."""

    def __init__(self, database: Database, connect: Callable[[], Session]) -> None:
        self._errors = database.errors
        self._connect = connect
        self._transaction: SqlTransaction | None = None

    @property
    def session(self) -> Session | None:
        return self._transaction.session if self._transaction is not None else None

    def transaction(self) -> SqlTransaction:
        """What transaction functions are given. Raises what `connect` raises."""
        if self._transaction is None:
            self._transaction = SqlTransaction(self._connect())
        return self._transaction

    def abandon(self) -> None:
        """Roll back; a connection that cannot even do that is dropped."""
        session = self.session
        if session is None:
            return
        try:
            session.rollback()
        except self._errors:
            self.drop()

    def drop(self) -> None:
        """Close it whatever state it is in."""
        with suppress(*self._errors):
            self.close()

    def close(self) -> None:
        """Raises the driver's errors; it is no longer open even so."""
        session, self._transaction = self.session, None
        if session is not None:
            session.close()
