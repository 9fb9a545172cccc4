"""`GET /` and the two files it needs."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from nexusd.core.errors import StoreError
from nexusd.core.lifecycle import Placement
from nexusd.ports import Clock, Daemon, Store
from nexusd.web.options import WebOptions
from nexusd.web.page.view import View, render
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
        placements = await self._latest_placements()
        view = View(
            version=self._version,
            world=self._daemon.world,
            eligibility=self._daemon.eligibility(),
            tallies=tallies,
            placements=placements,
            not_ready=self._daemon.not_ready(),
            leading=self._store.leading,
            shaper=Shaper(self._clock.now(), self._clock.utc_offset_s()),
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

    async def _latest_placements(self) -> list[Placement] | None:
        try:
            rows, _ = await read_within(
                self._store, _STORE_TIMEOUT_S, lambda tx: tx.placements.page(None, LATEST_PLACEMENTS, 0)
            )
        except StoreError:
            return None
        return rows
