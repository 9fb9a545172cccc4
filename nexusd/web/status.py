"""`GET /api/v1/status`: the daemon at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nsmallest

from aiohttp import web

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.census import UNTOLD_SEVERITY, AlertCounts
from nexusd.core.lifecycle import State
from nexusd.core.muting import Muting
from nexusd.core.world import World
from nexusd.ports import Clock, Daemon, Store
from nexusd.web import schemas
from nexusd.web.answers import answer
from nexusd.web.beside import about_alerts
from nexusd.web.metrics import INSTANCE_STATUSES
from nexusd.web.shapes import Shaper
from nexusd.web.tallies import Tallies, TallyReader

MAX_ALERTS = 100
"""Alerts listed one by one; the counts cover all."""

_SEVERITIES = ("critical", "warning", "info")


class StatusRoutes:
    def __init__(
        self, version: str, daemon: Daemon, store: Store, clock: Clock, tallies: TallyReader
    ) -> None:
        self._version = version
        self._daemon = daemon
        self._store = store
        self._clock = clock
        self._tallies = tallies

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/status", self.status)]

    async def status(self, _request: web.Request) -> web.Response:
        tallies = await self._tallies.latest()
        shaper, world = Shaper(self._clock.now(), self._clock.utc_offset_s()), self._daemon.world
        known = world.alerts, world.alert_counts, world.muting
        alerts = await about_alerts(len(world.alerts), _alerts, *known, shaper)
        return answer(self._content(tallies, alerts, shaper))

    def _content(self, tallies: Tallies, alerts: schemas.AlertCounts, shaper: Shaper) -> schemas.Status:
        world = self._daemon.world
        return {
            "version": self._version,
            "started_at": shaper.time(started_at(world)),
            "uptime_s": round(shaper.now - started_at(world), 3),
            "leader": self._store.leading,
            "ready": self._daemon.not_ready() is None,
            "not_ready_reason": self._daemon.not_ready(),
            "observed_at": shaper.time(_observed_at(world)),
            "resources": {name: shaper.poll(poll) for name, poll in sorted(world.polls.items())},
            "instances": instance_counts(world),
            "regions": self._regions(world),
            "placements": {
                "by_state": {state.value: tallies.placements.get(state, 0) for state in State},
                "observed_at": shaper.time(tallies.counted_at),
            },
            "alerts": alerts,
            "outbox": _outbox(tallies, shaper),
        }

    def _regions(self, world: World) -> schemas.RegionCounts:
        eligible = [c.region for c in self._daemon.eligibility() if c.eligible]
        listed = world.regions.listed
        return {
            "total": len(listed),
            "healthy": sum(region.healthy for region in listed),
            "with_capacity": sum(region.capacity for region in listed),
            "eligible": len(eligible),
            "best": eligible[0] if eligible else None,
        }


def started_at(world: World) -> float:
    """When this process began to look. The web server itself is made anew at each reload."""
    return min(poll.known_since for poll in world.polls.values())


def instance_counts(world: World) -> schemas.InstanceCounts:
    by_status: Counter[str] = Counter(dict.fromkeys(INSTANCE_STATUSES, 0))
    by_region: Counter[str] = Counter()
    for (region, status), count in world.inventory.counts.items():
        by_status[status] += count
        by_region[region] += count
    return {
        "total": len(world.inventory),
        "by_status": dict(by_status),
        "by_region": dict(sorted(by_region.items())),
        "held_back": world.inventory.hold is not None,
    }


def pressing_alerts(alerts: Iterable[Alert], limit: int) -> list[Alert]:
    """The firing before the pending, the worst before the milder, the oldest first."""
    return nsmallest(
        limit, (a for a in alerts if a.state in (AlertState.FIRING, AlertState.PENDING)), key=urgency
    )


def urgency(alert: Alert) -> tuple[bool, int, float, str]:
    """What comes first where alerts are listed."""
    severity = alert.label("severity")
    rank = _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)
    quiet = alert.state is not AlertState.FIRING or severity == UNTOLD_SEVERITY
    return quiet, rank, alert.active_at, alert.fingerprint


def _alerts(
    alerts: Mapping[str, Alert], counts: AlertCounts, muting: Muting, shaper: Shaper
) -> schemas.AlertCounts:
    return {
        "firing": counts.firing,
        "pending": counts.pending,
        "suppressed": counts.suppressed,
        "active": [shaper.alert(a, muting) for a in pressing_alerts(alerts.values(), MAX_ALERTS)],
    }


def _outbox(tallies: Tallies, shaper: Shaper) -> schemas.OutboxCounts:
    by_receiver: dict[str, dict[str, int]] = {}
    for (receiver, state), count in sorted(tallies.outbox.items()):
        by_receiver.setdefault(receiver, {})[state] = count
    oldest = min(tallies.oldest_pending.values(), default=None)
    return {
        "pending": sum(n for (_, state), n in tallies.outbox.items() if state == "pending"),
        "dead": sum(n for (_, state), n in tallies.outbox.items() if state == "dead"),
        "oldest_pending_at": shaper.time(oldest),
        "by_receiver": by_receiver,
        "observed_at": shaper.time(tallies.counted_at),
    }


def _observed_at(world: World) -> float | None:
    """How old the older of the two snapshots is; None while one is missing."""
    seen = [world.regions.observed_at, world.inventory.observed_at]
    known = [at for at in seen if at is not None]
    return min(known) if len(known) == len(seen) else None
