"""Choosing a region with the full explanation, beside a bare filter and `min` over the same records."""

from __future__ import annotations

import random
import time

from nexusd.core.placement import PlacementPolicy, PlacementRequest, Supply, decide
from nexusd.core.records import HEALTHY, Region
from nexusd.core.regions import KnownRegion, RegionSnapshot

FOR_S = 0.5
NOW = 1_700_000_000.0


def _regions(count: int) -> dict[str, Region]:
    rng = random.Random(count)
    slugs = [f"region-{n:04d}" for n in range(count)]
    return {s: Region(s, s, HEALTHY, rng.uniform(5, 300), capacity=rng.random() < 0.9) for s in slugs}


def decisions_per_second(count: int) -> float:
    snapshot = RegionSnapshot(NOW, {slug: KnownRegion(region) for slug, region in _regions(count).items()})
    supply, request, policy = Supply(snapshot), PlacementRequest("a", "pro"), PlacementPolicy()
    done, until = 0, time.perf_counter() + FOR_S
    while time.perf_counter() < until:
        decide(request, supply, policy, NOW)
        done += 1
    return done / FOR_S


def bare_choices_per_second(count: int) -> float:
    regions = list(_regions(count).values())
    done, until = 0, time.perf_counter() + FOR_S
    while time.perf_counter() < until:
        min((r for r in regions if r.healthy and r.capacity), key=lambda r: (r.latency_ms, r.slug))
        done += 1
    return done / FOR_S
