"""Suspensions of this process.

Causes are SIGSTOP, a paused container, a suspended VM, or a blocked event loop.

While the process does not run it sends no requests, so that time proves nothing about the cloud. Rules
subtract it from ages and waits, and data whose reading began earlier is stale. `runtime.suspension` calls
`Activity.tick` every `TICK_S`; a longer gap between two observations is a suspension.
"""

from __future__ import annotations

from dataclasses import dataclass

TICK_S = 2.0
MAX_GAP_S = 4.0
"""A longer gap is a suspension. Twice the tick, so that an overloaded machine does not cause one."""
MAX_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Suspension:
    """Time in which the process did not run: suspended, or not yet started."""

    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Suspensions:
    """The most recent suspensions, oldest first."""

    recent: tuple[Suspension, ...] = ()

    @property
    def resumed_at(self) -> float:
        """End of the last suspension, -inf if there was none."""
        return max((s.ended_at for s in self.recent), default=float("-inf"))

    def suspended_s(self, since: float, until: float) -> float:
        """Return how many of the seconds between two instants the process did not run."""
        overlaps = (min(s.ended_at, until) - max(s.began_at, since) for s in self.recent)
        return sum(overlap for overlap in overlaps if overlap > 0)

    def awake_s(self, since: float, until: float) -> float:
        """Return how many of the seconds between two instants the process ran."""
        return until - since - self.suspended_s(since, until)

    def awake_until(self, since: float, seconds: float, now: float) -> float:
        """Return when the process will have run for `seconds` since an instant.

        It assumes no further suspension.
        """
        return since + seconds + self.suspended_s(since, now)

    def extended(self, suspension: Suspension) -> Suspensions:
        return Suspensions((*self.recent, suspension)[-MAX_REMEMBERED:])


NOT_SUSPENDED = Suspensions()


class Activity:
    """Detects suspensions.

    Until the first tick, and after `stop`, no gap is a suspension.
    """

    def __init__(self) -> None:
        self._last_at: float | None = None
        self.suspensions = NOT_SUSPENDED

    def tick(self, now: float) -> None:
        """Record that the process runs, and detect gaps from here on."""
        self.observe(now)
        self._last_at = now

    def observe(self, now: float) -> None:
        """Detect a suspension before a decision, which may be due before the next tick."""
        if self._last_at is None:
            return
        if now - self._last_at > MAX_GAP_S:
            self.add(Suspension(self._last_at, now))
        self._last_at = max(self._last_at, now)

    def add(self, suspension: Suspension) -> None:
        """Record a suspension once."""
        known = suspension in self.suspensions.recent
        if suspension.ended_at > suspension.began_at and not known:
            self.suspensions = self.suspensions.extended(suspension)

    def stop(self) -> None:
        """Stop detecting: no ticks follow."""
        self._last_at = None
