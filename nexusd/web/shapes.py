"""The forms in which things are answered (product.md, section 5). Fields may be added, never renamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from nexusd.core.alerts import Alert
from nexusd.core.events import Event
from nexusd.core.lifecycle import Attempt, Placement
from nexusd.core.muting import Muted, Muting
from nexusd.core.placement import Considered, Decision, PlacementRequest
from nexusd.core.polls import PollState
from nexusd.core.records import Instance
from nexusd.core.regions import KnownRegion
from nexusd.web import schemas

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Shaper:
    """Renders values with times as people's clocks show them.

    `now` is an instant of the clock; `offset_s` is what the wall clock has stepped by since it was anchored.
    """

    now: float
    offset_s: float

    def time(self, at: float | None) -> str | None:
        """RFC 3339 in UTC with milliseconds; None when not known, or beyond what a date can say."""
        return written(at + self.offset_s) if at is not None else None

    def placement(self, placement: Placement) -> schemas.Placement:
        """As lists have it: without attempts and decisions."""
        request = placement.request
        return {
            "id": placement.id,
            "name": request.name,
            "plan": request.plan,
            "image": request.image,
            "ssh_keys": request.ssh_keys,
            "constraints": constraints_shape(request),
            "priority": request.priority,
            "deadline": written(request.deadline) if request.deadline is not None else None,
            "fleet": request.fleet,
            "created_at": self.time(placement.created_at),
            "updated_at": self.time(placement.updated_at),
            "state": placement.state,
            "reason": placement.reason,
            "region": placement.region,
            "instance_id": placement.instance_id,
        }

    def whole_placement(
        self,
        placement: Placement,
        attempts: Iterable[Attempt],
        decisions: Iterable[Decision],
        warnings: Sequence[str],
    ) -> schemas.WholePlacement:
        return {
            **self.placement(placement),
            "warnings": warnings,
            "attempts": [self.attempt(a) for a in attempts],
            "decisions": [self.decision(d) for d in decisions],
        }

    def attempt(self, attempt: Attempt) -> schemas.Attempt:
        return {
            "number": attempt.number,
            "region": attempt.region,
            "sent_at": self.time(attempt.sent_at),
            "outcome": attempt.outcome,
            "detail": attempt.detail,
        }

    def decision(self, decision: Decision) -> schemas.Decision:
        return {
            "decided_at": self.time(decision.decided_at),
            "region": decision.region,
            "reason": decision.reason,
            "policy": decision.policy,
            "observed_at": self.time(decision.observed_at),
            "data_age_s": _data_age_s(decision),
            "considered": [_considered(c) for c in decision.considered],
        }

    def poll(self, poll: PollState) -> schemas.Poll:
        """What is known of a resource, and how fresh."""
        return {
            "observed_at": self.time(poll.succeeded_at),
            "age_s": round(poll.age_s(self.now), 3) if poll.succeeded_at is not None else None,
            "stale": poll.stale(self.now),
            "interval_s": poll.interval_s,
            "answered_at": self.time(poll.answered_at),
            "duration_s": poll.duration_s,
            "failure": poll.failure,
            "failure_message": poll.failure_message,
        }

    def alert(self, alert: Alert, muting: Muting) -> schemas.Alert:
        """With why it is told to nobody, if so: fingerprints of alerts, ids of silences."""
        muted = muting.muted.get(alert.fingerprint, Muted())
        return {
            "fingerprint": alert.fingerprint,
            "state": alert.state,
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "active_at": self.time(alert.active_at),
            "fired_at": self.time(alert.fired_at),
            "flapping_since": self.time(alert.flapping_since),
            "inhibited_by": muted.inhibited_by,
            "silenced_by": muted.silenced_by,
        }

    def event(self, event: Event) -> schemas.Event:
        subject = event.subject
        return {
            "id": event.id,
            "at": self.time(event.at),
            "type": event.type,
            "subject": {
                "kind": subject.kind,
                "id": subject.id,
                "name": subject.name,
                "region": subject.region,
            },
            "detail": dict(event.detail),
        }


def region_shape(known: KnownRegion, judged: Considered | None) -> schemas.Region:
    """`latency_ms` is what the region last answered; `smoothed_ms` is there while latencies are smoothed."""
    region = known.region
    smoothed: schemas.Smoothed = {"smoothed_ms": known.smoothed_ms} if known.smoothed_ms is not None else {}
    return {
        "slug": region.slug,
        "name": region.name,
        "status": region.status,
        "latency_ms": region.latency_ms,
        **smoothed,
        "capacity": region.capacity,
        "eligible": judged.eligible if judged is not None else False,
        "rank": judged.rank if judged is not None else None,
        "reasons": judged.reasons if judged is not None else ["not judged yet"],
        "instances": judged.instances if judged is not None else 0,
    }


def instance_shape(instance: Instance) -> schemas.Instance:
    """As CloudNexus lists it (reference: Schemas, Instance)."""
    return {
        "id": instance.id,
        "name": instance.name,
        "status": instance.status,
        "region": instance.region,
        "public_ip": instance.public_ip,
        "specs": instance.specs,
        "plan": instance.plan,
        "image": instance.image,
        "created_at": _provider_time(instance.created_at),
    }


def list_shape(rows: list[Row], total: int, limit: int, offset: int) -> schemas.Page[Row]:
    return {"data": rows, "meta": {"total": total, "limit": limit, "offset": offset}}


def _data_age_s(decision: Decision) -> float | None:
    """How old the region data was when it was decided on."""
    if decision.observed_at is None:
        return None
    return round(decision.decided_at - decision.observed_at, 3)


def constraints_shape(request: PlacementRequest) -> schemas.Constraints:
    spread = request.spread
    return {
        "regions": request.regions,
        "avoid_regions": request.avoid_regions,
        "where": request.where,
        "spread": {"group": spread.group, "max_skew": spread.max_skew} if spread is not None else None,
    }


def _considered(considered: Considered) -> schemas.Considered:
    """`smoothed_ms`, what was compared, is there where latencies were smoothed."""
    smoothed: schemas.Smoothed = (
        {"smoothed_ms": considered.smoothed_ms} if considered.smoothed_ms is not None else {}
    )
    return {
        "region": considered.region,
        "eligible": considered.eligible,
        "rank": considered.rank,
        "latency_ms": considered.latency_ms,
        **smoothed,
        "instances": considered.instances,
        "reasons": considered.reasons,
    }


def written(at: float) -> str | None:
    """UTC seconds in RFC 3339 with milliseconds; None when beyond what a date can say."""
    try:
        return _rfc3339(datetime.fromtimestamp(at, UTC))
    except (OverflowError, ValueError, OSError):
        return None


def _provider_time(text: str | None) -> str | None:
    """CloudNexus's "ISO 8601 timestamp" as RFC 3339 UTC; without a zone it is taken for UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return _rfc3339(moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
