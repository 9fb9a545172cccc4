"""Everything that happens, in order: hashed, so that two runs can be compared, and kept as long as a story
may have to be told.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left
from collections import deque
from operator import itemgetter

MOST_COMMON_EVENTS = 20_000
"""Events that are nobody's own (starts, kills, faults) and may be told in a story."""


class Trace:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._digest = hashlib.sha256()
        self._common: deque[tuple[int, float, str]] = deque(maxlen=MOST_COMMON_EVENTS)
        self._stories: dict[str, list[tuple[int, float, str]]] = {}
        self.events = 0

    @property
    def hash(self) -> str:
        """SHA-256 over all events so far, as hexadecimal digits."""
        return self._digest.hexdigest()

    def happened(self, what: str) -> None:
        """Something that concerns all."""
        self._common.append(self._event(what, ""))

    def happened_to(self, placement_id: str, what: str) -> None:
        event = self._event(what, placement_id)
        self._stories.setdefault(placement_id, []).append(event)

    def forget(self, placement_id: str) -> None:
        """Nothing can go wrong with it any more."""
        self._stories.pop(placement_id, None)

    def story(self, placement_id: str) -> list[str]:
        """What happened to the placement, and to all meanwhile, a line each."""
        own = self._stories.get(placement_id, [])
        if not own:
            return []
        first, last = own[0][0], self.events
        common = list(self._common)
        start = bisect_left(common, first, key=itemgetter(0))
        meanwhile = [event for event in common[start:] if event[0] <= last]
        marked = [(n, at, f"  {what}") for n, at, what in own]
        aside = [(n, at, f"· {what}") for n, at, what in meanwhile]
        return [f"{moment(at)} {what}" for _, at, what in sorted(marked + aside)]

    def latest(self, count: int) -> list[str]:
        """The last events that concern all, a line each."""
        return [f"{moment(at)} · {what}" for _, at, what in list(self._common)[-count:]]

    def _event(self, what: str, about: str) -> tuple[int, float, str]:
        at = self._loop.time()
        self.events += 1
        self._digest.update(f"{at:.6f} {about} {what}\n".encode())
        return self.events, at, what


def moment(at: float) -> str:
    """Virtual seconds since the start as `1d 02:03:04.567`."""
    days, rest = divmod(at, 86_400.0)
    hours, rest = divmod(rest, 3600.0)
    minutes, seconds = divmod(rest, 60.0)
    return f"{days:.0f}d {hours:02.0f}:{minutes:02.0f}:{seconds:06.3f}"
