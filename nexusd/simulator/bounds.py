"""The bounds of what may be created where and how fast, checked at each create. Asked by `invariants`.

The truth is not always the engine's to know: an instance that has just ended still counts for it, a create
in doubt counts until it is proven absent. So a bound is checked against what must be counted at the least,
and a comparison between regions against what may be counted at the most.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping

from nexusd.core.answers import CreateRequest
from nexusd.core.identifiers import fleet_of
from nexusd.core.lifecycle import Placement
from nexusd.core.records import Region
from nexusd.core.regions import RegionSnapshot
from nexusd.simulator.cloud import STRANGER, Cloud, Existing
from nexusd.simulator.ledger import Ledger, Record
from nexusd.simulator.options import CREATES_PER_MINUTE, FLEETS, MAX_PER_REGION, POLL_S

STALE_AFTER_S = {"regions": 3 * POLL_S["regions"] + 0.5, "instances": 3 * POLL_S["instances"] + 2.0}
"""What the policy allows, and the time that the reading itself took."""
BURST = min(10.0, CREATES_PER_MINUTE)
DRY_POSTS_AN_HOUR = 10
HOUR_S = 3600.0
NEARLY_FULL = 20
"""A region with so few places left may be full in the engine's eyes."""
GONE_AFTER_LISTINGS = 4
"""Two confirm it; one may have been under way, one counted before a kill."""

Report = Callable[[str, str, str], None]
"""Told of a breach: which bound, what happened, the placement's id."""


