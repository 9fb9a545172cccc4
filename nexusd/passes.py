"""What a pass of the cycle begins with, reads of the store, and writes there. Used by `cycle`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from nexusd.core.alerting import AlertMemory, AlertPass
from nexusd.core.alerts import Alert
from nexusd.core.backlog import Backlog
from nexusd.core.changes import Change
from nexusd.core.cooling import Coolings
from nexusd.core.events import Event
from nexusd.core.fleets import Fleets
from nexusd.core.history import event_of
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import UNDER_WAY, Placement, State
from nexusd.core.limits import InstanceLimits
from nexusd.core.notifications import LoggedNotification
from nexusd.core.pauses import Pause
from nexusd.core.polls import PollState
from nexusd.core.recordings import CONSECUTIVE_INTERVALS
from nexusd.core.records import RUNNING, Instance
from nexusd.core.regions import RegionList, RegionSnapshot
from nexusd.core.silences import Silence
from nexusd.core.sweeps import Delta
from nexusd.core.world import World
from nexusd.ports import OutboxMessage, Transaction

SMALLEST_STEP_S = 1.0
"""A smaller difference is the inaccuracy of a followed clock."""
MOST_PRESSING = 1_000
"""Placements of one state that alerts look at: with more, one more alert says nothing new."""

PassNumber = tuple[int, int]
"""Lease term of a pass, and its number there."""
NO_PASS: PassNumber = (-1, -1)

Write = Callable[[Transaction], list[Event]]
"""Writes what a pass has decided, but for the events, which it gives back."""


Added = Callable[[Iterable[OutboxMessage]], None]
"""Told of messages that are in the outbox now."""


@dataclass(frozen=True, slots=True)
class Unsaved:
    """What a pass has decided: how to write it, the messages among it, and who was asked to lease them.

    `number`: those of a process count up.
    """

    number: int
    write: Write
    messages: list[OutboxMessage]
    composer: Added


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of them. `before`: those that an earlier commit had written already."""

    recorded: bool
    before: tuple[Unsaved, ...]
    now: tuple[Unsaved, ...]


def save(tx: Transaction, unsaved: Iterable[Unsaved], epoch: int) -> Saved:
    """Write them in their order, each once in the term."""
    last = tx.passes.last()
    before: list[Unsaved] = []
    now: list[Unsaved] = []
    for one in unsaved:
        (now if (epoch, one.number) > last else before).append(one)
    recorded = tx.events.append([event for one in now for event in one.write(tx)])
    if now:
        tx.passes.save(epoch, now[-1].number)
    return Saved(bool(recorded or before), tuple(before), tuple(now))


@dataclass(frozen=True, slots=True)
class News:
    """What a pass begins with; nothing of it for one that only looks at the time."""

    poll: PollState | None = None
    answer: RegionList | None = None
    regions: RegionSnapshot | None = None
    delta: Delta | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """Stored state of an earlier process.

    `written_at`: when that last stored a pass.
    """

    written_at: float | None
    inventory: tuple[dict[str, Instance], dict[str, int], float | None]
    lost_most_at: float | None
    stopped_running: frozenset[str]
    regions: RegionSnapshot
    cooling_off: Coolings
    alerts: list[Alert]
    said: list[LoggedNotification]
    silences: list[Silence]

    def alert_memory(self, now: float) -> AlertMemory:
        return AlertMemory.restored(self.alerts, self.said, self.silences, now, self.written_at)


def restored(tx: Transaction, now: float) -> Restored:
    return Restored(
        tx.instants.written_at(),
        tx.instances.load(),
        tx.instances.lost_most_at(),
        tx.instances.stopped_running(),
        tx.regions.load(),
        tx.regions.cooling_off(),
        tx.alerts.load(),
        tx.notification_log.load(),
        tx.silences.open(now),
    )


@dataclass(frozen=True, slots=True)
class Observed:
    """Observations of a replica while no replica led.

    `ran`: instances that were seen running.
    """

    regions: RegionSnapshot
    instances: Collection[Instance]
    missed: Mapping[str, int]
    ran: Collection[str]
    observed_at: float | None

    @classmethod
    def from_world(cls, world: World) -> Observed:
        instances = world.inventory.copied().values()
        ran = {i.id for i in instances if i.status == RUNNING} | world.stopped_running
        missed = dict(world.inventory.missed)
        return cls(world.regions, instances, missed, ran, world.inventory.observed_at)


def begin_term(tx: Transaction, observed: Observed, now: float) -> int:
    """Correct stored times before a new leader reads them.

    Returns the number of rows that a wrong clock had written.

    If the last pass was stored in the future, the clock was ahead by at least as much, and everything later
    than now moves back by that. First snapshots are stored unless some are: else what changed since they were
    read is lost.
    """
    written_at = tx.instants.written_at()
    ahead_s = max(0.0, written_at - now) if written_at is not None else 0.0
    moved = tx.instants.bound(now, -ahead_s)
    _save_first(tx, observed)
    return moved if ahead_s > SMALLEST_STEP_S else 0


