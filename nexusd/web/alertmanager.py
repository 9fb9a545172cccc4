"""`/api/v2/`: Alertmanager's API, for `amtool`, Grafana's data source and whatever else speaks it.

Shapes, parameters and the form of errors (a JSON string) are those of Alertmanager's OpenAPI description.
Alerts themselves are made by nexusd's rules and cannot be posted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import msgspec
from aiohttp import web

from nexusd.core.alerts import Alert
from nexusd.core.errors import InputError, NotFoundError
from nexusd.core.notifications import Routing, grouped, receivers_of
from nexusd.core.silences import Silence, SilenceState
from nexusd.ports import Clock, Daemon, Silences, Store, Transaction
from nexusd.web import schemas_v2 as schemas
from nexusd.web.alertmanager_config import written
from nexusd.web.alertmanager_queries import AlertFilter, matchers_of, same_matchers
from nexusd.web.alertmanager_shapes import AlertShaper, silence_shape, status_shape
from nexusd.web.answers import answer
from nexusd.web.beside import about_alerts
from nexusd.web.muting import muting_now
from nexusd.web.options import WebOptions
from nexusd.web.shapes import Shaper
from nexusd.web.silence_bodies import read_silence
from nexusd.web.status import started_at
from nexusd.web.tallies import committed, within

T = TypeVar("T")

MOST_SILENCES = 10_000
"""Silences listed, those that end last first."""
_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_ORDER = (SilenceState.ACTIVE, SilenceState.PENDING, SilenceState.EXPIRED)


class AlertmanagerRoutes:
    def __init__(
        self, options: WebOptions, daemon: Daemon, silences: Silences, store: Store, clock: Clock
    ) -> None:
        self._options = options
        self._daemon = daemon
        self._silences = silences
        self._store = store
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v2/status", self.status),
            web.get("/api/v2/receivers", self.receivers),
            web.get("/api/v2/alerts", self.alerts),
            web.post("/api/v2/alerts", self.refuse_alerts),
            web.get("/api/v2/alerts/groups", self.groups),
            web.get("/api/v2/silences", self.silences),
            web.post("/api/v2/silences", self.put_silence),
            web.get("/api/v2/silence/{id}", self.silence),
            web.delete("/api/v2/silence/{id}", self.expire_silence),
        ]

    async def status(self, _request: web.Request) -> web.Response:
        started = self._shaper().time(started_at(self._daemon.world))
        config = written(self._options.routing)
        return answer(status_shape(self._options.version, started, config))

    async def receivers(self, _request: web.Request) -> web.Response:
        named: list[schemas.Receiver] = [{"name": name} for name in self._options.routing.receivers]
        return answer(named)

    async def alerts(self, request: web.Request) -> web.Response:
        """Those that fire, in the order of fingerprints."""
        return await self._shown(request, _alerts)

    async def refuse_alerts(self, _request: web.Request) -> web.Response:
        raise InputError("alerts are made by nexusd's own rules (alerts.rules, alerts.custom), none is taken")

    async def groups(self, request: web.Request) -> web.Response:
        """Those that fire, as receivers are told of them."""
        return await self._shown(request, _groups)

    async def silences(self, request: web.Request) -> web.Response:
        """The active by their end, those to come by their start, the expired by their end, latest first."""
        matchers = matchers_of(request)
        found = await self._read(lambda tx: tx.silences.newest(MOST_SILENCES))
        now, shaper = self._clock.now(), self._shaper()
        wanted = sorted((s for s in found if same_matchers(s, matchers)), key=lambda s: _order(s, now))
        return answer([silence_shape(silence, shaper) for silence in wanted])

    async def put_silence(self, request: web.Request) -> web.Response:
        silence = await committed(self._silences.put(await read_silence(request, self._clock)))
        content: schemas.SilenceId = {"silenceID": silence.id}
        return answer(content)

    async def silence(self, request: web.Request) -> web.Response:
        silence_id = _silence_id(request)
        found = await self._read(lambda tx: tx.silences.get(silence_id))
        if found is None:
            raise NotFoundError(f"there is no silence {silence_id}")
        return answer(silence_shape(found, self._shaper()))

    async def expire_silence(self, request: web.Request) -> web.Response:
        await committed(self._silences.expire(_silence_id(request)))
        return web.Response(headers={"Cache-Control": "no-store"})

    async def _shown(self, request: web.Request, form: _Form) -> web.Response:
        wanted, routing = AlertFilter.of(request), self._options.routing
        shaper = await self._alert_shaper()
        alerts = self._daemon.world.alerts

        def made() -> web.Response:
            return answer(list(form(alerts.values(), wanted, shaper, routing)))

        return await about_alerts(len(alerts), made)

    async def _read(self, transaction: Callable[[Transaction], T]) -> T:
        return await within(self._options.store_timeout_s, self._store.read(transaction))

    def _shaper(self) -> Shaper:
        return Shaper(self._clock.now(), self._clock.utc_offset_s())

    async def _alert_shaper(self) -> AlertShaper:
        shaper, timeout_s = self._shaper(), self._options.store_timeout_s
        muting = await muting_now(self._daemon.world, self._store, timeout_s, shaper.now)
        return AlertShaper(shaper, muting, self._options.public_url)


_Form = Callable[[Collection[Alert], AlertFilter, AlertShaper, Routing], Iterator[msgspec.Raw]]


def _alerts(
    alerts: Collection[Alert], wanted: AlertFilter, shaper: AlertShaper, routing: Routing
) -> Iterator[msgspec.Raw]:
    """Each is written at once, because an encoder of ten thousand lets nobody else in."""
    for alert in sorted(wanted.firing(alerts, shaper.muting), key=_fingerprint):
        receivers = receivers_of(alert, routing)
        if wanted.goes_to(receivers):
            yield msgspec.Raw(msgspec.json.encode(shaper.alert(alert, receivers)))


def _groups(
    alerts: Collection[Alert], wanted: AlertFilter, shaper: AlertShaper, routing: Routing
) -> Iterator[msgspec.Raw]:
    firing = list(wanted.firing(alerts, shaper.muting))
    receivers = {alert.fingerprint: receivers_of(alert, routing) for alert in firing}
    for group in sorted(grouped(firing, routing), key=lambda g: (g.labels, g.receiver)):
        if wanted.goes_to((group.receiver,)):
            content: schemas.AlertGroup = {
                "alerts": [shaper.alert(alert, receivers[alert.fingerprint]) for alert in group.alerts],
                "labels": dict(group.labels),
                "receiver": {"name": group.receiver},
            }
            yield msgspec.Raw(msgspec.json.encode(content))


def _silence_id(request: web.Request) -> str:
    """Raises `NotFoundError` for what can be no id, before a database has to think about it."""
    silence_id = request.match_info["id"]
    if not _ID.fullmatch(silence_id):
        raise NotFoundError("there is no such silence")
    return silence_id


def _fingerprint(alert: Alert) -> str:
    return alert.fingerprint


def _order(silence: Silence, now: float) -> tuple[int, float, str]:
    state = silence.state(now)
    at = {
        SilenceState.ACTIVE: silence.ends_at,
        SilenceState.PENDING: silence.starts_at,
        SilenceState.EXPIRED: -silence.ends_at,
    }
    return _ORDER.index(state), at[state], silence.id
