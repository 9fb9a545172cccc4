"""Writes down what becomes of placements, each transition in one commit with all that belongs to it.

Used by `worker` and `following`. A transition is a compare and swap on the state; what others may see (the
world's coolings off, metrics, logs, events) changes only after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from itertools import chain, repeat
from typing import TypeVar

import structlog

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Attempt, Placement, State
from nexusd.core.placement import Decision
from nexusd.core.regions import CoolingOff
from nexusd.core.world import World
from nexusd.ports import Metrics, Store, Transaction
from nexusd.provisioning.intake import state_event

log = structlog.get_logger(__name__)
T = TypeVar("T")

STORE_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)


class Journal:
    """`changed` is called with the events of each commit."""

    def __init__(
        self, world: World, store: Store, metrics: Metrics, changed: Callable[[list[Event]], None]
    ) -> None:
        self._world = world
        self._store = store
        self._metrics = metrics
        self._changed = changed
        self._explained: dict[str, object] = {}

    async def intend(self, before: Placement, after: Placement, attempt: Attempt, decision: Decision) -> bool:
        """Write the intent: after this commit, and not before, the POST may be sent (I1)."""
        cooling = self._world.cooling_off.get(attempt.region)
        probe = replace(cooling, probing=after.id) if cooling is not None else None

        def transaction(tx: Transaction) -> list[Event] | None:
            if not tx.placements.update(after, before.state):
                return None
            tx.placements.add_attempt(attempt)
            tx.placements.add_decision(after.id, decision)
            if probe is not None:
                tx.regions.save_cooling_off(probe)
            return tx.events.append([state_event(before, after)])

        events = await self._store.run_leading(transaction)
        if events is None:
            return False
        self._explained.pop(after.id, None)
        if probe is not None:
            self._keep_cooling(attempt.region, probe)
        self._tell(before, after, events)
        return True

    async def move(self, before: Placement, after: Placement) -> bool:
        """Commit a transition that no attempt belongs to. False: the placement was changed meanwhile."""

        def transaction(tx: Transaction) -> list[Event] | None:
            if not tx.placements.update(after, before.state):
                return None
            return tx.events.append([state_event(before, after)] if after.state is not before.state else [])

        events = await self._store.run_leading(transaction)
        if events is None:
            return False
        self._tell(before, after, events)
        return True

    async def finish(
        self, before: Placement, after: Placement, attempt: Attempt, cooling: CoolingOff | None
    ) -> bool:
        """Commit a transition with its attempt's end. `cooling`: the region's from now on, or None."""

        def transaction(tx: Transaction) -> list[Event] | None:
            if not tx.placements.update(after, before.state):
                return None
            tx.placements.finish_attempt(attempt)
            if cooling is not None:
                tx.regions.save_cooling_off(cooling)
            else:
                tx.regions.clear_cooling_off(attempt.region)
            return tx.events.append([state_event(before, after)])

        events = await self._store.run_leading(transaction)
        if events is None:
            return False
        self._keep_cooling(attempt.region, cooling)
        self._metrics.placement_attempt(attempt.region, str(attempt.outcome))
        self._tell(before, after, events)
        return True

    async def explain(self, placement: Placement, decision: Decision) -> None:
        """Store why it goes nowhere, once for as long as the reasons stay the same."""
        seen = tuple((c.region, c.eligible, c.reasons) for c in decision.considered)
        if self._explained.get(placement.id) == seen and placement.reason is not None:
            return
        waiting = replace(placement, reason=decision.reason)

        def transaction(tx: Transaction) -> None:
            if tx.placements.update(waiting, State.QUEUED):
                tx.placements.add_decision(placement.id, decision)

        await self._store.run_leading(transaction)
        self._explained[placement.id] = seen

    def release_probes(self, in_doubt: Collection[str]) -> None:
        """A region's one probe is over when its placement is no longer in doubt, whoever settled it: a
        person, or another replica. In memory only: what is stored is released again after a restart.
        """
        for region, cooling in self._world.cooling_off.items():
            if cooling.probing is not None and cooling.probing not in in_doubt:
                self._keep_cooling(region, replace(cooling, probing=None))

    async def persist(self, write: Callable[[], Awaitable[T]], what: str) -> T:
        """Try until the store takes it: for what only this process knows."""
        for delay_s in chain(STORE_RETRY_S, repeat(STORE_RETRY_S[-1])):
            try:
                return await write()
            except StoreUnavailableError as error:
                log.warning("store_unavailable", waiting=what, error=str(error))
                await asyncio.sleep(delay_s)
        raise AssertionError("repeat never ends")

    def _tell(self, before: Placement, after: Placement, events: list[Event]) -> None:
        if after.state is State.RUNNING:
            self._metrics.placement_ended(after.updated_at - after.created_at)
        if after.state is not before.state:
            log.info(
                "placement_changed",
                placement=after.id,
                name=after.request.name,
                before=before.state.value,
                state=after.state.value,
                region=after.region,
                reason=after.reason,
            )
        self._changed(events)

    def _keep_cooling(self, region: str, cooling: CoolingOff | None) -> None:
        others = {r: c for r, c in self._world.cooling_off.items() if r != region}
        self._world.cooling_off = others if cooling is None else {**others, region: cooling}
