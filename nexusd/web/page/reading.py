"""What the page is made from, read at most a few times a second however many look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from nexusd.core.alerts import Alert
from nexusd.core.census import AlertCounts
from nexusd.core.errors import StoreError
from nexusd.core.events import Event
from nexusd.core.fleets import FleetPlacements, FleetState, plan_fleets
from nexusd.core.lifecycle import Placement, State
from nexusd.core.placement import Considered, Decision
from nexusd.core.polls import REGIONS
from nexusd.core.world import World
from nexusd.persistence import PatientReader
from nexusd.ports import Clock, Daemon, Store, Transaction
from nexusd.web.page.course import POLLS_A_SLOT, Courses
from nexusd.web.page.order import AlertOrder
from nexusd.web.shapes import Shaper
from nexusd.web.tallies import Tallies, TallyReader, within

T = TypeVar("T")

FRESH_FOR_S = 0.25
"""A reading younger than this is used again. The script waits longer after an event before it asks."""
STORE_TIMEOUT_S = 1.0
"""A page without placements is better than a page that is waited for."""
LATEST_PLACEMENTS = 15
LATEST_EVENTS = 10
MAX_HELD = 10
MAX_FLEETS = 50
ANSWERS_AT_ONCE = 64
"""Recorded answers of `/regions` that one transaction reads: others who read get their turn in between."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a page shows of the store. `latest` placements and `events`: the newest first. `decisions`: the
    last of each placement that has a region, by its id.
    """

    latest: list[Placement]
    held: list[Placement]
    decisions: Mapping[str, Decision]
    of_fleets: Mapping[str, FleetPlacements]
    events: list[Event]


@dataclass(frozen=True, slots=True)
class View:
    """All that one page is made from.

    `alerts`: those firing and pending, the most pressing first, and `alert_counts` of the same pass. `stored`
    None: the store did not answer. `fleets`: the first `MAX_FLEETS` of those declared, None when the store
    did not answer. `has_receivers`: whether alerts are sent to anyone. `number` grows with every change.
    """

    version: str
    world: World
    eligibility: tuple[Considered, ...]
    tallies: Tallies
    alerts: tuple[Alert, ...]
    alert_counts: AlertCounts
    courses: Courses
    stored: Stored | None
    fleets: list[FleetState] | None
    not_ready: str | None
    leading: bool
    epoch: int
    shaper: Shaper
    has_receivers: bool = True
    number: int = 0

    @property
    def now(self) -> float:
        return self.shaper.now

    @property
    def refresh_s(self) -> float:
        """How often it is worth while to look again without an event."""
        return min(30.0, max(1.0, min(p.interval_s for p in self.world.polls.values())))


@dataclass(eq=False, slots=True)
class _Seen:
    """What a view showed, to tell whether another shows something else. `replaced`: what is never changed in
    place but replaced; compared by identity, because a fleet's worth of alerts is in there.
    """

    replaced: tuple[object, ...]
    compared: tuple[object, ...]

    def differs(self, other: _Seen) -> bool:
        same = all(a is b for a, b in zip(self.replaced, other.replaced, strict=True))
        return not same or self.compared != other.compared


_Decided = dict[tuple[str, int], Decision]
"""By a placement's id and how many attempts it has: an attempt that was begun keeps its decision."""


def _decided(tx: Transaction, placements: Iterable[Placement], known: _Decided) -> _Decided:
    """The last decision of each that has a region; what is known is not read again."""
    found: _Decided = {}
    for placement in placements:
        key = placement.id, placement.attempts
        if key in known:
            found[key] = known[key]
        elif placement.region is not None and (made := tx.placements.decisions(placement.id)):
            found[key] = made[-1]
    return found


