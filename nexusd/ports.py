"""The Protocols between the rooms. Whoever implements one is named in its docstring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from nexusd.core.alerts import Alert
from nexusd.core.answers import CreateAnswer, CreateRequest
from nexusd.core.backlog import Backlog
from nexusd.core.cooling import CoolingOff, Place
from nexusd.core.events import Event
from nexusd.core.fleets import FleetPlacements
from nexusd.core.lifecycle import Attempt, Placement, State, Verdict
from nexusd.core.notifications import LoggedNotification as LoggedNotification  # noqa: PLC0414 - part of these ports
from nexusd.core.pauses import Pause
from nexusd.core.placement import Considered, Decision, PlacementRequest
from nexusd.core.recordings import RecordedAnswer
from nexusd.core.records import Instance, Region
from nexusd.core.regions import RegionList, RegionSnapshot
from nexusd.core.settling import Doubt, Settled
from nexusd.core.silences import Silence, SilenceRequest
from nexusd.core.spread import Group
from nexusd.core.sweeps import Sweep
from nexusd.core.world import World

T = TypeVar("T")


MAX_SLEW = 0.01
"""Share by which `Clock.now` runs faster or slower while it approaches a clock that it follows."""


class Clock(Protocol):
    """Time (`runtime/clock.py`; virtual in tests).

    `now()` is UTC seconds since the epoch, anchored on the wall clock when the process starts and advanced
    by a clock that never steps and that counts suspend. All instants of one process compare truly, whatever
    is done to the wall clock. `utc_offset_s()` is what the wall clock has stepped by since: add it to an
    instant before a person or another system sees it. A clock that follows another's may run too fast or too
    slow by `MAX_SLEW`.
    """

    def now(self) -> float: ...

    def utc_offset_s(self) -> float: ...


class CloudApi(Protocol):
    """CloudNexus (`cloud/client.py` over HTTP)."""

    async def read_regions(self) -> RegionList:
        """All regions. Raises `ApiError`."""
        ...

    async def sweep_instances(self) -> Sweep:
        """All instances, complete and consistent, or `ApiError` (`BadAnswerError` reason `partial`)."""
        ...

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        """POST exactly once. Not a byte is sent after `deadline` (an instant of `Clock.now`). Never raises
        but for cancellation; a cancelled call may have created the instance.
        """
        ...

    def last_answer_at(self, resource: str) -> float | None:
        """When the API last gave a usable answer about `regions` or `instances`, a single page included."""
        ...


class InstancesTable(Protocol):
    """The last known inventory, so that a restart compares with what was before it."""

    def load(self) -> tuple[dict[str, Instance], dict[str, int], float | None]:
        """Instances by id, how many sweeps in a row missed which, and when they were observed."""
        ...

    def save(self, upserts: Iterable[Instance], missed: Mapping[str, int], gone: Iterable[str]) -> None:
        """`missed`: ids whose count of missed sweeps changed (0: it is back)."""
        ...

    def observed(self, at: float) -> None: ...

    def observed_at(self) -> float | None: ...

    def lost_most(self, at: float) -> None:
        """Remember when most of them were last confirmed gone."""
        ...

    def lost_most_at(self) -> float | None: ...

    def seen_running(self, instance_ids: Iterable[str]) -> None:
        """Remember that these were seen running."""
        ...

    def stopped_running(self) -> frozenset[str]:
        """Those that were seen running and, by their record, run no more."""
        ...


class RegionsTable(Protocol):
    def load(self) -> RegionSnapshot: ...

    def save(self, snapshot: RegionSnapshot) -> None: ...

    def cooling_off(self) -> dict[Place, CoolingOff]: ...

    def save_cooling_off(self, cooling: CoolingOff) -> None: ...

    def clear_cooling_off(self, place: Place) -> None: ...


class RegionHistoryTable(Protocol):
    """What `/regions` answered over time, for `nexusd replay`."""

    def record(self, regions: Iterable[Region], at: float, gap_s: float) -> None:
        """One more complete answer. The same as the last one only makes that last longer, unless that was
        given more than `gap_s` before.
        """
        ...

    def between(self, since: float, until: float) -> Iterable[RecordedAnswer]:
        """Those given at any time between the two, oldest first."""
        ...

    def forget(self, before: float) -> int:
        """Delete answers last given before the instant, a bounded number a call; how many. Repeat until 0."""
        ...


class PlacementsTable(Protocol):
    def insert(self, placement: Placement) -> None:
        """Raises `ConflictError` when the name belongs to another open placement."""
        ...

    def get(self, placement_id: str) -> Placement | None: ...

    def update(self, placement: Placement, expected: State) -> bool:
        """Compare and swap on the state; False when it was no longer `expected` and nothing was written."""
        ...

    def page(self, state: State | None, limit: int, offset: int) -> tuple[list[Placement], int]:
        """Newest first, and how many there are in all."""
        ...

    def find(self, match: str, state: State | None, limit: int, offset: int) -> tuple[list[Placement], int]:
        """Return the matching placements, newest first, and their total.

        The ID begins with `match`, or the name is `match`.
        """
        ...

    def newest(self, limit: int) -> list[Placement]: ...

    def in_states(self, states: Iterable[State]) -> list[Placement]: ...

    def oldest(self, state: State, limit: int) -> list[Placement]:
        """The first that were taken in, of those in the state."""
        ...

    def ended_since(self, state: State, since: float, limit: int) -> tuple[list[Placement], int]:
        """Those that reached a closed state at or after `since`, the last first, and how many there are."""
        ...

    def count(self, state: State) -> int: ...

    def counts(self) -> dict[State, int]: ...

    def plans_of_instances(self, closed_since: float) -> dict[str, str]:
        """Return the plans of listed instances made by placements closed since, by id."""
        ...

    def open_name(self, name: str) -> Placement | None: ...

    def members(self, fleet: str) -> list[Placement]:
        """The open ones that are the fleet's by their names, whoever asked for them; oldest first."""
        ...

    def of_fleets(self, names: Iterable[str], *, count_made: bool) -> dict[str, FleetPlacements]:
        """Those of each of these fleets, by its name."""
        ...

    def queued_for_fleets(self) -> list[Placement]:
        """The queued ones that any fleet asked for, declared now or not."""
        ...

    def add_attempt(self, attempt: Attempt) -> None:
        """Of many attempts of one placement, and of the decisions that chose a region for it, the first and
        the newest are kept, a bounded number. One without an outcome always is.
        """
        ...

    def finish_attempt(self, attempt: Attempt) -> None:
        """Record `outcome` and `detail` of the attempt with that placement and number."""
        ...

    def attempts(self, placement_id: str) -> list[Attempt]: ...

    def last_attempts(self, states: Iterable[State]) -> dict[str, Attempt]:
        """The latest attempt of each placement in these states, by placement id."""
        ...

    def group(self, name: str, fleets: Iterable[str], since: float) -> Group:
        """A spread group. Those closed before `since` are only counted, by whether the stored inventory has
        their instance, and not the members of the fleets. Closed ones are kept as long as they have one.
        """
        ...

    def add_decision(self, placement_id: str, decision: Decision) -> None:
        """Of those that found no region only the newest are kept, a bounded number."""
        ...

    def decisions(self, placement_id: str) -> list[Decision]:
        """Oldest first."""
        ...

    def idempotent(self, key: str) -> tuple[str, str] | None:
        """The digest of the body and the placement id that the key was first used for."""
        ...

    def claim_key(self, key: str, digest: str, placement_id: str, at: float) -> bool:
        """Store the key for this placement; return False if it is already stored.

        Waits for a transaction of another replica that is claiming the same key: after False,
        `idempotent` returns what that replica stored.
        """
        ...

    def forget_keys(self, before: float) -> int:
        """Delete keys first used before the instant, a bounded number a call; how many. Repeat until 0."""
        ...

    def forget_closed(self, before: float) -> int:
        """Likewise placements closed before the instant, with their attempts and decisions; but for those
        whose idempotency key is remembered.
        """
        ...


