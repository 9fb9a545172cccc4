"""`GET /api/v1/events`: what happened, oldest first."""

from __future__ import annotations

import re

from aiohttp import web

from nexusd.core.errors import InputError
from nexusd.ports import Clock, Store
from nexusd.web.answers import answer
from nexusd.web.queries import integer, parse_time, text
from nexusd.web.shapes import Shaper
from nexusd.web.tallies import read_within

DEFAULT_EVENTS = 100
MAX_EVENTS = 1000
_LARGEST_ID = 2**63 - 1


class HistoryRoutes:
    def __init__(self, store: Store, clock: Clock, timeout_s: float) -> None:
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/events", self.events)]

    async def events(self, request: web.Request) -> web.Response:
        """`meta.total` is null: the history is read from one end and never counted."""
        limit = integer(request, "limit", DEFAULT_EVENTS, (1, MAX_EVENTS))
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        event_id, at = _since(text(request, "since"), shaper.offset_s)
        found = await read_within(
            self._store, self._timeout_s, lambda tx: tx.events.since(event_id, at, limit)
        )
        return answer(
            {
                "data": [shaper.event(e) for e in found],
                "meta": {"total": None, "limit": limit, "offset": 0},
                "observed_at": shaper.time(shaper.now),
            }
        )


def _since(value: str | None, offset_s: float) -> tuple[int | None, float | None]:
    """An event's id, or an instant. Raises `InputError`."""
    if value is None:
        return None, None
    if re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        return min(int(value), _LARGEST_ID), None
    try:
        return None, parse_time(value) - offset_s
    except ValueError as error:
        raise InputError(f"since: an event's id, or {error}, is expected", "since") from None
