"""`/-/healthy`, `/-/ready` and `POST /-/reload`, named as Prometheus and Alertmanager name theirs."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from nexusd.ports import Daemon


class ProbeRoutes:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
        ]

    async def healthy(self, _request: web.Request) -> web.Response:
        return _verdict("healthy", self._daemon.not_healthy())

    async def ready(self, _request: web.Request) -> web.Response:
        return _verdict("ready", self._daemon.not_ready())

    async def reload(self, _request: web.Request) -> web.Response:
        """A configuration that cannot be used raises `ConfigError`, which is answered with 400."""
        await self._daemon.reload()
        return _plain("nexusd has read its configuration again\n", HTTPStatus.OK)


def _verdict(word: str, reason: str | None) -> web.Response:
    if reason is None:
        return _plain(f"nexusd is {word}\n", HTTPStatus.OK)
    return _plain(f"nexusd is not {word}: {reason}\n", HTTPStatus.SERVICE_UNAVAILABLE)


def _plain(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, headers={"Cache-Control": "no-store"})
