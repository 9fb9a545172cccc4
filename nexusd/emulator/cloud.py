"""The emulated cloud: everything CloudNexus would know, and the faults laid over it. No I/O, no waiting.

`EmulatorServer` asks it on behalf of HTTP clients; tests and the demo steer it and look inside. Time comes
from the injected clock; what is due (an instance that has booted, a fault that begins or ends) is worked out
when somebody asks, so no task runs for it and virtual time works.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from nexusd.emulator.calls import CreateOrder, PageQuery, RefusalError, unknown_region
from nexusd.emulator.effects import Drift, Drop, InstanceChange, RegionChange
from nexusd.emulator.faults import ArmedFault, Call, Fault, FaultBoard
from nexusd.emulator.fleet import Fleet
from nexusd.emulator.options import EmulatorOptions, RegionSpec
from nexusd.emulator.plan import Plan
from nexusd.emulator.regions import Regions, has_capacity, is_closed
from nexusd.emulator.rows import RUNNING, STOPPED, TERMINATED, EmulatedInstance, Row


@dataclass(frozen=True, slots=True)
class SeenCreate:
    """One `POST /instances` as the emulator saw it.

    at: when it arrived (the clock's seconds). name, region: None where they were not read or not given.
    outcome: `created` (made, and answered so), `refused` (nothing made, and answered so), `dropped` (nothing
    made, no answer), `unanswered` (made, but the answer was an error, damaged, or none at all).
    instance_id: of what was made. code: of the ErrorResponse that was sent.
    """

    at: float
    name: str | None
    region: str | None
    outcome: str
    instance_id: str | None = None
    code: str | None = None


class Cloud:
    """The state of an emulated CloudNexus.

    `clock` gives UTC seconds since the epoch, and must never go back. `creates` is the log of every POST;
    `drifted` counts what drift inserted, removed and moved; `requests` counts by (method, endpoint).
    """

    def __init__(
        self, options: EmulatorOptions | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.options = options or EmulatorOptions()
        self.api_key = self.options.api_key
        self.creates: list[SeenCreate] = []
        self.drifted = {"inserted": 0, "removed": 0, "moved": 0}
        self.requests: dict[tuple[str, str], int] = {}
        self._clock = clock or anchored_clock()
        self._fleet = Fleet(self.options)
        self._regions = Regions(self.options.regions, self.options.seed, self.options.latency_jitter_ms)
        self._board = FaultBoard(self.options.seed)

    # ── what clients ask ──────────────────────────────────────────────────────────────────────────────

    def read_regions(self) -> bytes:
        """The body of `GET /regions`."""
        now = self.advance()
        return msgspec.json.encode({"regions": self._regions.read(self._board.region_changes(now))})

    def read_instances(self, query: PageQuery, page_cap: int | None = None) -> bytes:
        """The body of `GET /instances`. `page_cap`: a lower cap than the options', by a fault."""
        self.advance()
        listing = self._fleet.listing(query.region)
        limit = min(query.limit, self.options.page_cap, page_cap or query.limit)
        page = listing.page(query.offset, limit)
        meta = b'],"meta":{"total":%d,"limit":%d,"offset":%d}}' % (len(listing), limit, query.offset)
        return b"".join((b'{"data":[', page, meta))

    def create(self, order: CreateOrder, list_lag_s: float | None = None) -> EmulatedInstance:
        """Make an instance. `list_lag_s`: a fault's, instead of the options'. Raises `RefusalError`."""
        now = self.advance()
        regions = self._regions.effective(self._board.region_changes(now))
        if order.region not in regions:
            raise unknown_region(order.region)
        self._check_room(regions[order.region])
        row = self._fleet.new_row(order.name, order.region, order.plan, now)
        row.image = order.image
        self._regions.take_slot(order.region)
        self._fleet.commit(row, self.options.list_lag_s if list_lag_s is None else list_lag_s)
        return self._fleet.view(row)

    def body_of(self, instance_id: str) -> bytes:
        """One instance's JSON. Raises `NotFoundError`."""
        return self._fleet.body(self._fleet.find(instance_id))

    # ── what tests and the demo see ───────────────────────────────────────────────────────────────────

    @property
    def now(self) -> float:
        return self._clock()

    def instance(self, instance_id: str) -> EmulatedInstance:
        """Raises `NotFoundError` for what was never made; a vanished one is still known here."""
        self.advance()
        return self._fleet.view(self._fleet.find(instance_id))

    def instances(self, region: str | None = None) -> list[EmulatedInstance]:
        """All that are listed now, in the order of the listing."""
        self.advance()
        listing = self._fleet.listing(region)
        return [self._fleet.view(listing[index]) for index in range(len(listing))]

    def instances_named(self, name: str) -> list[EmulatedInstance]:
        """All that were ever made under that name, listed, lagging or vanished, oldest first.

        More than one for a placement's name is the duplicate that must never be.
        """
        self.advance()
        return [self._fleet.view(row) for row in self._fleet.named(name)]

    def regions(self) -> dict[str, RegionSpec]:
        """The regions as they are now, faults included, without the wandering of latency."""
        return self._regions.effective(self._board.region_changes(self.advance()))

    # ── how they steer it ─────────────────────────────────────────────────────────────────────────────

    def set_region(
        self,
        slug: str,
        *,
        status: str | None = None,
        latency_ms: float | None = None,
        capacity: bool | None = None,
    ) -> None:
        """Change what is given; `capacity=True` also lifts a used-up `slots`. Raises `NotFoundError`."""
        self._regions.change(RegionChange(slug, status, latency_ms, capacity))

    def add_region(self, spec: RegionSpec) -> None:
        """List one more region, or replace the one of that slug."""
        self._regions.put(spec)

    def remove_region(self, slug: str) -> None:
        """The region leaves the list and takes no instances; those in it stay. Raises `NotFoundError`."""
        self._regions.remove(slug)

    def set_status(self, instance_id: str, status: str) -> None:
        """Any status, known to the reference or not. Raises `NotFoundError`."""
        self.advance()
        self._fleet.set_status(self._fleet.find(instance_id), status)

    def stop_instance(self, instance_id: str) -> None:
        self.set_status(instance_id, STOPPED)

    def start_instance(self, instance_id: str) -> None:
        self.set_status(instance_id, RUNNING)

    def terminate_instance(self, instance_id: str) -> None:
        """It stays in the listing as `terminated`; `vanish_instance` takes it out."""
        self.set_status(instance_id, TERMINATED)

    def vanish_instance(self, instance_id: str) -> None:
        """It is listed no more. Raises `NotFoundError`."""
        self.advance()
        self._fleet.vanish(self._fleet.find(instance_id))

    def restore_instance(self, instance_id: str) -> None:
        """A vanished one is listed again. Raises `NotFoundError`."""
        self.advance()
        self._fleet.restore(self._fleet.find(instance_id))

    def add_fault(self, fault: Fault) -> None:
        """The fault's times count from now."""
        self._board.add(fault, self.now)

    def add_faults(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.add_fault(fault)

    def clear_faults(self) -> None:
        """End all faults, and undo what those that last did to instances."""
        self.advance()
        for armed in self._board.clear():
            _undo(armed)

    def prebuild(self, limit: int = 100) -> None:
        """Join every page of that size now, so that the first sweep costs no more than the later ones."""
        listing = self._fleet.listing(None)
        for offset in range(0, len(listing), limit):
            listing.page(offset, limit)

    # ── what the server asks on the way ───────────────────────────────────────────────────────────────

    @property
    def faulty(self) -> bool:
        """Whether any fault is on the board; if not, requests need not be planned."""
        return bool(self._board.armed)

    def pages(self, query: PageQuery) -> int:
        """How many pages of the query's size its listing has."""
        return -(-len(self._fleet.listing(query.region)) // min(query.limit, self.options.page_cap))

    def dropping_unread(self, call: Call) -> Drop | None:
        """The fault that drops this request before its body is read, if any."""
        return self._board.dropping_unread(call, self.advance())

    def plan(self, call: Call) -> Plan:
        """What the faults do to this request. Those that change the cloud itself are carried out at once."""
        now = self.advance()
        plan = Plan()
        for armed in self._board.striking(call, now):
            self._strike(armed, plan, now)
        return plan

    def advance(self) -> float:
        """Do everything that was due until now; returns now."""
        now = self._clock()
        self._fleet.advance(now)
        if self._board.armed:
            self._turn_states(now)
        return now

    def _check_room(self, spec: RegionSpec) -> None:
        if is_closed(spec):
            raise RefusalError(409, "REGION_UNAVAILABLE", f"region {spec.slug} is {spec.status}")
        if not has_capacity(spec):
            raise RefusalError(409, "INSUFFICIENT_CAPACITY", f"region {spec.slug} has no capacity left")
        quota = self.options.quota
        if quota is not None and self._fleet.live >= quota:
            raise RefusalError(409, "QUOTA_EXCEEDED", f"the account's quota of {quota} instances is used up")

    def _turn_states(self, now: float) -> None:
        """Begin and end the instance changes whose time has come."""
        for armed in self._board.armed:
            effect = armed.fault.effect
            if not isinstance(effect, InstanceChange):
                continue
            holds = armed.holds(now)
            if holds and not armed.applied and not armed.fault.by_request:
                self._change_instances(armed, effect)
            elif armed.applied and not holds:
                _undo(armed)

    def _strike(self, armed: ArmedFault, plan: Plan, now: float) -> None:
        effect = armed.fault.effect
        if isinstance(effect, Drift):
            self._drift(effect, armed.rng, now)
        elif isinstance(effect, RegionChange):
            armed.began_at = now
        elif isinstance(effect, InstanceChange):
            armed.began_at = now
            self._change_instances(armed, effect)
        else:
            plan.add(effect)

    def _change_instances(self, armed: ArmedFault, change: InstanceChange) -> None:
        armed.applied = True
        for row in self._chosen(change, armed.rng):
            if change.status is None:
                self._fleet.vanish(row)
                armed.undo.append(partial(self._fleet.restore, row))
            else:
                armed.undo.append(partial(self._back, row, change.status, row.status))
                self._fleet.set_status(row, change.status)

    def _back(self, row: Row, status: str, before: str) -> None:
        """Undo a change of status, unless something else has changed it since."""
        if row.status == status:
            self._fleet.set_status(row, before)

    def _chosen(self, change: InstanceChange, rng: random.Random) -> list[Row]:
        if change.id is not None:
            return self._fleet.known(change.id)
        rows = list(self._fleet.matching(change.name))
        return rng.sample(rows, min(change.take, len(rows)))

    def _drift(self, drift: Drift, rng: random.Random, now: float) -> None:
        for _ in range(drift.remove):
            self.drifted["removed"] += self._fleet.remove_at_random(rng) is not None
        for _ in range(drift.insert):
            self.drifted["inserted"] += self._fleet.insert_at_random(rng, now) is not None
        for _ in range(drift.move):
            self.drifted["moved"] += self._fleet.move_at_random(rng) is not None


def anchored_clock() -> Callable[[], float]:
    """UTC seconds that follow the monotonic clock from now on, so that they never go back."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


def _undo(armed: ArmedFault) -> None:
    while armed.undo:
        armed.undo.pop()()
    armed.applied = False
    armed.began_at = None
