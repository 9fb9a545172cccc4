"""The demo's webhook receiver: what stands at the other end of an alert. It prints what it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

Told = Callable[[str, str, str], None]
"""Called with an alert's status, its name, and its summary."""


class DemoReceiver:
    """Serves on a free loopback port while entered."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        if self._runner is None:
            raise RuntimeError("the receiver has not started")
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        for alert in body["alerts"]:
            summary = alert["annotations"].get("summary", "")
            self._told(alert["status"], alert["labels"]["alertname"], summary)
        return web.Response(status=204)
