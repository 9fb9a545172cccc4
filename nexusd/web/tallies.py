"""Counts that only the store has: placements by state, the outbox.

For `/metrics`, the status and the page.

A store that does not answer must not take those down with it, so the last counts are kept and served with the
time at which they were read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from nexusd.core.errors import StoreError, StoreUnavailableError
from nexusd.core.lifecycle import State
from nexusd.ports import Clock, Store, Transaction

log = structlog.get_logger(__name__)
T = TypeVar("T")

FRESH_FOR_S = 1.0
"""Counts younger than this are served again: any number of readers costs one read a second."""
COMMIT_TIMEOUT_S = 15.0
"""How long a request that changes something waits for the store, which bounds its own waits except for a
server that goes silent."""
WAIT_S = 0.08
"""How long a caller waits for newer counts."""
FIRST_WAIT_S = 1.0
"""How long one waits when there are none yet."""


@dataclass(frozen=True, slots=True)
class Tallies:
    """`counted_at` None: never. `outbox` by (receiver, state), `oldest_pending` by receiver."""

    counted_at: float | None = None
    placements: Mapping[State, int] = field(default_factory=dict)
    outbox: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest_pending: Mapping[str, float] = field(default_factory=dict)


async def within(timeout_s: float, asked: Awaitable[T]) -> T:
    """What the store was asked for, for somebody who would rather hear 503 than wait.

    Raises `StoreUnavailableError` when the store does not answer in time, and what it raises.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await asked
    except TimeoutError as error:
        raise StoreUnavailableError("the store did not answer in time") from error


async def committed(asked: Awaitable[T]) -> T:
    """Return the result of a request that changes something.

    Raises `StoreUnavailableError` when it takes longer than `COMMIT_TIMEOUT_S`, and what it raises. A
    transaction that has not begun by then is dropped; a commit under way may still succeed.
    """
    try:
        return await within(COMMIT_TIMEOUT_S, asked)
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, TimeoutError):
            raise StoreUnavailableError(
                f"the store did not commit within {COMMIT_TIMEOUT_S:g} s: the request may still take effect; "
                "look it up, or repeat it with the same Idempotency-Key"
            ) from error
        raise


class TallyReader:
    """Reads the counts once for all callers.

    At most once a second, and never twice at a time.

    No caller waits longer than `WAIT_S` for a read, and none at all after one that was late:
    the last counts are returned then, with the time at which they were read.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._last = Tallies()
        self._reading: asyncio.Future[Tallies] | None = None
        self._began_at = clock.now()
        self._failing = False
        self._late = False

    async def latest(self) -> Tallies:
        """Return the counts now, or the last ones when the store does not answer in time."""
        now, counted_at = self._clock.now(), self._last.counted_at
        if counted_at is not None and now - counted_at < FRESH_FOR_S:
            return self._last
        if self._reading is None:
            self._began_at = now
            self._reading = asyncio.ensure_future(self._store.read(self._count))
            self._reading.add_done_callback(self._ended)
        patience_s = 0.0 if self._late else FIRST_WAIT_S if counted_at is None else WAIT_S
        left_s = self._began_at + patience_s - now
        if left_s > 0:
            reading = self._reading
            await asyncio.wait({reading}, timeout=left_s)
            self._late = self._late or not reading.done()
        return self._last

    def _ended(self, reading: asyncio.Future[Tallies]) -> None:
        self._reading = None
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            self._last, self._failing, self._late = reading.result(), False, False
        elif not isinstance(error, StoreError):
            log.error("store_counts_failed", exc_info=error)
        elif not self._failing:
            log.warning("store_counts_unavailable", error=str(error))
        self._failing = error is not None

    def _count(self, tx: Transaction) -> Tallies:
        return Tallies(
            self._clock.now(), tx.placements.counts(), tx.outbox.counts(), tx.outbox.oldest_pending()
        )
