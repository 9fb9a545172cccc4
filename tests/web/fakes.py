"""The daemon, the placements and the store as the web server sees them, over plain dicts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.census import counted
from nexusd.core.errors import ConflictError, NexusdError, NotFoundError
from nexusd.core.events import Event
from nexusd.core.fleets import FleetPlacements
from nexusd.core.identifiers import fleet_of
from nexusd.core.inventory import Inventory
from nexusd.core.lifecycle import CLOSED, Attempt, Placement, State, Verdict
from nexusd.core.matchers import parse_matcher
from nexusd.core.muting import mute
from nexusd.core.placement import Considered, Decision, PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.recordings import RecordedAnswer
from nexusd.core.records import Instance, Region
from nexusd.core.regions import KnownRegion, RegionSnapshot
from nexusd.core.settling import NOBODY, Doubt, Settled, newest
from nexusd.core.silences import Silence
from nexusd.core.world import World
from nexusd.ports import IdempotencyKey, OutboxMessage, ReceiverTest
from tests.fakes import EPOCH

T = TypeVar("T")

NOW = EPOCH
"""2023-11-14T22:13:20Z."""


def instance(number: int, status: str = "running", region: str = "us-east-1", **more: Any) -> Instance:
    return Instance(id=f"inst_{number}", name=f"worker-{number}", status=status, region=region, **more)


def world_of(instances: Iterable[Instance] = (), regions: Iterable[Region] = ()) -> World:
    """Everything read 10 s ago."""
    polls = {
        name: PollState(name, interval, NOW - 100, NOW - 10, NOW - 10)
        for name, interval in ((REGIONS, 15.0), (INSTANCES, 30.0))
    }
    inventory = Inventory()
    inventory.restore({i.id: i for i in instances}, {}, NOW - 10)
    return World(
        polls=polls,
        inventory=inventory,
        regions=RegionSnapshot(NOW - 10, {r.slug: KnownRegion(r) for r in regions}),
    )


VIRGINIA = Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True)
LONDON = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=False)
EVERYWHERE = (VIRGINIA, LONDON)
JUDGED = (
    Considered("us-east-1", eligible=True, rank=1, latency_ms=12.0, instances=42),
    Considered(
        "eu-west-2", eligible=False, rank=None, latency_ms=45.0, instances=7, reasons=("no capacity",)
    ),
)


@dataclass
class FakeDaemon:
    given: World = field(default_factory=lambda: world_of([instance(1)], EVERYWHERE))
    judged: tuple[Considered, ...] = JUDGED
    unready: str | None = None
    unhealthy: str | None = None
    reload_error: NexusdError | None = None
    reloads: int = 0
    tests: list[str | None] = field(default_factory=list)
    tested: list[ReceiverTest] = field(default_factory=list)
    replays: list[set[str]] = field(default_factory=list)

    @property
    def world(self) -> World:
        """With the alerts that a test has put into it counted, as a pass does."""
        world = self.given
        world.alert_counts = counted(world.alerts, world.muting)
        return world

    @world.setter
    def world(self, world: World) -> None:
        self.given = world

    def not_ready(self) -> str | None:
        return self.unready

    def not_healthy(self) -> str | None:
        return self.unhealthy

    def replayed(self, receivers: Iterable[str]) -> None:
        self.replays.append(set(receivers))

    async def test_receivers(self, name: str | None) -> list[ReceiverTest]:
        self.tests.append(name)
        if name not in (None, "ops", "web"):
            raise NotFoundError(f"there is no receiver {name}; there are ops, web")
        return [t for t in self.tested if name in (None, t.receiver)]

    async def reload(self) -> None:
        self.reloads += 1
        if self.reload_error is not None:
            raise self.reload_error

    def eligibility(self) -> tuple[Considered, ...]:
        return self.judged


def placement(number: int = 1, state: State = State.QUEUED, **more: Any) -> Placement:
    request = PlacementRequest(name=f"worker-{number:02}", plan="pro")
    given: dict[str, Any] = {"created_at": NOW - 60, "updated_at": NOW - 60, "request": request} | more
    return Placement(id=f"plc_{number:026}", state=state, **given)


def decision(**more: Any) -> Decision:
    given: dict[str, Any] = {
        "decided_at": NOW - 5,
        "region": "us-east-1",
        "reason": None,
        "observed_at": NOW - 10,
    }
    return Decision(**(given | {"considered": JUDGED} | more))


@dataclass
class FakePlacements:
    """Remembers what it was asked; `error` is raised instead of an answer."""

    error: Exception | None = None
    accepted: list[tuple[PlacementRequest, IdempotencyKey | None]] = field(default_factory=list)
    planned: list[PlacementRequest] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    resolved: list[tuple[str, Verdict]] = field(default_factory=list)
    keys: dict[str, tuple[str, Placement]] = field(default_factory=dict)

    async def accept(self, request: PlacementRequest, key: IdempotencyKey | None) -> Placement:
        if self.error is not None:
            raise self.error
        if key is not None and key.key in self.keys:
            digest, earlier = self.keys[key.key]
            if digest != key.digest:
                raise ConflictError("Idempotency-Key: was used for another body; use a new key")
            return earlier
        self.accepted.append((request, key))
        made = replace(placement(len(self.accepted)), request=request)
        if key is not None:
            self.keys[key.key] = key.digest, made
        return made

    async def plan(self, request: PlacementRequest) -> Decision:
        if self.error is not None:
            raise self.error
        self.planned.append(request)
        return decision()

    async def cancel(self, placement_id: str) -> Placement:
        if self.error is not None:
            raise self.error
        self.cancelled.append(placement_id)
        if placement_id != placement().id:
            raise NotFoundError(f"there is no placement {placement_id}")
        return placement(state=State.CANCELLED)

    async def resolve(self, placement_id: str, verdict: Verdict) -> Placement:
        if self.error is not None:
            raise self.error
        self.resolved.append((placement_id, verdict))
        return placement(state=State.PROVISIONING if verdict is Verdict.EXISTS else State.QUEUED)


class FakePlacementsTable:
    def __init__(self) -> None:
        self.rows: dict[str, Placement] = {}
        self.made_attempts: dict[str, list[Attempt]] = {}
        self.made_decisions: dict[str, list[Decision]] = {}

    def put(self, *placements: Placement) -> None:
        self.rows.update({p.id: p for p in placements})

    def get(self, placement_id: str) -> Placement | None:
        return self.rows.get(placement_id)

    def page(self, state: State | None, limit: int, offset: int) -> tuple[list[Placement], int]:
        found = [p for p in reversed(self.rows.values()) if state in (None, p.state)]
        return found[offset : offset + limit], len(found)

    def find(self, match: str, state: State | None, limit: int, offset: int) -> tuple[list[Placement], int]:
        found = [
            p
            for p in reversed(self.rows.values())
            if state in (None, p.state) and (p.request.name == match or p.id.startswith(match))
        ]
        return found[offset : offset + limit], len(found)

    def newest(self, limit: int) -> list[Placement]:
        return self.page(None, limit, 0)[0]

    def of_fleets(self, names: Iterable[str], *, count_made: bool) -> dict[str, FleetPlacements]:
        members = {
            name: [p for p in self.rows.values() if fleet_of(p.request.name) == name] for name in names
        }
        tried = {State.FAILED, State.RUNNING}
        return {
            name: FleetPlacements(
                [p for p in found if p.state not in CLOSED],
                [p for p in reversed(found) if p.state in tried],
                sum(p.instance_id is not None and p.state in tried for p in found) if count_made else None,
            )
            for name, found in members.items()
        }

    def oldest(self, state: State, limit: int) -> list[Placement]:
        return [p for p in self.rows.values() if p.state is state][:limit]

    def counts(self) -> Mapping[State, int]:
        return Counter(p.state for p in self.rows.values())

    def attempts(self, placement_id: str) -> list[Attempt]:
        return self.made_attempts.get(placement_id, [])

    def decisions(self, placement_id: str) -> list[Decision]:
        return self.made_decisions.get(placement_id, [])


@dataclass
class FakeOutboxTable:
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    rows: dict[str, OutboxMessage] = field(default_factory=dict)

    def put(self, *messages: OutboxMessage) -> None:
        self.rows.update({m.id: m for m in messages})

    def get(self, message_id: str) -> OutboxMessage | None:
        return self.rows.get(message_id)

    def page(self, state: str | None, limit: int, offset: int) -> tuple[Iterator[OutboxMessage], int]:
        found = [m for m in reversed(self.rows.values()) if state in (None, m.state)]
        return iter(found[offset : offset + limit]), len(found)

    def find(
        self, match: str, state: str | None, limit: int, offset: int
    ) -> tuple[Iterator[OutboxMessage], int]:
        found = [
            m for m in reversed(self.rows.values()) if state in (None, m.state) and m.id.startswith(match)
        ]
        return iter(found[offset : offset + limit]), len(found)

    def replay(self, message_id: str, now: float) -> int:
        return self._replay([message_id], now)

    def replay_all(self, receivers: Iterable[str], now: float) -> int:
        return self._replay([m.id for m in self.rows.values() if m.receiver in receivers], now)

    def _replay(self, ids: Iterable[str], now: float) -> int:
        dead = [self.rows[i] for i in ids if self.rows[i].state == "dead"]
        self.put(*(replace(m, state="pending", next_try_at=now) for m in dead))
        return len(dead)

    def counts(self) -> dict[tuple[str, str], int]:
        return dict(self.numbers)

    def oldest_pending(self) -> dict[str, float]:
        return dict(self.oldest)


@dataclass
class FakeEventsTable:
    rows: list[Event] = field(default_factory=list)

    def since(self, event_id: int | None, at: float | None, limit: int) -> list[Event]:
        if event_id is not None:
            return [e for e in self.rows if (e.id or 0) > event_id][:limit]
        if at is not None:
            return [e for e in self.rows if e.at >= at][:limit]
        return self.rows[-limit:]

    def settled(self, after: int, doubt: Doubt | None, limit: int, now: float) -> Settled:
        found = self.since(after, None, limit)
        return Settled(found, newest(found, after), more=len(found) == limit)

    def writers(self) -> frozenset[str]:
        return NOBODY

    def append(self, events: Iterable[Event]) -> list[Event]:
        last = newest(self.rows, 0)
        appended = [altered(e, id=last + n) for n, e in enumerate(events, 1)]
        self.rows += appended
        return appended


@dataclass
class FakeSilencesTable:
    rows: dict[str, Silence] = field(default_factory=dict)

    def open(self, now: float) -> list[Silence]:
        return [s for s in self.rows.values() if s.ends_at > now]

    def newest(self, limit: int) -> list[Silence]:
        return sorted(self.rows.values(), key=lambda s: -s.ends_at)[:limit]

    def get(self, silence_id: str) -> Silence | None:
        return self.rows.get(silence_id)

    def save(self, changed: Iterable[Silence]) -> None:
        self.rows.update({s.id: s for s in changed})


@dataclass
class FakeRegionHistoryTable:
    answers: list[RecordedAnswer] = field(default_factory=list)

    def between(self, since: float, until: float) -> Iterator[RecordedAnswer]:
        return (a for a in self.answers if a.until >= since and a.at <= until)


class FakeStore:
    """One transaction: itself. `error` is raised by every run; `hangs` makes it never answer."""

    def __init__(self) -> None:
        self.placements = FakePlacementsTable()
        self.outbox = FakeOutboxTable()
        self.events = FakeEventsTable()
        self.silences = FakeSilencesTable()
        self.region_history = FakeRegionHistoryTable()
        self.error: Exception | None = None
        self.hangs = False
        self.runs = 0
        self.leading = True
        self.epoch = 1

    async def run(self, transaction: Callable[[Any], T]) -> T:
        self.runs += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return transaction(self)

    async def run_leading(self, transaction: Callable[[Any], T]) -> T:
        return await self.run(transaction)

    async def read(self, transaction: Callable[[Any], T]) -> T:
        return await self.run(transaction)


def alert(
    alertname: str = "RegionUnhealthy",
    state: AlertState = AlertState.FIRING,
    severity: str = "warning",
    **labels: str,
) -> Alert:
    own = {"alertname": alertname, "severity": severity, **labels}
    return Alert(
        fingerprint=fingerprint(own.items()),
        labels=tuple(sorted(own.items())),
        annotations=(("summary", f"{alertname} in {labels.get('region', 'general')}"),),
        state=state,
        active_at=NOW - 300,
        fired_at=NOW - 200 if state is AlertState.FIRING else None,
    )


def muted_world() -> World:
    """An unhealthy region, an instance in it whose alert is inhibited and silenced, and one elsewhere."""
    region = alert(region="eu-west-2")
    inside = alert("InstanceStopped", instance_id="inst_1", region="eu-west-2")
    outside = alert("InstanceStopped", instance_id="inst_2", region="us-east-1")
    silence = Silence(
        "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1",
        (parse_matcher("instance_id=inst_1"),),
        NOW - 60,
        NOW + 3600,
        NOW - 60,
        "ada",
        "being moved",
    )
    world = world_of([instance(1)], EVERYWHERE)
    world.alerts = {a.fingerprint: a for a in (region, inside, outside)}
    world.silences = {silence.id: silence}
    world.muting = mute(world.alerts.values(), world.silences.values(), NOW)
    return world
