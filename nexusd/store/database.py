"""What the store needs of a database; `sqlite.py` and `postgres.py` are the two there are."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from nexusd.core import text
from nexusd.core.errors import StoreError
from nexusd.store.statements import Session, Statement


class Database(Protocol):
    """One SQLite file or PostgreSQL database.

    `label` names it for people and never holds a password. `errors`: what its driver raises.
    """

    label: str
    errors: tuple[type[Exception], ...]

    def claim(self) -> None:
        """Make sure that it can be used, and by this process alone where only one may.

        Raises `StartError`.
        """
        ...

    def connect(self) -> Session:
        """A new connection that commits durably, with bounded waits. Raises one of `errors`."""
        ...

    def connect_to_read(self) -> Session:
        """A connection that can only read, beside a daemon that writes: nothing is claimed, made or locked.

        Raises `StartError` when there is nothing to read, or one of `errors`.
        """
        ...

    def engine(self) -> sa.Engine:
        """For migrations: transactional, with enough time to wait for another replica's migration."""
        ...

    def tables(self, session: Session) -> frozenset[str]: ...

    def error_for(self, error: Exception, *, committing: bool = False) -> StoreError:
        """The store's word for a driver's error. `committing`: it came from COMMIT itself."""
        ...

    def start_advice(self, error: Exception) -> str:
        """What went wrong when opening, and what to do about it, on one line."""
        ...

    def migration_lock(self) -> Statement | None:
        """Run at the beginning of a migration's transaction so that replicas migrate one after the other."""
        ...

    def release(self) -> None:
        """Give up what `claim` took."""
        ...


MAX_ERROR_LENGTH = 1_000


def one_line(error: Exception) -> str:
    """Return the driver's message on one line.

    It may quote stored values, so the rest is escaped.
    """
    return text.one_line(str(error), MAX_ERROR_LENGTH)
