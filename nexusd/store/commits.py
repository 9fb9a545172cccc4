"""Group commit: all waiting transactions in one database transaction, synced once.

Each runs in a savepoint of its own, so one that raises takes nothing with it. Nobody is told of success
before COMMIT has returned (I2). Called by an executor (`executors.py`), always from one thread at a time.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Protocol

import msgspec
import structlog

from nexusd.core.errors import (
    LeaseLostError,
    StoreBrokenError,
    StoreDeadlockError,
    StoreError,
    StoreUnavailableError,
)
from nexusd.store.connection import Connection
from nexusd.store.database import Database, one_line
from nexusd.store.statements import Session
from nexusd.store.transaction import SqlTransaction

log = structlog.get_logger()


MAX_RUNS = 3
"""How often a transaction runs before its caller gets the error of a deadlock."""
DEADLOCK_PAUSE_S = 0.05
"""Pause before a transaction that a deadlock rolled back runs again. Without it both may meet again."""


class Kind(Enum):
    """`LEADING`: refused unless this process holds the lease. `LEASE`: may itself change who holds it."""

    PLAIN = "plain"
    LEADING = "leading"
    LEASE = "lease"


class Job:
    """One transaction function on its way, and the future of who waits for it.

    `epoch`: the lease term in which it was asked for. `ran`: whether it has a result, be it an error. `ended`
    is called with the job on the event loop, also for a caller that was cancelled.
    """

    __slots__ = ("ended", "epoch", "error", "future", "kind", "ran", "runs", "value", "work", "wrote")

    def __init__(
        self,
        work: Callable[[SqlTransaction], Any],
        kind: Kind,
        epoch: int,
        future: asyncio.Future[Any],
    ) -> None:
        self.work = work
        self.kind = kind
        self.epoch = epoch
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None
        self.wrote = False
        self.ran = True
        self.runs = 0
        self.ended: Callable[[Job], None] | None = None

    def resolve(self) -> None:
        """On the event loop. A caller that was cancelled meanwhile gets nothing."""
        if self.ended is not None:
            self.ended(self)
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)


def told(database: Database, error: BaseException) -> BaseException:
    """What the caller is told of an error that a transaction function ended with."""
    if isinstance(error, database.errors):
        of_store = database.error_for(error)
        of_store.__cause__ = error
        return of_store
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | zlib.error):
        return StoreError(
            f"{database.label}: a stored value cannot be read ({one_line(error)}): "
            "restore the database from a backup"
        )
    if isinstance(error, StopIteration):  # which no future may carry
        return RuntimeError("a transaction function raised StopIteration")
    return error


class Fence(Protocol):
    def __call__(self, session: Session, epoch: int) -> bool:
        """Whether this process leads in that term, and will until the session's transaction ends."""
        ...


class GroupCommit:
    def __init__(self, database: Database, fence: Fence) -> None:
        self._database = database
        self._fence = fence
        self._failures: tuple[type[Exception], ...] = (*database.errors, StoreError)
        self._connection = Connection(database, database.connect)
        self._led: int | None = None
        self._broken: StoreBrokenError | None = None

    def process(self, waiting: Iterator[Job]) -> list[Job]:
        """Run the waiting transactions, commit, and give them back with their values or errors."""
        ran: list[Job] = []
        if self._broken is not None:
            ran.extend(waiting)
            for job in ran:
                job.error = self._broken
            return ran
        try:
            transaction = self._connection.transaction()
            session = transaction.session
            session.begin()
        except self._database.errors as error:
            self._connection.abandon()
            ran.extend(waiting)
            self._fail(ran, error)
            return ran
        self._led = None
        committing = False
        try:
            for job in waiting:
                ran.append(job)
                self._run(session, transaction, job)
            committing = True
            session.commit()
        except self._failures as error:
            self._connection.abandon()
            innocent = self._fail(ran, error, committing=committing)
            self._read_again(innocent, ran)
        self._run_again([job for job in ran if isinstance(job.error, StoreDeadlockError)])
        return ran

    def pause(self, *, idle: bool) -> None:
        """Between two calls of `process`. `idle`: nobody waits."""
        session = self._connection.session
        if session is None:
            return
        try:
            session.tidy(idle=idle)
        except self._database.errors as error:
            of_store = self._database.error_for(error)
            log.warning("store_not_tidied", error=str(of_store))
            self._connection.drop()
            self._note_broken(of_store)

    def close(self) -> None:
        self._connection.close()

    def _run(self, session: Session, transaction: SqlTransaction, job: Job) -> None:
        """Raises only when the whole database transaction is lost."""
        if job.future.cancelled():
            job.ran = False
            return
        session.wrote = False
        job.runs += 1
        try:
            if job.kind is Kind.LEADING and not self._leads(session, job.epoch):
                job.error = LeaseLostError("another replica leads: nothing was written")
                return
            session.savepoint()
            job.value = job.work(transaction)
            session.release()
        except BaseException as error:  # noqa: BLE001 - whatever it raised is its caller's to handle
            job.error = told(self._database, error)
            self._note_broken(job.error)
            session.undo()
        if job.kind is Kind.LEASE:
            self._led = None
        job.wrote = session.wrote

    def _leads(self, session: Session, epoch: int) -> bool:
        """Asked once a commit and term: the lease's row stays locked until then.

        In a released savepoint, so that a transaction which is undone later does not drop that lock.
        """
        if self._led == epoch:
            return True
        session.savepoint()
        leads = self._fence(session, epoch)
        session.release()
        self._led = epoch if leads else None
        return leads

    def _fail(self, jobs: list[Job], error: Exception, *, committing: bool = False) -> list[Job]:
        """Fail those that have no error of their own, and give them back."""
        innocent = [job for job in jobs if job.error is None]
        for job in innocent:
            job.error = self._database.error_for(error, committing=committing)
            job.error.__cause__ = error
            self._note_broken(job.error)
        return innocent

    def _note_broken(self, error: BaseException) -> None:
        """Nothing is written any more: another connection could open other files."""
        if isinstance(error, StoreBrokenError):
            self._broken = error

    def _run_again(self, deadlocked: list[Job]) -> None:
        """Run each in a commit of its own.

        In a batch, it waited while it held the locks of the others.
        """
        for job in deadlocked:
            if job.runs < MAX_RUNS:
                job.error = None
                time.sleep(DEADLOCK_PAUSE_S)  # let the other transaction take the lock that it waits for
                self.process(iter((job,)))

    def _read_again(self, innocent: list[Job], ran: list[Job]) -> None:
        """A transaction that only read need not fail because another's write could not be committed."""
        if not any(job.wrote for job in ran):
            return
        for job in innocent:
            if not job.wrote and isinstance(job.error, StoreUnavailableError):
                job.error = None
                self.process(iter((job,)))
