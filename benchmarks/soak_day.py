"""The day that `benchmarks.soak` plays: what goes wrong with the cloud, and how the daemon is set up for it.

A day has 24 hours, whatever they last. Each has one kind of trouble, and after six hours they begin anew, so
that the quarters of a day may be compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

HOURS = 24
REAL_HOUR_S = 3600.0
LEAST_S = 1.0
"""No interval is shortened further: a sweep of 50,000 takes about that."""
BEGIN = 0.2
"""When in its hour a trouble begins, as a share of it."""

Fault = dict[str, Any]


def scenario(hour_s: float) -> str:
    """The emulator's faults, from its start on."""
    drift = {"name": "the fleet changes while it is read", "drift": {"insert": 1, "remove": 1, "move": 1}}
    hours = (_of_hour(hour, hour_s) for hour in range(HOURS))
    faults = [drift, *(fault for hour in hours for fault in hour)]
    return json.dumps({"description": "a day of troubles", "faults": faults})


def _of_hour(hour: int, hour_s: float) -> Iterator[Fault]:
    share, faults = _TROUBLES[hour % len(_TROUBLES)]
    for fault in faults:
        yield {"at": _written((hour + BEGIN) * hour_s), "for": _written(share * hour_s), **fault}


_EVER = "7d"
"""Members stay away: one that came back after its absence was proven would have been made twice."""
_LISTING = {"endpoint": "instances", "method": "GET"}
_CREATE = {"endpoint": "instances", "method": "POST"}
_TROUBLES: tuple[tuple[float, list[Fault]], ...] = (
    (0.3, [{"name": "the API is away", "answer": {"status": 503}}]),
    (
        0.5,
        [
            {"name": "a region is down", "region": {"slug": "eu-west-2", "status": "down"}},
            {"name": "another is full", "region": {"slug": "us-east-1", "capacity": False}},
            {"name": "a third has left", "region": {"slug": "ap-southeast-1", "gone": True}},
        ],
    ),
    (
        0.5,
        [
            {"name": "pages fail", "match": _LISTING, "probability": 0.05, "answer": {"status": 500}},
            {"name": "pages break off", "match": _LISTING, "probability": 0.02, "truncate": 0.5},
        ],
    ),
    (
        0.5,
        [
            {"name": "creates are lost", "match": _CREATE, "every": 2, "drop": "after_commit"},
            {"name": "throttled", "probability": 0.001, "answer": {"status": 429, "retry_after": "1s"}},
        ],
    ),
    (
        0.5,
        [
            {"name": "instances stop", "instance": {"name": "prod-*", "status": "stopped", "take": 200}},
            {
                "name": "members vanish",
                "for": _EVER,
                "instance": {"name": "web-*", "vanish": True, "take": 4},
            },
        ],
    ),
    (
        0.4,
        [
            {"name": "the API is slow", "latency": "100ms"},
            {"name": "small pages", "match": _LISTING, "page_cap": 50},
        ],
    ),
)
"""One kind of hour after the other: for which share of it, and what; a quarter of a day has one of each."""


def settings(cloud: str, receivers: dict[str, str], hour_s: float) -> str:
    """The daemon's file. What takes minutes or hours on a real day takes as much less here."""

    def shortened(seconds: float) -> str:
        return _written(max(LEAST_S, seconds * hour_s / REAL_HOUR_S))

    return json.dumps(
        {
            "cloudnexus": {
                "base_url": cloud,
                "timeout": "5s",
                "max_concurrent_requests": 16,
                "max_requests_per_second": 5000,
            },
            "polling": {"regions": shortened(15), "instances": shortened(30)},
            "placement": {
                "settle": "8s",
                "provisioning_timeout": "30s",
                "hold_after": "60s",
                "max_creates_per_minute": 600,
            },
            "fleets": [
                {"name": "web", "count": 20, "plan": "pro", "spread": {"group": "web", "max_skew": 5}},
                {"name": "batch", "count": 10, "plan": "starter", "max_replacements": 3},
            ],
            "alerts": {
                "rules": {
                    "InstanceVanished": {"resolve_after": shortened(3600)},
                    "InstanceStopped": {"resolve_after": shortened(24 * 3600)},
                    "RegionUnhealthy": {"for": shortened(120)},
                    "FleetBelowCount": {"for": shortened(300)},
                    "NoEligibleRegion": {"for": shortened(60)},
                }
            },
            "receivers": [
                {"name": name, "type": "webhook", "url": url, "timeout": "3s"}
                for name, url in receivers.items()
            ],
            "routes": [
                {
                    "receivers": list(receivers),
                    "group_by": ["alertname", "region"],
                    "group_wait": "1s",
                    "group_interval": shortened(300),
                }
            ],
            "history": {"retention": "1h"},
            "metrics": {"per_instance": True, "max_instances": 100_000},
            "log": {"level": "warning", "format": "json"},
        }
    )


def _written(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
