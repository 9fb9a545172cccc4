"""Takes placements in: checks, makes them durable, and only then says yes. Called by the web."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import structlog

from nexusd.core.errors import ConflictError, InputError, NotFoundError
from nexusd.core.events import Event, Subject
from nexusd.core.identifiers import ulid
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import (
    BY_OPERATOR,
    UNDER_WAY,
    Attempt,
    Placement,
    State,
    Verdict,
    cancel,
    identify,
    similar_instances,
)
from nexusd.core.lifecycle import resolve as resolved
from nexusd.core.names import MIN_CUT_BYTES, canonical
from nexusd.core.placement import Decision, PlacementPolicy, PlacementRequest
from nexusd.core.records import Instance
from nexusd.core.world import World
from nexusd.ports import Clock, IdempotencyKey, Store, Transaction
from nexusd.provisioning.supply import Groups, Shortlists, Standing, compiled, read_groups

log = structlog.get_logger(__name__)

STATE_CHANGED = "PlacementStateChanged"


class Intake:
    """`ports.Placements`. `changed` is called with the events of each commit."""

    def __init__(
        self,
        world: World,
        store: Store,
        clock: Clock,
        rng: random.Random,
        policy: PlacementPolicy,
        changed: Callable[[list[Event]], None],
    ) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._shortlists = Shortlists()
        self.policy = policy

    async def accept(self, request: PlacementRequest, key: IdempotencyKey | None) -> Placement:
        """Store a placement and return it, or return the earlier one of the same key.

        The key is claimed before the name: of two replicas with the same request, the second waits for the
        first and then returns its placement instead of a conflict about the name.
        """
        self._check(request)
        now = self._clock.now()
        placement = Placement(
            id=f"plc_{ulid(now, self._rng.getrandbits(80))}",
            request=request,
            state=State.QUEUED,
            created_at=now,
            updated_at=now,
        )
        holder = taken_by(request.name, self._world.inventory)

        def transaction(tx: Transaction) -> tuple[Placement, list[Event]]:
            if key is not None and not tx.placements.claim_key(key.key, key.digest, placement.id, now):
                return _earlier(tx, key), []
            if request.deadline is not None and request.deadline <= now + self._clock.utc_offset_s():
                raise InputError("deadline: has passed already", "deadline")
            if holder is not None:
                form = f", listed as {holder.name!r}" if holder.name != request.name else ""
                raise ConflictError(
                    f"name: {request.name!r} is taken by instance {holder.id} in {holder.region}{form}"
                )
            tx.placements.insert(placement)
            return placement, tx.events.append([accepted_event(placement)])

        stored, events = await self._store.run(transaction)
        if events:
            log.info("placement_accepted", placement=placement.id, name=request.name, plan=request.plan)
            self._changed(events)
        return stored

    async def plan(self, request: PlacementRequest) -> Decision:
        self._check(request)
        now = self._clock.now()

        def transaction(tx: Transaction) -> tuple[list[Placement], Groups]:
            return tx.placements.in_states(UNDER_WAY), read_groups(tx, [request], self._world, now)

        under_way, groups = await self._store.read(transaction)
        standing = Standing(self._world, self.policy, self._shortlists, under_way, groups)
        return standing.decide(request, now)

    async def cancel(self, placement_id: str) -> Placement:
        now = self._clock.now()

        def transaction(tx: Transaction) -> tuple[Placement, list[Event]]:
            placement = _in_state(tx, placement_id, State.QUEUED, "cancelled")
            cancelled = cancel(placement, now)
            _swap(tx, placement, cancelled)
            return cancelled, tx.events.append([state_event(placement, cancelled)])

        cancelled, events = await self._store.run(transaction)
        self._changed(events)
        return cancelled

    async def resolve(self, placement_id: str, verdict: Verdict) -> Placement:
        instance = await self._store.run(lambda tx: self._resulting(tx, placement_id))
        now = self._clock.now()

        def transaction(tx: Transaction) -> tuple[Placement, list[Event]]:
            placement, attempt = _held(tx, placement_id)
            after, ended = resolved(placement, attempt, verdict, instance, now)
            _swap(tx, placement, after)
            tx.placements.finish_attempt(ended)
            return after, tx.events.append([resolved_event(placement, after)])

        after, events = await self._store.run(transaction)
        log.info("placement_resolved", placement=after.id, name=after.request.name, verdict=verdict.value)
        self._changed(events)
        return after

    def _resulting(self, tx: Transaction, placement_id: str) -> Instance | None:
        """Return the listed instance that a held placement made, if it made one."""
        held, attempt = _held(tx, placement_id)
        inventory, under_way = self._world.inventory, tx.placements.in_states(UNDER_WAY)
        placed = set(tx.placements.plans_of_instances(float("-inf")))
        placed |= {p.instance_id for p in under_way if p.instance_id is not None}
        names = {canonical(p.request.name) for p in under_way}
        similar = similar_instances(held, attempt, inventory, placed)
        similar = [i for i in similar if canonical(i.name) not in names - {canonical(held.request.name)}]
        return identify(held, attempt, inventory, placed, names) or (
            similar[0] if len(similar) == 1 else None
        )

    def _check(self, request: PlacementRequest) -> None:
        try:
            compiled(request.where)
        except InputError as error:
            raise InputError(f"where: {error}", "where") from error


def taken_by(name: str, inventory: Inventory) -> Instance | None:
    """Return the live instance of the name, in any stored form, or None."""
    return next((i for i in inventory.similar(name, MIN_CUT_BYTES) if i.live), None)


def _earlier(tx: Transaction, key: IdempotencyKey) -> Placement:
    """Return the placement of the request that first used the key.

    Raises `ConflictError` if that request had another body.
    """
    digest, placement_id = tx.placements.idempotent(key.key) or (None, "")
    if digest != key.digest:
        raise ConflictError("Idempotency-Key: was used for another body; use a new key")
    placement = tx.placements.get(placement_id)
    if placement is None:
        raise ConflictError("Idempotency-Key: its placement was deleted; use a new key")
    return placement


def _in_state(tx: Transaction, placement_id: str, state: State, participle: str) -> Placement:
    """Raises `NotFoundError`, and `ConflictError` when it is in another state."""
    placement = tx.placements.get(placement_id)
    if placement is None:
        raise NotFoundError(f"there is no placement {placement_id}")
    if placement.state is not state:
        raise ConflictError(
            f"placement {placement_id} is {placement.state}: only a {state} one can be {participle}"
        )
    return placement


def _held(tx: Transaction, placement_id: str) -> tuple[Placement, Attempt]:
    """A held placement and the attempt that is in doubt."""
    placement = _in_state(tx, placement_id, State.HELD, "resolved")
    return placement, tx.placements.attempts(placement_id)[-1]


def _swap(tx: Transaction, before: Placement, after: Placement) -> None:
    """Raises `ConflictError` when another replica has moved it since it was read."""
    if not tx.placements.update(after, before.state):
        raise ConflictError(f"placement {before.id} has just changed: look again")


def placement_subject(placement: Placement) -> Subject:
    return Subject("placement", placement.id, placement.request.name, placement.region)


def accepted_event(placement: Placement) -> Event:
    request = placement.request
    of_fleet = {"fleet": request.fleet} if request.fleet is not None else {}
    detail = {"plan": request.plan, **of_fleet}
    return Event(placement.created_at, "PlacementAccepted", placement_subject(placement), detail)


def state_event(before: Placement, after: Placement) -> Event:
    """The event of one transition; the region is where it was, when it has none any more."""
    subject = placement_subject(after if after.region is not None else replace(after, region=before.region))
    detail = {"from": before.state.value, "to": after.state.value, "reason": after.reason}
    return Event(after.updated_at, STATE_CHANGED, subject, detail)


def resolved_event(before: Placement, after: Placement) -> Event:
    """The event of a transition that a person decided; it says so."""
    event = state_event(before, after)
    detail = {**event.detail, "reason": after.reason or BY_OPERATOR, "by": "operator"}
    return Event(event.at, event.type, event.subject, detail)
