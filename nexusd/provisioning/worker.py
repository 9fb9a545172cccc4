"""Works on placements: begins only what it may, POSTs once, lets `following` prove the rest. Run by `app`.

Every pass reads the open placements from the store, decides in `core`, writes the result, and only then acts.
The one thing done outside, the POST, is a task of its own, and its intent row is on disk first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from nexusd.core import lifecycle
from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Refused
from nexusd.core.budget import Budget
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Attempt, Placement, State
from nexusd.core.placement import Decision, PlacementPolicy
from nexusd.core.regions import CoolingOff, cool_off
from nexusd.core.world import World
from nexusd.ports import Clock, CloudApi, Metrics, Store, Transaction
from nexusd.provisioning.fleets import FleetKeeper
from nexusd.provisioning.following import Follower, FollowOptions
from nexusd.provisioning.intake import state_event
from nexusd.provisioning.journal import STORE_RETRY_S, Journal
from nexusd.provisioning.pauses import Pauses
from nexusd.provisioning.supply import decision_for, supply

log = structlog.get_logger(__name__)

HEADS_PER_PASS = 256
"""How much of the queue one pass looks at."""
IDLE_S = 5.0
"""A pass at least this often, so that another replica's placements and deadlines are seen."""
UNDER_WAY = [State.CREATING, State.VERIFYING, State.PROVISIONING, State.HELD]


@dataclass(frozen=True, slots=True)
class ProvisioningOptions:
    """How to place (product.md, sections 3 and 11); counts, and creates a minute."""

    policy: PlacementPolicy
    follow: FollowOptions
    max_creates_per_minute: float = 30.0
    max_in_flight: int = 8


