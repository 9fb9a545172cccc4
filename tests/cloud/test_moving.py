"""An API that moves to another address.

Absence is proven on connections made after the attempt.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from nexusd.cloud import client
from nexusd.cloud.client import CloudNexus
from nexusd.cloud.http import Http
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.core.answers import CreateRequest, Unknown
from tests.cloud.server import KEY, Reply, Request, Server, listing, record, reply
from tests.fakes import RecordingMetrics
from tests.virtual_time import VIRTUAL_EPOCH, VirtualClock, in_virtual_time

OLD, NEW = "127.0.0.1", "127.0.0.2"
ASKED = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")


@dataclass
class Site:
    """The API at one address. A POST creates an instance; its response is lost."""

    records: list[dict[str, object]] = field(default_factory=lambda: [record(n) for n in range(300)])

    def respond(self, request: Request) -> Reply:
        if request.method == "POST":
            self.records.append(record(999, name=ASKED.name))
            return Reply(drop=True)
        if request.path == "/v1/regions":
            return reply({"regions": []})
        return listing(self.records)(request)


@dataclass
class Move:
    """Two servers on one port, and a host name that resolves to either."""

    api: CloudNexus
    servers: dict[str, Server]
    address: str = OLD

    def resolve(self, host: str, port: int, *args: object, **kwargs: object) -> list[object]:
        assert host == "localhost"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]


@asynccontextmanager
async def moving(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Move]:
    servers = {address: Server(Site().respond) for address in (OLD, NEW)}
    old = await asyncio.start_server(servers[OLD].serve, OLD, 0)
    port = old.sockets[0].getsockname()[1]
    new = await asyncio.start_server(servers[NEW].serve, NEW, port)
    options = CloudOptions(f"http://localhost:{port}/v1", max_concurrent_requests=3)
    clock, metrics = VirtualClock(), RecordingMetrics()
    try:
        async with client.CloudNexus(options, LiteralKey(KEY), clock, random.Random(1), metrics) as api:
            move = Move(api, servers)
            monkeypatch.setattr(socket, "getaddrinfo", move.resolve)
            yield move
    finally:
        old.close()
        new.close()
        for server in servers.values():
            await server.stop()


async def is_lost_create_found(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Move the API, lose a create's response, and return whether it is listed next."""
    async with moving(monkeypatch) as move:
        await move.api.sweep_instances()
        await move.api.read_regions()
        move.address = NEW
        outcome = await move.api.create_instance(ASKED, VIRTUAL_EPOCH + 10.0)
        assert isinstance(outcome, Unknown)
        listed = await move.api.sweep_instances()
        return "inst_000999" in listed.instances


@in_virtual_time
async def test_a_listing_after_a_lost_create_comes_from_the_address_that_received_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await is_lost_create_found(monkeypatch)


class _PooledHttp(Http):
    """The broken variant: requests share connections that stay open between them."""

    _pool: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def session(
        self, socket_factory: aiohttp.SocketFactoryType | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        if self._pool is None:
            self._pool = self._open_session(socket_factory)
        yield self._pool

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        await super().close()


@in_virtual_time
async def test_a_client_that_keeps_its_connections_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "Http", _PooledHttp)
    assert not await is_lost_create_found(monkeypatch)


@in_virtual_time
async def test_each_read_opens_its_own_connections_no_more_than_allowed_and_closes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with moving(monkeypatch) as move:
        for reads in (1, 2):
            await move.api.sweep_instances()
            assert len(move.servers[OLD].received) <= 3 * reads
        await move.api.read_regions()
        await move.api.read_regions()
        await asyncio.sleep(1.0)
        assert 4 <= len(move.servers[OLD].received) <= 8
        assert not move.servers[OLD].open
        move.address = NEW
        await move.api.read_regions()
        assert len(move.servers[NEW].requests) == 1