class Reading:
    """Makes views."""

    def __init__(
        self,
        version: str,
        daemon: Daemon,
        store: Store,
        clock: Clock,
        tallies: TallyReader,
        *,
        has_receivers: bool = True,
    ) -> None:
        self._version = version
        self._has_receivers = has_receivers
        self._daemon = daemon
        self._store = store
        self._clock = clock
        self._tallies = tallies
        self._reader = PatientReader()
        self._lock = asyncio.Lock()
        self._order = AlertOrder()
        self._courses = Courses(slot_s=0.0)
        self._decided: _Decided = {}
        self._seen = _Seen((), ())
        self._view: View | None = None

    async def view(self) -> View:
        """What is known now, or was a quarter of a second ago."""
        async with self._lock:
            view, now = self._view, self._clock.now()
            if view is None or not 0.0 <= now - view.now < FRESH_FOR_S:
                view = self._view = self._numbered(await self._read())
            return view

    async def ask(self, transaction: Callable[[Transaction], T]) -> T:
        """Read from the store. Raises `StoreError` when it does not answer in time."""
        return await within(STORE_TIMEOUT_S, self._store.read(transaction))

    async def _read(self) -> View:
        """The store is read while the alerts are put in order. While a poll is under way each turn of the
        event loop takes milliseconds, so few are waited for.
        """
        world = self._daemon.world
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(self._tallies.latest(), name="page tallies")
            transaction = self._transaction(world.fleets.names[:MAX_FLEETS])
            reading = group.create_task(self._stored(transaction), name="page placements")
            counts = world.alert_counts
            alerts = await self._order.of(world.alerts, world.muting)
            stored = await reading
            if stored is not None:
                await self._read_courses()
        tallies = counting.result()
        world, now = self._daemon.world, self._clock.now()
        return View(
            version=self._version,
            world=world,
            eligibility=self._daemon.eligibility(),
            tallies=tallies,
            alerts=alerts,
            alert_counts=counts,
            courses=self._courses,
            stored=stored,
            fleets=plan_fleets(world.fleets, world.inventory, stored.of_fleets, now) if stored else None,
            not_ready=self._daemon.not_ready(),
            leading=self._store.leading,
            epoch=self._store.epoch,
            shaper=Shaper(now, self._clock.utc_offset_s()),
            has_receivers=self._has_receivers,
        )

    def _numbered(self, view: View) -> View:
        before = self._view.number if self._view is not None else 0
        world, tallies = view.world, replace(view.tallies, counted_at=None)
        seen = _Seen(
            (view.alerts, world.silences, world.regions, world.inventory),
            (
                dict(world.polls),
                world.inventory.observed_at,
                world.inventory.hold,
                view.eligibility,
                tallies,
                view.stored,
                view.fleets,
                (view.not_ready, view.leading, view.epoch),
            ),
        )
        changed = self._view is None or seen.differs(self._seen)
        self._seen = seen
        return replace(view, number=before + changed)

    def _transaction(self, fleets: tuple[str, ...]) -> Callable[[Transaction], tuple[Stored, _Decided]]:
        def transaction(tx: Transaction) -> tuple[Stored, _Decided]:
            latest = tx.placements.newest(LATEST_PLACEMENTS)
            held = tx.placements.oldest(State.HELD, MAX_HELD)
            decided = _decided(tx, (*latest, *held), known)
            events = tx.events.since(None, None, LATEST_EVENTS)
            by_id = {placement_id: decision for (placement_id, _), decision in decided.items()}
            return Stored(
                latest, held, by_id, tx.placements.of_fleets(fleets, count_made=True), events[::-1]
            ), decided

        known = self._decided
        return transaction

    async def _stored(self, transaction: Callable[[Transaction], tuple[Stored, _Decided]]) -> Stored | None:
        """Read the store's part of the view.

        None if the store does not answer in time, or has not answered an earlier view yet.
        """
        try:
            stored, self._decided = await self._reader.read(lambda: self._store.read(transaction))
        except StoreError:
            return None
        return stored

    async def _read_courses(self) -> None:
        """Catch up with what was answered since the last time."""
        world = self._daemon.world
        slot_s = world.polls[REGIONS].interval_s * POLLS_A_SLOT
        if slot_s != self._courses.slot_s:
            self._courses = Courses(slot_s)
        courses, observed_at, now = self._courses, world.regions.observed_at, self._clock.now()
        if observed_at is None or (courses.upto is not None and courses.upto >= observed_at):
            return
        taken = ANSWERS_AT_ONCE
        while taken == ANSWERS_AT_ONCE:
            since = courses.since(now)
            try:
                found = await self.ask(
                    lambda tx, since=since: list(  # type: ignore[misc]
                        islice(tx.region_history.between(since, now), ANSWERS_AT_ONCE)
                    )
                )
            except StoreError:
                return
            before, taken = courses.upto, courses.take(found, now)
            if courses.upto == before:
                return
