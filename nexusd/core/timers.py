"""Which of many things are due, at the cost of those that are. Used by `evaluation` and `planning`."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

NEVER = float("inf")


class Timers(Generic[K]):
    """One instant for each key."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, Any]] = []
        self._of: dict[K, float] = {}

    def set(self, key: K, at: float) -> None:
        if at == NEVER:
            self._of.pop(key, None)
        elif self._of.get(key) != at:
            self._of[key] = at
            heappush(self._heap, (at, key))

    def take_due(self, now: float) -> list[K]:
        """Those whose instant has come, the earliest first. Each is told once."""
        ready: list[K] = []
        while self.next <= now:
            _, key = heappop(self._heap)
            del self._of[key]
            ready.append(key)
        return ready

    @property
    def next(self) -> float:
        """The earliest instant, `NEVER` when there is none."""
        while self._heap and self._of.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER
