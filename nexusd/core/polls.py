"""What is known of the API itself: how the polls of each resource have fared."""

from __future__ import annotations

from dataclasses import dataclass, replace

REGIONS = "regions"
INSTANCES = "instances"
STALE_AFTER_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class PollState:
    """The polls of one resource (`regions` or `instances`).

    `answered_at`: last time the API gave any usable answer of this kind, be it one page of a partial sweep.
    `succeeded_at`: last complete reading. `failure`: the reason label of the last poll, None if it succeeded.
    `known_since`: when this process began to look; ages count from there while nothing was read.
    """

    resource: str
    interval_s: float
    known_since: float
    answered_at: float | None = None
    succeeded_at: float | None = None
    failure: str | None = None
    failure_message: str | None = None
    duration_s: float | None = None

    def age_s(self, now: float) -> float:
        """Seconds since the data was complete."""
        return now - (self.succeeded_at if self.succeeded_at is not None else self.known_since)

    def stale(self, now: float) -> bool:
        return self.succeeded_at is None or self.age_s(now) > STALE_AFTER_INTERVALS * self.interval_s

    def succeeded(self, ended_at: float, duration_s: float) -> PollState:
        return replace(
            self,
            answered_at=ended_at,
            succeeded_at=ended_at,
            failure=None,
            failure_message=None,
            duration_s=duration_s,
        )

    def failed(self, reason: str, message: str, answered_at: float | None, duration_s: float) -> PollState:
        return replace(
            self,
            answered_at=_later(answered_at, self.answered_at),
            failure=reason,
            failure_message=message,
            duration_s=duration_s,
        )


def _later(a: float | None, b: float | None) -> float | None:
    return max((t for t in (a, b) if t is not None), default=None)


def unreachable(polls: tuple[PollState, ...], now: float) -> bool:
    """No usable answer of either kind for 3 intervals of the more frequent poll (product.md, section 4)."""
    patience_s = STALE_AFTER_INTERVALS * min(p.interval_s for p in polls)
    last = max(p.answered_at if p.answered_at is not None else p.known_since for p in polls)
    return now - last > patience_s


def unauthorized(polls: tuple[PollState, ...]) -> bool:
    """Whether the key was refused for either resource when it was last used for that."""
    return any(p.failure == "unauthorized" for p in polls)
