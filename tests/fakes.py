"""Fakes of the ports that every room may need: time, the cloud in memory, metrics.

They keep the promises of `nexusd/ports.py` and no more; what an HTTP server does wrong is the emulator's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Refused, Unknown
from nexusd.core.errors import ApiError
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance, Region
from nexusd.core.regions import RegionList
from nexusd.core.sweeps import Sweep
from nexusd.ports import Clock, OutboxMessage, Transaction

EPOCH = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC, where a FakeClock starts."""


def outbox_page(
    tx: Transaction, state: str | None, limit: int, offset: int = 0
) -> tuple[list[OutboxMessage], int]:
    """A page of the outbox, whole, to be looked at after the transaction."""
    rows, total = tx.outbox.page(state, limit, offset)
    return list(rows), total


class FakeClock:
    """ports.Clock that stands still until it is told otherwise."""

    def __init__(self, now: float = EPOCH, utc_offset_s: float = 0.0) -> None:
        self._now = now
        self._utc_offset_s = utc_offset_s

    def now(self) -> float:
        return self._now

    def utc_offset_s(self) -> float:
        return self._utc_offset_s

    def set(self, now: float) -> None:
        self._now = now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def step_wall_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock: instants do not move, what people are shown does."""
        self._utc_offset_s += seconds


@dataclass(frozen=True, slots=True)
class Create:
    """How one POST goes. `answer` None: a 201 with the instance. `makes`: whether the instance then exists.

    `listed_after_s`: it exists but the listing lacks it this long. `takes_s`: the answer comes this much
    later (loop time); what is made is made at once, so a cancelled call has made it.
    """

    answer: CreateAnswer | None = None
    makes: bool = True
    listed_after_s: float = 0.0
    takes_s: float = 0.0


CREATED = Create()
LOST = Create(Unknown("the connection was reset after the request was sent"))
NEVER_ARRIVED = Create(Unknown("no answer within 10s"), makes=False)
WITHOUT_ID = Create(Created(None))
NOT_SENT = Create(NotSent("connection refused"), makes=False)


def refusal(kind: str = "capacity", scope: str = "region", status: int = 409, code: str = "") -> Create:
    """A documented refusal: nothing is made."""
    code = code or {"capacity": "INSUFFICIENT_CAPACITY", "auth": "UNAUTHORIZED"}.get(kind, kind.upper())
    return Create(Refused(status, code, f"refused: {kind}", kind, scope), makes=False)


@dataclass(slots=True)
class _Existing:
    instance: Instance
    listed_at: float


class FakeCloudApi:
    """ports.CloudApi over a dictionary.

    `requests`: every POST that was sent, in order. `stored_name`: how it stores a name. `lists_plans`:
    whether it states plans. `sweep_takes_s`, `regions_take_s`: how long reading takes (loop time).
    """

    def __init__(
        self, clock: Clock, regions: Iterable[Region] = (), instances: Iterable[Instance] = ()
    ) -> None:
        self.requests: list[CreateRequest] = []
        self.stored_name: Callable[[str], str] = str
        self.lists_plans = True
        self.sweep_takes_s = 0.0
        self.regions_take_s = 0.0
        self._clock = clock
        self._regions = {r.slug: r for r in regions}
        self._existing = {i.id: _Existing(i, clock.now()) for i in instances}
        self._script: deque[Create] = deque()
        self._refusing: dict[str, Create] = {}
        self._failures: dict[str, deque[ApiError]] = {REGIONS: deque(), INSTANCES: deque()}
        self._broken: dict[str, ApiError] = {}
        self._answered_at: dict[str, float] = {}
        self._ids = itertools.count(1)

    # the port

    async def read_regions(self) -> RegionList:
        began_at = self._clock.now()
        await asyncio.sleep(self.regions_take_s)
        self._raise_if_failing(REGIONS)
        ended_at = self._answered_at[REGIONS] = self._clock.now()
        return RegionList(began_at, ended_at, dict(self._regions))

    async def sweep_instances(self) -> Sweep:
        began_at = self._clock.now()
        await asyncio.sleep(self.sweep_takes_s)
        self._raise_if_failing(INSTANCES)
        ended_at = self._answered_at[INSTANCES] = self._clock.now()
        listed = {i: e.instance for i, e in self._existing.items() if e.listed_at <= ended_at}
        return Sweep(began_at, ended_at, listed)

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        if self._clock.now() > deadline:
            return NotSent("the deadline had passed")
        create = self._script.popleft() if self._script else self._refusing.get(request.region, CREATED)
        if isinstance(create.answer, NotSent):
            return create.answer
        self.requests.append(request)
        instance = self._make(request, create.listed_after_s) if create.makes else None
        await asyncio.sleep(create.takes_s)
        return create.answer if create.answer is not None else Created(instance)

    def last_answer_at(self, resource: str) -> float | None:
        return self._answered_at.get(resource)

    # what the test does to it

    def script_creates(self, *creates: Create) -> None:
        """How the next POSTs go; after those each succeeds."""
        self._script.extend(creates)

    def go_dry(self, region: str, create: Create) -> None:
        """Every POST to the region goes like this, until `recover`; what is scripted comes first."""
        self._refusing[region] = create

    def recover(self, region: str) -> None:
        self._refusing.pop(region, None)

    def fail_next(self, resource: str, *errors: ApiError) -> None:
        """The next readings of `regions` or `instances` raise these, one each."""
        self._failures[resource].extend(errors)

    def break_(self, resource: str, error: ApiError) -> None:
        """Every reading raises this until `mend`."""
        self._broken[resource] = error

    def mend(self, resource: str) -> None:
        self._broken.pop(resource, None)

    def answered(self, resource: str) -> None:
        """A single page was read although the whole failed."""
        self._answered_at[resource] = self._clock.now()

    def put_region(self, region: Region) -> None:
        self._regions[region.slug] = region

    def change_region(self, slug: str, **changes: object) -> None:
        self._regions[slug] = msgspec.structs.replace(self._regions[slug], **changes)

    def remove_region(self, slug: str) -> None:
        del self._regions[slug]

    def put(self, instance: Instance) -> None:
        self._existing[instance.id] = _Existing(instance, self._clock.now())

    def change(self, instance_id: str, **changes: object) -> None:
        """Change fields of an instance: `api.change(id, status="running")`."""
        existing = self._existing[instance_id]
        existing.instance = msgspec.structs.replace(existing.instance, **changes)

    def remove(self, instance_id: str) -> None:
        del self._existing[instance_id]

    def existing(self, name: str | None = None) -> list[Instance]:
        """What truly exists, listed or not."""
        return [e.instance for e in self._existing.values() if name in {None, e.instance.name}]

    def _make(self, request: CreateRequest, listed_after_s: float) -> Instance:
        made = Instance(
            id=f"inst_{next(self._ids):08d}",
            name=self.stored_name(request.name),
            status="pending",
            region=request.region,
            plan=request.plan if self.lists_plans else None,
            image=request.image,
        )
        self._existing[made.id] = _Existing(made, self._clock.now() + listed_after_s)
        return made

    def _raise_if_failing(self, resource: str) -> None:
        if self._failures[resource]:
            raise self._failures[resource].popleft()
        if resource in self._broken:
            raise self._broken[resource]


@dataclass(slots=True)
class RecordingMetrics:
    """ports.Metrics that remembers: `counts["placement_attempt", "us-east-1", "created"] == 1`.

    Durations are left out of the keys; the last of each kind is in `seconds`.
    """

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    seconds: dict[str, float | None] = field(default_factory=dict)

    def api_request(self, endpoint: str, method: str, code: str, duration_s: float) -> None:
        self._count("api_request", endpoint, method, code)
        self.seconds["api_request"] = duration_s

    def api_retry(self, endpoint: str) -> None:
        self._count("api_retry", endpoint)

    def api_circuit(self, state: str) -> None:
        self._count("api_circuit", state)

    def poll_ended(self, resource: str, failure: str | None, duration_s: float) -> None:
        self._count("poll_ended", resource, failure or "")
        self.seconds["poll_ended"] = duration_s

    def poll_skipped(self, resource: str) -> None:
        self._count("poll_skipped", resource)

    def instances_changed(self, region: str, before: str, after: str, count: int) -> None:
        for _ in range(count):
            self._count("instances_changed", region, before, after)

    def placement_attempt(self, region: str, outcome: str) -> None:
        self._count("placement_attempt", region, outcome)

    def placement_ended(self, duration_s: float) -> None:
        self._count("placement_ended")
        self.seconds["placement_ended"] = duration_s

    def notification(self, receiver: str, failure: str | None, latency_s: float | None) -> None:
        self._count("notification", receiver, failure or "")
        self.seconds["notification"] = latency_s

    def notification_request(self, receiver: str, code: str) -> None:
        self._count("notification_request", receiver, code)

    def loop_lag(self, lag_s: float) -> None:
        self._count("loop_lag")
        self.seconds["loop_lag"] = lag_s

    def loop_tasks(self, count: int) -> None:
        self._count("loop_tasks")

    def _count(self, *key: str) -> None:
        self.counts[key] += 1


class NullMetrics(RecordingMetrics):
    """ports.Metrics that forgets."""

    def _count(self, *key: str) -> None:
        pass
