"""Health of the store, derived from the results of its transactions.

Used by `SqlStore`.

A full disk, a lock that a backup holds and a server that drops packets look alike from outside: requests
fail, or wait. So each transaction is followed from its submission to its result.
"""

from __future__ import annotations

import asyncio
from math import inf

from nexusd.core.errors import LeaseLostError, StoreBrokenError, StoreError
from nexusd.ports import Clock
from nexusd.store.commits import Job


class Progress:
    """Transactions of one executor: those without a result, and since when they fail."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[Job, float] = {}
        self._failing_since: float | None = None
        self._uncommitted_since: float | None = None
        self._error = ""

    def begin(self, job: Job) -> None:
        self._waiting[job] = self._clock.now()

    def end(self, job: Job) -> None:
        """Record the result of a job. One that was cancelled before it ran has none."""
        began_at = self._waiting.pop(job, None)
        if began_at is None or not job.ran:
            return
        if isinstance(job.error, StoreError) and not isinstance(job.error, LeaseLostError):
            self._error = str(job.error)
            if job.wrote and self._uncommitted_since is None:
                self._uncommitted_since = began_at
            elif not job.wrote and self._failing_since is None:
                self._failing_since = began_at
            return
        self._failing_since = None
        if job.wrote and job.error is None:
            self._uncommitted_since = None

    def problem(self, longer_than_s: float, not_before: float = -inf) -> str | None:
        """Return a description if nothing was answered or committed for longer than that.

        Time before `not_before`, when this process was suspended, does not count.
        """
        now = self._clock.now()
        waiting_since = next(iter(self._waiting.values()), now)
        failing_since = self._failing_since if self._failing_since is not None else now
        uncommitted_since = self._uncommitted_since if self._uncommitted_since is not None else now
        unanswered_s = now - max(min(waiting_since, failing_since), not_before)
        uncommitted_s = now - max(uncommitted_since, not_before)
        error = f": {self._error}" if min(failing_since, uncommitted_since) < now else ""
        if unanswered_s > longer_than_s:
            return f"the store has not answered for {unanswered_s:.0f} s{error}"
        if uncommitted_s > longer_than_s:
            return f"the store has not committed anything for {uncommitted_s:.0f} s{error}"
        return None


class StoreHealth:
    """Health that the store's transactions show. Used on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self.commits = Progress(clock)
        self.reads = Progress(clock)
        self._broken: StoreBrokenError | None = None
        self._broke = asyncio.Event()

    def not_committing(self, longer_than_s: float, not_before: float = -inf) -> str | None:
        """Return why commits have not succeeded for that long, or None."""
        return self.commits.problem(longer_than_s, not_before)

    def not_answering(self, longer_than_s: float, not_before: float = -inf) -> str | None:
        """Return why reads or commits have not succeeded for that long, or None."""
        return self.not_committing(longer_than_s, not_before) or self.reads.problem(longer_than_s, not_before)

    def note_broken(self, error: BaseException | None) -> None:
        """Remember that nothing may be trusted to the store any more."""
        if isinstance(error, StoreBrokenError) and self._broken is None:
            self._broken = error
            self._broke.set()

    async def wait_broken(self) -> None:
        """Wait until any transaction finds the store broken.

        Raises its `StoreBrokenError`.
        """
        await self._broke.wait()
        if self._broken is not None:
            raise self._broken
