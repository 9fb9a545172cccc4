"""`GET /` and the two files it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from aiohttp import web

from nexusd.core.errors import StoreError
from nexusd.core.fleets import FleetPlacements, plan_fleets
from nexusd.core.lifecycle import Placement
from nexusd.core.world import World
from nexusd.ports import Clock, Daemon, Store, Transaction
from nexusd.web.options import WebOptions
from nexusd.web.page.view import MAX_FLEET_ROWS, View, render
from nexusd.web.shapes import Shaper
from nexusd.web.tallies import TallyReader, read_within

LATEST_PLACEMENTS = 20
_STORE_TIMEOUT_S = 1.0
"""A page without placements is better than a page that is waited for."""

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_FILES = {"nexusd.css": "text/css", "nexusd.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a page shows of the store."""

    placements: list[Placement]
    of_fleets: Mapping[str, FleetPlacements]


class PageRoutes:
    def __init__(
        self, options: WebOptions, daemon: Daemon, store: Store, clock: Clock, tallies: TallyReader
    ) -> None:
        self._version = options.version
        self._daemon = daemon
        self._store = store
        self._clock = clock
        self._tallies = tallies
        folder = files(__package__)
        self._files = {name: folder.joinpath(name).read_bytes() for name in _FILES}

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.page), web.get("/static/{name}", self.file)]

    async def page(self, _request: web.Request) -> web.Response:
        tallies = await self._tallies.latest()
        stored = await self._stored(self._daemon.world)
        world = self._daemon.world
        now = self._clock.now()
        view = View(
            version=self._version,
            world=world,
            eligibility=self._daemon.eligibility(),
            tallies=tallies,
            placements=stored.placements if stored is not None else None,
            fleets=plan_fleets(world.fleets, world.inventory, stored.of_fleets, now)
            if stored is not None
            else None,
            not_ready=self._daemon.not_ready(),
            leading=self._store.leading,
            shaper=Shaper(now, self._clock.utc_offset_s()),
        )
        return web.Response(
            body=render(view).encode(errors="replace"),
            content_type="text/html",
            charset="utf-8",
            headers={"Cache-Control": "no-store", "Content-Security-Policy": _POLICY},
        )

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound
        return web.Response(
            body=self._files[name],
            content_type=_FILES[name],
            headers={"Cache-Control": "public, max-age=300"},
        )

    async def _stored(self, world: World) -> _Stored | None:
        """None when the store does not answer in time."""
        names = world.fleets.names[:MAX_FLEET_ROWS]

        def transaction(tx: Transaction) -> _Stored:
            latest, _ = tx.placements.page(None, LATEST_PLACEMENTS, 0)
            return _Stored(latest, tx.placements.of_fleets(names))

        try:
            return await read_within(self._store, _STORE_TIMEOUT_S, transaction)
        except StoreError:
            return None