class QueueTable(Protocol):
    """What waits to be placed, and what may still be sent."""

    def classes(self, after: str, limit: int) -> list[str]:
        """The constraint classes above `after` that anything is queued for, ascending."""
        ...

    def heads(self, constraint_class: str, limit: int) -> list[Placement]:
        """The first of a class: higher priority first, then older first."""
        ...

    def expired(self, now: float, limit: int) -> list[Placement]:
        """Queued ones whose deadline has come; `now` by the wall clock."""
        ...

    def budget(self) -> tuple[float, float] | None:
        """Tokens of the launch budget and when it had them; None before the first create."""
        ...

    def save_budget(self, tokens: float, at: float) -> None: ...

    def pause(self) -> Pause:
        """Reason for which the leader sends no creates now.

        For followers: the next leader begins without a pause.
        """
        ...

    def save_pause(self, pause: Pause) -> None: ...


class AlertsTable(Protocol):
    def load(self) -> list[Alert]: ...

    def save(self, alerts: Iterable[Alert]) -> None:
        """Insert or replace by fingerprint."""
        ...

    def remove(self, fingerprints: Iterable[str]) -> None: ...


class NotificationLogTable(Protocol):
    def load(self) -> list[LoggedNotification]: ...

    def save(self, entries: Iterable[LoggedNotification]) -> None:
        """Insert or replace by (receiver, group_key)."""
        ...

    def remove(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget these (receiver, group_key)."""
        ...


class SilencesTable(Protocol):
    def open(self, now: float) -> list[Silence]:
        """Those that are not over."""
        ...

    def newest(self, limit: int) -> list[Silence]:
        """In any state, those that end last first."""
        ...

    def get(self, silence_id: str) -> Silence | None: ...

    def save(self, changed: Iterable[Silence]) -> None:
        """Insert or replace by id."""
        ...

    def forget(self, before: float) -> int:
        """Delete those that ended before the instant, a bounded number a call; how many. Repeat until 0."""
        ...


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One notification to one receiver, durable before it is sent.

    `id` is the `webhook-id` on every try. `body` is what is sent, rendered once. `state`: pending, sent,
    dead. `leased_until`: nobody else sends it before. `expires_at`: after this it is dead.
    """

    id: str
    receiver: str
    body: bytes
    created_at: float
    expires_at: float
    state: str = "pending"
    tries: int = 0
    next_try_at: float = 0.0
    leased_until: float | None = None
    last_error: str | None = None
    ended_at: float | None = None


class OutboxTable(Protocol):
    def add(self, messages: Iterable[OutboxMessage]) -> None: ...

    def lease(
        self, receiver: str, now: float, lease_s: float, limit: int, limit_bytes: int
    ) -> list[OutboxMessage]:
        """The oldest messages that are due and not leased, now leased to the caller: until their bodies have
        `limit_bytes` together.
        """
        ...

    def finish(self, messages: Iterable[OutboxMessage]) -> None:
        """Write state, tries, next_try_at, last_error and ended_at back, and give up the leases."""
        ...

    def delivered(self, sent: Iterable[tuple[str, float]]) -> None:
        """The messages of these ids were sent at these instants, after one try more."""
        ...

    def release_leases(self) -> None:
        """At start: what an earlier process had leased is due again."""
        ...

    def failed(self, receiver: str, limit: int) -> Iterator[OutboxMessage]:
        """Pending messages that were tried before, the oldest first, read one by one."""
        ...

    def next_due(self, receiver: str) -> float | None:
        """When the earliest pending message may be tried."""
        ...

    def counts(self) -> dict[tuple[str, str], int]:
        """By (receiver, state)."""
        ...

    def oldest_pending(self) -> dict[str, float]:
        """`created_at` of the oldest pending message by receiver."""
        ...

    def backlog(self) -> list[Backlog]:
        """Of each address that has dead or pending messages."""
        ...

    def page(self, state: str | None, limit: int, offset: int) -> tuple[Iterator[OutboxMessage], int]:
        """The newest first, read one by one, and how many there are in all."""
        ...

    def find(
        self, match: str, state: str | None, limit: int, offset: int
    ) -> tuple[Iterator[OutboxMessage], int]:
        """Return those whose ID begins with `match`, newest first, and the total."""
        ...

    def get(self, message_id: str) -> OutboxMessage | None: ...

    def replay(self, message_id: str, now: float) -> int:
        """Make one dead message pending again; how many were."""
        ...

    def replay_all(self, receivers: Iterable[str], now: float) -> int:
        """Make all dead messages for these receivers pending again; how many."""
        ...

    def abandon(self, receivers: Iterable[str], now: float) -> int:
        """Make what is pending for anybody but these dead: nobody would ever send it. How many."""
        ...

    def forget_ended(self, before: float) -> int:
        """Delete messages sent, or dead since, before the instant, a bounded number a call; how many. Repeat
        until 0.
        """
        ...


class EventsTable(Protocol):
    def append(self, events: Iterable[Event]) -> list[Event]:
        """The same events with their ids."""
        ...

    def since(self, event_id: int | None, at: float | None, limit: int) -> list[Event]:
        """Oldest first: those after the id, or at or after the instant; the newest `limit` when neither."""
        ...

    def settled(self, after: int, doubt: Doubt | None, limit: int, now: float) -> Settled:
        """The next after the id, up to where one with a lower id could still appear (`core.settling`).

        `doubt`: what the reading before this one ended with.
        """
        ...

    def writers(self) -> frozenset[str]:
        """Transactions that may yet commit an event whose id is lower than one that is already seen."""
        ...

    def forget(self, before: float) -> int:
        """Delete events before the instant, a bounded number a call; how many. Repeat until 0."""
        ...


class PassesTable(Protocol):
    """Which pass of the cycle was committed last. One whose commit ended without its maker being told (it was
    cancelled, or the database was gone) is known by that, and not written again.
    """

    def last(self) -> tuple[int, int]:
        """The lease term that it was made in, and its number there; (0, 0) before the first."""
        ...

    def save(self, epoch: int, number: int) -> None: ...


class InstantsTable(Protocol):
    """Stored instants, which an earlier process may have written by a wrong clock."""

    def written(self, at: float) -> None:
        """Store when a pass was stored."""
        ...

    def written_at(self) -> float | None: ...

    def bound(self, now: float, shift_s: float) -> int:
        """Move instants ahead of now by `shift_s` (0 or less), and bound the rest.

        Returns the number of rows moved.
        """
        ...


class Transaction(Protocol):
    """What a transaction function is given. Everything it does commits together or not at all."""

    @property
    def instances(self) -> InstancesTable: ...
    @property
    def regions(self) -> RegionsTable: ...
    @property
    def region_history(self) -> RegionHistoryTable: ...
    @property
    def placements(self) -> PlacementsTable: ...
    @property
    def queue(self) -> QueueTable: ...
    @property
    def alerts(self) -> AlertsTable: ...
    @property
    def notification_log(self) -> NotificationLogTable: ...
    @property
    def silences(self) -> SilencesTable: ...
    @property
    def outbox(self) -> OutboxTable: ...
    @property
    def events(self) -> EventsTable: ...
    @property
    def passes(self) -> PassesTable: ...
    @property
    def instants(self) -> InstantsTable: ...


class Store(Protocol):
    """The durable memory (`store/`). Transactions are plain synchronous functions, so no network call can
    slip inside one; the store runs them on a thread of its own and commits those that wait together.
    """

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        """Run it and return after a synced commit. Raises what it raised (rolled back), or `StoreError`."""
        ...

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        """The same, refused with `LeaseLostError` in the same commit unless this process leads."""
        ...

    def read(self, transaction: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run one that only reads on what is committed, without waiting for a commit under way. It sees all
        that anybody was told is committed before this was called. Awaiting raises as `run`.
        """
        ...

    @property
    def epoch(self) -> int:
        """The lease term of this process; grows each time anybody takes the lease. 0 before it ever led."""
        ...

    @property
    def leading(self) -> bool: ...


class Receiver(Protocol):
    """Something that takes notifications (`delivery/`, one file a kind)."""

    @property
    def name(self) -> str: ...

    async def send(self, message: OutboxMessage) -> Delivery:
        """One try. Fails only by what it returns; never takes longer than the receiver's time-out."""
        ...

    async def close(self) -> None:
        """Let connections go. A later `send` makes new ones."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one try. `outcome`: delivered, retry, rejected (never try again), gone (410).

    `code`: HTTP status or an error's label, for metrics. `retry_after_s`: as the receiver asked, clamped.
    """

    outcome: str
    code: str
    detail: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReceiverTest:
    """What came of a test notification. `type`: the kind of receiver, as configured."""

    receiver: str
    type: str
    delivery: Delivery
    duration_s: float


class Metrics(Protocol):
    """Counters that the rooms bump as things happen (`web/metrics.py`); state is read at the scrape instead.

    Every label value comes from a bounded set.
    """

    def api_request(self, endpoint: str, method: str, code: str, duration_s: float) -> None: ...

    def api_retry(self, endpoint: str) -> None: ...

    def api_circuit(self, state: str) -> None:
        """`open` or `closed`."""
        ...

    def poll_ended(self, resource: str, failure: str | None, duration_s: float) -> None: ...

    def poll_skipped(self, resource: str) -> None: ...

    def instances_changed(self, region: str, before: str, after: str, count: int) -> None: ...

    def placement_attempt(self, region: str, outcome: str) -> None: ...

    def placement_ended(self, duration_s: float) -> None: ...

    def notification(self, receiver: str, failure: str | None, latency_s: float | None) -> None: ...

    def notification_request(self, receiver: str, code: str) -> None: ...

    def loop_lag(self, lag_s: float) -> None: ...

    def loop_tasks(self, count: int) -> None: ...


class Placements(Protocol):
    """Taking placements in (`provisioning/intake.py`)."""

    async def accept(self, request: PlacementRequest, key: IdempotencyKey | None) -> Placement:
        """Durable when this returns. Raises `InputError`, `ConflictError` (name taken, key used for another
        body), `StoreUnavailableError`. The same key and body give the placement of the first time.
        """
        ...

    async def plan(self, request: PlacementRequest) -> Decision:
        """The decision it would get now; nothing is created. Raises `InputError`, `StoreUnavailableError`."""
        ...

    async def cancel(self, placement_id: str) -> Placement:
        """Raises `NotFoundError`, or `ConflictError` once it is creating or closed."""
        ...

    async def resolve(self, placement_id: str, verdict: Verdict) -> Placement:
        """A person says what became of a held placement's create. Raises `NotFoundError`, or `ConflictError`
        when it is not held.
        """
        ...


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The `Idempotency-Key` header, and a digest of the body it came with."""

    key: str
    digest: str


class Silences(Protocol):
    """Taking silences in (`silencing.py`)."""

    async def put(self, request: SilenceRequest) -> Silence:
        """A new silence, or a change of one. Durable when this returns. Raises `InputError`, `NotFoundError`,
        `ConflictError` (too many), `StoreUnavailableError`.
        """
        ...

    async def expire(self, silence_id: str) -> Silence:
        """End one now; one that is over stays as it is. Raises `NotFoundError`, `StoreUnavailableError`."""
        ...


class Daemon(Protocol):
    """The running daemon as its web server sees it (`app.py`)."""

    @property
    def world(self) -> World: ...

    def not_ready(self) -> str | None:
        """Why `/-/ready` is 503 (no first snapshots, key refused, draining), or None when ready."""
        ...

    def not_healthy(self) -> str | None:
        """Why `/-/healthy` is 503 (a worker makes no progress), or None."""
        ...

    async def reload(self) -> None:
        """Read the configuration again. Raises `ConfigError`, and then nothing changed."""
        ...

    def replayed(self, receivers: Iterable[str]) -> None:
        """Messages for these receivers are pending again."""
        ...

    async def test_receivers(self, name: str | None) -> list[ReceiverTest]:
        """Send a marked notification to the receiver (None: to all), each tried once. Raises `NotFoundError`
        for one that does not exist.
        """
        ...

    def eligibility(self) -> tuple[Considered, ...]:
        """Every listed region judged for an unconstrained request, best first."""
        ...
