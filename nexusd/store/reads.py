"""Transactions that only read, on a connection of their own, so that they do not wait behind a commit.

Each sees all that was committed when it begins, so whatever a caller was told is kept. Called by an executor
(`executors.py`), always from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from nexusd.core.errors import StartError, StoreBrokenError, StoreUnavailableError
from nexusd.store.commits import Job, told
from nexusd.store.connection import Connection
from nexusd.store.database import Database
from nexusd.store.transaction import SqlTransaction


class Reads:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = Connection(database, database.connect_to_read)
        self._broken: StoreBrokenError | None = None

    def process(self, waiting: Iterator[Job]) -> list[Job]:
        """Run the first of those that wait and give it back. Each is one by itself: what comes while another
        runs is to see later commits.
        """
        job = next(waiting)
        job.ran = not job.future.cancelled()
        if job.ran:
            self._run(job)
        return [job]

    def close(self) -> None:
        self._connection.close()

    def _run(self, job: Job) -> None:
        if self._broken is not None:
            job.error = self._broken
            return
        try:
            job.value = job.work(self._begun())
        except StartError as error:  # the file is gone
            job.error = StoreBrokenError(str(error))
        except BaseException as error:  # noqa: BLE001 - whatever it raised is its caller's to handle
            job.error = told(self._database, error)
        if isinstance(job.error, StoreBrokenError):
            self._broken = job.error
        self._connection.abandon()  # let go of what was seen

    def _begun(self) -> SqlTransaction:
        """On another connection when the one that is there was lost since somebody last read."""
        kept = self._connection.session is not None
        try:
            return self._begin()
        except self._database.errors as error:
            if not kept or not isinstance(self._database.error_for(error), StoreUnavailableError):
                raise
        self._connection.drop()
        return self._begin()

    def _begin(self) -> SqlTransaction:
        transaction = self._connection.transaction()
        transaction.session.begin()
        return transaction
