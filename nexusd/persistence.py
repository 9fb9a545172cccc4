"""Commits the results of passes in order, without delaying later passes.

Used by `cycle`.

A store may take minutes to fail: packets are dropped without a reset, a table is locked, an fsync takes
seconds. Polls and the state in memory must continue meanwhile, so a pass waits for the store `PATIENCE_S` at
most, and not at all for a request that an earlier pass has waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import structlog

from nexusd.core.errors import LeaseLostError, StoreBrokenError, StoreError, StoreUnavailableError
from nexusd.passes import Added, Saved, Unsaved, Write, save
from nexusd.ports import Clock, OutboxMessage, Store

log = structlog.get_logger(__name__)

T = TypeVar("T")

PATIENCE_S = 1.0
"""How long a pass waits for the store."""
BATCH = 256
"""Records handled before other tasks get their turn, which takes a few ms."""


class PatientReader:
    """Reads of the store, one at a time, each waited for `PATIENCE_S` at most.

    `use_late`: the result of a read that was late is that of the next one, so that a store which always
    needs longer is read all the same. `late`: whether the last result was such a one.
    """

    def __init__(self, *, use_late: bool = False) -> None:
        self._use_late = use_late
        self._reading: asyncio.Future[Any] | None = None
        self.late = False

    async def read(self, request: Callable[[], Awaitable[T]]) -> T:
        """Return what the request gives.

        Raises `StoreUnavailableError` when it is late or an earlier one still is, and what it raised.
        """
        if self._reading is not None and not self._reading.done():
            raise StoreUnavailableError("an earlier read has not ended yet")
        self.late = self._reading is not None and self._use_late
        if self._reading is None or not self.late:
            self._reading = asyncio.ensure_future(request())
            self._reading.add_done_callback(_retrieve)
        reading: asyncio.Future[T] = self._reading
        await asyncio.wait({reading}, timeout=PATIENCE_S)
        if not reading.done():
            raise StoreUnavailableError(f"no answer within {PATIENCE_S:g} s")
        self.forget()
        return reading.result()

    def forget(self) -> None:
        """Ignore the result of a late read."""
        self._reading = None


class PassWriter:
    """Passes that are not committed yet.

    `deliver` gets the messages of a commit; `recorded` is called when a commit had events. Outlives a reload,
    which may replace both.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: list[Unsaved] = []
        self._pending_since: float | None = None
        self._number = 0
        self._commit: asyncio.Future[bool] | None = None
        self._began_at = clock.now()
        self.deliver: Added = _ignore
        self.recorded: Callable[[], object] = int

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def pending_since(self) -> float | None:
        """Time at which the queue was last empty, or last shrank; None while it is empty."""
        return self._pending_since if self._pending else None

    def add(self, write: Write, messages: list[OutboxMessage]) -> None:
        """Queue what a pass has decided."""
        self._number += 1
        if not self._pending:
            self._pending_since = self._clock.now()
        self._pending.append(Unsaved(self._number, write, messages, self.deliver))

    def clear(self) -> None:
        """Drop the queued passes: another replica leads, or led meanwhile."""
        self._pending.clear()

    async def save(self, epoch: int) -> bool:
        """Commit all queued passes in order; return False if that is not done yet.

        A late commit continues in the background, with the passes queued until it or the term ends.
        Raises the error of a transaction, even if it ended after the call that began it.
        """
        if self._commit is not None and self._commit.done():
            self._commit.result()
            self._commit = None
        if self._commit is None:
            self._began_at = self._clock.now()
            self._commit = asyncio.ensure_future(self._commit_all(epoch))
            self._commit.add_done_callback(_retrieve)
        commit, waited_s = self._commit, self._clock.now() - self._began_at
        if waited_s >= PATIENCE_S:
            log.warning(
                "store_unavailable",
                waiting="snapshots, alerts",
                passes=len(self),
                error=f"no answer for {waited_s:.0f} s",
            )
            return False
        await asyncio.wait({commit}, timeout=PATIENCE_S - waited_s)
        if not commit.done():
            return False
        self._commit = None
        return commit.result()

    async def _commit_all(self, epoch: int) -> bool:
        while self._pending:
            if self._store.epoch != epoch:
                # The term ended while a commit was late: `cycle` drops or commits the queued passes.
                return False
            passes, deliver = tuple(self._pending), self.deliver
            self._began_at = self._clock.now()
            try:
                saved = await self._store.run_leading(lambda tx, passes=passes: save(tx, passes, epoch))  # type: ignore[misc]  # mypy infers no type for a lambda's default
            except StoreBrokenError:
                raise
            except LeaseLostError:
                return False
            except StoreUnavailableError as error:
                log.warning(
                    "store_unavailable", waiting="snapshots, alerts", passes=len(passes), error=str(error)
                )
                return False
            except StoreError as error:
                # A value that the database refuses would be refused again after a restart.
                log.error("store_refused", waiting="snapshots, alerts", passes=len(passes), error=str(error))  # noqa: TRY400 - no defect here
                return False
            self._pending = [one for one in self._pending if one.number > passes[-1].number]
            self._pending_since = self._clock.now()
            await self._hand_over(saved, deliver)
        return True

    async def _hand_over(self, saved: Saved, deliver: Added) -> None:
        """Hand committed messages to the workers that reserved them.

        This includes messages of an earlier commit whose result was lost. After a reload, new workers find
        them in the outbox.
        """
        if saved.recorded:
            self.recorded()
        for one in saved.before:
            one.composer(one.messages)
        for batch in batched([message for one in saved.now for message in one.messages]):
            deliver(batch)
            await asyncio.sleep(0)


def batched(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split into batches that keep the event loop busy for a few ms at most."""
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))


def _retrieve(future: asyncio.Future[T]) -> None:
    """Retrieve the exception of an abandoned request, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()


def _ignore(_messages: object) -> None:
    """No worker is to get messages yet."""