class Bounds:
    def __init__(self, ledger: Ledger, counts: Counter[str], report: Report) -> None:
        self._ledger = ledger
        self._counts = counts
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._read_at = dict.fromkeys(POLL_S, float("-inf"))
        self._shown: deque[Mapping[str, Region]] = deque(maxlen=2)
        self._saved: Mapping[str, Region] = {}
        self._listed_at: deque[float] = deque(maxlen=GONE_AFTER_LISTINGS)
        self._tokens = BURST
        self._tokens_at = 0.0
        self._dry_posts: dict[str, deque[float]] = {}
        self.cloud: Cloud | None = None

    def regions_read(self, regions: Mapping[str, Region]) -> None:
        self._read_at["regions"] = self._loop.time()
        self._shown.append(regions)

    def regions_saved(self, snapshot: RegionSnapshot) -> None:
        """What a process begins with."""
        self._saved = {slug: known.region for slug, known in snapshot.known.items() if known.left_at is None}

    def listed(self) -> None:
        """A complete listing was taken in."""
        self._listed_at.append(self._loop.time())

    def clock_stepped(self) -> None:
        """A process has begun that tells another time: for it what cooled off may be over at once."""
        self._dry_posts.clear()

    def refused_dry(self, region: str, placement_id: str) -> None:
        """A region that is dry was asked, and refused."""
        now = self._loop.time()
        posts = self._dry_posts.setdefault(region, deque())
        posts.append(now)
        while posts[0] <= now - HOUR_S:
            posts.popleft()
        most = "most posts to a dry region in an hour"
        self._counts[most] = max(self._counts[most], len(posts))
        if len(posts) > DRY_POSTS_AN_HOUR:
            self._report("dry region", f"{len(posts)} POSTs to {region} within an hour", placement_id)

    def instances_read(self) -> None:
        self._read_at["instances"] = self._loop.time()

    def posting(self, request: CreateRequest, placement: Placement) -> None:
        """A POST is about to be sent."""
        self._check_region(request, placement)
        self._check_age(placement)
        self._check_rate(placement)

    def made(self, existing: Existing) -> None:
        """An instance was made."""
        region = existing.instance.region
        live = self._live(region)
        if live > MAX_PER_REGION:
            self._report("region cap", f"{region} has {live}, at most {MAX_PER_REGION}", existing.owner)
        record = self._ledger.records.get(existing.owner)
        if record is not None and (fleet := record.placement.request.fleet) is not None:
            self._check_fleet(fleet, existing.owner)

    def accepted(self, record: Record) -> None:
        """A placement was taken in; of a fleet's, it is one more to be."""
        fleet = record.placement.request.fleet
        if fleet is not None:
            self._check_fleet(fleet, record.placement.id)

    def intended(self, record: Record) -> None:
        """A create is on disk and will be sent."""
        spread, region = record.placement.request.spread, record.placement.region
        if spread is None or region is None:
            return
        least = self._at_least(spread.group)
        most = self._at_most(spread.group, record)
        domain = [slug for slug in self._domain(record.placement) if slug != region]
        emptiest = min(domain, key=lambda slug: (most[slug], slug), default=None)
        if emptiest is not None and least[region] > most[emptiest] + spread.max_skew:
            what = (
                f"{region} gets member {least[region]} of {spread.group}, {emptiest} has {most[emptiest]} "
                f"and max_skew is {spread.max_skew}"
            )
            self._report("spread", what, record.placement.id)

    def _live(self, slug: str) -> int:
        return self.cloud.live_in(slug) if self.cloud is not None else 0

    def _check_region(self, request: CreateRequest, placement: Placement) -> None:
        asked = placement.request
        allowed = asked.regions is None or request.region in asked.regions
        if not allowed or request.region in asked.avoid_regions:
            self._report("constraints", f"a POST to {request.region}", placement.id)

    def _check_age(self, placement: Placement) -> None:
        for resource, limit_s in STALE_AFTER_S.items():
            age_s = self._loop.time() - self._read_at[resource]
            if age_s > limit_s:
                self._report("stale data", f"a POST on {resource} data {age_s:.1f} s old", placement.id)

    def _check_rate(self, placement: Placement) -> None:
        now = self._loop.time()
        gained = (now - self._tokens_at) * CREATES_PER_MINUTE / 60.0
        self._tokens = min(BURST, self._tokens + gained) - 1.0
        self._tokens_at = now
        if self._tokens < -1e-6:
            self._report("create rate", f"{-self._tokens:.2f} creates too many", placement.id)

    def _check_fleet(self, name: str, placement_id: str) -> None:
        """Alive and in flight, at most `count` and `max_replacements`."""
        spec = next(spec for spec in FLEETS.specs if spec.name == name)
        instances = self.cloud.instances.values() if self.cloud is not None else ()
        made = {e.owner for e in instances if fleet_of(e.requested_name) == name}
        alive = sum(
            1
            for e in instances
            if e.owner != STRANGER and fleet_of(e.requested_name) == name and spec.counts(e.instance.status)
        )
        in_flight = sum(
            1
            for r in self._ledger.open_by_name.values()
            if r.placement.request.fleet == name and r.placement.id not in made
        )
        if alive + in_flight > spec.count + spec.max_replacements:
            what = f"{name} has {alive} alive and {in_flight} in flight, its count is {spec.count}"
            self._report("fleet", what, placement_id)

    def _domain(self, placement: Placement) -> list[str]:
        """The regions that the placement surely could have gone to, but for the spread."""
        request = placement.request
        seen = (*self._shown, self._saved)
        return [
            slug
            for slug in self._saved
            if all(slug in regions and regions[slug].healthy and regions[slug].capacity for regions in seen)
            and (request.regions is None or slug in request.regions)
            and slug not in request.avoid_regions
            and self._occupied(slug) < MAX_PER_REGION - NEARLY_FULL
        ]

    def _occupied(self, slug: str) -> int:
        """As many as the engine may count in a region."""
        instances = self.cloud.instances.values() if self.cloud is not None else ()
        return sum(1 for e in instances if e.instance.region == slug) + sum(
            1 for r in self._ledger.open_by_name.values() if r.placement.region == slug
        )

    def _members(self, group: str) -> list[Record]:
        return [
            r for r in self._ledger.records.values() if (s := r.placement.request.spread) and s.group == group
        ]

    def _at_least(self, group: str) -> Counter[str]:
        """By region, members that the engine must count: placements under way, and instances that live."""
        counts: Counter[str] = Counter()
        for record in self._members(group):
            region = record.placement.region
            if region is not None and (record.open or self._lives(record.placement.instance_id)):
                counts[region] += 1
        return counts

    def _at_most(self, group: str, but: Record) -> Counter[str]:
        """By region, members that the engine may count: also those it may not know to be gone."""
        counts: Counter[str] = Counter()
        for record in self._members(group):
            region = record.placement.region
            if region is not None and record is not but and (record.open or self._may_count(record)):
                counts[region] += 1
        return counts

    def _may_count(self, record: Record) -> bool:
        """Whether its instance is listed, or left the list too lately to be confirmed gone."""
        instance_id = record.placement.instance_id
        if self.cloud is None or instance_id is None:
            return False
        if instance_id in self.cloud.instances:
            return True
        confirmed_at = self._listed_at[0] if len(self._listed_at) == GONE_AFTER_LISTINGS else 0.0
        return self.cloud.left_at.get(instance_id, 0.0) >= confirmed_at

    def _lives(self, instance_id: str | None) -> bool:
        if self.cloud is None or instance_id is None:
            return False
        existing = self.cloud.instances.get(instance_id)
        return existing is not None and existing.instance.live
