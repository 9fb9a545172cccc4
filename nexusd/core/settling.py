"""Which events are settled: no event with a lower id can still appear. Used by `store.events`.

Replicas take ids from one sequence and commit in whatever order, so who has seen 8 may be shown 7 later. A
reader that goes on from the last id it has seen would then never see 7. So where ids are missing, what comes
after them is held back until every transaction that was writing events when they were missed has ended: what
is missing then was rolled back, or has been forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nexusd.core.events import Event

PATIENCE_S = 60.0
"""A writer that has not ended by then is given up: its process was stopped half-way through a transaction,
and everybody else must not wait for it. What it may still commit is in the history, not in the stream."""

NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Doubt:
    """Ids up to `upto` are missing, and `writers` were writing events after that was seen, at `since`."""

    upto: int
    writers: frozenset[str]
    since: float

    def left(self, writing: frozenset[str], now: float) -> frozenset[str]:
        """Which of the writers may still commit one of the missing ids."""
        return self.writers & writing if now - self.since < PATIENCE_S else NOBODY


@dataclass(frozen=True, slots=True)
class Settled:
    """What one reading has settled: the events up to the id `upto` that it had not read before, in order.

    `doubt`: what holds back those after it. `more`: another reading would find some at once.
    """

    events: list[Event]
    upto: int
    doubt: Doubt | None = None
    more: bool = False


def unbroken(after: int, events: Iterable[Event]) -> int:
    """The last id of those that follow `after` without one missing."""
    for event in events:
        if event.id != after + 1:
            break
        after += 1
    return after


def newest(events: list[Event], otherwise: int) -> int:
    """The last id of a list in order."""
    return number(events[-1]) if events else otherwise


def number(event: Event) -> int:
    """The id of a stored event."""
    if event.id is None:
        raise ValueError("an event that was never stored has no id")
    return event.id
