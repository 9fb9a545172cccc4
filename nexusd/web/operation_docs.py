"""The id, tag and description of each operation.

Documentation and generated clients show them.

Used by `openapi`. Ids are part of the API: generated clients name their functions by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

TAGS: Mapping[str, str] = MappingProxyType(
    {
        "Inventory": "Regions, instances and fleets as of the last snapshot.",
        "Placements": "Requests for instances, and the decisions about them.",
        "Alerts": "Firing and pending alerts, and notifications.",
        "Events": "The history of changes, and the live stream.",
        "Daemon": "State of the daemon, metrics, and reload.",
        "Page": "The status page for browsers.",
        "Alertmanager": "The Alertmanager v2 API, for amtool and Grafana.",
    }
)


class Documentation(NamedTuple):
    id: str
    tag: str
    description: str


DOCUMENTATION: Mapping[tuple[str, str], Documentation] = {
    ("GET", "/"): Documentation(
        "getPage",
        "Page",
        "Returns the overview; with `show` a list, with `placement` one placement. Complete without scripts.",
    ),
    ("GET", "/static/{name}"): Documentation(
        "getStaticFile", "Page", "Returns a style sheet, script or icon of the status page."
    ),
    ("GET", "/metrics"): Documentation(
        "getMetrics", "Daemon", "Returns the Prometheus text format, or OpenMetrics if `Accept` prefers it."
    ),
    ("GET", "/-/healthy"): Documentation(
        "getHealth",
        "Daemon",
        "Returns 200 while workers progress and the store commits, else 503 with the reason.",
    ),
    ("GET", "/-/ready"): Documentation(
        "getReadiness",
        "Daemon",
        "Returns 200 after the first snapshots. Returns 503 with the reason before that, while the API key "
        "is refused, while the store does not respond, and while the daemon stops.",
    ),
    ("POST", "/-/reload"): Documentation(
        "reload", "Daemon", "Reads the configuration again. A bad configuration changes nothing."
    ),
    ("GET", "/api/v1/openapi.json"): Documentation("getOpenApi", "Daemon", "Returns this OpenAPI document."),
    ("GET", "/api/v1/status"): Documentation(
        "getStatus", "Daemon", "Returns readiness, polls, and counts of everything else."
    ),
    ("GET", "/api/v1/regions"): Documentation(
        "listRegions", "Inventory", "Returns each region with its latency, capacity, rank and reasons."
    ),
    ("GET", "/api/v1/instances"): Documentation(
        "listInstances", "Inventory", "Returns one page of the instances that match all given filters."
    ),
    ("GET", "/api/v1/sd"): Documentation(
        "discoverTargets",
        "Inventory",
        "Returns Prometheus target groups for `http_sd_configs`. While the snapshot is stale the response is "
        "503, so that Prometheus keeps its targets.",
    ),
    ("GET", "/api/v1/fleets"): Documentation(
        "listFleets", "Inventory", "Returns the fleets with their counts and open placements."
    ),
    ("GET", "/api/v1/placements"): Documentation(
        "listPlacements", "Placements", "Returns one page of the placements, without attempts and decisions."
    ),
    ("POST", "/api/v1/placements"): Documentation(
        "createPlacement",
        "Placements",
        "Accepts a request for one instance. After 202 it is durable. Follow `Location` to watch its state.",
    ),
    ("GET", "/api/v1/placements/{id}"): Documentation(
        "getPlacement", "Placements", "Returns a placement with every attempt and every decision."
    ),
    ("DELETE", "/api/v1/placements/{id}"): Documentation(
        "cancelPlacement", "Placements", "Cancels a placement. Returns 409 once its create was sent."
    ),
    ("POST", "/api/v1/placements/{id}/resolve"): Documentation(
        "resolvePlacement",
        "Placements",
        "Records whether the instance of a held placement exists, where no listing can show it.",
    ),
    ("POST", "/api/v1/plan"): Documentation(
        "planPlacement",
        "Placements",
        "Returns the decision that a request would get now: each region with its rank or reasons.",
    ),
    ("GET", "/api/v1/alerts"): Documentation(
        "listAlerts", "Alerts", "Returns one page of the alerts, with what mutes each of them."
    ),
    ("POST", "/api/v1/alerts/test"): Documentation(
        "testReceivers", "Alerts", "Sends a test notification and returns each receiver's response."
    ),
    ("GET", "/api/v1/outbox"): Documentation(
        "listNotifications", "Alerts", "Returns one page of the notifications, without their bodies."
    ),
    ("GET", "/api/v1/outbox/{id}"): Documentation(
        "getNotification", "Alerts", "Returns a notification with the body that is sent."
    ),
    ("POST", "/api/v1/outbox/{id}/replay"): Documentation(
        "replayNotification", "Alerts", "Queues a dead notification again."
    ),
    ("POST", "/api/v1/outbox/replay"): Documentation(
        "replayNotifications", "Alerts", "Queues every dead notification again."
    ),
    ("GET", "/api/v1/events"): Documentation(
        "listEvents",
        "Events",
        "Returns the history, oldest first. With `Accept: text/event-stream` the response is a live stream, "
        "which resumes after `Last-Event-ID`.",
    ),
    ("GET", "/api/v2/status"): Documentation(
        "getAlertmanagerStatus",
        "Alertmanager",
        "Returns version, and routing in Alertmanager's terms.",
    ),
    ("GET", "/api/v2/receivers"): Documentation(
        "getReceivers", "Alertmanager", "Returns the names of the receivers."
    ),
    ("GET", "/api/v2/alerts"): Documentation(
        "getAlerts", "Alertmanager", "Returns the firing alerts that match all given filters."
    ),
    ("POST", "/api/v2/alerts"): Documentation(
        "postAlerts", "Alertmanager", "Always returns 400: alerts come from nexusd's own rules."
    ),
    ("GET", "/api/v2/alerts/groups"): Documentation(
        "getAlertGroups", "Alertmanager", "Returns the firing alerts by receiver and group."
    ),
    ("GET", "/api/v2/silences"): Documentation(
        "getSilences", "Alertmanager", "Returns the silences, active ones first."
    ),
    ("POST", "/api/v2/silences"): Documentation(
        "postSilences", "Alertmanager", "Creates a silence, or changes the one whose `id` is given."
    ),
    ("GET", "/api/v2/silence/{id}"): Documentation("getSilence", "Alertmanager", "Returns one silence."),
    ("DELETE", "/api/v2/silence/{id}"): Documentation(
        "deleteSilence", "Alertmanager", "Expires a silence now."
    ),
}
