"""`/api/v1/placements` and `POST /api/v1/plan`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from nexusd.core.errors import InputError, NotFoundError
from nexusd.core.lifecycle import OPEN, Attempt, Placement, State
from nexusd.core.placement import Decision, PlacementRequest
from nexusd.core.region_names import constraint_warnings
from nexusd.ports import Clock, Daemon, Placements, Store, Transaction
from nexusd.web import schemas
from nexusd.web.answers import answer
from nexusd.web.bodies import idempotency_key, read_placement, read_verdict
from nexusd.web.options import WebOptions
from nexusd.web.queries import match_text, page, text
from nexusd.web.shapes import Shaper, list_shape
from nexusd.web.tallies import committed, within

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_Whole = tuple[Placement, list[Attempt], list[Decision]]


class PlacementRoutes:
    def __init__(
        self, options: WebOptions, daemon: Daemon, placements: Placements, store: Store, clock: Clock
    ) -> None:
        self._options = options
        self._daemon = daemon
        self._placements = placements
        self._store = store
        self._clock = clock
        self._base_url = (options.external_url or "").rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/placements", self.list),
            web.post("/api/v1/placements", self.create),
            web.get("/api/v1/placements/{id}", self.show),
            web.delete("/api/v1/placements/{id}", self.cancel),
            web.post("/api/v1/placements/{id}/resolve", self.resolve),
            web.post("/api/v1/plan", self.plan),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Newest first."""
        state = _state(text(request, "state"))
        match = match_text(request)
        limit, offset = page(request)

        def transaction(tx: Transaction) -> tuple[Sequence[Placement], int]:
            if match is not None:
                return tx.placements.find(match, state, limit, offset)
            return tx.placements.page(state, limit, offset)

        rows, total = await self._read(transaction)
        shaper = self._shaper()
        return answer(list_shape([shaper.placement(p) for p in rows], total, limit, offset))

    async def create(self, request: web.Request) -> web.Response:
        """202 means that it is durable (promise 2)."""
        body = await read_placement(request)
        key = idempotency_key(request, body)
        placement = await committed(self._placements.accept(body.request(self._clock), key))
        whole = await self._whole(placement)
        return answer(
            self._shaper().whole_placement(*whole, self._warnings(_open_request(placement))),
            HTTPStatus.ACCEPTED,
            {"Location": f"{self._base_url}/api/v1/placements/{placement.id}"},
        )

    async def show(self, request: web.Request) -> web.Response:
        """One so deep in the queue that nothing was decided for it yet shows what would be decided now."""
        placement_id = _placement_id(request)

        def transaction(tx: Transaction) -> _Whole:
            placement = tx.placements.get(placement_id)
            if placement is None:
                raise NotFoundError(f"there is no placement {placement_id}")
            return _with_history(tx, placement)

        placement, attempts, decisions = await self._read(transaction)
        if placement.state is State.QUEUED and not decisions:
            decisions = [await self._placements.plan(placement.request)]
        warnings = self._warnings(_open_request(placement))
        return answer(self._shaper().whole_placement(placement, attempts, decisions, warnings))

    async def cancel(self, request: web.Request) -> web.Response:
        placement = await committed(self._placements.cancel(_placement_id(request)))
        return answer(self._shaper().placement(placement))

    async def resolve(self, request: web.Request) -> web.Response:
        placement_id = _placement_id(request)
        verdict = await read_verdict(request)
        placement = await committed(self._placements.resolve(placement_id, verdict))
        return answer(self._shaper().placement(placement))

    async def plan(self, request: web.Request) -> web.Response:
        wanted = (await read_placement(request)).request(self._clock)
        decision = self._shaper().decision(await self._placements.plan(wanted))
        content: schemas.Plan = {**decision, "warnings": self._warnings(wanted)}
        return answer(content)

    async def _whole(self, placement: Placement) -> _Whole:
        """One that is new has no history yet; one that an earlier request with the same key made may."""
        untouched = placement.updated_at == placement.created_at and placement.reason is None
        if placement.state is State.QUEUED and untouched:
            return placement, [], []
        return await self._read(lambda tx: _with_history(tx, placement))

    async def _read(self, transaction: Callable[[Transaction], T]) -> T:
        return await within(self._options.store_timeout_s, self._store.read(transaction))

    def _warnings(self, wanted: PlacementRequest | None) -> Sequence[str]:
        if wanted is None:
            return ()
        return constraint_warnings(wanted.regions, wanted.avoid_regions, self._daemon.world.regions)

    def _shaper(self) -> Shaper:
        return Shaper(self._clock.now(), self._clock.utc_offset_s())


def _open_request(placement: Placement) -> PlacementRequest | None:
    """Return the request of an open placement: a closed one needs no warnings."""
    return placement.request if placement.state in OPEN else None


def _with_history(tx: Transaction, placement: Placement) -> _Whole:
    return placement, tx.placements.attempts(placement.id), tx.placements.decisions(placement.id)


def _placement_id(request: web.Request) -> str:
    """Raises `NotFoundError` for what can be no id, before a database has to think about it."""
    placement_id = request.match_info["id"]
    if not _ID.fullmatch(placement_id):
        raise NotFoundError("there is no such placement")
    return placement_id


def _state(value: str | None) -> State | None:
    if value is None:
        return None
    try:
        return State(value)
    except ValueError:
        known = ", ".join(State)
        raise InputError(f"state: one of {known} is expected", "state") from None
