"""*Daemon*: the state of nexusd itself.

What each replica does is shown by `instance`.

Only the leader places and notifies, so the counters of notifications are summed over the replicas.
"""

from __future__ import annotations

from panels import BLUE, GREEN, ORANGE, RED, Panel, Query, dashboard_of


def quantiles(metric: str, labels: str, name: str) -> tuple[Query, ...]:
    """The median and the 95 % of a histogram, by these labels."""
    rates = f"sum by ({labels}, le) (rate({metric}_bucket{{@}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({quantile}, {rates})", f"{name} {words}")
        for quantile, words in ((0.5, "median"), (0.95, "95 %"))
    )


NOW = (
    Panel(
        "Version",
        "Of each nexusd that was scraped.",
        "none",
        (Query("max by (version) (nexusd_build_info{@})", "{{version}}"),),
        kind="name",
        width=4,
        height=4,
    ),
    Panel(
        "Up for",
        "Since the process that was started last began.",
        "s",
        (Query("min(time() - (process_start_time_seconds{@} and on (job, instance) nexusd_build_info{@}))"),),
        kind="number",
        width=4,
        height=4,
    ),
    Panel(
        "Leaders",
        "Replicas that place and notify: one. With none, nothing is placed and nobody told.",
        "short",
        (Query("sum(nexusd_leader{@})"),),
        kind="number",
        width=4,
        height=4,
        colours={None: RED, 1: GREEN},
    ),
    Panel(
        "Oldest data",
        "Age of the older of the two snapshots, of the replica whose data is oldest.",
        "s",
        (Query("max(time() - (nexusd_poll_last_success_timestamp_seconds{@} > 0))"),),
        kind="number",
        width=4,
        height=4,
        colours={None: GREEN, 90: RED},
    ),
    Panel(
        "Circuit breaker",
        "Open: the API failed too often, and is asked one request at a time until it answers.",
        "none",
        (Query("max(nexusd_api_circuit_open{@})"),),
        kind="number",
        width=4,
        height=4,
        words={0: ("closed", GREEN), 1: ("open", RED)},
    ),
    Panel(
        "Configuration",
        "Whether the last reading of the configuration was taken over. If not, the one before is in effect.",
        "none",
        (Query("min(nexusd_config_last_reload_successful{@})"),),
        kind="number",
        width=4,
        height=4,
        words={1: ("in effect", GREEN), 0: ("refused", RED)},
    ),
)

DATA = (
    Panel(
        "Age of data",
        "Since the last complete reading. Past three intervals it is stale: nothing is placed on it, and "
        "alerts that depend on it wait.",
        "s",
        (
            Query(
                "time() - (nexusd_poll_last_success_timestamp_seconds{@} > 0)", "{{resource}} {{instance}}"
            ),
            Query("max by (resource) (3 * nexusd_poll_interval_seconds{@})", "{{resource}} is stale"),
        ),
    ),
    Panel(
        "Duration of polls",
        "How long it took to read all of a resource.",
        "s",
        quantiles("nexusd_poll_duration_seconds", "instance, resource", "{{resource}} {{instance}}"),
    ),
    Panel(
        "Polls",
        "That ended, and that were not begun because one was still under way.",
        "cps",
        (
            Query("rate(nexusd_poll_runs_total{@}[$__rate_interval])", "{{resource}} {{instance}}"),
            Query(
                "rate(nexusd_poll_skipped_total{@}[$__rate_interval])",
                "{{resource}} skipped {{instance}}",
            ),
        ),
    ),
    Panel(
        "Polls that failed",
        "They left the snapshot as it was.",
        "short",
        (
            Query(
                "increase(nexusd_poll_failures_total{@}[$__rate_interval]) > 0",
                "{{resource}}: {{reason}} {{instance}}",
            ),
        ),
        kind="bars",
    ),
)

