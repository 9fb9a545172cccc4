"""Where placements would have gone under another policy: what `/regions` answered, decided on anew.

Used by `nexusd replay`. What is known of the past is what decisions were stored with: how many instances each
region had, and which were cooling off. A replayed placement counts for the region that it would have gone to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, inf

from nexusd.core import expressions
from nexusd.core.cooling import CoolingOff
from nexusd.core.lifecycle import Placement
from nexusd.core.placement import (
    Decision,
    PlacementPolicy,
    PlacementRequest,
    Supply,
    Where,
    choose,
    decide,
    shortlist,
)
from nexusd.core.recordings import RecordedAnswer
from nexusd.core.records import Region
from nexusd.core.regions import NO_REGIONS, RegionList, RegionSnapshot, next_snapshot

ANYTHING = PlacementRequest(name="", plan="")


@dataclass(frozen=True, slots=True)
class Constraints:
    """What is asked of every request besides its own constraints. `regions` None: nothing."""

    regions: tuple[str, ...] | None = None
    avoid_regions: tuple[str, ...] = ()
    where: str | None = None


NO_CONSTRAINTS = Constraints()


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy to replay under. `half_life_s`: of the smoothing, None for none."""

    policy: PlacementPolicy
    half_life_s: float | None = None
    constraints: Constraints = NO_CONSTRAINTS


@dataclass(frozen=True, slots=True)
class Choice:
    """Where something went or would have gone; `reason` when nowhere. `latency_ms` is never smoothed."""

    region: str | None
    latency_ms: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """Something to decide at an instant. `placement_id` and `actual` None: nothing was placed then.

    `instances` and `cooling_off` (reasons) by region, as the stored decision has them; `instances` None when
    none is stored.
    """

    at: float
    request: PlacementRequest = ANYTHING
    placement_id: str | None = None
    actual: Choice | None = None
    instances: Mapping[str, int] | None = None
    cooling_off: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One decision under each variant, in their order."""

    past: Past
    choices: tuple[Choice, ...]

    @property
    def differs(self) -> bool:
        return len({choice.region for choice in self.choices}) > 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What a policy came to. Latencies of what was placed, where known. `switches`: how often one went
    elsewhere than the one placed before it. `regions`: how many each got, the most first.
    """

    placed: int
    nowhere: int
    mean_ms: float | None
    p95_ms: float | None
    switches: int
    regions: tuple[tuple[str, int], ...]


def recall(placement: Placement, chosen: Decision | None) -> Past:
    """A stored placement as something to decide again. `chosen`: its last decision that found a region."""
    if chosen is None:
        actual = Choice(None, reason=placement.reason)
        return Past(placement.created_at, placement.request, placement.id, actual)
    latency_ms = next((c.latency_ms for c in chosen.considered if c.region == chosen.region), None)
    return Past(
        chosen.decided_at,
        placement.request,
        placement.id,
        Choice(chosen.region, latency_ms),
        {c.region: c.instances for c in chosen.considered},
        {c.region: why for c in chosen.considered if (why := _cooling_off(c.reasons)) is not None},
    )


def _cooling_off(reasons: Iterable[str]) -> str | None:
    """After what a region cooled off, or was not to be tried just then, as the reasons tell."""
    for reason in reasons:
        for told in ("cooling off after ", " under way after "):
            _, found, why = reason.partition(told)
            if found:
                return why
        if reason.endswith(" in doubt"):
            return reason
    return None


def replay(
    answers: Iterable[RecordedAnswer], past: Iterable[Past], variants: Sequence[Variant]
) -> Iterator[Replayed]:
    """Decide for each of `past` under every variant, on what was answered by then. Both oldest first."""
    timeline = _Timeline(answers, {variant.half_life_s for variant in variants})
    runs = [_Run(variant) for variant in variants]
    instances: Mapping[str, int] = {}
    for each in past:
        timeline.advance(each.at)
        instances = each.instances if each.instances is not None else instances
        choices = tuple(run.choose(each, timeline.snapshots[run.half_life_s], instances) for run in runs)
        yield Replayed(each, choices)


def ticks(since: float, until: float, every_s: float) -> Iterator[Past]:
    """A request without constraints at each interval, where there is nothing recorded to replay."""
    for n in range(int((until - since) / every_s) + 1):
        yield Past(since + n * every_s)


