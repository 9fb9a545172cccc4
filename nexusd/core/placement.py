"""Where a placement goes: filter, score, choose, with every reason. The same functions serve `plan`.

What only a new region snapshot changes (health, capacity, the request's own constraints, latency) is judged
once a snapshot and constraint class (`shortlist`); what changes with each create (counts, cooling off,
spread) is judged on top of it for the candidates that are looked at. `choose` looks at as few as it can,
`decide` at every one, with the reasons.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from nexusd.core.cooling import ACCOUNT, WINDOW, Coolings, cooling_reason
from nexusd.core.expressions import ExpressionError
from nexusd.core.records import Region
from nexusd.core.region_names import enumerate_names, unlisted_regions
from nexusd.core.regions import RegionSnapshot

DEFAULT_IMAGE = "ubuntu-22.04"
PLANS = ("starter", "pro", "enterprise")
POLICY = "lowest-latency"
MAX_REASONS_TOLD = 5
UNKNOWN_REGION, LEFT_REGION = "unknown region", "left the list of regions"
UNKNOWN_MS = float("inf")

Where = Callable[[Region], bool]
"""A compiled `where`: whether a region satisfies it. May raise `expressions.ExpressionError`."""


@dataclass(frozen=True, slots=True)
class Spread:
    """At most `max_skew` more instances of `group` in one eligible region than in another.

    As in Kubernetes' topology spread, a placement may go where the group's count, this one included, exceeds
    the least among the regions that it could go to by at most `max_skew`. Those are the regions that its own
    constraints allow and that are healthy with capacity and below the cap; one that merely cools off still
    counts, because what is placed elsewhere meanwhile could never be moved back.
    """

    group: str
    max_skew: int = 1


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """What was asked for. `regions` None means any. `deadline`: the UTC seconds that a person meant; the wall
    clock says when it has come, whatever was done to it meanwhile.
    """

    name: str
    plan: str
    image: str = DEFAULT_IMAGE
    ssh_keys: tuple[str, ...] = ()
    regions: tuple[str, ...] | None = None
    avoid_regions: tuple[str, ...] = ()
    where: str | None = None
    spread: Spread | None = None
    priority: int = 0
    deadline: float | None = None
    fleet: str | None = None

    @property
    def constraint_class(self) -> str:
        """The same for all requests that every region looks the same to, so that one decision serves all."""
        return _class_of(self.plan, self.regions, self.avoid_regions, self.where, self.spread)


@lru_cache(maxsize=4096)
def _class_of(
    plan: str,
    regions: tuple[str, ...] | None,
    avoid_regions: tuple[str, ...],
    where: str | None,
    spread: Spread | None,
) -> str:
    constraints = [
        plan,
        sorted(set(regions)) if regions is not None else None,
        sorted(set(avoid_regions)),
        where,
        [spread.group, spread.max_skew] if spread is not None else None,
    ]
    text = json.dumps(constraints, separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


class Considered(msgspec.Struct, frozen=True):
    """One region in a decision. `rank` counts from 1 among the eligible; `reasons` says why not.

    `smoothed_ms`: what was compared instead of `latency_ms`, where smoothing is on. A Struct because every
    decision makes one for every region.
    """

    region: str
    eligible: bool
    rank: int | None
    latency_ms: float | None
    instances: int
    reasons: tuple[str, ...] = ()
    smoothed_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which region, or why none. `observed_at` is when the region data it rests on was read."""

    decided_at: float
    region: str | None
    reason: str | None
    observed_at: float | None
    considered: tuple[Considered, ...] = ()
    policy: str = POLICY


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """Seconds and counts.

    `max_data_age_s`: region data older than this decides nothing. `max_inventory_age_s`: likewise for the
    instances, which hold the names. `max_per_region` None: no cap. `switch_margin_ms`: how much lower a
    latency must be to take over from the region chosen last. `max_instances`, `max_instances_per_plan`
    (`core.limits`) None: no limit.
    """

    max_data_age_s: float = 45.0
    max_inventory_age_s: float = 90.0
    max_per_region: int | None = None
    switch_margin_ms: float = 0.0
    max_instances: int | None = None
    max_instances_per_plan: int | None = None