def _save_first(tx: Transaction, observed: Observed) -> None:
    if observed.regions.observed_at is not None and tx.regions.load().observed_at is None:
        tx.regions.save(observed.regions)
    if observed.observed_at is not None and tx.instances.observed_at() is None:
        tx.instances.save(observed.instances, observed.missed, ())
        tx.instances.seen_running(observed.ran)
        tx.instances.observed(observed.observed_at)


def remembered(restored: Restored, fleets: Fleets) -> Inventory:
    """The inventory as an earlier process left it."""
    inventory = Inventory(fleets.names)
    instances, missed, observed_at = restored.inventory
    if observed_at is not None:
        inventory.restore(instances, missed, observed_at)
    return inventory


@dataclass(frozen=True, slots=True)
class Pressing:
    """Placements that alert rules evaluate.

    `unlooked`: number of placements beyond these, by state.

    `under_way`: the open ones past the queue, read where instances are limited. `plans`: the plans of listed
    instances that placements made, read where plans are limited.
    """

    placements: tuple[Placement, ...]
    unlooked: Mapping[State, int]
    under_way: tuple[Placement, ...] = ()
    plans: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PressingQuery:
    """Query for recently failed placements, and the plans of closed ones' instances."""

    failed_since: float
    limits: InstanceLimits
    plans_since: float


def pressing(tx: Transaction, query: PressingQuery) -> Pressing:
    """The longest queued and held, and what failed last."""
    failed_since, limits = query.failed_since, query.limits
    queued = tx.placements.oldest(State.QUEUED, MOST_PRESSING)
    held = tx.placements.oldest(State.HELD, MOST_PRESSING)
    failed, of_failed = tx.placements.ended_since(State.FAILED, failed_since, MOST_PRESSING)
    full = [state for state, found in ((State.QUEUED, queued), (State.HELD, held)) if _full(found)]
    unlooked = {state: tx.placements.count(state) - MOST_PRESSING for state in full}
    return Pressing(
        (*queued, *held, *failed),
        {**unlooked, State.FAILED: of_failed - len(failed)},
        tuple(tx.placements.in_states(UNDER_WAY)) if limits.any else (),
        tx.placements.plans_of_instances(query.plans_since) if limits.per_plan is not None else {},
    )


@dataclass(frozen=True, slots=True)
class LeaderState:
    """The leader's state for decisions, by which followers show the same ones.

    `alerts` as of `last_pass`; None: these are shown already.
    """

    cooling_off: Coolings
    pause: Pause
    last_pass: PassNumber
    alerts: dict[str, Alert] | None


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """Stored data that a pass needs; `leader` is None if this replica leads."""

    silences: list[Silence]
    placements: Pressing
    backlog: tuple[Backlog, ...]
    leader: LeaderState | None


def read_facts(
    tx: Transaction,
    now: float,
    query: PressingQuery,
    placements: Pressing | None,
    backlog: tuple[Backlog, ...] | None,
    shown: PassNumber | None,
) -> StoredFacts:
    """Read the stored data of a pass.

    `placements`, `backlog`: None to read them again.

    `shown`: the pass of the leader whose alerts a follower shows; None on the leader.
    """
    return StoredFacts(
        tx.silences.open(now),
        placements if placements is not None else pressing(tx, query),
        backlog if backlog is not None else tuple(tx.outbox.backlog()),
        None if shown is None else _read_leader(tx, shown),
    )


def _read_leader(tx: Transaction, shown: PassNumber) -> LeaderState:
    last = tx.passes.last()
    alerts = {alert.fingerprint: alert for alert in tx.alerts.load()} if last != shown else None
    return LeaderState(tx.regions.cooling_off(), tx.queue.pause(), last, alerts)


def _full(found: list[Placement]) -> bool:
    return len(found) == MOST_PRESSING


def write_of(
    news: News,
    judged: AlertPass,
    messages: list[OutboxMessage],
    first_running: Iterable[str],
    now: float,
) -> Write:
    """The rows of one pass, as a function of the transaction that writes them."""
    delta = news.delta if news.delta is not None and news.delta.hold is None else None
    held = news.delta if news.delta is not None and news.delta.hold is not None else None

    def write(tx: Transaction) -> list[Event]:
        if news.regions is not None:
            tx.regions.save(news.regions)
        if news.answer is not None and news.poll is not None:
            gap_s = CONSECUTIVE_INTERVALS * news.poll.interval_s
            tx.region_history.record(news.answer.regions.values(), news.answer.ended_at, gap_s)
        if delta is not None:
            missed = {**delta.missed, **dict.fromkeys(delta.returned, 0)}
            tx.instances.save(delta.upserts.values(), missed, delta.vanished)
            tx.instances.seen_running(first_running)
            tx.instances.observed(delta.sweep.ended_at)
            if delta.lost_most:
                tx.instances.lost_most(delta.sweep.ended_at)
        if held is not None:
            tx.instances.save((), dict.fromkeys(held.returned, 0), ())
        tx.instants.written(now)
        tx.alerts.save(judged.saved)
        tx.alerts.remove(judged.removed)
        tx.notification_log.save(judged.log)
        tx.notification_log.remove(judged.forgotten_log)
        tx.outbox.add(messages)
        return [*(event_of(change, now) for change in news.changes), *judged.events]

    return write