def summary(choices: Iterable[Choice]) -> Summary:
    """Choices in the order of time."""
    every = list(choices)
    placed = [choice for choice in every if choice.region is not None]
    latencies = sorted(choice.latency_ms for choice in placed if choice.latency_ms is not None)
    share = Counter(choice.region for choice in placed if choice.region is not None)
    return Summary(
        placed=len(placed),
        nowhere=len(every) - len(placed),
        mean_ms=sum(latencies) / len(latencies) if latencies else None,
        p95_ms=latencies[ceil(0.95 * len(latencies)) - 1] if latencies else None,
        switches=sum(a.region != b.region for a, b in pairwise(placed)),
        regions=tuple(sorted(share.items(), key=lambda item: (-item[1], item[0]))),
    )


class _Timeline:
    """The snapshot in force as time goes by, smoothed by each half-life that is asked for."""

    def __init__(self, answers: Iterable[RecordedAnswer], half_lives_s: Iterable[float | None]) -> None:
        self._coming = iter(answers)
        self._next = next(self._coming, None)
        self._current: RecordedAnswer | None = None
        self._regions: Mapping[str, Region] = {}
        self._answered_at = -inf
        self.snapshots: dict[float | None, RegionSnapshot] = dict.fromkeys(half_lives_s, NO_REGIONS)

    def advance(self, at: float) -> None:
        """Take in every answer given by then. One that lasted was given again by each poll until its end."""
        while self._next is not None and self._next.at <= at:
            coming, self._next = self._next, next(self._coming, None)
            self._lasted(coming.at)
            self._current = coming
            self._regions = {region.slug: region for region in coming.regions}
            self._answered(coming.at)
        self._lasted(at)

    def _lasted(self, at: float) -> None:
        """The current answer was given again until then, or until its end."""
        if self._current is not None and min(self._current.until, at) > self._answered_at:
            self._answered(min(self._current.until, at))

    def _answered(self, at: float) -> None:
        self._answered_at = at
        answer = RegionList(at, at, self._regions)
        for half_life_s, before in self.snapshots.items():
            self.snapshots[half_life_s], _ = next_snapshot(before, answer, half_life_s)


class _Run:
    """One variant, and what it would have placed so far."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._moved: Counter[str] = Counter()
        self._groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._incumbents: dict[str, str] = {}
        self._compiled: dict[tuple[str | None, str | None], Where | None] = {}

    @property
    def half_life_s(self) -> float | None:
        return self._variant.half_life_s

    def choose(self, past: Past, regions: RegionSnapshot, instances: Mapping[str, int]) -> Choice:
        request = _constrained(past.request, self._variant.constraints)
        listed = shortlist(request, regions, self._where(past.request))
        supply = self._supply(past, regions, instances)
        policy = self._variant.policy
        region = choose(request, listed, supply, policy, past.at)
        if region is None:
            choice = Choice(None, reason=decide(request, listed, supply, policy, past.at).reason)
        else:
            choice = Choice(region, regions.known[region].region.latency_ms)
        self._remember(past, choice)
        return choice

    def _supply(self, past: Past, regions: RegionSnapshot, instances: Mapping[str, int]) -> Supply:
        spread = past.request.spread
        return Supply(
            regions,
            {r: max(0, instances.get(r, 0) + self._moved[r]) for r in instances.keys() | self._moved},
            {(r, ""): CoolingOff(r, inf, 1, why) for r, why in past.cooling_off.items()},
            group=self._groups[spread.group] if spread is not None else {},
            incumbent=self._incumbents.get(past.request.constraint_class),
        )

    def _remember(self, past: Past, choice: Choice) -> None:
        """What was placed elsewhere counts there, and no more where it really went."""
        if choice.region is not None:
            self._incumbents[past.request.constraint_class] = choice.region
        if past.placement_id is None:
            return
        if choice.region is not None:
            self._moved[choice.region] += 1
            if past.request.spread is not None:
                self._groups[past.request.spread.group][choice.region] += 1
        if past.actual is not None and past.actual.region is not None:
            self._moved[past.actual.region] -= 1

    def _where(self, request: PlacementRequest) -> Where | None:
        key = request.where, self._variant.constraints.where
        if key not in self._compiled:
            self._compiled[key] = _both([expressions.region_where(text) for text in key if text is not None])
        return self._compiled[key]


def _both(wheres: list[Callable[[Region], bool]]) -> Where | None:
    return (lambda region: all(where(region) for where in wheres)) if wheres else None


def _constrained(request: PlacementRequest, constraints: Constraints) -> PlacementRequest:
    """The request with what the variant asks besides."""
    allowed = request.regions
    if constraints.regions is not None:
        allowed = tuple(r for r in constraints.regions if request.regions is None or r in request.regions)
    return replace(request, regions=allowed, avoid_regions=request.avoid_regions + constraints.avoid_regions)
