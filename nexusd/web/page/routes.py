"""`GET /`: the overview, and by its query the lists and one placement. Nothing here grows with the fleet."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
from dataclasses import dataclass
from functools import cached_property

from aiohttp import web

from nexusd.core.errors import InputError, StoreError
from nexusd.core.lifecycle import State
from nexusd.ports import Clock, Daemon, Placements, Store, Transaction
from nexusd.web.options import WebOptions
from nexusd.web.page import alerts, instances, placement, placements
from nexusd.web.page.assets import Assets
from nexusd.web.page.frame import document, lead, section, unanswered
from nexusd.web.page.html import Html, element, together
from nexusd.web.page.overview import overview
from nexusd.web.page.placement import Whole
from nexusd.web.page.reading import Reading, View
from nexusd.web.page.verdict import strip, verdict_of
from nexusd.web.queries import MAX_OFFSET, integer, quality, text
from nexusd.web.tallies import TallyReader

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_THREAD_ABOVE_BYTES = 131_072
"""Compressing more than this would stall the event loop."""
_PLACEMENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Page:
    """What is shown: the entry of the navigation, the title, the content, and the answer's status."""

    here: str
    title: str
    main: Html
    status: int = 200


class _Body:
    """A page as bytes, compressed once however many ask for it so."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain

    @cached_property
    def gzipped(self) -> bytes:
        """A millisecond for an overview: less than a thread would be waited for."""
        return gzip.compress(self.plain, 1)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """The overview, for the second in which it says how long ago things were."""

    mark: str
    second: int
    body: _Body


class PageRoutes:
    def __init__(
        self,
        options: WebOptions,
        daemon: Daemon,
        asked: Placements,
        store: Store,
        clock: Clock,
        tallies: TallyReader,
    ) -> None:
        self._reading = Reading(
            options.version, daemon, store, clock, tallies, has_receivers=bool(options.receivers)
        )
        self._asked = asked
        self._assets = Assets()
        self._life = os.urandom(4).hex()
        self._rendering = asyncio.Lock()
        self._rendered = _Rendered("", 0, _Body(b""))

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.page), web.get("/static/{name}", self._assets.file)]

    async def page(self, request: web.Request) -> web.Response:
        """Serve the status page.

        Raises `InputError` for a parameter out of its bounds, also one that this view ignores.
        """
        _check(request)
        view = await self._reading.view()
        if text(request, "placement") is None and text(request, "show") is None:
            return await self._overview(request, view)
        page = await self._other(request, view)
        verdict = verdict_of(view)
        main = together(strip(verdict), page.main)
        body = document(view, verdict, page.here, page.title, main, self._assets.links)
        return await _answer(request, _Body(body), page.status)

    async def _overview(self, request: web.Request, view: View) -> web.Response:
        """Rendered once a change, and once a second for those who have no script to count the seconds."""
        mark = f'W/"{self._life}-{view.number}"'
        if request.headers.get("If-None-Match") == mark:
            return web.Response(status=304, headers=_headers(mark))
        async with self._rendering:
            known, second = self._rendered, int(view.now)
            if known.mark != mark or known.second != second:
                verdict = verdict_of(view)
                main = await overview(view, verdict)
                body = document(view, verdict, "Overview", "", main, self._assets.links)
                self._rendered = _Rendered(mark, second, _Body(body))
            rendered = self._rendered
        return await _answer(request, rendered.body, 200, mark)

    async def _other(self, request: web.Request, view: View) -> _Page:
        placement_id = text(request, "placement")
        if placement_id is not None:
            return await self._placement(view, placement_id)
        offset = integer(request, "offset", 0, (0, MAX_OFFSET))
        match text(request, "show"):
            case "alerts":
                main = alerts.listing(view, _given(request, "name"), offset)
                return _Page("Alerts", "Alerts", main)
            case "instances":
                given = (_given(request, name) for name in ("region", "status", "name"))
                wanted = instances.Filter(*given)
                found = await instances.find(view.world.inventory, wanted, offset)
                return _Page("Instances", "Instances", instances.listing(view, wanted, found, offset))
            case "placements":
                return await self._placements(view, _state(request), offset)
        raise InputError("show: one of alerts, instances, placements is expected", "show")

    async def _placements(self, view: View, state: State | None, offset: int) -> _Page:
        try:
            found = await self._reading.ask(
                lambda tx: tx.placements.page(state, placements.LIST_LIMIT, offset)
            )
        except StoreError:
            found = None
        return _Page("Placements", "Placements", placements.listing(view, state, found, offset))

    async def _placement(self, view: View, placement_id: str) -> _Page:
        try:
            whole = await self._whole(placement_id)
        except StoreError:
            main = section("placement", "Placement", unanswered("it is not known"), level="h1")
            return _Page("Placements", "Placement", main, 503)
        if whole is None:
            back = element("a", "All placements", href="?show=placements")
            main = section("placement", "Placement", lead("There is no such placement. ", back), level="h1")
            return _Page("Placements", "No such placement", main, 404)
        return _Page("Placements", whole.placement.request.name, placement.detail(view, whole))

    async def _whole(self, placement_id: str) -> Whole | None:
        """None when there is none. Raises `StoreError`."""

        def transaction(tx: Transaction) -> Whole | None:
            found = tx.placements.get(placement_id)
            if found is None:
                return None
            return Whole(found, tx.placements.attempts(found.id), tx.placements.decisions(found.id))

        if not _PLACEMENT_ID.fullmatch(placement_id):
            return None
        whole = await self._reading.ask(transaction)
        if whole is not None and whole.placement.state is State.QUEUED and not whole.decisions:
            planned = [await self._asked.plan(whole.placement.request)]
            return Whole(whole.placement, whole.attempts, planned, planned=True)
        return whole


def _check(request: web.Request) -> None:
    for name in ("show", "placement", "region", "status", "name"):
        text(request, name)
    integer(request, "offset", 0, (0, MAX_OFFSET))
    _state(request)


def _given(request: web.Request, name: str) -> str | None:
    """A form sends what was left empty, too."""
    return text(request, name) or None


def _state(request: web.Request) -> State | None:
    value = _given(request, "state")
    if value is None:
        return None
    try:
        return State(value)
    except ValueError:
        raise InputError(f"state: one of {', '.join(State)} is expected", "state") from None


async def _answer(request: web.Request, body: _Body, status: int, mark: str | None = None) -> web.Response:
    headers = {**_headers(mark), "Content-Type": "text/html; charset=utf-8", "Vary": "Accept-Encoding"}
    if quality(request.headers.get("Accept-Encoding", ""), "gzip") <= 0:
        return web.Response(body=body.plain, status=status, headers=headers)
    if len(body.plain) > _THREAD_ABOVE_BYTES:
        await asyncio.to_thread(getattr, body, "gzipped")
    return web.Response(body=body.gzipped, status=status, headers={**headers, "Content-Encoding": "gzip"})


def _headers(mark: str | None) -> dict[str, str]:
    """Kept by no cache: the script asks by the mark it was given, and others want to know how things are."""
    caching = {"Cache-Control": "no-store", "Content-Security-Policy": _POLICY}
    return caching if mark is None else {**caching, "ETag": mark}
