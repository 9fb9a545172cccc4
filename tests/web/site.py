"""A real `WebServer` on loopback over the fakes, and a real client for it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from nexusd.silencing import Silencing
from nexusd.web.listening import listen
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.options import WebOptions
from nexusd.web.server import Taking, Telling, WebServer
from nexusd.web.stream import EventStream, StreamOptions
from tests.fakes import FakeClock
from tests.web import described
from tests.web.fakes import FakeDaemon, FakePlacements, FakeStore

OPTIONS = WebOptions(version="1.2.3")
STREAMING = StreamOptions(poll_s=0.02, gather_s=0.001, page_pause_s=0.0)
PLAIN = {"Accept-Encoding": "identity"}
BODY = {"name": "worker-01", "plan": "pro"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def error(self) -> Any:
        """The error's content; fails unless it has CloudNexus's shape."""
        content = self.json
        assert set(content) == {"error"}
        assert set(content["error"]) == {"code", "message", "details"}
        assert content["error"]["details"] is None or isinstance(content["error"]["details"], list)
        return content["error"]

    @property
    def fields(self) -> list[str]:
        """The fields that the error names."""
        return [detail["field"] for detail in self.error["details"] or []]


@dataclass
class Site:
    daemon: FakeDaemon = field(default_factory=FakeDaemon)
    placements: FakePlacements = field(default_factory=FakePlacements)
    store: FakeStore = field(default_factory=FakeStore)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: MetricsRegistry = field(default_factory=MetricsRegistry)
    options: WebOptions = OPTIONS
    streaming: StreamOptions = STREAMING
    stream: EventStream = field(init=False)
    following: asyncio.Task[None] = field(init=False)
    server: WebServer = field(init=False)
    session: aiohttp.ClientSession = field(init=False)

    @asynccontextmanager
    async def running(self, host: str = "127.0.0.1", port: int = 0, **options: Any) -> AsyncIterator[Site]:
        self.options = replace(self.options, **options)
        silencing = Silencing(self.store, self.clock, random.Random(1), lambda: None)
        taking = Taking(self.placements, silencing)
        self.stream = EventStream(self.store, self.clock, self.metrics, self.streaming)
        telling = Telling(self.store, self.stream)
        self.server = WebServer(self.options, self.daemon, taking, telling, self.metrics, self.clock)
        listening = await listen(host, port)
        await self.server.start(listening)
        listening.close()
        self.following = asyncio.create_task(self.stream.run(), name="event stream")
        try:
            async with aiohttp.ClientSession(headers=PLAIN, auto_decompress=False) as self.session:
                yield self
        finally:
            self.following.cancel()
            await asyncio.wait([self.following])
            await self.server.stop()

    @property
    def port(self) -> int:
        port = urlsplit(self.server.url).port
        assert port is not None
        return port

    async def ask(self, method: str, path: str, **more: Any) -> Reply:
        async with self.session.request(method, self.server.url.rstrip("/") + path, **more) as response:
            body = await response.read()
            described.check(method, path, response.status, response.headers, body)
            return Reply(response.status, response.headers, body)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, content: object, **more: Any) -> Reply:
        return await self.ask("POST", path, json=content, **more)

    async def send(self, raw: bytes) -> bytes:
        """Bytes as they are, and all that comes back until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
