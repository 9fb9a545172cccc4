"""`GET /api/v1/alerts`: what is wrong. `POST /api/v1/alerts/test`: does a notification arrive?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.errors import InputError
from nexusd.core.matchers import all_match
from nexusd.core.muting import Muted, Muting
from nexusd.core.notifications import receivers_of
from nexusd.ports import Clock, Daemon, ReceiverTest, Store
from nexusd.web import schemas
from nexusd.web.alertmanager_queries import matchers_of
from nexusd.web.answers import answer
from nexusd.web.beside import about_alerts
from nexusd.web.bodies import read_tested_receiver
from nexusd.web.muting import muting_now
from nexusd.web.options import WebOptions
from nexusd.web.queries import page, text
from nexusd.web.shapes import Shaper, list_shape
from nexusd.web.status import urgency


class AlertRoutes:
    def __init__(self, options: WebOptions, daemon: Daemon, store: Store, clock: Clock) -> None:
        self._options = options
        self._daemon = daemon
        self._store = store
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/alerts", self.list), web.post("/api/v1/alerts/test", self.test)]

    async def list(self, request: web.Request) -> web.Response:
        """The most pressing first; without `state` those that fire or are pending."""
        state, matchers = _state(text(request, "state")), matchers_of(request)
        limit, offset = page(request)
        world = self._daemon.world
        shaper = Shaper(self._clock.now(), self._clock.utc_offset_s())
        muting = await muting_now(world, self._store, self._options.store_timeout_s, shaper.now)
        alerts = world.alerts

        def made() -> web.Response:
            wanted = (a for a in alerts.values() if state(a, muting) and all_match(matchers, dict(a.labels)))
            found = sorted(wanted, key=urgency)
            rows = [self._shape(alert, shaper, muting, alerts) for alert in found[offset : offset + limit]]
            return answer(list_shape(rows, len(found), limit, offset))

        return await about_alerts(len(alerts), made)

    def _shape(
        self, alert: Alert, shaper: Shaper, muting: Muting, alerts: Mapping[str, Alert]
    ) -> schemas.ListedAlert:
        muted = muting.muted.get(alert.fingerprint, Muted())
        names = [alerts[mark].name for mark in muted.inhibited_by if mark in alerts]
        return {
            **shaper.alert(alert, muting),
            "resolved_at": shaper.time(alert.resolved_at),
            "inhibited_by_names": names,
            "receivers": receivers_of(alert, self._options.routing),
        }

    async def test(self, request: web.Request) -> web.Response:
        """200 also when a receiver refuses: the test was made, and this is what came of it."""
        receiver = await read_tested_receiver(request)
        tested = await self._daemon.test_receivers(receiver)
        content: schemas.ReceiverTests = {"data": [_tested(each) for each in tested]}
        return answer(content)


_States = Callable[[Alert, Muting], bool]
_STATES: Mapping[str | None, _States] = {
    None: lambda alert, _: alert.state in (AlertState.FIRING, AlertState.PENDING),
    "pending": lambda alert, _: alert.state is AlertState.PENDING,
    "firing": lambda alert, _: alert.state is AlertState.FIRING,
    "suppressed": lambda alert, muting: alert.state is AlertState.FIRING and alert in muting,
    "resolved": lambda alert, _: alert.state is AlertState.RESOLVED and not alert.expired,
}
STATES = tuple(name for name in _STATES if name is not None)


def _state(value: str | None) -> _States:
    if value not in _STATES:
        raise InputError(f"state: one of {', '.join(STATES)} is expected", "state")
    return _STATES[value]


def _tested(tested: ReceiverTest) -> schemas.ReceiverTest:
    delivery = tested.delivery
    delivered = delivery.outcome == "delivered"
    return {
        "receiver": tested.receiver,
        "type": tested.type,
        "delivered": delivered,
        "code": delivery.code,
        "error": None if delivered else delivery.detail or delivery.code,
        "duration_s": round(tested.duration_s, 4),
    }
