"""Takes placements in: checks, makes them durable, and only then says yes. Called by the web."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import structlog

from nexusd.core.errors import ConflictError, InputError, NotFoundError
from nexusd.core.events import Event, Subject
from nexusd.core.identifiers import ulid
from nexusd.core.lifecycle import Placement, State, cancel
from nexusd.core.placement import Decision, PlacementPolicy, PlacementRequest
from nexusd.core.world import World
from nexusd.ports import Clock, IdempotencyKey, Store, Transaction
from nexusd.provisioning.supply import compiled, decision_for, supply

log = structlog.get_logger(__name__)


class Intake:
    """`ports.Placements`. `accepted` is called after each commit, to wake the worker."""

    def __init__(
        self,
        world: World,
        store: Store,
        clock: Clock,
        rng: random.Random,
        policy: PlacementPolicy,
        accepted: Callable[[], None],
    ) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._rng = rng
        self._accepted = accepted
        self.policy = policy

    async def accept(self, request: PlacementRequest, key: IdempotencyKey | None) -> Placement:
        self._check(request)
        now = self._clock.now()
        placement = Placement(
            id=f"plc_{ulid(now, self._rng.getrandbits(80))}",
            request=request,
            state=State.QUEUED,
            created_at=now,
            updated_at=now,
        )
        holder = next((i for i in self._world.inventory.named(request.name) if i.live), None)

        def transaction(tx: Transaction) -> Placement:
            earlier = _earlier(tx, key)
            if earlier is not None:
                return earlier
            if request.deadline is not None and request.deadline <= now:
                raise InputError("deadline: has passed already", "deadline")
            if holder is not None:
                raise ConflictError(
                    f"name: {request.name!r} is taken by instance {holder.id} in {holder.region}"
                )
            tx.placements.insert(placement)
            if key is not None:
                tx.placements.remember_key(key.key, key.digest, placement.id, now)
            tx.events.append([_accepted_event(placement)])
            return placement

        stored = await self._store.run(transaction)
        if stored.id == placement.id:
            log.info("placement_accepted", placement=placement.id, name=request.name, plan=request.plan)
            self._accepted()
        return stored

    def plan(self, request: PlacementRequest) -> Decision:
        self._check(request)
        return decision_for(request, supply(self._world), self._world, self.policy, self._clock.now())

    async def cancel(self, placement_id: str) -> Placement:
        now = self._clock.now()

        def transaction(tx: Transaction) -> Placement:
            placement = tx.placements.get(placement_id)
            if placement is None:
                raise NotFoundError(f"there is no placement {placement_id}")
            if placement.state is not State.QUEUED:
                raise ConflictError(
                    f"placement {placement_id} is {placement.state}: only a queued one can be cancelled"
                )
            cancelled = cancel(placement, now)
            tx.placements.update(cancelled, State.QUEUED)
            tx.events.append([state_event(placement, cancelled)])
            return cancelled

        return await self._store.run(transaction)

    def _check(self, request: PlacementRequest) -> None:
        try:
            compiled(request.where)
        except InputError as error:
            raise InputError(str(error), error.field or "where") from error
        if request.spread is not None:
            raise InputError("spread: this version does not place by spread yet; leave it out", "spread")


def _earlier(tx: Transaction, key: IdempotencyKey | None) -> Placement | None:
    """The placement that the key was first used for, if it was."""
    used = tx.placements.idempotent(key.key) if key is not None else None
    if used is None or key is None:
        return None
    digest, placement_id = used
    if digest != key.digest:
        raise ConflictError("Idempotency-Key: was used for another body; use a new key")
    return tx.placements.get(placement_id)


def placement_subject(placement: Placement) -> Subject:
    return Subject("placement", placement.id, placement.request.name, placement.region)


def _accepted_event(placement: Placement) -> Event:
    return Event(
        placement.created_at,
        "PlacementAccepted",
        placement_subject(placement),
        {"plan": placement.request.plan},
    )


def state_event(before: Placement, after: Placement) -> Event:
    """The event of one transition; the region is where it was, when it has none any more."""
    subject = placement_subject(after if after.region is not None else replace(after, region=before.region))
    detail = {"from": before.state.value, "to": after.state.value, "reason": after.reason}
    return Event(after.updated_at, "PlacementStateChanged", subject, detail)
