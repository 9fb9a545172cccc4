"""The forms of what is answered (product.md, section 5): made by `shapes` and the routes, which mypy holds to
them, and described by `openapi`. Fields may be added, never renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypedDict, TypeVar

from msgspec import Meta

from nexusd.core.lifecycle import Outcome, State
from nexusd.core.records import Specs

Row = TypeVar("Row")

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | None
"""RFC 3339 in UTC; None where not known."""
Fingerprint = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{16}$"})]
"""Alertmanager's, of an alert's labels."""


class PageMeta(TypedDict):
    """`total`: how many there are on all pages."""

    total: int
    limit: int
    offset: int


class Page(TypedDict, Generic[Row]):
    """One page of a list."""

    data: list[Row]
    meta: PageMeta


class ObservedPage(TypedDict, Generic[Row]):
    """One page of a list, as of the snapshot."""

    data: list[Row]
    meta: PageMeta
    observed_at: Time


class FieldError(TypedDict):
    field: str
    message: str


class ErrorContent(TypedDict):
    code: str
    message: str
    details: list[FieldError] | None


class Error(TypedDict):
    """As CloudNexus answers errors."""

    error: ErrorContent


class SpreadConstraint(TypedDict):
    group: str
    max_skew: int


class Constraints(TypedDict):
    regions: Sequence[str] | None
    avoid_regions: Sequence[str]
    where: str | None
    spread: SpreadConstraint | None


class Placement(TypedDict):
    """A request for one instance, and what became of it."""

    id: str
    name: str
    plan: str
    image: str
    ssh_keys: Sequence[str]
    constraints: Constraints
    priority: int
    deadline: Time
    fleet: str | None
    created_at: Time
    updated_at: Time
    state: State
    reason: str | None
    region: str | None
    instance_id: str | None


class Attempt(TypedDict):
    """One create that was sent, or was to be. `outcome` is null while it is in doubt."""

    number: int
    region: str
    sent_at: Time
    outcome: Outcome | None
    detail: str | None


class Smoothed(TypedDict, total=False):
    smoothed_ms: float


class Considered(Smoothed):
    """A region, and the reasons against it. `smoothed_ms`, what was compared, is there where latencies are
    smoothed.
    """

    region: str
    eligible: bool
    rank: int | None
    latency_ms: float | None
    instances: int
    reasons: Sequence[str]


class Decision(TypedDict):
    """Which region a placement goes to, or why none."""

    decided_at: Time
    region: str | None
    reason: str | None
    policy: str
    observed_at: Time
    data_age_s: float | None
    considered: list[Considered]


class Plan(Decision):
    """The decision that a placement would get.

    `warnings`: what may be wrong with the request.
    """

    warnings: Sequence[str]


class WholePlacement(Placement):
    """A placement with its history.

    `warnings`: what may be wrong with the request, while it is open.
    """

    warnings: Sequence[str]
    attempts: list[Attempt]
    decisions: list[Decision]


class Region(Smoothed):
    """`latency_ms` is what the region last answered; `smoothed_ms` is there while latencies are smoothed."""

    slug: str
    name: str
    status: str
    latency_ms: float | None
    capacity: bool
    eligible: bool
    rank: int | None
    reasons: Sequence[str]
    instances: int


class Regions(TypedDict):
    regions: list[Region]
    observed_at: Time


class Instance(TypedDict):
    """As CloudNexus lists it."""

    id: str
    name: str
    status: str
    region: str
    public_ip: str | None
    specs: Specs | None
    plan: str | None
    image: str | None
    created_at: Time


class FleetPlacement(TypedDict):
    id: str
    name: str
    state: State
    region: str | None
    reason: str | None
    created_at: Time


class Fleet(TypedDict):
    """A declared fleet, its instances, and why it waits.

    `warnings`: what may be wrong in its declaration.

    `adopted`: members that exist and that the fleet did not create.
    """

    name: str
    count: int
    plan: str
    image: str
    ssh_keys: Sequence[str]
    constraints: Constraints
    replace_stopped: bool
    max_replacements: int
    alive: int
    in_flight: int
    missing: int
    surplus: int
    adopted: int | None
    by_region: dict[str, int]
    by_status: dict[str, int]
    reason: str | None
    next_try_at: Time
    warnings: Sequence[str]
    placements: list[FleetPlacement]


class Alert(TypedDict):
    """`inhibited_by`: fingerprints of alerts; `silenced_by`: ids of silences."""

    fingerprint: Fingerprint
    state: Annotated[str, Meta(extra_json_schema={"enum": ["pending", "firing", "resolved"]})]
    labels: dict[str, str]
    annotations: dict[str, str]
    active_at: Time
    fired_at: Time
    flapping_since: Time
    inhibited_by: Sequence[str]
    silenced_by: Sequence[str]


class ListedAlert(Alert):
    """An alert with who is told of it."""

    resolved_at: Time
    inhibited_by_names: list[str]
    receivers: Sequence[str]


class ReceiverTest(TypedDict):
    """What came of a test notification. `code`: the answer's status, or what went wrong."""

    receiver: str
    type: str
    delivered: bool
    code: str
    error: str | None
    duration_s: float


class ReceiverTests(TypedDict):
    data: list[ReceiverTest]


class Message(TypedDict):
    """A notification to one receiver."""

    id: str
    receiver: str
    state: Annotated[str, Meta(extra_json_schema={"enum": ["pending", "sent", "dead"]})]
    status: str | None
    group_key: str | None
    alerts: int
    tries: int
    created_at: Time
    next_try_at: Time
    expires_at: Time
    ended_at: Time
    last_error: str | None


class WholeMessage(Message):
    """A notification with what is sent."""

    body: Any


class Replayed(TypedDict):
    replayed: int


class Subject(TypedDict):
    kind: str
    id: str
    name: str | None
    region: str | None


class Event(TypedDict):
    """Something that happened. `type` is a past-tense name such as `InstanceVanished`."""

    id: int | None
    at: Time
    type: str
    subject: Subject
    detail: dict[str, Any]


class HistoryMeta(TypedDict):
    """`total` is always null: the history is read from one end and never counted."""

    total: int | None
    limit: int
    offset: int


class History(TypedDict):
    data: list[Event]
    meta: HistoryMeta
    observed_at: Time


class Poll(TypedDict):
    """What is known of a resource, and how fresh."""

    observed_at: Time
    age_s: float | None
    stale: bool
    interval_s: float
    answered_at: Time
    duration_s: float | None
    failure: str | None
    failure_message: str | None


class InstanceCounts(TypedDict):
    total: int
    by_status: dict[str, int]
    by_region: dict[str, int]
    held_back: bool


class RegionCounts(TypedDict):
    total: int
    healthy: int
    with_capacity: int
    eligible: int
    best: str | None


class PlacementCounts(TypedDict):
    by_state: dict[str, int]
    observed_at: Time


class AlertCounts(TypedDict):
    """`active`: the most pressing ones."""

    firing: int
    pending: int
    suppressed: dict[str, int]
    active: list[Alert]


class OutboxCounts(TypedDict):
    pending: int
    dead: int
    oldest_pending_at: Time
    by_receiver: dict[str, dict[str, int]]
    observed_at: Time


class Status(TypedDict):
    """The daemon at a glance."""

    version: str
    started_at: Time
    uptime_s: float
    leader: bool
    ready: bool
    not_ready_reason: str | None
    observed_at: Time
    resources: dict[str, Poll]
    instances: InstanceCounts
    regions: RegionCounts
    placements: PlacementCounts
    alerts: AlertCounts
    outbox: OutboxCounts