class Candidate(NamedTuple):
    """A region that a request of the class may go to, as far as the snapshot alone tells."""

    score_ms: float
    slug: str
    region: Region
    smoothed_ms: float | None


@dataclass(frozen=True, slots=True)
class Shortlist:
    """All regions as one snapshot shows them to one constraint class.

    `candidates`: the best latency first. `others`: the rest with all that stands against them.
    """

    snapshot: RegionSnapshot
    candidates: tuple[Candidate, ...]
    others: tuple[tuple[str, Region | None, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Supply:
    """What a decision rests on besides the request.

    `instances` and `group` (members of the request's spread group) by region, placements under way included;
    `in_flight` and `in_doubt`: creates by region. `blocked`: why nothing may be created anywhere now.
    `incumbent`: the region chosen last.
    """

    regions: RegionSnapshot
    instances: Mapping[str, int] = field(default_factory=dict)
    cooling_off: Coolings = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    in_doubt: Mapping[str, int] = field(default_factory=dict)
    group: Mapping[str, int] = field(default_factory=dict)
    blocked: str | None = None
    incumbent: str | None = None


def shortlist(request: PlacementRequest, snapshot: RegionSnapshot, where: Where | None = None) -> Shortlist:
    """Judge each listed region, and those that the request names though they are not listed."""
    candidates: list[Candidate] = []
    others: list[tuple[str, Region | None, tuple[str, ...]]] = []
    for known in snapshot.known.values():
        region = known.region
        if known.left_at is not None:
            continue
        reasons = [*_objections(region, request), *_where_objection(where, region)]
        if reasons:
            others.append((region.slug, region, tuple(reasons)))
            continue
        compared = known.smoothed_ms if known.smoothed_ms is not None else region.latency_ms
        score_ms = compared if compared is not None else UNKNOWN_MS
        candidates.append(Candidate(score_ms, region.slug, region, known.smoothed_ms))
    others += [(slug, None, (why,)) for slug, why in _unlisted(request, snapshot)]
    return Shortlist(snapshot, tuple(sorted(candidates, key=_by_score)), tuple(others))


def choose(
    request: PlacementRequest, listed: Shortlist, supply: Supply, policy: PlacementPolicy, now: float
) -> str | None:
    """Of the candidates that pass every filter, the lowest latency (an unknown one comes last); ties: fewer
    instances, then slug. One chosen last stays chosen until another is better by the switching margin.
    """
    if nothing_now(supply, policy, now) is not None:
        return None
    judge = _Judge(request, listed, supply, policy, now)
    best: Candidate | None = None
    for candidate in listed.candidates:
        if best is not None and candidate.score_ms > best.score_ms:
            break
        if judge.passes(candidate) and (best is None or judge.score(candidate) < judge.score(best)):
            best = candidate
    if best is None:
        return None
    stayed = _incumbent(listed, supply, policy, best, judge)
    return stayed.slug if stayed is not None else best.slug


def decide(
    request: PlacementRequest, listed: Shortlist, supply: Supply, policy: PlacementPolicy, now: float
) -> Decision:
    """What `choose` chooses, with every region and every reason."""
    observed_at = supply.regions.observed_at
    if observed_at is None:
        return Decision(now, None, supply.blocked or "no region data yet", None)
    considered = explain(request, listed, supply, policy, now)
    if considered and considered[0].eligible:
        return Decision(now, considered[0].region, None, observed_at, considered)
    reason = nothing_now(supply, policy, now) or _why_none(considered) + _unlisted_avoided(request, supply)
    return Decision(now, None, reason, observed_at, considered)


def explain(
    request: PlacementRequest, listed: Shortlist, supply: Supply, policy: PlacementPolicy, now: float
) -> tuple[Considered, ...]:
    """The eligible first, by rank, then the others by slug with their reasons."""
    nothing = nothing_now(supply, policy, now)
    judge = _Judge(request, listed, supply, policy, now)
    eligible: list[Candidate] = []
    refused: list[Considered] = []
    for candidate in listed.candidates:
        reasons = judge.objections(candidate.slug)
        if nothing is not None:
            reasons.append(nothing)
        if reasons:
            refused.append(_refused(candidate.slug, candidate.region, judge, reasons, candidate.smoothed_ms))
        else:
            eligible.append(candidate)
    for slug, region, against in listed.others:
        passing = judge.standing(slug) if region is not None else []
        stale = [nothing] if nothing is not None and region is not None else []
        refused.append(_refused(slug, region, judge, (*against, *passing, *stale)))
    eligible.sort(key=judge.score)
    if eligible and (stayed := _incumbent(listed, supply, policy, eligible[0], judge)) is not None:
        eligible.remove(stayed)
        eligible.insert(0, stayed)
    ranked = [
        Considered(c.slug, True, n, c.region.latency_ms, judge.count(c.slug), (), c.smoothed_ms)  # noqa: FBT003 - a row of a table
        for n, c in enumerate(eligible, 1)
    ]
    return (*ranked, *sorted(refused, key=_slug))


def nothing_now(supply: Supply, policy: PlacementPolicy, now: float) -> str | None:
    """Why nothing may be created anywhere, or None. Region data of exactly the allowed age is not too old.

    An instant well ahead of `now` was told by an earlier process before somebody set the clock back.
    """
    if supply.blocked is not None:
        return supply.blocked
    observed_at = supply.regions.observed_at
    if observed_at is None:
        return "no region data yet"
    if abs(now - observed_at) > policy.max_data_age_s:
        if now < observed_at:
            return "region data was read before the clock was set back"
        return f"region data is older than the {policy.max_data_age_s:g}s allowed"
    account = supply.cooling_off.get(ACCOUNT)
    return cooling_reason(account, _total(supply), now) if account is not None else None


class _Judge:
    """What stands against a candidate besides what the snapshot shows."""

    __slots__ = ("_group_limit", "_now", "_policy", "_request", "_supply")

    def __init__(
        self,
        request: PlacementRequest,
        listed: Shortlist,
        supply: Supply,
        policy: PlacementPolicy,
        now: float,
    ) -> None:
        self._request = request
        self._supply = supply
        self._policy = policy
        self._now = now
        self._group_limit = self._most_of_group(listed)

    def score(self, candidate: Candidate) -> tuple[float, int, str]:
        return candidate.score_ms, self.count(candidate.slug), candidate.slug

    def count(self, slug: str) -> int:
        return self._supply.instances.get(slug, 0)

    def passes(self, candidate: Candidate) -> bool:
        return not self.objections(candidate.slug)

    def objections(self, slug: str) -> list[str]:
        """All that stands against a candidate."""
        reasons = self.standing(slug)
        if self._group_limit is not None and self._supply.group.get(slug, 0) >= self._group_limit:
            reasons.append(self._spread_text(slug))
        return reasons

    def standing(self, slug: str) -> list[str]:
        """What of it holds for every request of the plan: the cap, and what passes by itself."""
        supply = self._supply
        reasons = []
        if self._full(slug):
            most = self._policy.max_per_region
            reasons.append(f"has {self.count(slug)} instances, at most {most} are allowed per region")
        in_doubt = supply.in_doubt.get(slug, 0)
        if supply.cooling_off:
            reasons += self._cooling(slug, supply.in_flight.get(slug, 0) + in_doubt)
        if in_doubt >= WINDOW:
            reasons.append(f"the outcome of {in_doubt} creates there is in doubt")
        return reasons

    def _cooling(self, slug: str, under_way: int) -> Iterator[str]:
        for place in dict.fromkeys([(slug, ""), (slug, self._request.plan)]):
            why = cooling_reason(self._supply.cooling_off.get(place), under_way, self._now)
            if why is not None:
                yield why

    def _full(self, slug: str) -> bool:
        most = self._policy.max_per_region
        return most is not None and self.count(slug) >= most

    def _most_of_group(self, listed: Shortlist) -> int | None:
        """So many members of the spread group close a region for one more; None without a spread."""
        spread = self._request.spread
        if spread is None:
            return None
        group = self._supply.group
        counts = [group.get(c.slug, 0) for c in listed.candidates if not self._full(c.slug)]
        return min(counts, default=0) + spread.max_skew

    def _spread_text(self, slug: str) -> str:
        spread, limit = self._request.spread, self._group_limit
        if spread is None or limit is None:
            return ""
        had, least = self._supply.group.get(slug, 0), limit - spread.max_skew
        return (
            f"has {had} of group {spread.group} and another region {least}: at most {spread.max_skew} apart"
        )


def _total(supply: Supply) -> int:
    return sum(supply.in_flight.values()) + sum(supply.in_doubt.values())


def _incumbent(
    listed: Shortlist, supply: Supply, policy: PlacementPolicy, best: Candidate, judge: _Judge
) -> Candidate | None:
    """The region chosen last, if the best is not better by the margin."""
    if policy.switch_margin_ms <= 0 or supply.incumbent in {None, best.slug}:
        return None
    latest = next((c for c in listed.candidates if c.slug == supply.incumbent), None)
    if latest is None or latest.score_ms > best.score_ms + policy.switch_margin_ms:
        return None
    return latest if judge.passes(latest) else None


def _by_score(candidate: Candidate) -> tuple[float, str]:
    return candidate.score_ms, candidate.slug


def _slug(considered: Considered) -> str:
    return considered.region


def _refused(
    slug: str,
    region: Region | None,
    judge: _Judge,
    reasons: Iterable[str],
    smoothed_ms: float | None = None,
) -> Considered:
    latency_ms = region.latency_ms if region is not None else None
    return Considered(slug, False, None, latency_ms, judge.count(slug), tuple(reasons), smoothed_ms)  # noqa: FBT003 - a row of a table


def _objections(region: Region, request: PlacementRequest) -> Iterator[str]:
    """Every reason in the region itself and in the request why it is not eligible."""
    if not region.healthy:
        yield f"status is {region.status}"
    if not region.capacity:
        yield "no capacity"
    if request.regions is not None and region.slug not in request.regions:
        yield "not among the allowed regions"
    if region.slug in request.avoid_regions:
        yield "among the avoided regions"


def _where_objection(where: Where | None, region: Region) -> Iterator[str]:
    """What cannot be evaluated (a latency that is not known, say) is not satisfied."""
    if where is None:
        return
    try:
        if not where(region):
            yield "where is false"
    except ExpressionError as error:
        yield f"where cannot be evaluated: {error}"


def _unlisted(request: PlacementRequest, snapshot: RegionSnapshot) -> Iterator[tuple[str, str]]:
    """The regions that the request allows by name and that are not in the list, and why."""
    for slug in dict.fromkeys(request.regions or ()):
        known = snapshot.known.get(slug)
        if known is None:
            yield slug, UNKNOWN_REGION
        elif known.left_at is not None:
            yield slug, LEFT_REGION


def _why_none(considered: tuple[Considered, ...]) -> str:
    """Return why no region is eligible, the commonest reason first.

    For example `no region is eligible: no capacity (2), status is degraded (1)`.

    Unlisted regions that the request names come before all else, by name: they may be typos.
    """
    if not considered:
        return "no region is eligible: the list of regions is empty"
    reasons = Counter(reason for c in considered for reason in c.reasons)
    shown = [
        f"{reason}: {enumerate_names([c.region for c in considered if reason in c.reasons])}"
        for reason in (UNKNOWN_REGION, LEFT_REGION)
        if reasons.pop(reason, 0)
    ]
    common = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MAX_REASONS_TOLD]
    shown += [f"{reason} ({count})" for reason, count in common]
    return "no region is eligible: " + ", ".join(shown)


def _unlisted_avoided(request: PlacementRequest, supply: Supply) -> str:
    """Return an addition to the reason that names unlisted `avoid_regions`.

    One may be a typo of a listed region.
    """
    slugs = unlisted_regions(request.avoid_regions, supply.regions)
    return f"; avoid_regions has {UNKNOWN_REGION}: {enumerate_names(slugs)}" if slugs else ""
