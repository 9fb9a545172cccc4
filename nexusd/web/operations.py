"""Every operation of the HTTP API: its parameters, bodies and responses.

`openapi` renders the table.

Response types are those that mypy checks the handlers against, bodies those that are validated, and bounds
those that `queries` enforces. Tests check the routes, and every response they get, against this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from nexusd.core.lifecycle import State
from nexusd.web import alertmanager_queries, alerts, history, outbox, queries, schemas, schemas_v2, sd
from nexusd.web.bodies import PlacementBody, ResolveBody, TestBody
from nexusd.web.silence_bodies import SilenceBody

JSON = "application/json"
PLAIN = "text/plain"
HTML = "text/html"
OPENMETRICS = "application/openmetrics-text"
EVENT_STREAM = "text/event-stream"

GUARDED = (401, 403)
"""Responses for unauthenticated and forbidden requests."""
EVERYBODY: tuple[int, ...] = ()
_BODILESS = (408, 413, 415)
"""Statuses of operations without a body: one that is sent all the same is bounded."""
_BODY = (400, *_BODILESS)
_STORED = (503,)
"""The store did not answer."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`where`: query, path or header. `schema`: JSON Schema."""

    name: str
    schema: Mapping[str, Any]
    text: str
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """`answer`: type of the JSON response.

    `media`: types of text responses, instead or as alternatives.

    `access` and `failures`: statuses of errors; under `/api/v2/` these are JSON strings. `verdicts`: statuses
    whose response has the media of a success. `headers`: those of the response. A body that is not `demanded`
    is optional.
    """

    summary: str
    answer: Any = None
    media: tuple[str, ...] = ()
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    demanded: bool = True
    failures: tuple[int, ...] = ()
    verdicts: tuple[int, ...] = ()
    access: tuple[int, ...] = GUARDED
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def _integer(name: str, bounds: tuple[int, int], default: int, text: str) -> Parameter:
    low, high = bounds
    return Parameter(name, {"type": "integer", "minimum": low, "maximum": high, "default": default}, text)


