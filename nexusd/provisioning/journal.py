"""Writes down what becomes of placements, each transition in one commit with all that belongs to it.

Used by `worker` and `following`. A transition is a compare and swap on the state; what others may see (the
world's coolings off, metrics, logs, events) changes only after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import TypeVar

import structlog

from nexusd.core.budget import Budget
from nexusd.core.cooling import CoolingOff, Place
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Attempt, Placement, State
from nexusd.core.placement import Decision
from nexusd.core.world import World
from nexusd.ports import Metrics, Store, Transaction
from nexusd.provisioning.intake import state_event

log = structlog.get_logger(__name__)
T = TypeVar("T")

EXPLAINED_KEPT = 10_000
STORE_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Intent:
    """All that must be on disk before a POST. `budget`: what is left after it."""

    before: Placement
    after: Placement
    attempt: Attempt
    decision: Decision
    budget: Budget


class Journal:
    """`changed` is called with the events of each commit."""

    def __init__(
        self, world: World, store: Store, metrics: Metrics, changed: Callable[[list[Event]], None]
    ) -> None:
        self._world = world
        self._store = store
        self._metrics = metrics
        self._changed = changed
        self._explained: dict[str, int] = {}

    async def intend(self, intent: Intent) -> bool:
        """Write the intent: after this commit, and not before, the POST may be sent (I1). False: the
        placement was changed meanwhile, and nothing was written.
        """
        before, after = intent.before, intent.after

        def transaction(tx: Transaction) -> list[Event] | None:
            if not tx.placements.update(after, before.state):
                return None
            tx.placements.add_decision(after.id, intent.decision)
            tx.placements.add_attempt(intent.attempt)
            tx.queue.save_budget(intent.budget.tokens, intent.budget.at)
            return tx.events.append([state_event(before, after)])

        events = await self._store.run_leading(transaction)
        if events is None:
            return False
        self._explained.pop(after.id, None)
        self._tell(before, after, events)
        return True

    async def move(self, before: Placement, after: Placement, attempt: Attempt | None = None) -> bool:
        """Commit a transition that ends no attempt; `attempt` is updated with it.

        Returns False if the placement was changed meanwhile.
        """

        def transaction(tx: Transaction) -> list[Event] | None:
            if not tx.placements.update(after, before.state):
                return None
            if attempt is not None:
                tx.placements.finish_attempt(attempt)
            return tx.events.append([state_event(before, after)] if after.state is not before.state else [])

        events = await self._store.run_leading(transaction)
        if events is None:
            return False
        self._tell(before, after, events)
        return True

    async def finish(
        self,
        before: Placement,
        after: Placement,
        attempt: Attempt,
        coolings: Mapping[Place, CoolingOff | None],
    ) -> bool:
        """Commit a transition with its attempt's end, and the coolings off that change (None: it is over)."""

        def transaction(tx: Transaction) -> list[Event] | None:
            if not tx.placements.update(after, before.state):
                return None
            tx.placements.finish_attempt(attempt)
            for place, cooling in coolings.items():
                if cooling is not None:
                    tx.regions.save_cooling_off(cooling)
                else:
                    tx.regions.clear_cooling_off(place)
            return tx.events.append([state_event(before, after)])

        events = await self._store.run_leading(transaction)
        if events is None:  # changed meanwhile, or a commit that seemed to fail was made: the store knows
            self._world.cooling_off = await self._store.run(lambda tx: tx.regions.cooling_off())
            return False
        self._keep_coolings(coolings)
        self._metrics.placement_attempt(attempt.region, str(attempt.outcome))
        self._tell(before, after, events)
        return True

    async def explain(self, waiting: Iterable[tuple[Placement, Decision]]) -> None:
        """Store why they go nowhere, each once for as long as the reasons stay the same."""
        news = [(p, d) for p, d in waiting if not self._told(p, d)]

        def transaction(tx: Transaction) -> None:
            for placement, decision in news:
                if tx.placements.update(replace(placement, reason=decision.reason), State.QUEUED):
                    tx.placements.add_decision(placement.id, decision)

        if not news:
            return
        await self._store.run_leading(transaction)
        if len(self._explained) > EXPLAINED_KEPT:
            self._explained.clear()
        self._explained.update({p.id: _gist(d) for p, d in news})

    def _told(self, placement: Placement, decision: Decision) -> bool:
        """Whether the last decision stored for it says the same. After a restart the reason alone tells."""
        known = self._explained.get(placement.id, _gist(decision))
        return placement.reason == decision.reason and known == _gist(decision)

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
        if after.instance_id is not None:
            self._world.add_placed_plans({after.instance_id: after.request.plan})
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

    def _keep_coolings(self, coolings: Mapping[Place, CoolingOff | None]) -> None:
        merged = {**self._world.cooling_off, **coolings}
        self._world.cooling_off = {place: c for place, c in merged.items() if c is not None}


def _gist(decision: Decision) -> int:
    """What of a decision is news when it changes; latencies and counts are not."""
    return hash(tuple((c.region, c.reasons) for c in decision.considered))
