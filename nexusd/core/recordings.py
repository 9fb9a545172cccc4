"""What `/regions` answered over time, as it is kept to be replayed under another policy (`core.replay`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nexusd.core.records import Region

KEPT_S = 7 * 86_400.0
"""Recorded answers are kept this long, or as long as the rest of the history where that is shorter."""

CONSECUTIVE_INTERVALS = 1.5
"""Polls further apart than this had one between them that failed: what was true then is not known."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One answer, and for how long it was given: by every poll from `at` until `until`.

    `regions` by slug, without their names.
    """

    at: float
    until: float
    regions: tuple[Region, ...]


def recordable(regions: Iterable[Region]) -> tuple[Region, ...]:
    """What of an answer is kept."""
    kept = (Region(r.slug, "", r.status, r.latency_ms, r.capacity) for r in regions)
    return tuple(sorted(kept, key=_slug))


def forget_before(now: float, retention_s: float) -> float:
    """Answers last given before this instant are forgotten. `retention_s`: how long the history is kept."""
    return now - min(retention_s, KEPT_S)


def _slug(region: Region) -> str:
    return region.slug
