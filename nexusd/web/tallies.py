"""What only the store can count: placements by state, the outbox. For `/metrics`, the status and the page.

A store that does not answer must not take those down with it, so the last known counts are kept and served
with the time they were taken.
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


class TallyReader:
    """Reads the tallies, at most once a second and never twice at a time."""

    def __init__(self, store: Store, clock: Clock, timeout_s: float) -> None:
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._last = Tallies()
        self._reading = asyncio.Lock()
        self._failing = False

    async def latest(self, within_s: float | None = None) -> Tallies:
        """The counts now, or the last known ones when the store does not answer, or not `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                return await self._counted()
        except TimeoutError:
            return self._last

    async def _counted(self) -> Tallies:
        async with self._reading:
            counted_at = self._last.counted_at
            if counted_at is not None and self._clock.now() - counted_at < FRESH_FOR_S:
                return self._last
            try:
                self._last = await within(self._timeout_s, self._store.read(self._count))
            except StoreError as error:
                if not self._failing:
                    log.warning("store_counts_unavailable", error=str(error))
                self._failing = True
            else:
                self._failing = False
            return self._last

    def _count(self, tx: Transaction) -> Tallies:
        return Tallies(
            self._clock.now(), tx.placements.counts(), tx.outbox.counts(), tx.outbox.oldest_pending()
        )
