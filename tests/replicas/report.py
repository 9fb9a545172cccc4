"""Results of a run, and the promises that must hold at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

UNREACHABLE_GRACE_S = 25.0
"""How long after the last silence of the cloud an alert about it may still be sent."""


@dataclass(slots=True)
class Report:
    """Counts and findings of one run. Times are seconds since its start.

    instances: how many instances the cloud ever made under each accepted name.
    scrapes: duration in seconds of every `/metrics` request to a replica that was running throughout it.
    """

    accepted: dict[str, str] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    stopped: set[str] = field(default_factory=set)
    notified: set[str] = field(default_factory=set)
    alerts: Counter[str] = field(default_factory=Counter)
    false_alerts: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    scrapes: dict[str, list[float]] = field(default_factory=dict)
    failed_scrapes: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """Accepted placements that did not end as one running instance."""
        return len(self.accepted) - self.states["running"]

    @property
    def duplicates(self) -> list[str]:
        return [name for name, count in self.instances.items() if count > 1]

    @property
    def undelivered(self) -> set[str]:
        return self.stopped - self.notified

    def breaches(self) -> Iterator[str]:
        """Each promise that did not hold, in one line."""
        if self.lost:
            yield f"{self.lost} accepted placements do not run: {dict(self.states)}"
        if self.duplicates:
            yield f"{len(self.duplicates)} names have several instances: {self.duplicates}"
        if self.undelivered:
            missing = sorted(self.undelivered)
            yield f"{len(missing)} stopped instances without a notification: {missing}"
        for name, findings in (
            ("false alerts", self.false_alerts),
            ("disagreements", self.disagreements),
            ("idempotency conflicts", self.conflicts),
        ):
            if findings:
                yield f"{len(findings)} {name}: {findings[:5]}"

    def to_json(self) -> str:
        return json.dumps(
            {
                "placements": len(self.accepted),
                "states": dict(self.states),
                "lost": self.lost,
                "duplicates": self.duplicates,
                "stopped": len(self.stopped),
                "notified": len(self.stopped & self.notified),
                "alerts": dict(self.alerts),
                "false_alerts": self.false_alerts,
                "disagreements": self.disagreements,
                "conflicts": self.conflicts,
                "faults": dict(self.faults),
                "metrics_ms": {name: percentiles(times) for name, times in sorted(self.scrapes.items())},
                "failed_scrapes": dict(self.failed_scrapes),
            },
            indent=2,
        )


def percentiles(times_s: list[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum in milliseconds, and how many there were."""
    ordered = sorted(times_s)
    if not ordered:
        return {"count": 0}
    at = {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)], "max": ordered[-1]}
    return {"count": len(ordered)} | {name: round(value * 1000, 1) for name, value in at.items()}
