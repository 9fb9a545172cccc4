"""Every operation of the HTTP side: what it takes and what it answers. `openapi` makes the description of it.

The types of answers are those that mypy holds the handlers to, the bodies those that are validated, the
bounds those that `queries` checks. The tests hold the routes, and every answer that they get, to this table.
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
"""How who may not is refused."""
EVERYBODY: tuple[int, ...] = ()
_BODILESS = (408, 413, 415)
"""A body that nobody asked for is bounded all the same."""
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
    """`answer`: the type of a JSON answer. `media`: what is answered instead, or besides, as text.

    `access` and `failures`: the statuses of errors; under `/api/v2/` failures are JSON strings. `verdicts`:
    those that are said in the media of the answer. `headers`: those of the answer. A body that is not
    `demanded` may be left out.
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


def _flag(name: str, text: str) -> Parameter:
    return Parameter(name, {"type": "boolean", "default": True}, text)


def _id(text: str) -> Parameter:
    return Parameter("id", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, text, "path")


_PAGE = (
    _integer("limit", (1, queries.MAX_LIMIT), queries.DEFAULT_LIMIT, "How many of the list."),
    _integer("offset", (0, queries.MAX_OFFSET), 0, "How many to leave out first."),
)
_SHOWN = (
    _choice("show", ("alerts", "instances", "placements"), "The list."),
    _integer("offset", (0, queries.MAX_OFFSET), 0, "How many of the list to leave out first."),
    _text("region", "Of instances, the whole slug."),
    _text("status", "Of instances, the whole status."),
    _text("name", "Of instances, a part of the name in any case; of alerts, the whole name."),
    _choice("state", tuple(State), "Of placements."),
    _text("placement", "A placement's id."),
)
_REGION = _text("region", "The whole slug. An unknown region is an error that lists the known ones.")
_STATUS = _text("status", "The whole status. An unknown status is an error, too.")
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
        "A pattern of receivers' names.",
    ),
    _flag("active", "Whether those that are told are wanted."),
    _flag("silenced", "Whether those that are silenced are wanted."),
    _flag("inhibited", "Whether those that are inhibited are wanted."),
    _flag("unprocessed", "Taken for Alertmanager's sake: there are none."),
)
_IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[ -~]{1,255}$"},
    "The same key and body give the same placement again; another body is refused (409).",
    "header",
)
_PLACEMENT_ID = _id("The placement's id.")
_MESSAGE_ID = _id("The message's id.")
_SILENCE_ID = _id("The silence's id.")
_LOCATION = {"Location": "Where the placement is."}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation(
        "The status page: the overview, or by `show` a list, or by `placement` one placement.",
        media=(HTML,),
        parameters=_SHOWN,
        failures=(400,),
        verdicts=(404, 503),
    ),
    ("GET", "/static/{name}"): Operation(
        "What the status page needs.",
        media=("text/css", "image/svg+xml", "text/javascript"),
        parameters=(Parameter("name", {"type": "string", "pattern": "^[a-z.]{1,64}$"}, "A file.", "path"),),
        failures=(404,),
    ),
    ("GET", "/metrics"): Operation("Metrics for Prometheus.", media=(PLAIN, OPENMETRICS)),
    ("GET", "/-/healthy"): Operation(
        "Whether every part makes progress.", media=(PLAIN,), verdicts=(503,), access=EVERYBODY
    ),
    ("GET", "/-/ready"): Operation(
        "Whether what is served can be relied on.", media=(PLAIN,), verdicts=(503,)
    ),
    ("POST", "/-/reload"): Operation("Read the configuration again.", media=(PLAIN,), failures=_BODY),
    ("GET", "/api/v1/openapi.json"): Operation("This description.", answer=dict[str, Any]),
    ("GET", "/api/v1/status"): Operation("The daemon at a glance.", answer=schemas.Status),
    ("GET", "/api/v1/regions"): Operation("Regions, and why they are eligible or not.", schemas.Regions),
    ("GET", "/api/v1/instances"): Operation(
        "Instances, in the order they were first seen.",
        schemas.ObservedPage[schemas.Instance],
        parameters=(_REGION, _STATUS, _text("name", "The whole name."), *_PAGE),
        failures=(400,),
    ),
    ("GET", "/api/v1/sd"): Operation(
        "Instances with a public IP, for Prometheus's HTTP service discovery; 503 while data is stale.",
        list[sd.Group],
        parameters=(
            _integer("port", (1, 65_535), sd.DEFAULT_PORT, "The port of each target."),
            _text("region", "The whole slug.", least=1),
            _text("status", "The whole status.", least=1),
        ),
        failures=(400, 503),
    ),
    ("GET", "/api/v1/fleets"): Operation(
        "Declared fleets, in the order of the configuration.",
        schemas.ObservedPage[schemas.Fleet],
        parameters=_PAGE,
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v1/placements"): Operation(
        "Placements, newest first.",
        schemas.Page[schemas.Placement],
        parameters=(_choice("state", tuple(State), "Only those in this state."), *_PAGE),
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v1/placements"): Operation(
        "Take a placement in. 202: it is durable.",
        schemas.WholePlacement,
        status=202,
        parameters=(_IDEMPOTENCY_KEY,),
        body=PlacementBody,
        failures=(*_BODY, 409, *_STORED),
        headers=_LOCATION,
    ),
    ("GET", "/api/v1/placements/{id}"): Operation(
        "A placement with its attempts and decisions.",
        schemas.WholePlacement,
        parameters=(_PLACEMENT_ID,),
        failures=(404, *_STORED),
    ),
    ("DELETE", "/api/v1/placements/{id}"): Operation(
        "Cancel a placement that is queued.",
        schemas.Placement,
        parameters=(_PLACEMENT_ID,),
        failures=(*_BODILESS, 404, 409, *_STORED),
    ),
    ("POST", "/api/v1/placements/{id}/resolve"): Operation(
        "Say what became of a held placement's create.",
        schemas.Placement,
        parameters=(_PLACEMENT_ID,),
        body=ResolveBody,
        failures=(*_BODY, 404, 409, *_STORED),
    ),
    ("POST", "/api/v1/plan"): Operation(
        "The decision that a placement would get. Nothing is created.",
        schemas.Plan,
        body=PlacementBody,
        failures=(*_BODY, *_STORED),
    ),
    ("GET", "/api/v1/alerts"): Operation(
        "What fires or is pending, the most pressing first.",
        schemas.Page[schemas.ListedAlert],
        parameters=(_choice("state", alerts.STATES, "Only those in this state."), _FILTER, *_PAGE),
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v1/alerts/test"): Operation(
        "Send a marked notification to every receiver, or to one.",
        schemas.ReceiverTests,
        body=TestBody,
        demanded=False,
        failures=(*_BODY, 404),
    ),
    ("GET", "/api/v1/outbox"): Operation(
        "Notifications, newest first.",
        schemas.Page[schemas.Message],
        parameters=(_choice("state", outbox.STATES, "Only those in this state."), *_PAGE),
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v1/outbox/{id}"): Operation(
        "A notification with its body.",
        schemas.WholeMessage,
        parameters=(_MESSAGE_ID,),
        failures=(404, *_STORED),
    ),
    ("POST", "/api/v1/outbox/{id}/replay"): Operation(
        "Try a dead notification again, as if it were new.",
        schemas.Message,
        parameters=(_MESSAGE_ID,),
        failures=(*_BODILESS, 404, 409, *_STORED),
    ),
    ("POST", "/api/v1/outbox/replay"): Operation(
        "Try every dead notification again.", schemas.Replayed, failures=(*_BODILESS, *_STORED)
    ),
    ("GET", "/api/v1/events"): Operation(
        "What happened, oldest first; with `Accept: text/event-stream` a live stream.",
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
                "An event's id, or a time.",
            ),
            _integer("limit", (1, history.MAX_EVENTS), history.DEFAULT_EVENTS, "How many. Not of a stream."),
            Parameter(
                "Last-Event-ID",
                {"type": "string"},
                "The event's id that a stream goes on after.",
                "header",
            ),
        ),
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v2/status"): Operation("Version and routing.", schemas_v2.AlertmanagerStatus),
    ("GET", "/api/v2/receivers"): Operation("Receivers.", list[schemas_v2.Receiver]),
    ("GET", "/api/v2/alerts"): Operation(
        "Alerts that fire.",
        list[schemas_v2.GettableAlert],
        parameters=_ALERTS,
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v2/alerts"): Operation(
        "Refused: nexusd's rules make its alerts.", answer=str, status=400, failures=_BODILESS
    ),
    ("GET", "/api/v2/alerts/groups"): Operation(
        "Alerts that fire, as receivers are told of them.",
        list[schemas_v2.AlertGroup],
        parameters=_ALERTS,
        failures=(400, *_STORED),
    ),
    ("GET", "/api/v2/silences"): Operation(
        "Silences.",
        list[schemas_v2.GettableSilence],
        parameters=(_FILTER,),
        failures=(400, *_STORED),
    ),
    ("POST", "/api/v2/silences"): Operation(
        "Make a silence, or change one.",
        schemas_v2.SilenceId,
        body=SilenceBody,
        failures=(*_BODY, 404, 409, *_STORED),
    ),
    ("GET", "/api/v2/silence/{id}"): Operation(
        "A silence.",
        schemas_v2.GettableSilence,
        parameters=(_SILENCE_ID,),
        failures=(404, *_STORED),
    ),
    ("DELETE", "/api/v2/silence/{id}"): Operation(
        "End a silence now.",
        parameters=(_SILENCE_ID,),
        failures=(*_BODILESS, 404, *_STORED),
    ),
}
