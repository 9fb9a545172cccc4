"""`POST /api/v1/alerts/test`: a marked notification to each receiver, and what each answers."""

from __future__ import annotations

from aiohttp import web

from nexusd.ports import Daemon, ReceiverTest
from nexusd.web.answers import answer
from nexusd.web.bodies import read_tested_receiver
from nexusd.web.options import WebOptions
from nexusd.web.shapes import Json


class AlertRoutes:
    def __init__(self, options: WebOptions, daemon: Daemon) -> None:
        self._options = options
        self._daemon = daemon

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/alerts/test", self.test)]

    async def test(self, request: web.Request) -> web.Response:
        """200 also when a receiver refuses: the test was made, and this is what came of it."""
        receiver = await read_tested_receiver(request, self._options)
        tested = await self._daemon.test_receivers(receiver)
        return answer({"data": [_tested(each) for each in tested]})


def _tested(tested: ReceiverTest) -> Json:
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
