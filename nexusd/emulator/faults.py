"""When a fault strikes: which requests it matches, from when, for how long, how often.

`FaultBoard` holds the faults that were added to a cloud and decides; `Cloud` and the server carry out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from nexusd.emulator.effects import Drift, Drop, Effect, InstanceChange, RegionChange


@dataclass(frozen=True, slots=True)
class Call:
    """What a fault can see of a request. `region` and `name` are the query's or the body's.

    For a page of `GET /instances`: its `offset`, and how many `pages` of that size there are.
    """

    endpoint: str
    method: str
    region: str | None = None
    name: str | None = None
    offset: int | None = None
    pages: int = 1


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests: None matches all. `endpoint` without slash; `region` and `name` may be globs."""

    endpoint: Literal["instances", "regions"] | None = None
    method: Literal["GET", "POST"] | None = None
    region: str | None = None
    name: str | None = None

    def __call__(self, call: Call) -> bool:
        return (
            self.endpoint in (None, call.endpoint)
            and self.method in (None, call.method)
            and _globbed(self.region, call.region)
            and _globbed(self.name, call.name)
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """When. Times in seconds after the fault was added.

    at_s, for_s: from when, and for how long; None: without end.
    nth: only the n-th matching request of that time (from 1). every: each n-th. count: so many times at
    most. probability: of each that is left, drawn by the seed.
    """

    at_s: float = 0.0
    for_s: float | None = None
    nth: int | None = None
    every: int | None = None
    count: int | None = None
    probability: float | None = None

    def __post_init__(self) -> None:
        if self.at_s < 0 or (self.for_s is not None and self.for_s <= 0):
            raise ValueError("at must not be negative and for must be more than 0")
        for key, number in (("nth", self.nth), ("every", self.every), ("count", self.count)):
            if number is not None and number < 1:
                raise ValueError(f"{key} must be at least 1")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")

    @property
    def by_request(self) -> bool:
        """Whether requests set it off, rather than time alone."""
        return any(key is not None for key in (self.nth, self.every, self.count, self.probability))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    An effect on requests, and `Drift`, strike the matching requests that `schedule` picks. A `RegionChange`
    or `InstanceChange` holds from `at_s` for `for_s`; when `schedule` or `match` names requests, it begins
    with each that is picked and holds for `for_s` from then. Raises `ValueError` for what could never be
    carried out.
    """

    effect: Effect
    match: Match = field(default_factory=Match)
    schedule: Schedule = field(default_factory=Schedule)
    name: str = ""

    def __post_init__(self) -> None:
        if self.drops_unread and (self.match.name is not None or self.match.region is not None):
            raise ValueError("drop before reading cannot match by name or region: they are not read yet")

    @property
    def drops_unread(self) -> bool:
        return isinstance(self.effect, Drop) and self.effect.when == "before"

    @property
    def lasts(self) -> bool:
        """Whether it is a state that begins and ends, rather than something done to single requests."""
        return isinstance(self.effect, RegionChange | InstanceChange)

    @property
    def by_request(self) -> bool:
        """Whether requests set it off, rather than time alone."""
        return not self.lasts or self.schedule.by_request or self.match != Match()


@dataclass(slots=True)
class ArmedFault:
    """A fault on the board, with what it has seen. Times are instants of the cloud's clock.

    `began_at`: when a request set off a state. `undo`: what to call when an applied state ends.
    """

    fault: Fault
    added_at: float
    rng: random.Random
    seen: int = 0
    fired: int = 0
    began_at: float | None = None
    applied: bool = False
    undo: list[Callable[[], None]] = field(default_factory=list)
    pages_to_drift: int | None = None

    def holds(self, now: float) -> bool:
        """Whether a state is in force."""
        began_at = self.began_at if self.fault.by_request else self.added_at + self.fault.schedule.at_s
        return began_at is not None and self._within(began_at, now)

    def strikes(self, call: Call, now: float) -> bool:
        """Whether this request is one that the schedule picks; counts it."""
        if not self._armed(now) or not self.fault.match(call):
            return False
        if isinstance(self.fault.effect, Drift):
            return self._drift_strikes(call, self.fault.effect)
        return self._picked()

    def _armed(self, now: float) -> bool:
        start = self.added_at + self.fault.schedule.at_s
        return now >= start if self.fault.lasts else self._within(start, now)

    def _within(self, start: float, now: float) -> bool:
        for_s = self.fault.schedule.for_s
        return start <= now and (for_s is None or now < start + for_s)

    def _picked(self) -> bool:
        schedule = self.fault.schedule
        self.seen += 1
        picked = (
            (schedule.nth is None or self.seen == schedule.nth)
            and (schedule.every is None or self.seen % schedule.every == 0)
            and (schedule.count is None or self.fired < schedule.count)
            and (schedule.probability is None or self.rng.random() < schedule.probability)
        )
        self.fired += picked
        return picked

    def _drift_strikes(self, call: Call, drift: Drift) -> bool:
        if call.offset is None:
            return False
        if drift.each == "page":
            return self._picked()
        return self._sweep_drifts(call.offset, call.pages)

    def _sweep_drifts(self, offset: int, pages: int) -> bool:
        """Once a sweep: a page at offset 0 begins one, and draws before which later page the drift comes."""
        if offset == 0:
            drifts = pages > 1 and self._picked()
            self.pages_to_drift = self.rng.randint(1, pages - 1) if drifts else None
            return False
        if self.pages_to_drift is None:
            return False
        self.pages_to_drift -= 1
        if self.pages_to_drift > 0:
            return False
        self.pages_to_drift = None
        return True


class FaultBoard:
    """The faults of one cloud, in the order they were added."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._added = 0
        self.armed: list[ArmedFault] = []

    def add(self, fault: Fault, now: float) -> None:
        rng = random.Random(f"{self._seed}:fault:{self._added}")  # noqa: S311 - repeatable on purpose
        self._added += 1
        self.armed.append(ArmedFault(fault, now, rng))

    def clear(self) -> list[ArmedFault]:
        """Take all faults off; returns them."""
        cleared, self.armed = self.armed, []
        return cleared

    def dropping_unread(self, call: Call, now: float) -> Drop | None:
        """The drop that strikes this request before its body is read, if any."""
        for armed in self.armed:
            effect = armed.fault.effect
            if isinstance(effect, Drop) and effect.when == "before" and armed.strikes(call, now):
                return effect
        return None

    def striking(self, call: Call, now: float) -> list[ArmedFault]:
        """All other faults that strike this request, or are set off by it."""
        return [
            armed
            for armed in self.armed
            if armed.fault.by_request and not armed.fault.drops_unread and armed.strikes(call, now)
        ]

    def region_changes(self, now: float) -> list[RegionChange]:
        """The changes to regions that are in force."""
        return [
            armed.fault.effect
            for armed in self.armed
            if isinstance(armed.fault.effect, RegionChange) and armed.holds(now)
        ]


def _globbed(pattern: str | None, text: str | None) -> bool:
    return pattern is None or (text is not None and fnmatchcase(text, pattern))