class Provisioner:
    """`changed` is called with the events of each commit."""

    def __init__(
        self,
        world: World,
        store: Store,
        cloud: CloudApi,
        clock: Clock,
        metrics: Metrics,
        options: ProvisioningOptions,
        changed: Callable[[list[Event]], None],
        keeper: FleetKeeper | None = None,
    ) -> None:
        self._world = world
        self._store = store
        self._cloud = cloud
        self._clock = clock
        self._options = options
        self._changed = changed
        self._keeper = keeper
        self._journal = Journal(world, store, metrics, changed)
        self._follower = Follower(world, store, clock, self._journal, options.follow)
        self._wake = asyncio.Event()
        self._draining = False
        self._in_flight: set[str] = set()
        self._budget = Budget.full(options.max_creates_per_minute, clock.now())
        self._pauses = Pauses()
        self.progressed_at = clock.now()

    @property
    def following(self) -> bool:
        """Whether a placement waits for what a listing shows."""
        return self._follower.following

    @property
    def key_refused(self) -> bool:
        """Whether the last create was refused for the key, and none is sent now."""
        return self._pauses.auth and self._pauses.wait_s(self._clock.now()) > 0

    def resume(self) -> None:
        """The key changed: what the account was refused may work now."""
        self._pauses = Pauses()
        self.wake()

    def wake(self) -> None:
        """Look at the placements again soon: one was accepted, or the world has changed."""
        self._wake.set()

    def swept(self, vanished: Iterable[str]) -> None:
        """A complete listing was applied to the world; `vanished` names the instances it confirmed gone."""
        self._follower.swept(vanished)
        self.wake()

    def drain(self) -> None:
        """Begin no new POST; `run` ends when those in flight were answered."""
        self._draining = True
        self.wake()

    async def run(self) -> None:
        """Until drained, or cancelled: then a POST in flight is left in doubt."""
        async with asyncio.TaskGroup() as group:
            self._follower.begin_term()
            if self._keeper is not None:
                self._keeper.begin_term()
            await self._recover()
            while not self._draining:
                self._wake.clear()
                wait_s = await self._pass(group)
                self.progressed_at = self._clock.now()
                await self._sleep(wait_s)

    async def _sleep(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _pass(self, group: asyncio.TaskGroup) -> float:
        """One look at everything that is open. Returns seconds until the next is due."""
        try:
            await self._follower.follow_open()
            if self._keeper is not None:
                await self._keeper.keep()
            return await self._place_queued(group)
        except StoreUnavailableError as error:
            log.warning("store_unavailable", waiting="placements", error=str(error))
            return STORE_RETRY_S[-1]

    async def _recover(self) -> None:
        """What an earlier process was sending when it ended has no recorded answer: it is in doubt."""
        now = self._clock.now()

        def transaction(tx: Transaction) -> list[Event]:
            events = []
            for placement in tx.placements.in_states([State.CREATING]):
                doubted = lifecycle.doubt(placement, "the daemon stopped before the answer was recorded", now)
                if tx.placements.update(doubted, State.CREATING):
                    events.append(state_event(placement, doubted))
            return tx.events.append(events)

        events = await self._journal.persist(lambda: self._store.run_leading(transaction), "recovery")
        self._changed(events)

    async def _place_queued(self, group: asyncio.TaskGroup) -> float:
        """Begin as many attempts as budget and pauses allow."""
        queued, under_way = await self._store.run(
            lambda tx: (tx.placements.queued(HEADS_PER_PASS), tx.placements.in_states(UNDER_WAY))
        )
        self._journal.release_probes({p.id for p in under_way if p.state in lifecycle.IN_DOUBT})
        for placement in queued:
            decision = await self._decide(placement, under_way)
            if decision is None:
                continue
            wait_s = self._must_wait_s(self._clock.now())
            if wait_s > 0:
                return min(IDLE_S, wait_s)
            begun = await self._begin(placement, decision)
            if begun is not None:
                under_way.append(begun[0])
                self._send(group, *begun)
        return IDLE_S

    async def _decide(self, placement: Placement, under_way: list[Placement]) -> Decision | None:
        """The decision to act on; None when there is nothing to send, and that is written down."""
        now = self._clock.now()
        deadline = placement.request.deadline
        if deadline is not None and now >= deadline:
            await self._journal.move(placement, lifecycle.expire(placement, now))
            return None
        if any(i.live for i in self._world.inventory.named(placement.request.name)):
            await self._settle_name(placement, now)
            return None
        resting_on = supply(self._world, under_way)
        decision = decision_for(placement.request, resting_on, self._world, self._options.policy, now)
        if decision.region is None:
            await self._journal.explain(placement, decision)
            return None
        return decision

    async def _settle_name(self, placement: Placement, now: float) -> None:
        """An instance has the name: an earlier attempt made it after all, or somebody else took it."""
        if await self._follower.adopt_late(placement):
            return
        holder = next(i for i in self._world.inventory.named(placement.request.name) if i.live)
        reason = f"the name was taken meanwhile by instance {holder.id} in {holder.region}"
        await self._journal.move(placement, lifecycle.fail(placement, reason, now))

    def _must_wait_s(self, now: float) -> float:
        most = self._options.max_in_flight if self._pauses.proven else 1
        if self._draining or len(self._in_flight) >= most:
            return IDLE_S
        return max(self._pauses.wait_s(now), self._budget.wait_s(now))

    async def _begin(self, placement: Placement, decision: Decision) -> tuple[Placement, Attempt] | None:
        """The placement with the attempt that is now on disk; None when it was cancelled meanwhile."""
        now = self._clock.now()
        namesakes = [i.id for i in self._world.inventory.named(placement.request.name)]
        deadline = now + self._options.follow.timeout_s
        decision = replace(decision, decided_at=now)
        begun, attempt = lifecycle.begin(placement, decision, deadline, self._store.epoch, namesakes)
        if not await self._journal.intend(placement, begun, attempt, decision):
            return None
        self._budget = self._budget.taken(now) or self._budget
        return begun, attempt

    def _send(self, group: asyncio.TaskGroup, placement: Placement, attempt: Attempt) -> None:
        self._in_flight.add(placement.id)
        group.create_task(
            self._create(placement, attempt), name=f"create {placement.id} attempt {attempt.number}"
        )

    async def _create(self, placement: Placement, attempt: Attempt) -> None:
        request = placement.request
        body = CreateRequest(request.name, attempt.region, request.plan, request.image, request.ssh_keys)
        try:
            answer = await self._cloud.create_instance(body, attempt.send_deadline)
            await self._record(placement, attempt, answer)
        finally:
            self._in_flight.discard(placement.id)
        self.wake()

    async def _record(self, placement: Placement, attempt: Attempt, answer: CreateAnswer) -> None:
        """Make the answer durable, however long the store takes: only this process knows it."""
        now = self._clock.now()
        after, finished = lifecycle.answered(placement, attempt, answer, now)
        cooling = self._cooling_after(attempt.region, answer, now)
        self._pauses = self._pauses.after(answer, now)
        await self._journal.persist(
            lambda: self._journal.finish(placement, after, finished, cooling), f"answer of {placement.id}"
        )

    def _cooling_after(self, region: str, answer: CreateAnswer, now: float) -> CoolingOff | None:
        """The region's cooling off after this answer. One in doubt leaves it as it is."""
        before = self._world.cooling_off.get(region)
        match answer:
            case Created():
                return None
            case Refused(scope="region"):
                return cool_off(region, before, answer.code or str(answer.status), now)
            case Refused() | NotSent() if before is not None:
                return replace(before, probing=None)
            case _:
                return before
