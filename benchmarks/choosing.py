"""Choosing a region, and explaining the choice, beside a bare filter and `min` over the same records.

All count the instance that each choice makes, as placing does. Rates are by CPU time, which others' load
hardly touches.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.rounds import interleaved, median_of, median_round
from benchmarks.table import Figure, Limit, Row, at_least
from nexusd.core.placement import PlacementPolicy, PlacementRequest, Supply, choose, decide, shortlist
from nexusd.core.records import HEALTHY, Region
from nexusd.core.regions import KnownRegion, RegionSnapshot

FOR_S = 0.5
AT_ONCE = 16
"""Choices between two looks at the clock."""
NOW = 1_700_000_000.0
REQUEST = PlacementRequest("a", "pro")
POLICY = PlacementPolicy()
EXPLAINED_LIMITS = {100: at_least(10_000, "/CPU s")}
CHOSEN_LIMITS = {1_000: at_least(20)}


def rows() -> Iterator[Row]:
    for regions in (10, 100, 1_000):
        yield _beside_bare(regions, CHOSEN_LIMITS.get(regions))
        what = f"choose and explain, {regions:,} regions"
        explained = median_of(what, partial(explanations_per_cpu_s, regions))
        limit = EXPLAINED_LIMITS.get(regions)
        yield Row("G7" if limit else "", what, Figure(explained, "/CPU s"), limit=limit)


def _beside_bare(regions: int, limit: Limit | None) -> Row:
    what = f"choose, {regions:,} regions"
    rounds = interleaved(what, partial(choices_per_cpu_s, regions), partial(bare_choices_per_cpu_s, regions))
    ours, bare = median_round(rounds, float)
    beside = Figure(bare, "/CPU s", "filter and min")
    return Row("G7" if limit else "", what, Figure(ours, "/CPU s"), beside, limit)


def choices_per_cpu_s(regions: int) -> float:
    """From a shortlist prepared once for the snapshot."""
    supply, counts = _supply(regions)
    listed = shortlist(REQUEST, supply.regions)

    def one() -> None:
        counts[str(choose(REQUEST, listed, supply, POLICY, NOW))] += 1

    return _per_cpu_s(one)


def explanations_per_cpu_s(regions: int) -> float:
    """The decision that is stored: every region with its rank or its reasons."""
    supply, counts = _supply(regions)
    listed = shortlist(REQUEST, supply.regions)

    def one() -> None:
        counts[str(decide(REQUEST, listed, supply, POLICY, NOW).region)] += 1

    return _per_cpu_s(one)


def bare_choices_per_cpu_s(regions: int) -> float:
    records, counts = list(_regions(regions).values()), Counter[str]()

    def one() -> None:
        fit = (r for r in records if r.healthy and r.capacity)
        counts[min(fit, key=lambda r: (r.latency_ms, counts[r.slug], r.slug)).slug] += 1

    return _per_cpu_s(one)


def _supply(regions: int) -> tuple[Supply, Counter[str]]:
    counts = Counter[str]()
    known = {slug: KnownRegion(region) for slug, region in _regions(regions).items()}
    return Supply(RegionSnapshot(NOW, known), counts), counts


def _regions(count: int) -> dict[str, Region]:
    rng = random.Random(count)
    slugs = [f"region-{n:04d}" for n in range(count)]
    return {s: Region(s, s, HEALTHY, rng.uniform(5, 300), capacity=rng.random() < 0.9) for s in slugs}


def _per_cpu_s(one: Callable[[], None]) -> float:
    done, began = 0, time.process_time()
    while (spent_s := time.process_time() - began) < FOR_S:
        for _ in range(AT_ONCE):
            one()
        done += AT_ONCE
    return done / spent_s