def _choice(name: str, values: tuple[str, ...], text: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": list(values)}, text)


def _text(name: str, text: str, *, least: int = 0) -> Parameter:
    schema = {"type": "string", "minLength": least, "maxLength": queries.LONGEST_TEXT}
    return Parameter(name, schema, text)


def _match(text: str) -> Parameter:
    schema = {"type": "string", "format": "visible-text", "minLength": 1, "maxLength": queries.MAX_MATCH}
    return Parameter("match", schema, text)


def _flag(name: str, text: str) -> Parameter:
    return Parameter(name, {"type": "boolean", "default": True}, text)


def _id(text: str) -> Parameter:
    return Parameter("id", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, text, "path")


_PAGE = (
    _integer("limit", (1, queries.MAX_LIMIT), queries.DEFAULT_LIMIT, "Number of results to return."),
    _integer("offset", (0, queries.MAX_OFFSET), 0, "Number of results to skip."),
)
_SHOWN = (
    _choice("show", ("alerts", "instances", "placements"), "List to show."),
    _integer("offset", (0, queries.MAX_OFFSET), 0, "Number of results of the list to skip."),
    _text("region", "Region slug of the instances."),
    _text("status", "Status of the instances."),
    _text("name", "Part of an instance's name in any case, or the whole name of an alert."),
    _choice("state", tuple(State), "State of the placements."),
    _text("placement", "Placement ID."),
)
_REGION = _text("region", "Region slug. An unknown region is an error that lists the regions.")
_STATUS = _text("status", "Instance status. An unknown status is an error that lists the statuses.")
_FILTER = Parameter(
    "filter",
    {
        "type": "array",
        "maxItems": alertmanager_queries.MAX_FILTERS,
        "items": {"type": "string", "maxLength": alertmanager_queries.LONGEST_FILTER, "format": "matcher"},
    },
    'A matcher such as severity="critical"; all of them must match.',
)
_ALERTS = (
    _FILTER,
    Parameter(
        "receiver",
        {"type": "string", "maxLength": queries.LONGEST_TEXT, "format": "regex"},
        "Regular expression for receiver names.",
    ),
    _flag("active", "Include alerts that are neither silenced nor inhibited."),
    _flag("silenced", "Include silenced alerts."),
    _flag("inhibited", "Include inhibited alerts."),
    _flag("unprocessed", "Accepted for compatibility; it has no effect."),
)
_IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[ -~]{1,255}$"},
    "The same key and body return the same placement; another body is refused (409).",
    "header",
)
_PLACEMENT_ID = _id("Placement ID.")
_MESSAGE_ID = _id("Notification ID.")
_SILENCE_ID = _id("Silence ID.")
_LOCATION = {"Location": "URL of the placement."}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation(
        "Show the status page",
        media=(HTML,),
        parameters=_SHOWN,
        failures=(400,),
        verdicts=(404, 503),
    ),
    ("GET", "/static/{name}"): Operation(
        "Get a file of the status page",
        media=("text/css", "image/svg+xml", "text/javascript"),
        parameters=(
            Parameter("name", {"type": "string", "pattern": "^[a-z.]{1,64}$"}, "File name.", "path"),
        ),
        failures=(404,),
    ),
    ("GET", "/metrics"): Operation("Get metrics for Prometheus", media=(PLAIN, OPENMETRICS)),
    ("GET", "/-/healthy"): Operation("Check health", media=(PLAIN,), verdicts=(503,), access=EVERYBODY),
    ("GET", "/-/ready"): Operation("Check readiness", media=(PLAIN,), verdicts=(503,)),
    ("POST", "/-/reload"): Operation("Reload the configuration", media=(PLAIN,), failures=_BODY),
    ("GET", "/api/v1/openapi.json"): Operation("Get the OpenAPI document", answer=dict[str, Any]),
    ("GET", "/api/v1/status"): Operation("Get the status", answer=schemas.Status),
    ("GET", "/api/v1/regions"): Operation("List regions and their eligibility", schemas.Regions),
    ("GET", "/api/v1/instances"): Operation(
        "List instances, oldest first",
        schemas.ObservedPage[schemas.Instance],
        parameters=(_REGION, _STATUS, _text("name", "Instance name."), *_PAGE),
        failures=(400,),
    ),
    ("GET", "/api/v1/sd"): Operation(
        "Discover instances with a public IP",
        list[sd.Group],
        parameters=(
            _integer("port", (1, 65_535), sd.DEFAULT_PORT, "Port of each target."),
            _text("region", "Region slug.", least=1),
            _text("status", "Instance status.", least=1),
        ),
        failures=(400, 503),
    ),
    ("GET", "/api/v1/fleets"): Operation(
        "List fleets in the order of the configuration",
        schemas.ObservedPage[schemas.Fleet],
        parameters=_PAGE,
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v1/placements"): Operation(
        "List placements, newest first",
        schemas.Page[schemas.Placement],
        parameters=(
            _choice("state", tuple(State), "State to filter by."),
            _match("Name, or beginning of the ID, to filter by."),
            *_PAGE,
        ),
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v1/placements"): Operation(
        "Request an instance",
        schemas.WholePlacement,
        status=202,
        parameters=(_IDEMPOTENCY_KEY,),
        body=PlacementBody,
        failures=(*_BODY, 409, *_STORED),
        headers=_LOCATION,
    ),
    ("GET", "/api/v1/placements/{id}"): Operation(
        "Get a placement",
        schemas.WholePlacement,
        parameters=(_PLACEMENT_ID,),
        failures=(404, *_STORED),
    ),
    ("DELETE", "/api/v1/placements/{id}"): Operation(
        "Cancel a queued placement",
        schemas.Placement,
        parameters=(_PLACEMENT_ID,),
        failures=(*_BODILESS, 404, 409, *_STORED),
    ),
    ("POST", "/api/v1/placements/{id}/resolve"): Operation(
        "Resolve a held placement",
        schemas.Placement,
        parameters=(_PLACEMENT_ID,),
        body=ResolveBody,
        failures=(*_BODY, 404, 409, *_STORED),
    ),
    ("POST", "/api/v1/plan"): Operation(
        "Decide without creating anything",
        schemas.Plan,
        body=PlacementBody,
        failures=(*_BODY, *_STORED),
    ),
    ("GET", "/api/v1/alerts"): Operation(
        "List alerts, most severe first",
        schemas.Page[schemas.ListedAlert],
        parameters=(_choice("state", alerts.STATES, "State to filter by."), _FILTER, *_PAGE),
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v1/alerts/test"): Operation(
        "Send a test notification",
        schemas.ReceiverTests,
        body=TestBody,
        demanded=False,
        failures=(*_BODY, 404),
    ),
    ("GET", "/api/v1/outbox"): Operation(
        "List notifications, newest first",
        schemas.Page[schemas.Message],
        parameters=(
            _choice("state", outbox.STATES, "State to filter by."),
            _match("Beginning of the ID to filter by."),
            *_PAGE,
        ),
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v1/outbox/{id}"): Operation(
        "Get a notification",
        schemas.WholeMessage,
        parameters=(_MESSAGE_ID,),
        failures=(404, *_STORED),
    ),
    ("POST", "/api/v1/outbox/{id}/replay"): Operation(
        "Replay a dead notification",
        schemas.Message,
        parameters=(_MESSAGE_ID,),
        failures=(*_BODILESS, 404, 409, *_STORED),
    ),
    ("POST", "/api/v1/outbox/replay"): Operation(
        "Replay all dead notifications", schemas.Replayed, failures=(*_BODILESS, *_STORED)
    ),
    ("GET", "/api/v1/events"): Operation(
        "List or follow events",
        schemas.History,
        media=(EVENT_STREAM,),
        parameters=(
            Parameter(
                "since",
                {
                    "anyOf": [
                        {"type": "string", "pattern": "^[0-9]{1,19}$"},
                        {"type": "string", "format": "date-time", "maxLength": 64},
                    ]
                },
                "Event ID, or a time.",
            ),
            _integer(
                "limit",
                (1, history.MAX_EVENTS),
                history.DEFAULT_EVENTS,
                "Number of events to return; ignored for a stream.",
            ),
            Parameter(
                "Last-Event-ID",
                {"type": "string"},
                "ID of the last event received; a stream resumes after it.",
                "header",
            ),
        ),
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v2/status"): Operation("Get version and routing", schemas_v2.AlertmanagerStatus),
    ("GET", "/api/v2/receivers"): Operation("List receivers", list[schemas_v2.Receiver]),
    ("GET", "/api/v2/alerts"): Operation(
        "List firing alerts",
        list[schemas_v2.GettableAlert],
        parameters=_ALERTS,
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v2/alerts"): Operation(
        "Refuse alerts from outside", answer=str, status=400, failures=_BODILESS
    ),
    ("GET", "/api/v2/alerts/groups"): Operation(
        "List firing alerts by group",
        list[schemas_v2.AlertGroup],
        parameters=_ALERTS,
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v2/silences"): Operation(
        "List silences",
        list[schemas_v2.GettableSilence],
        parameters=(_FILTER,),
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v2/silences"): Operation(
        "Create or change a silence",
        schemas_v2.SilenceId,
        body=SilenceBody,
        failures=(*_BODY, 404, 409, *_STORED),
    ),
    ("GET", "/api/v2/silence/{id}"): Operation(
        "Get a silence",
        schemas_v2.GettableSilence,
        parameters=(_SILENCE_ID,),
        failures=(404, *_STORED),
    ),
    ("DELETE", "/api/v2/silence/{id}"): Operation(
        "Expire a silence",
        parameters=(_SILENCE_ID,),
        failures=(*_BODILESS, 404, *_STORED),
    ),
}
