"""One pass: an answer → snapshot → changes → alerts → one commit → publish.

Built by `app`, run by its tasks.

A pass decides from the world as it was and from what is new, and writes all that follows in one transaction.
While the store does not commit, polls and the world continue, so that pages and metrics stay live, and
uncommitted passes wait in order, bounded (`persistence.py`); after a crash the world is what the store has,
and the next answers show the same differences again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from nexusd.beside import Beside
from nexusd.core.after_sweep import NO_SWEEP, AfterSweep, after
from nexusd.core.alerting import Alerting, AlertMemory, AlertPass, judge
from nexusd.core.alerts import Alert
from nexusd.core.backlog import Backlog
from nexusd.core.comparing import compare, compared
from nexusd.core.cooling import within_reach
from nexusd.core.errors import ApiError, StoreUnavailableError
from nexusd.core.fleets import NO_FLEETS, Fleets, fleet_records
from nexusd.core.inventory import Inventory
from nexusd.core.judging import Unjudged
from nexusd.core.limits import NO_LIMITS, InstanceLimits, InstanceUsage, measure_usage
from nexusd.core.notifications import Message
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import Fleet
from nexusd.core.regions import next_snapshot
from nexusd.core.rules import Facts, evaluated_from
from nexusd.core.sweeps import Delta, SweepPolicy
from nexusd.core.world import World
from nexusd.pass_log import log_alerts, log_changes
from nexusd.passes import (
    NO_PASS,
    News,
    Observed,
    Pressing,
    PressingQuery,
    Restored,
    begin_term,
    read_facts,
    remembered,
    restored,
    write_of,
)
from nexusd.persistence import PassWriter, PatientReader, batched
from nexusd.ports import Clock, CloudApi, Metrics, OutboxMessage, Store

log = structlog.get_logger(__name__)

MOST_UNSAVED = 512
"""Passes that may wait for the store; beyond them answers are refused, and the data's age shows it."""
NOT_RESTORED = -1
LONGEST_WAIT_S = 60.0
"""A pass at least this often, and placements read again: one that nobody could place, or that another replica
took in or moved, wakes nobody here."""
PLANS_OVERLAP_S = 600.0
"""How far back closed placements are read again: another replica's clock may be behind."""
MOST_ON_LOOP = 256
"""Records or alerts that a step may look at on the event loop itself, which takes a few ms."""
beside = Beside(MOST_ON_LOOP)
"""What such a step reads changes under the cycle's lock only."""

SHORTEST_WAIT_S = 1.0
"""Placements are not read more often than this, nor is a store asked that can take nothing more."""


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told of a pass after its commit. `outbox`: of its messages. `recorded`: it had events."""

    regions: Callable[[], None]
    swept: Callable[[frozenset[str]], None]
    outbox: Callable[[Iterable[OutboxMessage]], None]
    recorded: Callable[[], object] = int


async def nobody_is_told(_messages: Sequence[Message], _now: float) -> list[OutboxMessage]:
    """`Parts.compose` of a simulation or a measurement, whose messages nobody is to have."""
    return []


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of the cycle that depend on the configuration.

    `compose` makes the outbox rows of messages, with their ids and rendered bodies, at an instant.
    `intervals_s`: how often each resource is polled. `smoothing_s`: half-life of the moving average over
    latencies, None when they are not smoothed. `fleets`: those that are declared. `outbox_changes` grows
    whenever a message has failed, or is tried again after that. `limits`: on how many instances may exist.
    """

    cloud: CloudApi
    alerting: Alerting
    compose: Callable[[Sequence[Message], float], Awaitable[list[OutboxMessage]]]
    intervals_s: Mapping[str, float]
    observers: Observers
    smoothing_s: float | None = None
    fleets: Fleets = NO_FLEETS
    outbox_changes: Callable[[], int] = int
    limits: InstanceLimits = NO_LIMITS


