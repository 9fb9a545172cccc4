"""The bound on inbound connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import pytest

from nexusd.web.metrics import MetricsRegistry
from tests.web.site import Site

T = TypeVar("T")
OK = b"HTTP/1.1 200 OK"


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def ask(self, path: str = "/-/healthy", more: str = "") -> bytes:
        """The status line of the answer, which was read to its end."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        return await self.answer()

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        return head.split(b"\r\n")[0]

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 5.0) == b""

    def close(self) -> None:
        self._writer.close()


async def connect(site: Site, stack: AsyncExitStack) -> Client:
    client = Client(*await asyncio.open_connection("127.0.0.1", site.port))
    stack.callback(client.close)
    return client


def shed(metrics: MetricsRegistry) -> dict[str, float]:
    lines = metrics.render(openmetrics=False).splitlines()
    shown = [line for line in lines if line.startswith("nexusd_http_connections_shed_total{")]
    return {line.split('"')[1]: float(line.split()[1]) for line in shown}


async def test_at_the_limit_a_new_connection_replaces_the_longest_idle_one() -> None:
    async with Site().running(max_connections=2) as site, AsyncExitStack() as stack:
        first = await connect(site, stack)
        assert await first.ask() == OK
        second = await connect(site, stack)
        assert await second.ask() == OK
        assert await first.ask() == OK
        third = await connect(site, stack)
        assert await third.ask() == OK
        assert await second.is_closed()
        assert await first.ask() == OK
        assert shed(site.metrics) == {"idle": 1, "refused": 0, "event_readers": 0}


async def test_a_connection_without_a_request_is_idle_too(capsys: pytest.CaptureFixture[str]) -> None:
    async with Site().running(max_connections=4) as site, AsyncExitStack() as stack:
        silent = [await connect(site, stack) for _ in range(20)]
        last = await connect(site, stack)
        assert await last.ask() == OK
        assert all([await client.is_closed() for client in silent[:17]])  # noqa: C419 - each is awaited
        assert shed(site.metrics) == {"idle": 17, "refused": 0, "event_readers": 0}
    assert capsys.readouterr().out.count("connections_limited") == 1


async def test_when_all_are_busy_a_new_connection_is_refused_and_later_served() -> None:
    site = Site()
    entered, release = asyncio.Event(), asyncio.Event()
    run = site.store.run

    async def slow(transaction: Callable[..., T]) -> T:
        entered.set()
        await release.wait()
        return await run(transaction)

    site.store.run = slow  # type: ignore[method-assign]
    async with site.running(max_connections=1) as site, AsyncExitStack() as stack:
        busy = await connect(site, stack)
        asking = asyncio.ensure_future(busy.ask("/api/v1/placements"))
        await entered.wait()
        refused = await connect(site, stack)
        assert await refused.answer() == b"HTTP/1.1 503 Service Unavailable"
        assert await refused.is_closed()
        release.set()
        assert await asking == OK
        assert await busy.ask() == OK
        assert shed(site.metrics) == {"idle": 0, "refused": 1, "event_readers": 0}


async def test_closed_connections_do_not_count() -> None:
    async with Site().running(max_connections=2) as site, AsyncExitStack() as stack:
        kept = await connect(site, stack)
        assert await kept.ask() == OK
        for _ in range(10):
            async with AsyncExitStack() as short:
                client = await connect(site, short)
                assert await client.ask(more="Connection: close\r\n") == OK
                assert await client.is_closed()
        assert await kept.ask() == OK
