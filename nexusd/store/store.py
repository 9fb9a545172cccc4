"""`SqlStore`: what the daemon remembers, behind `ports.Store`. Made by `opening.open_store`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from nexusd.core.errors import LeaseLostError, StoreUnavailableError
from nexusd.ports import Clock, Transaction
from nexusd.store.commits import GroupCommit, Job, Kind
from nexusd.store.database import Database
from nexusd.store.executors import Executor
from nexusd.store.health import StoreHealth
from nexusd.store.lease import Lease
from nexusd.store.reads import Reads
from nexusd.store.transaction import SqlTransaction

log = structlog.get_logger(__name__)
T = TypeVar("T")


class SqlStore:
    """Transactions over one database, run one after the other and committed together; and beside them those
    that only read, one after the other.

    A caller that is cancelled while it waits does not know whether its transaction was committed.
    """

    def __init__(self, database: Database, lease: Lease, executor: Executor, clock: Clock) -> None:
        self.health = StoreHealth(clock)
        self._database = database
        self._lease = lease
        self._executor = executor
        self._commits = GroupCommit(database, lease.fence)
        executor.start(self._commits.process, self._commits.pause)
        self._reads = Reads(database)
        self._reading = executor.beside()
        self._reading.start(self._reads.process)

    @property
    def epoch(self) -> int:
        return self._lease.epoch

    @property
    def leading(self) -> bool:
        return self._lease.leading

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        """Run it and return after a synced commit.

        Raises what it raised (and nothing of it is kept), `StoreUnavailableError` (try again; its message
        says so when a commit's outcome is unknown), or `StoreBrokenError` (end the process).
        """
        return await self._submit(transaction, Kind.PLAIN)

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        """The same, and `LeaseLostError` unless this process holds the lease from now until the commit."""
        if not self._lease.leading:
            raise LeaseLostError("this process does not lead: nothing was written")
        return await self._submit(transaction, Kind.LEADING)

    def read(self, transaction: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run it on what is committed, without waiting for a commit under way. It may only read, and has
        its place in the row of those who do when this returns.

        Awaiting raises what it raised, and `StoreError`.
        """
        return self._submit(transaction, Kind.PLAIN, self._reading)

    async def acquire_lease(self) -> bool:
        """Take the lease if it is free; whether it is held. Call it now and then while not leading."""
        return await self._lease.acquire(self._run_lease)

    async def renew_lease(self) -> bool:
        """Extend the lease; whether it is still held. Call it several times within the lease's `ttl_s`."""
        return await self._lease.renew(self._run_lease)

    async def release_lease(self) -> None:
        """Give the lease up at an orderly stop."""
        await self._lease.release(self._run_lease)

    async def close(self) -> None:
        """Commit what was submitted, then close the database and let another process have it."""
        try:
            await self._reading.close(self._reads.close)
        finally:  # the last to close it carries SQLite's log into the file
            await self._executor.close(self._finish)

    async def _run_lease(self, work: Callable[[SqlTransaction], T], /) -> T:
        return await self._submit(work, Kind.LEASE)

    def _submit(
        self, work: Callable[[SqlTransaction], T], kind: Kind, executor: Executor | None = None
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        progress = self.health.reads if executor is not None else self.health.commits
        job = Job(work, kind, self._lease.epoch, future)

        def ended(job: Job) -> None:
            progress.end(job)
            self.health.note_broken(job.error)

        job.ended = ended
        progress.begin(job)
        try:
            (executor or self._executor).submit(job)
        except StoreUnavailableError as error:
            progress.end(job)
            future.set_exception(error)
        return future

    def _finish(self) -> None:
        try:
            self._commits.close()
        except self._database.errors as error:
            log.warning("store_close_failed", error=str(self._database.error_for(error)))
        finally:
            self._database.release()