class Cycle:
    """Outlives a reload: what it has not written yet must not be lost."""

    def __init__(self, world: World, store: Store, clock: Clock, metrics: Metrics, parts: Parts) -> None:
        self._world = world
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._parts = parts
        self._sweep_policy = SweepPolicy()
        self._lock = asyncio.Lock()
        self._woken = False
        self._moved = asyncio.Event()
        self._unjudged = Unjudged()
        self._instances_evaluated_from: float | None = None
        self._placements: Pressing | None = None
        self._placements_changed = False
        self._placements_read_at = clock.now()
        self._plans_since = float("-inf")
        self._backlog: tuple[Backlog, ...] | None = None
        self._backlog_read_of = -1
        self._memory = AlertMemory()
        self._leader_alerts: dict[str, Alert] | None = None
        self._shown_pass = NO_PASS
        self._writer = PassWriter(store, clock)
        self._reader = PatientReader(use_late=True)
        self._next_due = clock.now() + LONGEST_WAIT_S
        self.progressed_at = clock.now()
        self.restored_epoch = NOT_RESTORED

    @property
    def uncommitted_since(self) -> float | None:
        """Start of the time in which passes wait for a commit; None while none waits."""
        return self._writer.pending_since

    async def restore(self) -> None:
        """Begin where an earlier process, or the replica that led before, ended.

        Raises `StoreError`.

        What this replica observed while another led is dropped: the next answers differ from what is stored
        by just that, and so it is written. What it observed before any replica led is stored first.
        """
        now = self._clock.now()
        if self._store.leading:
            await self._begin_term(now)
        found = await self._store.run(lambda tx: restored(tx, now))  # unlocked: polls continue meanwhile
        async with self._lock:
            size = len(found.inventory[0])
            self._begin_from(found, await beside(size, remembered, found, self._world.fleets))

    async def _begin_term(self, now: float) -> None:
        async with self._lock:
            observed = Observed.from_world(self._world)
        corrected = await self._store.run_leading(lambda tx: begin_term(tx, observed, now))
        if corrected:
            log.warning("stored_times_corrected", rows=corrected)

    def _begin_from(self, restored: Restored, inventory: Inventory) -> None:
        world, now = self._world, self._clock.now()
        world.inventory = inventory
        lost_at = restored.lost_most_at
        world.inventory.lost_most_at = min(lost_at, now) if lost_at is not None else None
        world.stopped_running = set(restored.stopped_running)
        world.regions = world.restored = restored.regions
        world.cooling_off = within_reach(restored.cooling_off, now)
        self._writer.clear()
        self._reader.forget()
        self._placements = self._backlog = None
        self._unjudged.add_all()
        world.miss(restored.written_at)
        self._remember(restored.alert_memory(now))
        self.restored_epoch = self._store.epoch

    def reconfigure(self, parts: Parts) -> None:
        """Ask another client, judge by other rules and tell others, from the next pass on."""
        self._parts = parts
        self._writer.deliver, self._writer.recorded = parts.observers.outbox, parts.observers.recorded
        self._backlog = None
        self._reader.forget()
        self._unjudged.add_all()
        self._memory = self._memory.replanned()
        self._world.declare(parts.fleets)
        self._world.limits = parts.limits
        self._plans_since = float("-inf")
        polls = self._world.polls.items()
        self._world.polls = {name: replace(poll, interval_s=parts.intervals_s[name]) for name, poll in polls}
        self.wake()

    def wake(self) -> None:
        """Look at the alerts again soon: a placement or a silence has changed."""
        self._placements_changed = True
        self._woken = True
        self._moved.set()

    async def run(self) -> None:
        """Evaluate whenever it is due by the time alone, or after `wake`. For ever."""
        while True:
            await self._until_due()
            async with self._lock:
                await self._pass(News())

    async def _until_due(self) -> None:
        """Or until somebody wakes it. The passes that polls make meanwhile may move it."""
        while not self._woken:
            self._moved.clear()
            wait_s = min(LONGEST_WAIT_S, max(0.0, self._next_due - self._clock.now()))
            try:
                async with asyncio.timeout(wait_s):
                    await self._moved.wait()
            except TimeoutError:
                return
        self._woken = False

    async def poll_regions(self) -> None:
        """Read `GET /regions` once and take what it says in, or that it failed."""
        began_at = self._clock.now()
        try:
            answer = await self._parts.cloud.read_regions()
        except ApiError as error:
            await self._poll_failed(REGIONS, error, began_at)
            return
        async with self._lock:
            snapshot, changes = next_snapshot(self._world.regions, answer, self._parts.smoothing_s)
            poll = self._succeeded(REGIONS, answer.ended_at, began_at)
            await self._pass(News(poll, answer, snapshot, changes=changes))
        self._parts.observers.regions()

    async def poll_instances(self) -> None:
        """Sweep `GET /instances` once and take what it says in, or that it failed."""
        began_at = self._clock.now()
        try:
            sweep = await self._parts.cloud.sweep_instances()
        except ApiError as error:
            await self._poll_failed(INSTANCES, error, began_at)
            return
        async with self._lock:
            size = compared(self._world.inventory, sweep)
            delta = await beside(size, compare, self._world.inventory, sweep, self._sweep_policy)
            poll = self._succeeded(INSTANCES, sweep.ended_at, began_at)
            await self._pass(News(poll, delta=delta, changes=delta.changes))
        if delta.hold is None:
            self._parts.observers.swept(delta.vanished)

    def _succeeded(self, resource: str, ended_at: float, began_at: float) -> PollState:
        now = self._clock.now()
        self._world.observe(now)
        duration_s = now - began_at
        self._metrics.poll_ended(resource, None, duration_s)
        return self._world.polls[resource].succeeded(ended_at, duration_s, began_at)

    async def _poll_failed(self, resource: str, error: ApiError, began_at: float) -> None:
        duration_s = self._clock.now() - began_at
        self._metrics.poll_ended(resource, error.reason, duration_s)
        log.warning("poll_failed", resource=resource, reason=error.reason, error=str(error))
        async with self._lock:
            answered_at = self._parts.cloud.last_answer_at(resource)
            poll = self._world.polls[resource].failed(
                error.reason, str(error), answered_at, duration_s, began_at
            )
            await self._pass(News(poll))

    async def _pass(self, news: News) -> None:
        """Decide, commit, and make what was decided the world. Under the lock."""
        if len(self._writer) >= MOST_UNSAVED and not await self._save():
            self.progressed_at = self._clock.now()
            self._next_due = max(self._next_due, self.progressed_at + SHORTEST_WAIT_S)
            return
        await self._read_store(self._clock.now())
        now = self._clock.now()
        self._world.observe(now)
        polls = {**self._world.polls, news.poll.resource: news.poll} if news.poll else self._world.polls
        polls = self._world.with_suspensions(polls)
        facts = self._facts(news, polls, await self._fleets(news.delta), now)
        judged = await self._judged(facts)
        swept = await self._after_sweep(news.delta)
        messages = await self._composed(judged.messages, now)
        write = write_of(news, judged, messages, swept.first_running, now)
        self._writer.add(write, messages)
        self._become(news, polls, judged, swept)
        more = self._unjudged.judged(known=facts.instances_known)
        read_again_at = self._placements_read_at + self._read_again_s
        due = judged.next_due if judged.next_due is not None else read_again_at
        self._next_due = now if more else min(due, read_again_at)
        self._moved.set()
        self._log_pass(news, judged, messages)
        await self._save()
        self.progressed_at = self._clock.now()

    async def _judged(self, facts: Facts) -> AlertPass:
        """Evaluate the rules; a follower shows the alerts of the leader."""
        if self._leader_alerts is not None and not self._store.leading:
            alerts = self._leader_alerts
            return AlertPass(await beside(len(alerts), self._memory.following, alerts, facts))
        size = len(facts.looked_at) + len(self._memory.alerts)
        return await beside(size, judge, self._parts.alerting, facts, self._memory)

    async def _composed(self, messages: Sequence[Message], now: float) -> list[OutboxMessage]:
        rows = []
        for some in batched(messages):
            rows += await self._parts.compose(some, now)
            await asyncio.sleep(0)
        return rows

    def _log_pass(self, news: News, judged: AlertPass, messages: list[OutboxMessage]) -> None:
        """Log one line about the poll and, on the leader, its changes and alerts."""
        if self._store.leading:
            log_changes(news.changes)
            log_alerts(judged.events, judged.memory.alerts, judged.memory.muting)
        poll = news.poll
        if poll is None or poll.failure is not None:
            return
        log.info(
            "poll_finished",
            resource=poll.resource,
            seconds=round(poll.duration_s or 0.0, 4),
            instances=len(self._world.inventory),
            changes=len(news.changes),
            held_back=news.delta is not None and news.delta.hold is not None,
            alerts_changed=len(judged.saved),
            notifications=len(messages),
        )

    async def _fleets(self, delta: Delta | None) -> tuple[Fleet, ...]:
        size = len(delta.upserts) if delta is not None else 0
        return await beside(size, fleet_records, self._world.fleets, self._world.inventory, delta)

    def _facts(
        self, news: News, polls: Mapping[str, PollState], fleets: tuple[Fleet, ...], now: float
    ) -> Facts:
        looked_at = self._unjudged.take(self._world.inventory, news.delta)
        facts = Facts(
            now=now,
            polls=polls,
            regions=news.regions if news.regions is not None else self._world.regions,
            inventory=self._world.inventory,
            stopped_running=self._world.stopped_running,
            delta=news.delta,
            looked_at=looked_at,
            key_refused=self._world.pause.reason if self._world.pause.auth else "",
            placements=self._placements.placements if self._placements is not None else None,
            unlooked=self._placements.unlooked if self._placements is not None else {},
            backlog=self._backlog,
            fleets=fleets,
            shared_names=self._world.shared_names,
            limits=self._parts.limits,
            usage=self._usage(),
        )
        if facts.instances_known and self._unjudged.took_all:
            self._instances_evaluated_from = polls[INSTANCES].read_began_at
        return replace(
            facts, evaluated_from=evaluated_from(polls[REGIONS].read_began_at, self._instances_evaluated_from)
        )

    def _usage(self) -> InstanceUsage | None:
        if self._placements is None or not self._parts.limits.any:
            return None
        world = self._world
        return measure_usage(world.inventory, self._placements.under_way, world.placed_plans)

    async def _after_sweep(self, delta: Delta | None) -> AfterSweep:
        if delta is None:
            return NO_SWEEP
        world = self._world
        return await beside(len(delta.upserts), after, world.inventory, delta, world.stopped_running)

    def _become(self, news: News, polls: dict[str, PollState], judged: AlertPass, swept: AfterSweep) -> None:
        """The new world. No await in here: no reader sees half of it."""
        world = self._world
        world.polls = world.with_suspensions(polls)
        if news.regions is not None:
            world.regions = news.regions
        if news.delta is not None:
            if swept.inventory is not None:
                world.inventory = swept.inventory
            else:
                world.inventory.apply(news.delta, swept.net)
            world.stopped_running |= swept.stopped_running
            world.stopped_running -= news.delta.vanished
            for (region, was, now), count in swept.transitions.items():
                self._metrics.instances_changed(region, was, now, count)
        self._remember(judged.memory)

    def _remember(self, memory: AlertMemory) -> None:
        self._memory = memory
        self._world.alerts = memory.alerts
        self._world.silences = memory.silences
        self._world.muting = memory.muting
        self._world.alert_counts = memory.counts

    @property
    def _read_again_s(self) -> float:
        """What is new in the queue wakes nobody, and is read before it can be late."""
        return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, self._parts.alerting.delayed_after_s))

    async def _read_store(self, now: float) -> None:
        """Read the stored data that a pass needs.

        Silences, which any replica may create, are read always, and placements and the outbox when they
        changed or the last read is old. A follower, which no change wakes, always reads them and the leader's
        state. Data that cannot be read stays as it was.
        """
        query = PressingQuery(now - self._parts.alerting.failed_for_s, self._parts.limits, self._plans_since)
        leading = self._store.leading
        shown = None if leading else self._shown_pass
        old = not leading or now >= self._placements_read_at + self._read_again_s
        changes = self._parts.outbox_changes()
        placements = self._placements if not (old or self._placements_changed) else None
        self._placements_changed = False  # what changes from here on is for the next pass to read
        backlog = self._backlog if not old and changes == self._backlog_read_of else None

        self._placements_read_at = now if placements is None else self._placements_read_at
        try:
            found = await self._reader.read(
                lambda: self._store.read(lambda tx: read_facts(tx, now, query, placements, backlog, shown))
            )
        except StoreUnavailableError as error:
            log.warning("store_unavailable", waiting="silences, facts for alerts", error=str(error))
            self._placements_changed = True
            return
        self._placements, self._backlog, self._backlog_read_of = found.placements, found.backlog, changes
        if self._reader.late:
            self._placements_changed, self._backlog_read_of = True, -1
        if placements is None and self._parts.limits.per_plan is not None:
            self._world.add_placed_plans(found.placements.plans)
            self._plans_since = now - PLANS_OVERLAP_S
        self._memory = self._memory.silenced({silence.id: silence for silence in found.silences})
        if found.leader is None or self._store.leading:
            self._leader_alerts, self._shown_pass = None, NO_PASS
        else:
            if found.leader.alerts is not None:
                self._leader_alerts, self._shown_pass = found.leader.alerts, found.leader.last_pass
            self._world.cooling_off = within_reach(found.leader.cooling_off, now)
            self._world.pause = found.leader.pause

    async def _save(self) -> bool:
        """Commit what passes have decided.

        False when it is not committed yet; the next pass tries again.
        """
        epoch = self._store.epoch
        if not self._store.leading or self.restored_epoch != epoch:
            self._writer.clear()  # the leader writes what it sees
            self.restored_epoch = NOT_RESTORED
            return False
        return await self._writer.save(epoch)
