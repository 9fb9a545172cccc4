"""A receiver of webhooks over real HTTP on loopback, a store on disk, and a worker between them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from aiohttp import web

from nexusd.delivery.http import HttpOptions
from nexusd.delivery.webhook import WebhookOptions, WebhookReceiver
from nexusd.delivery.worker import DeliveryWorker
from nexusd.ports import Clock, OutboxMessage, Store
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import RecordingMetrics, outbox_page
from tests.virtual_time import VirtualClock

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Got:
    """One request as it came in, and when (loop time)."""

    id: str
    body: bytes
    headers: dict[str, str]
    at: float
    method: str = "POST"
    path: str = ""
    target: str = ""
    """Path and query as the request line has them."""


@dataclass
class Endpoint:
    """A webhook's far end. `script`: how the next requests are answered; after those, `always`.

    An answer is a status, or a coroutine function of the request.
    """

    url: str = ""
    always: int | Answer = 200
    script: list[int | Answer] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [got.id for got in self.got]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = dict(request.headers)
        at = asyncio.get_running_loop().time()
        self.got.append(
            Got(
                headers.get("webhook-id", ""),
                body,
                headers,
                at,
                request.method,
                request.path,
                request.raw_path,
            )
        )
        answer = self.script.pop(0) if self.script else self.always
        if isinstance(answer, int):
            return web.Response(status=answer)
        return await answer(request)


@asynccontextmanager
async def endpoint(
    always: int | Answer = 200, *script: int | Answer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    far_end = Endpoint(always=always, script=list(script))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", far_end.handle)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    far_end.url = f"{'https' if tls else 'http'}://{host}:{port}/hook"
    try:
        yield far_end
    finally:
        await runner.cleanup()


async def hang(_: web.Request) -> web.StreamResponse:
    """No answer, for longer than anybody waits."""
    await asyncio.sleep(3600.0)
    return web.Response()


def status(code: int, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def message(
    number: int = 1, receiver: str = "ops", created_at: float = 0.0, group: str | None = None
) -> OutboxMessage:
    group_key = group if group is not None else f"g{number}"
    body = f'{{"version":"4","groupKey":"{group_key}","number":{number}}}'.encode()
    return OutboxMessage(
        id=f"msg_{number:06d}",
        receiver=receiver,
        body=body,
        created_at=created_at,
        expires_at=created_at + 24 * 3600.0,
        next_try_at=created_at,
    )


class Post:
    """A store and workers in virtual time. What is added to the outbox is delivered until `stop`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.clock = clock
        self.metrics = RecordingMetrics()
        self.store: SqlStore = open_store(
            StoreOptions(f"sqlite:///{folder / 'nexusd.db'}", "test"), clock, InlineExecutor()
        )
        self.stop = asyncio.Event()
        self.workers: list[DeliveryWorker] = []

    def worker(self, url: str, name: str = "ops", store: Store | None = None) -> DeliveryWorker:
        receiver = WebhookReceiver(WebhookOptions(name, HttpOptions(url)), self.clock)
        made = DeliveryWorker(receiver, store or self.store, self.clock, Random(1), self.metrics)
        self.workers.append(made)
        return made

    async def add(self, *messages: OutboxMessage) -> None:
        await self.store.run(lambda tx: tx.outbox.add(messages))
        for worker in self.workers:
            worker.wake()

    async def rows(self) -> dict[str, OutboxMessage]:
        found, _ = await self.store.run(lambda tx: outbox_page(tx, None, 100_000, 0))
        return {row.id: row for row in found}

    async def states(self) -> dict[str, str]:
        return {row.id: row.state for row in (await self.rows()).values()}

    async def count(self, state: str) -> int:
        return list((await self.states()).values()).count(state)


@asynccontextmanager
async def post(folder: Path) -> AsyncIterator[Post]:
    office = Post(folder, VirtualClock())
    try:
        yield office
    finally:
        await office.store.close()


@asynccontextmanager
async def running(office: Post, workers: Iterable[DeliveryWorker] | None = None) -> AsyncIterator[None]:
    """The workers run beside the test and are stopped in order when it is through."""
    async with asyncio.TaskGroup() as group:
        for worker in office.workers if workers is None else workers:
            group.create_task(worker.run(office.stop), name=worker.name)
        try:
            yield
        finally:
            office.stop.set()