API = (
    Panel(
        "Requests by code",
        "To the CloudNexus API, by the status that it answered with, or by what went wrong.",
        "reqps",
        (
            Query(
                "sum by (instance, code) (rate(nexusd_api_requests_total{@}[$__rate_interval])) > 0",
                "{{code}} {{instance}}",
            ),
        ),
        kind="stacked",
    ),
    Panel(
        "Duration of requests",
        "From sending to the whole answer.",
        "s",
        quantiles("nexusd_api_request_duration_seconds", "instance, endpoint", "{{endpoint}} {{instance}}"),
    ),
    Panel(
        "Retries",
        "Requests that were sent again. A create never is.",
        "short",
        (Query("increase(nexusd_api_retries_total{@}[$__rate_interval])", "{{endpoint}} {{instance}}"),),
        kind="bars",
    ),
    Panel(
        "Circuit breaker by instance",
        "While it is open, one request at a time tries whether the API answers again.",
        "none",
        (Query("nexusd_api_circuit_open{@}", "{{instance}}"),),
        kind="states",
        words={0: ("closed", GREEN), 1: ("open", RED)},
    ),
)

NOTIFICATIONS = (
    Panel(
        "Outbox",
        "Notifications that wait, and those that were given up (dead): `nexusd outbox list|replay`.",
        "short",
        (
            Query(
                'max by (receiver, state) (nexusd_outbox_messages{@, state=~"pending|dead"})',
                "{{receiver}} {{state}}",
            ),
        ),
    ),
    Panel(
        "Oldest that waits",
        "Age of the oldest notification that is still to be sent. NotificationsFailing fires past the line.",
        "s",
        (
            Query(
                """max by (receiver) (time() - (nexusd_outbox_oldest_timestamp_seconds{@} > 0)
                or 0 * nexusd_outbox_oldest_timestamp_seconds{@})""",
                "{{receiver}}",
            ),
        ),
        colours={None: GREEN, 600: RED},
    ),
    Panel(
        "Notifications",
        "Tried to the end: delivered, or failed for good.",
        "short",
        (
            Query(
                "sum by (receiver) (increase(nexusd_notifications_total{@}[$__rate_interval]))",
                "{{receiver}}",
            ),
            Query(
                "sum by (receiver) (increase(nexusd_notifications_failed_total{@}[$__rate_interval]))",
                "{{receiver}} failed",
            ),
        ),
        kind="bars",
        width=8,
    ),
    Panel(
        "Answers of receivers",
        "Each try, by the status that it was answered with, or by what went wrong.",
        "short",
        (
            Query(
                """sum by (receiver, code)
                (increase(nexusd_notification_requests_total{@}[$__rate_interval])) > 0""",
                "{{receiver}}: {{code}}",
            ),
        ),
        kind="bars",
        width=8,
    ),
    Panel(
        "Time to delivery",
        "From writing a notification to its delivery.",
        "s",
        quantiles("nexusd_notification_latency_seconds", "receiver", "{{receiver}}"),
        width=8,
    ),
)

PROCESS = (
    Panel(
        "Event loop lag",
        "How late the event loop ran a timer. A request waits at least as long.",
        "s",
        quantiles("nexusd_event_loop_lag_seconds", "instance", "{{instance}}"),
        width=8,
    ),
    Panel(
        "Tasks",
        "Of the event loop: one for each connection and each part of nexusd. One that only grows is a leak.",
        "short",
        (Query("nexusd_event_loop_tasks{@}", "{{instance}}"),),
        width=8,
    ),
    Panel(
        "CPU",
        "Processors that the process keeps busy.",
        "percentunit",
        (
            Query(
                """rate(process_cpu_seconds_total{@}[$__rate_interval])
                and on (job, instance) nexusd_build_info{@}""",
                "{{instance}}",
            ),
        ),
        width=8,
    ),
    Panel(
        "Memory",
        "Resident memory of the process.",
        "bytes",
        (
            Query(
                "process_resident_memory_bytes{@} and on (job, instance) nexusd_build_info{@}", "{{instance}}"
            ),
        ),
        width=8,
    ),
    Panel(
        "File descriptors",
        "In use, as a share of what the process may have.",
        "percentunit",
        (Query("process_open_fds{@} / process_max_fds{@}", "{{instance}}"),),
        width=8,
        colours={None: GREEN, 0.8: ORANGE},
    ),
    Panel(
        "Who leads",
        "The replica that places and notifies.",
        "none",
        (Query("nexusd_leader{@}", "{{instance}}"),),
        kind="states",
        width=8,
        words={1: ("leads", GREEN), 0: ("follows", BLUE)},
    ),
)

DASHBOARD = dashboard_of(
    "nexusd-daemon",
    "nexusd: Daemon",
    "How nexusd itself does: its data, the API, notifications, the process.",
    {"Now": NOW, "Data": DATA, "API": API, "Notifications": NOTIFICATIONS, "Process": PROCESS},
)
