"""Polling state: how the polls of each resource have fared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nexusd.core.suspension import NOT_SUSPENDED, Suspensions

REGIONS = "regions"
INSTANCES = "instances"
STALE_AFTER_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class PollState:
    """The polls of one resource (`regions` or `instances`).

    `answered_at`: last time the API gave any usable answer of this kind, be it one page of a partial listing;
    `answering_since`: since when such answers have come without a gap longer than `patience_s`.
    `succeeded_at`: end of the last complete reading, `read_began_at` its start. `failure`: the reason label
    of the last poll, None if it succeeded; `failed_began_at`: start of the last poll that failed.
    `interrupted_since`: end of the last complete reading during which the process was not suspended, None if
    that is the last one.
    `known_since`: start of this process; ages count from there while nothing was read.
    """

    resource: str
    interval_s: float
    known_since: float
    answered_at: float | None = None
    succeeded_at: float | None = None
    failure: str | None = None
    failure_message: str | None = None
    duration_s: float | None = None
    read_began_at: float | None = None
    failed_began_at: float | None = None
    interrupted_since: float | None = None
    answering_since: float | None = None
    suspensions: Suspensions = NOT_SUSPENDED

    @property
    def patience_s(self) -> float:
        """Without data or an answer for longer than this, something is wrong."""
        return STALE_AFTER_INTERVALS * self.interval_s

    @property
    def last_answer_at(self) -> float:
        return self.answered_at if self.answered_at is not None else self.known_since

    @property
    def predates_suspension(self) -> bool:
        """Whether the last complete reading began before the process was last suspended."""
        return self.read_began_at is not None and self.read_began_at < self.suspensions.resumed_at

    @property
    def failed_since_success(self) -> bool:
        """Whether a poll failed that began after the last complete reading."""
        since = self.succeeded_at if self.succeeded_at is not None else self.known_since
        return self.failed_began_at is not None and self.failed_began_at >= since

    @property
    def interrupted(self) -> bool:
        """Whether the process was suspended during the last complete reading."""
        return self.interrupted_since is not None

    def age_s(self, now: float) -> float:
        """Seconds since the data was complete."""
        return now - (self.succeeded_at if self.succeeded_at is not None else self.known_since)

    def awake_age_s(self, now: float) -> float:
        """Return how long the process has run since the last uninterrupted reading.

        Data of an interrupted reading is stale, so a process that is suspended or blocked again and again has
        none, however young it is.
        """
        return self.suspensions.awake_s(self._uninterrupted_at, now)

    @property
    def _uninterrupted_at(self) -> float:
        if self.interrupted_since is not None:
            return self.interrupted_since
        return self.succeeded_at if self.succeeded_at is not None else self.known_since

    def stale(self, now: float) -> bool:
        return self.succeeded_at is None or self.predates_suspension or self.age_s(now) > self.patience_s

    def succeeded(self, ended_at: float, duration_s: float, began_at: float | None = None) -> PollState:
        """Return the state after a complete reading.

        `began_at` defaults to `duration_s` before the end.
        """
        began_at = began_at if began_at is not None else ended_at - duration_s
        interrupted = began_at < self.suspensions.resumed_at
        return replace(
            self._answered(ended_at),
            succeeded_at=ended_at,
            failure=None,
            failure_message=None,
            duration_s=duration_s,
            read_began_at=began_at,
            interrupted_since=self._uninterrupted_at if interrupted else None,
        )

    def failed(
        self, reason: str, message: str, answered_at: float | None, duration_s: float, began_at: float
    ) -> PollState:
        return replace(
            self._answered(answered_at),
            failure=reason,
            failure_message=message,
            duration_s=duration_s,
            failed_began_at=began_at,
        )

    def _answered(self, at: float | None) -> PollState:
        if at is None or (self.answered_at is not None and at <= self.answered_at):
            return self
        gap = self.answered_at is None or at - self.answered_at > self.patience_s
        return replace(self, answered_at=at, answering_since=at if gap else self.answering_since)


def answering_since(polls: Iterable[PollState], now: float) -> float | None:
    """Return when the API began to answer either kind, None while it answers neither."""
    current = [p for p in polls if p.answered_at is not None and now - p.answered_at <= p.patience_s]
    starts = [p.answering_since if p.answering_since is not None else p.last_answer_at for p in current]
    return min(starts, default=None)


def silent_s(polls: Iterable[PollState], now: float) -> float:
    """Return for how long the process ran without any usable answer."""
    last = max(polls, key=lambda p: p.last_answer_at)
    return last.suspensions.awake_s(last.last_answer_at, now)


def shortest_patience_s(polls: Iterable[PollState]) -> float:
    return min(p.patience_s for p in polls)


def unreachable(polls: tuple[PollState, ...], now: float) -> bool:
    """Return whether no usable answer of either kind came for 3 intervals.

    The intervals are those of the more frequent poll.

    Time in which no request was made proves nothing: suspensions do not count, and of each kind a poll must
    have failed that began after the last answer and the last suspension. A kind that is polled rarely, or
    whose long listing is still being read, is not unanswered. Once the process has run for twice as long
    without an answer, between suspensions or in a blocked event loop, it has asked often enough.
    """
    silence_s, patience_s = silent_s(polls, now), shortest_patience_s(polls)
    if silence_s <= patience_s:
        return False
    since = max(p.last_answer_at for p in polls)
    if silence_s <= 2 * patience_s:
        since = max(since, *(p.suspensions.resumed_at for p in polls))
    return all(p.failed_began_at is not None and p.failed_began_at >= since for p in polls)


def needs_early_poll(poll: PollState, polls: Iterable[PollState], now: float) -> bool:
    """Return whether to poll this kind early because the other is not answered.

    Otherwise an API that is away would be noticed only when the rarer poll is due.
    """
    all_polls = tuple(polls)
    others_fail = all(p.failure is not None for p in all_polls if p is not poll)
    return others_fail and silent_s(all_polls, now) > shortest_patience_s(all_polls)


def unauthorized(polls: tuple[PollState, ...]) -> bool:
    """Whether the key was refused for either resource when it was last used for that."""
    return any(p.failure == "unauthorized" for p in polls)
