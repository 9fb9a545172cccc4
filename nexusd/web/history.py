"""`GET /api/v1/events`: what happened, oldest first; or, when `Accept` asks for it, as it happens."""

from __future__ import annotations

from aiohttp import web

from nexusd.core.errors import InputError
from nexusd.ports import Clock, Store
from nexusd.web import schemas
from nexusd.web.answers import answer
from nexusd.web.queries import event_id, integer, parse_time, text
from nexusd.web.shapes import Shaper
from nexusd.web.stream import EventStream
from nexusd.web.streaming import Streaming, wants_stream
from nexusd.web.tallies import within

DEFAULT_EVENTS = 100
MAX_EVENTS = 1000


class HistoryRoutes:
    def __init__(self, store: Store, stream: EventStream, clock: Clock, timeout_s: float) -> None:
        self._store = store
        self._streaming = Streaming(stream)
        self._clock = clock
        self._timeout_s = timeout_s

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/events", self.events)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """`meta.total` is null: the history is read from one end and never counted."""
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        since, at = _since(text(request, "since"), shaper.offset_s)
        if wants_stream(request):
            return await self._streaming.serve(request, (since, at))
        limit = integer(request, "limit", DEFAULT_EVENTS, (1, MAX_EVENTS))
        found = await within(self._timeout_s, self._store.read(lambda tx: tx.events.since(since, at, limit)))
        content: schemas.History = {
            "data": [shaper.event(e) for e in found],
            "meta": {"total": None, "limit": limit, "offset": 0},
            "observed_at": shaper.time(shaper.now),
        }
        return answer(content)


def _since(value: str | None, offset_s: float) -> tuple[int | None, float | None]:
    """An event's id, or an instant. Raises `InputError`."""
    if value is None:
        return None, None
    number = event_id(value)
    if number is not None:
        return number, None
    try:
        return None, parse_time(value) - offset_s
    except ValueError as error:
        raise InputError(f"since: an event's id, or {error}, is expected", "since") from None
