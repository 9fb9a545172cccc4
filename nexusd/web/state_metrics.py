"""The metrics that are read from what is known at the scrape: world, counts of the store, leadership."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest

from nexusd.core.alerts import AlertState
from nexusd.core.cooling import Coolings
from nexusd.core.lifecycle import State
from nexusd.core.placement import PLANS, Considered
from nexusd.core.records import HEALTHY
from nexusd.core.world import World
from nexusd.web.exposition import OTHER, BoundedValues, Labels, gauge, tally
from nexusd.web.metrics import INSTANCE_STATUSES, MAX_REGIONS
from nexusd.web.tallies import Tallies

FROM_SNAPSHOT = "From the last snapshot: a scrape never calls the API."
OUTBOX_STATES = ("pending", "sent", "dead")
_SHOWN_ALERT_STATES = (AlertState.PENDING, AlertState.FIRING)


@dataclass(frozen=True, slots=True)
class Moment:
    """All that one scrape is made from. `now` is an instant of the clock, `offset_s` its UTC offset."""

    world: World
    eligibility: tuple[Considered, ...]
    tallies: Tallies
    now: float
    offset_s: float
    leading: bool


class StateMetrics:
    """Renders the state. Remembers the unknown statuses it has shown: their number stays bounded."""

    def __init__(
        self, version: str, receivers: tuple[str, ...], alert_rules: tuple[tuple[str, str], ...]
    ) -> None:
        self._version = version
        self._receivers = receivers
        self._alert_rules = alert_rules
        self._instance_statuses = BoundedValues(INSTANCE_STATUSES)
        self._region_statuses = BoundedValues((HEALTHY,))
        self._counts: Mapping[tuple[str, str], int] | None = None
        self._slugs: list[str] = []
        self._counted = ""

    def render(self, moment: Moment) -> str:
        slugs = known_regions(moment.world)
        return "".join(
            [
                self._instances(moment, slugs),
                *self._regions(moment),
                *self._polls(moment),
                *self._placements(moment, slugs),
                *_fleets(moment.world),
                *self._alerts(moment),
                *self._outbox(moment),
                *self._store_counts(moment),
                gauge(
                    "nexusd_leader",
                    "1 when this process holds the lease: it places and notifies.",
                    [((), moment.leading)],
                ),
                gauge("nexusd_build_info", "Always 1.", [((("version", self._version),), 1)]),
            ]
        )

    def _instances(self, moment: Moment, slugs: list[str]) -> str:
        """Rendered when a count has changed."""
        counts = moment.world.inventory.counts
        if counts != self._counts or slugs != self._slugs:
            self._counts, self._slugs = dict(counts), slugs
            self._counted = self._instances_of(counts, slugs)
        return self._counted

    def _instances_of(self, counts: Mapping[tuple[str, str], int], slugs: list[str]) -> str:
        shown = set(slugs)
        for status in sorted({status for _, status in counts}):
            self._instance_statuses.fold(status)
        zeros = [
            (_labels(region=slug, status=status), 0) for slug in slugs for status in self._instance_statuses
        ]
        found = [
            (
                _labels(
                    region=region if region in shown else OTHER, status=self._instance_statuses.fold(status)
                ),
                count,
            )
            for (region, status), count in counts.items()
        ]
        return gauge(
            "nexusd_instances",
            f"Instances by region and status. {FROM_SNAPSHOT}",
            tally([*zeros, *found]).items(),
        )

    def _regions(self, moment: Moment) -> Iterator[str]:
        listed = moment.world.regions.listed[:MAX_REGIONS]
        eligible = {c.region: c.eligible for c in moment.eligibility}
        for region in listed:
            self._region_statuses.fold(region.status)
        yield gauge(
            "nexusd_region_info",
            f"Always 1; the name of a region. {FROM_SNAPSHOT}",
            ((_labels(region=r.slug, name=r.name), 1) for r in listed),
        )
        yield gauge(
            "nexusd_region_status",
            f"1 for the status that a region has, 0 for the others. {FROM_SNAPSHOT}",
            (
                (_labels(region=r.slug, status=status), self._region_statuses.fold(r.status) == status)
                for r in listed
                for status in self._region_statuses
            ),
        )
        yield gauge(
            "nexusd_region_latency_seconds",
            f"Latency as CloudNexus tells it. {FROM_SNAPSHOT}",
            ((_labels(region=r.slug), r.latency_ms / 1000) for r in listed if r.latency_ms is not None),
        )
        yield gauge(
            "nexusd_region_capacity_available",
            f"1 when a region has capacity. {FROM_SNAPSHOT}",
            ((_labels(region=r.slug), r.capacity) for r in listed),
        )
        yield gauge(
            "nexusd_region_eligible",
            f"1 when a placement without constraints may go to a region. {FROM_SNAPSHOT}",
            ((_labels(region=r.slug), eligible.get(r.slug, False)) for r in listed),
        )

    def _polls(self, moment: Moment) -> Iterator[str]:
        polls = sorted(moment.world.polls.items())
        yield gauge(
            "nexusd_poll_interval_seconds",
            "Time between two polls of a resource.",
            ((_labels(resource=resource), poll.interval_s) for resource, poll in polls),
        )
        yield gauge(
            "nexusd_poll_last_success_timestamp_seconds",
            "When a resource was last read completely; 0 before the first time.",
            (
                (_labels(resource=resource), _timestamp(poll.succeeded_at, moment.offset_s))
                for resource, poll in polls
            ),
        )

    def _placements(self, moment: Moment, slugs: list[str]) -> Iterator[str]:
        yield gauge(
            "nexusd_placements",
            "Placements by state, as last counted in the store.",
            ((_labels(state=state.value), moment.tallies.placements.get(state, 0)) for state in State),
        )
        limits = moment.world.limits
        yield gauge(
            "nexusd_placement_limit",
            'Instances allowed of a plan; plan="" is the limit for all of them. +Inf where there is none.',
            [
                (_labels(plan=plan), limit if limit is not None else float("inf"))
                for plan, limit in [("", limits.total), *((plan, limits.per_plan) for plan in PLANS)]
            ],
        )
        yield gauge(
            "nexusd_region_cooling_off",
            "1 while no create goes to a region because it refused one.",
            (
                (_labels(region=slug), _cools_off(slug, moment.world.cooling_off, moment.now))
                for slug in slugs
            ),
        )

    def _store_counts(self, moment: Moment) -> Iterator[str]:
        yield gauge(
            "nexusd_store_counts_timestamp_seconds",
            "When placements and notifications were last counted in the store; 0 before the first time.",
            (((), _timestamp(moment.tallies.counted_at, moment.offset_s)),),
        )

    def _alerts(self, moment: Moment) -> Iterator[str]:
        zeros = [
            (_labels(alertname=name, severity=severity, state=state.value), 0)
            for name, severity in self._alert_rules
            for state in _SHOWN_ALERT_STATES
        ]
        counts = moment.world.alert_counts
        found = [
            (_labels(alertname=kind.name, severity=kind.severity, state=kind.state.value), n)
            for kind, n in counts.of.items()
            if kind.state in _SHOWN_ALERT_STATES
        ]
        yield gauge("nexusd_alerts", "Alerts that are pending or firing.", tally([*zeros, *found]).items())
        yield gauge(
            "nexusd_alerts_suppressed",
            "Firing alerts that are not told, by reason. One that is inhibited and silenced counts in both.",
            ((_labels(reason=reason), count) for reason, count in sorted(counts.suppressed.items())),
        )

    def _outbox(self, moment: Moment) -> Iterator[str]:
        tallies = moment.tallies
        receivers = sorted({*self._receivers, *(receiver for receiver, _ in tallies.outbox)})
        yield gauge(
            "nexusd_outbox_messages",
            "Notifications in the store, as last counted.",
            (
                (_labels(receiver=receiver, state=state), tallies.outbox.get((receiver, state), 0))
                for receiver in receivers
                for state in OUTBOX_STATES
            ),
        )
        yield gauge(
            "nexusd_outbox_oldest_timestamp_seconds",
            "When the oldest notification that is still to be sent was written; 0 when there is none.",
            (
                (
                    _labels(receiver=receiver),
                    _timestamp(tallies.oldest_pending.get(receiver), moment.offset_s),
                )
                for receiver in receivers
            ),
        )


def _fleets(world: World) -> Iterator[str]:
    specs = world.fleets.specs
    yield gauge(
        "nexusd_fleet_desired",
        "Instances that a fleet is declared to have.",
        ((_labels(fleet=spec.name), spec.count) for spec in specs),
    )
    yield gauge(
        "nexusd_fleet_alive",
        f"Instances of a fleet that count as alive. {FROM_SNAPSHOT}",
        ((_labels(fleet=spec.name), spec.alive(world.inventory.fleet(spec.name))) for spec in specs),
    )


def known_regions(world: World) -> list[str]:
    """Slugs of the regions that were listed or that hold instances; the first `MAX_REGIONS` of them."""
    return nsmallest(MAX_REGIONS, {*world.regions.known, *(region for region, _ in world.inventory.counts)})


def _cools_off(slug: str, coolings: Coolings, now: float) -> bool:
    """Every plan there; a quota of one plan is told where placements are explained."""
    cooling = coolings.get((slug, ""))
    return cooling is not None and now < cooling.until


def _labels(**labels: str) -> Labels:
    return tuple(labels.items())


def _timestamp(at: float | None, offset_s: float) -> float:
    return at + offset_s if at is not None else 0
