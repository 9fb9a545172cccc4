"""Works on placements: begins only what it may, POSTs once, lets `following` prove the rest. Run by `app`.

Every pass reads the open placements from the store, decides in `core`, writes the result, and only then acts.
The one thing done outside, the POST, is a task of its own, and its intent row is on disk first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from nexusd.core import lifecycle
from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Refused
from nexusd.core.budget import Budget
from nexusd.core.cooling import WINDOW, CoolingOff, Place, after_success, cool_off, refused_place
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Attempt, Placement, State
from nexusd.core.pauses import NO_PAUSE
from nexusd.core.placement import PlacementPolicy
from nexusd.core.records import Instance
from nexusd.core.world import World
from nexusd.ports import Clock, CloudApi, Metrics, Store, Transaction
from nexusd.provisioning.fleets import FleetKeeper
from nexusd.provisioning.following import FOLLOWED, Follower, FollowOptions
from nexusd.provisioning.intake import state_event, taken_by
from nexusd.provisioning.journal import STORE_RETRY_S, Intent, Journal
from nexusd.provisioning.queue import QueueReader, Waiting
from nexusd.provisioning.supply import Groups, Shortlists, Standing, key_refused, read_groups

log = structlog.get_logger(__name__)

IDLE_S = 5.0
"""A pass at least this often, so that another replica's placements and deadlines are seen."""
EXPLAIN_EVERY_S = 2.0
HEADS_EXPLAINED = 64
"""So many of the queue, or the first of each class, are told why they wait."""


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
        self._queue = QueueReader()
        self._shortlists = Shortlists()
        self._wake = asyncio.Event()
        self._draining = False
        self._explain_at = 0.0
        self._in_flight: set[str] = set()
        self._saved_pause = NO_PAUSE
        self._budget = Budget.full(options.max_creates_per_minute, clock.now())
        self.progressed_at = clock.now()

    @property
    def following(self) -> bool:
        """Whether a placement waits for what a listing shows."""
        return self._follower.following

    @property
    def key_refused(self) -> bool:
        """Whether the last create was refused for the key, and none is sent now."""
        pause = self._world.pause
        return pause.auth and pause.wait_s(self._clock.now()) > 0

    def resume(self) -> None:
        """The key changed: what the account was refused may work now."""
        self._world.pause = NO_PAUSE
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
            await self._save_pause()
            await self._follower.follow_open()
            if self._keeper is not None:
                await self._keeper.keep()
            return await self._place_queued(group)
        except StoreUnavailableError as error:
            log.warning("store_unavailable", waiting="placements", error=str(error))
            return STORE_RETRY_S[-1]

    async def _save_pause(self) -> None:
        """Store a pause that changed, so that followers show it."""
        pause = self._world.pause
        if pause != self._saved_pause:
            await self._store.run_leading(lambda tx: tx.queue.save_pause(pause))
            self._saved_pause = pause

    async def _recover(self) -> None:
        """Begin a term: with what is left of the launch budget, and without a pause, for the key may be
        another. What an earlier process was sending when it ended has no recorded answer: it is in doubt.
        """
        self._world.pause = NO_PAUSE
        now = self._clock.now()

        per_plan = self._options.policy.max_instances_per_plan is not None

        def transaction(tx: Transaction) -> tuple[list[Event], tuple[float, float] | None, dict[str, str]]:
            events = []
            for placement in tx.placements.in_states([State.CREATING]):
                doubted = lifecycle.doubt(placement, "the daemon stopped before the answer was recorded", now)
                if tx.placements.update(doubted, State.CREATING):
                    events.append(state_event(placement, doubted))
            tx.queue.save_pause(NO_PAUSE)
            plans = tx.placements.plans_of_instances(float("-inf")) if per_plan else {}
            return tx.events.append(events), tx.queue.budget(), plans

        events, left, plans = await self._journal.persist(
            lambda: self._store.run_leading(transaction), "recovery"
        )
        self._world.add_placed_plans(plans)
        self._saved_pause = NO_PAUSE
        if left is not None:
            self._budget = self._budget.resumed(left[0], now)
        self._changed(events)

    async def _place_queued(self, group: asyncio.TaskGroup) -> float:
        """Begin as many attempts as budget and pauses allow, and write down now and then why others wait."""
        now = self._now()
        explaining = now >= self._explain_at
        wait_s = self._must_wait_s(now)
        if wait_s > 0 and not explaining:
            return min(wait_s, self._explain_at - now)
        most = HEADS_EXPLAINED if explaining else self._most(now)
        wall_now = now + self._clock.utc_offset_s()

        def transaction(tx: Transaction) -> tuple[Waiting, Groups]:
            found = self._queue.read(tx, wall_now, most)
            return found, read_groups(tx, (p.request for p in found.queued), self._world, now)

        waiting, groups = await self._store.run(transaction)
        await self._doubt_strays(waiting, now)
        for placement in waiting.expired:
            await self._journal.move(placement, lifecycle.expire(placement, now))
        standing = Standing(self._world, self._options.policy, self._shortlists, waiting.under_way, groups)
        if explaining:
            self._explain_at = now + EXPLAIN_EVERY_S
            await self._explain(waiting, standing)
        if standing.nothing(now) is None:
            await self._begin_queued(group, waiting, standing)
        return min(self._must_wait_s(self._clock.now()) or IDLE_S, waiting.look_again_s, IDLE_S)

    async def _doubt_strays(self, waiting: Waiting, now: float) -> None:
        """An intent whose commit seemed to fail was made after all: in doubt, though nothing was sent."""
        for placement in waiting.under_way:
            if placement.state is State.CREATING and placement.id not in self._in_flight:
                why = "whether its intent was stored was not known"
                await self._journal.move(placement, lifecycle.doubt(placement, why, now))

    async def _begin_queued(self, group: asyncio.TaskGroup, waiting: Waiting, standing: Standing) -> None:
        for placement in waiting.queued:
            now = self._now()
            if self._must_wait_s(now) > 0:
                return
            holder = self._holder(placement)
            if holder is not None:
                await self._settle_name(placement, holder, now)
                continue
            if standing.name_in_use(placement.request.name):
                await self._wait_for_name(placement)
            elif standing.choose(placement.request, now) is not None:
                await self._begin(group, placement, standing)

    async def _wait_for_name(self, placement: Placement) -> None:
        """Leave it queued, with the reason."""
        reason = "waits for a placement with a similar name, which CloudNexus may store as this one"
        if placement.reason != reason:
            await self._journal.move(placement, replace(placement, reason=reason))

    async def _explain(self, waiting: Waiting, standing: Standing) -> None:
        """Write down why those wait for which nothing can be begun: one decision for all of a class."""
        now = self._clock.now()
        blocked = [p for p in waiting.queued if standing.choose(p.request, now) is None]
        first = {p.request.constraint_class: p.request for p in reversed(blocked)}
        decisions = {key: standing.decide(request, now) for key, request in first.items()}
        await self._journal.explain([(p, decisions[p.request.constraint_class]) for p in blocked])

    def _now(self) -> float:
        """Return the time, after detecting whether the process was suspended until now."""
        now = self._clock.now()
        self._world.observe(now)
        return now

    def _holder(self, placement: Placement) -> Instance | None:
        """Return the live instance that has its name, in whatever form, or None."""
        return taken_by(placement.request.name, self._world.inventory)

    async def _settle_name(self, placement: Placement, holder: Instance, now: float) -> None:
        """An instance has the name: an earlier attempt made it after all, or somebody else took it."""
        if await self._follower.adopt_late(placement):
            return
        form = f" under the similar name {holder.name!r}" if holder.name != placement.request.name else ""
        reason = f"the name was taken meanwhile by instance {holder.id} in {holder.region}{form}"
        await self._journal.move(placement, lifecycle.fail(placement, reason, now))

    def _most(self, now: float) -> int:
        """How many creates may be begun now."""
        return min(self._most_in_flight() - len(self._in_flight), int(self._budget.refilled(now).tokens))

    def _most_in_flight(self) -> int:
        """One at a time until the key is known to be good for creates."""
        return self._options.max_in_flight if self._world.pause.proven else 1

    def _must_wait_s(self, now: float) -> float:
        if self._draining or len(self._in_flight) >= self._most_in_flight():
            return IDLE_S
        return max(self._world.pause.wait_s(now), self._budget.wait_s(now))

    async def _begin(self, group: asyncio.TaskGroup, placement: Placement, standing: Standing) -> None:
        """Send it, once the attempt is on disk. Nothing is sent for one that was cancelled meanwhile."""
        now = self._now()
        decision = standing.decide(placement.request, now)
        budget = self._budget.taken(now)
        if decision.region is None or budget is None or standing.in_flight(decision.region) >= WINDOW:
            return
        namesakes = lifecycle.find_namesakes(placement.request, self._world.inventory)
        deadline = now + self._options.follow.timeout_s
        begun, attempt = lifecycle.begin(placement, decision, deadline, self._store.epoch, namesakes)
        if not await self._journal.intend(Intent(placement, begun, attempt, decision, budget)):
            return
        self._budget = budget
        standing.began(begun)
        self._world.chose(placement.request.constraint_class, decision.region)
        self._in_flight.add(placement.id)
        group.create_task(self._create(begun, attempt), name=f"create {begun.id} attempt {attempt.number}")

    async def _create(self, placement: Placement, attempt: Attempt) -> None:
        request = placement.request
        body = CreateRequest(request.name, attempt.region, request.plan, request.image, request.ssh_keys)
        try:
            answer = await self._sent(body, attempt)
            await self._record(placement, attempt, answer)
        finally:
            self._in_flight.discard(placement.id)
        self.wake()

    async def _sent(self, body: CreateRequest, attempt: Attempt) -> CreateAnswer:
        """The answer of the POST, which is not sent when nothing more may be sent."""
        if self._draining:
            return NotSent("nexusd is stopping")
        if not self._store.leading:
            return NotSent("the lease has run out")
        self._now()
        if attempt.sent_at < self._world.activity.suspensions.resumed_at:
            return NotSent("nexusd was suspended after it had decided")
        refused = key_refused(self._world)
        if refused is not None:
            return NotSent(refused)
        return await self._cloud.create_instance(body, attempt.send_deadline)

    async def _record(self, placement: Placement, attempt: Attempt, answer: CreateAnswer) -> None:
        """Make the answer durable, however long the store takes: only this process knows it."""
        now = self._clock.now()
        answer = self._without_foreign_id(attempt, answer)
        after, finished = lifecycle.answered(placement, attempt, answer, now)
        self._world.pause = self._world.pause.after(answer, now)
        if after.state in FOLLOWED:
            self._follower.following = True  # known by the end of the sweep that this hurries

        def write() -> Awaitable[bool]:
            coolings = self._coolings(placement, attempt, answer)
            return self._journal.finish(placement, after, finished, coolings)

        await self._journal.persist(write, f"answer of {placement.id}")

    def _without_foreign_id(self, attempt: Attempt, answer: CreateAnswer) -> CreateAnswer:
        """Drop a response's id that an instance had before the create.

        It names another instance.
        """
        inventory = self._world.inventory
        if not isinstance(answer, Created) or answer.instance is None or inventory.observed_at is None:
            return answer
        if inventory.observed_at > attempt.sent_at or answer.instance.id not in inventory:
            return answer
        log.warning("create_response_id_ignored", placement=attempt.placement_id, instance=answer.instance.id)
        return Created(None)

    def _coolings(
        self, placement: Placement, attempt: Attempt, answer: CreateAnswer
    ) -> dict[Place, CoolingOff | None]:
        """What cools off, or no longer does, after this answer. One in doubt changes nothing."""
        now = self._clock.now()
        coolings = self._world.cooling_off
        plan = placement.request.plan
        match answer:
            case Created():
                return after_success(coolings, attempt.region, plan, now)
            case Refused():
                place = refused_place(answer.kind, answer.scope, attempt.region, plan)
                if place is None:
                    return {}
                reason = answer.code or str(answer.status)
                asked_s = answer.retry_after_s or 0.0
                return {place: cool_off(place, coolings.get(place), reason, now, asked_s)}
            case _:
                return {}
