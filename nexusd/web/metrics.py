"""Counters that the rooms bump as things happen (`ports.Metrics`); `scrape` renders them.

Every label value is bounded: what the wire or an error brings is folded to `other` past a few unknown ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations, product

from nexusd.core.lifecycle import Outcome
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.web.exposition import BoundedValues, Counter, Histogram, gauge

INSTANCE_STATUSES = ("pending", "provisioning", "running", "stopped", "terminated")
"""Reference: Schemas, Instance."""

MAX_REGIONS = 1000
_RESOURCES = (REGIONS, INSTANCES)
_REQUESTS = (("regions", "GET"), ("instances", "GET"), ("instances", "POST"))
_CODES = ("200", "201", "400", "401", "403", "404", "409", "422", "429", "500", "502", "503", "504")
_TRANSPORT_FAILURES = ("connect", "dns", "reset", "timeout", "tls")
_POLL_FAILURES = (
    *_TRANSPORT_FAILURES,
    *("circuit_open", "error", "invalid", "partial", "redirect", "refused", "server_error"),
    *("throttled", "too_large", "unauthorized", "unavailable", "other"),
)
_NOTIFICATION_FAILURES = ("expired", "gone", "rejected", "other")
CONNECTIONS_SHED = ("idle", "refused", "event_readers")
_MINUTES_S = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
_POLL_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class MetricsRegistry:
    """`ports.Metrics`. `receivers`: names, so that their series exist before the first notification."""

    def __init__(self, receivers: Iterable[str] = ()) -> None:
        names = tuple(receivers)
        self._regions = BoundedValues((), MAX_REGIONS)
        self._statuses = BoundedValues(INSTANCE_STATUSES)
        self._endpoints = BoundedValues({endpoint for endpoint, _ in _REQUESTS}, 4)
        self._methods = BoundedValues(("GET", "POST"), 0)
        self._codes = BoundedValues((*_CODES, *_TRANSPORT_FAILURES), 20)
        self._resources = BoundedValues(_RESOURCES, 0)
        self._poll_failures = BoundedValues(_POLL_FAILURES)
        self._outcomes = BoundedValues((o.value for o in Outcome), 0)
        self._receivers = BoundedValues(names, 100)
        self._notification_failures = BoundedValues(_NOTIFICATION_FAILURES, 20)
        self._notification_codes = BoundedValues((*_CODES, *_TRANSPORT_FAILURES), 20)
        self._circuit_open = False
        self._reload_successful = True
        self._loop_tasks = 0
        self._declare_polls()
        self._declare_outcomes()
        self._declare_notifications(names)

    def _declare_polls(self) -> None:
        self._poll_runs = Counter("nexusd_poll_runs", "Polls of a resource that ended.", ("resource",))
        self._poll_failures_total = Counter(
            "nexusd_poll_failures",
            "Polls that left the snapshot as it was, by reason.",
            ("resource", "reason"),
        )
        self._poll_skipped = Counter(
            "nexusd_poll_skipped", "Polls not started because one was still under way.", ("resource",)
        )
        self._poll_duration = Histogram(
            "nexusd_poll_duration_seconds", "How long polls took.", "resource", _POLL_BUCKETS_S
        )
        self._api_requests = Counter(
            "nexusd_api_requests",
            "Requests to the CloudNexus API by status code, or by what went wrong.",
            ("endpoint", "method", "code"),
        )
        self._api_retries = Counter(
            "nexusd_api_retries", "Requests to the CloudNexus API that were tried again.", ("endpoint",)
        )
        self._api_duration = Histogram(
            "nexusd_api_request_duration_seconds", "How long requests to the API took.", "endpoint"
        )
        for resource in _RESOURCES:
            self._poll_runs.zero(resource)
            self._poll_skipped.zero(resource)
            self._poll_duration.zero(resource)
            self._api_retries.zero(resource)
            self._api_duration.zero(resource)
        for resource, reason in product(_RESOURCES, _POLL_FAILURES):
            self._poll_failures_total.zero(resource, reason)
        for (endpoint, method), code in product(_REQUESTS, (*_CODES, *_TRANSPORT_FAILURES)):
            self._api_requests.zero(endpoint, method, code)

    def _declare_outcomes(self) -> None:
        self._transitions = Counter(
            "nexusd_instance_transitions",
            "Status changes between two snapshots of the instances.",
            ("region", "from", "to"),
        )
        self._placement_outcomes = Counter(
            "nexusd_placement_outcomes", "Attempts to create an instance, by outcome.", ("region", "outcome")
        )
        self._placement_duration = Histogram(
            "nexusd_placement_duration_seconds",
            "From taking a placement in to its instance running.",
            bounds=_MINUTES_S,
        )
        self._loop_lag = Histogram(
            "nexusd_event_loop_lag_seconds", "How late the event loop ran a timer.", bounds=_LAG_BUCKETS_S
        )
        self._connections_shed = Counter(
            "nexusd_http_connections_shed",
            "Client connections closed or refused at a limit, and event followers refused.",
            ("reason",),
        )
        for reason in CONNECTIONS_SHED:
            self._connections_shed.zero(reason)

    def _declare_notifications(self, receivers: tuple[str, ...]) -> None:
        self._notifications = Counter(
            "nexusd_notifications", "Notifications that were tried to the end.", ("receiver",)
        )
        self._notifications_failed = Counter(
            "nexusd_notifications_failed", "Notifications that failed, by reason.", ("receiver", "reason")
        )
        self._notification_requests = Counter(
            "nexusd_notification_requests",
            "Requests to receivers by status code, or by what went wrong.",
            ("receiver", "code"),
        )
        self._notification_latency = Histogram(
            "nexusd_notification_latency_seconds",
            "From writing a notification to its delivery.",
            "receiver",
            (*_POLL_BUCKETS_S, 300.0, 3600.0, 86_400.0),
        )
        for receiver in receivers:
            self.expect_receiver(receiver)

    def expect_receiver(self, receiver: str) -> None:
        """Make a receiver's series exist (at start, and after a reload that added it)."""
        name = self._receivers.fold(receiver)
        self._notifications.zero(name)
        self._notification_latency.zero(name)
        for reason in _NOTIFICATION_FAILURES:
            self._notifications_failed.zero(name, reason)
        for code in (*_CODES, *_TRANSPORT_FAILURES):
            self._notification_requests.zero(name, code)

    def expect_regions(self, slugs: Iterable[str]) -> None:
        """Make a region's series exist as soon as it is known; cheap when they do."""
        for slug in slugs:
            if slug in self._regions:
                continue
            region = self._regions.fold(slug)
            for before, after in permutations(INSTANCE_STATUSES, 2):
                self._transitions.zero(region, before, after)
            for outcome in Outcome:
                self._placement_outcomes.zero(region, outcome.value)

    def api_request(self, endpoint: str, method: str, code: str, duration_s: float) -> None:
        where = self._endpoint(endpoint)
        self._api_requests.add(1, where, self._methods.fold(method), self._codes.fold(code))
        self._api_duration.observe(duration_s, where)

    def api_retry(self, endpoint: str) -> None:
        self._api_retries.add(1, self._endpoint(endpoint))

    def api_circuit(self, state: str) -> None:
        self._circuit_open = state == "open"

    def poll_ended(self, resource: str, failure: str | None, duration_s: float) -> None:
        name = self._resources.fold(resource)
        self._poll_runs.add(1, name)
        self._poll_duration.observe(duration_s, name)
        if failure is not None:
            self._poll_failures_total.add(1, name, self._poll_failures.fold(failure))

    def poll_skipped(self, resource: str) -> None:
        self._poll_skipped.add(1, self._resources.fold(resource))

    def instances_changed(self, region: str, before: str, after: str, count: int) -> None:
        statuses = self._statuses.fold(before), self._statuses.fold(after)
        self._transitions.add(count, self._region(region), *statuses)

    def placement_attempt(self, region: str, outcome: str) -> None:
        self._placement_outcomes.add(1, self._region(region), self._outcomes.fold(outcome))

    def placement_ended(self, duration_s: float) -> None:
        self._placement_duration.observe(duration_s)

    def notification(self, receiver: str, failure: str | None, latency_s: float | None) -> None:
        name = self._receivers.fold(receiver)
        self._notifications.add(1, name)
        if failure is not None:
            self._notifications_failed.add(1, name, self._notification_failures.fold(failure))
        if latency_s is not None:
            self._notification_latency.observe(latency_s, name)

    def notification_request(self, receiver: str, code: str) -> None:
        name = self._receivers.fold(receiver)
        self._notification_requests.add(1, name, self._notification_codes.fold(code))

    def loop_lag(self, lag_s: float) -> None:
        self._loop_lag.observe(lag_s)

    def connection_shed(self, reason: str) -> None:
        """Count a connection closed (`idle`) or `refused`, or a refused follower (`event_readers`)."""
        self._connections_shed.add(1, reason)

    def loop_tasks(self, count: int) -> None:
        self._loop_tasks = count

    def reloaded(self, *, successful: bool) -> None:
        """The last reload's outcome; 1 from the start, which is itself a successful load."""
        self._reload_successful = successful

    def render(self, *, openmetrics: bool) -> str:
        """Every family of this registry, without a closing line."""
        counters = (
            self._poll_runs,
            self._poll_failures_total,
            self._poll_skipped,
            self._api_requests,
            self._api_retries,
            self._transitions,
            self._placement_outcomes,
            self._notifications,
            self._notifications_failed,
            self._notification_requests,
            self._connections_shed,
        )
        histograms = (
            self._poll_duration,
            self._api_duration,
            self._placement_duration,
            self._notification_latency,
            self._loop_lag,
        )
        return "".join(
            [
                *(counter.render(openmetrics=openmetrics) for counter in counters),
                *(histogram.render() for histogram in histograms),
                gauge(
                    "nexusd_api_circuit_open",
                    "1 while the circuit breaker of an endpoint of the CloudNexus API is open.",
                    [((), self._circuit_open)],
                ),
                gauge(
                    "nexusd_config_last_reload_successful",
                    "1 when the last reading of the configuration was taken over.",
                    [((), self._reload_successful)],
                ),
                gauge(
                    "nexusd_event_loop_tasks",
                    "Tasks of the event loop that have not ended.",
                    [((), self._loop_tasks)],
                ),
            ]
        )

    def _region(self, slug: str) -> str:
        self.expect_regions([slug])
        return self._regions.fold(slug)

    def _endpoint(self, endpoint: str) -> str:
        """`/instances` and `instances` are one endpoint."""
        return self._endpoints.fold(endpoint.strip("/"))
