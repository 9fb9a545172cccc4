"""The reverse proxies of docs/reverse-proxy.md, each with a real daemon behind it."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess, free_port
from tests.e2e.proxies import DEFAULTS, HOST, NAMES, documented, proxy

pytestmark = pytest.mark.slow

READ, WRITE = "canary-read-3c", "canary-write-7d"
BODY = {"name": "worker-1", "plan": "pro"}
with_each_proxy = pytest.mark.parametrize("name", NAMES)


class Guarded(DaemonProcess):
    """A daemon with a read token: only its health is open."""

    async def ready(self, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while await self.status("/-/healthy") != 200:
                await asyncio.sleep(0.05)


class Loopback(AbstractResolver):
    """Resolves every name to 127.0.0.1."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def served(name: str, folder: Path) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A daemon with tokens behind the documented proxy.

    Yields its public address and a client.
    """
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=3, pending_s=0.1, provisioning_s=0.1))
    port = free_port()
    url = f"https://{HOST}:{port}/nexusd/"
    server: dict[str, Any] = {"read_token": READ, "write_token": WRITE, "external_url": url}
    async with (
        EmulatorServer(cloud) as api,
        Guarded(folder, api.url, {"server": server}) as daemon,
        proxy(name, folder, documented(name, folder, port, daemon.port), port),
    ):
        trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        connector = aiohttp.TCPConnector(resolver=Loopback(), ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as client:
            await _through(client, url)
            yield url, client


async def _through(client: aiohttp.ClientSession, url: str) -> None:
    """Wait until the proxy has found the daemon."""
    async with asyncio.timeout(20.0):
        while True:
            async with client.get(f"{url}-/healthy") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.1)


async def _status(client: aiohttp.ClientSession, method: str, url: str, token: str = "", **more: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.request(method, url, headers=headers, **more) as response:
        return response.status


@with_each_proxy
async def test_the_documented_configuration_serves_page_tokens_and_events(name: str, tmp_path: Path) -> None:
    async with served(name, tmp_path) as (url, client):
        assert await _status(client, "GET", url) == 401
        assert await _status(client, "POST", f"{url}api/v1/placements", json=BODY) == 401
        assert await _status(client, "POST", f"{url}api/v1/placements", READ, json=BODY) == 403

        password = {"Authorization": "Basic " + b64encode(f"any:{READ}".encode()).decode()}
        async with client.get(url, headers=password) as response:
            assert response.status == 200
            links = re.findall(r'(?:href|src)="((?:\./)?static/[^"]+)"', await response.text())
        assert links
        for link in links:
            assert await _status(client, "GET", urljoin(url, link), READ) == 200

        headers = {"Authorization": f"Bearer {READ}", "Accept": "text/event-stream"}
        async with client.get(f"{url}api/v1/events", headers=headers) as stream:
            assert stream.status == 200
            writing = {"Authorization": f"Bearer {WRITE}"}
            async with client.post(f"{url}api/v1/placements", headers=writing, json=BODY) as placed:
                assert placed.status == 202
                location = placed.headers["Location"]
            async with asyncio.timeout(20.0):
                await stream.content.readuntil(b"event: InstanceAppeared\n")
        assert location.startswith(url)
        assert await _status(client, "GET", location, READ) == 200


@with_each_proxy
async def test_a_proxy_that_makes_requests_look_local_opens_nothing(name: str, tmp_path: Path) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=3))
    port = free_port()
    async with EmulatorServer(cloud) as api, DaemonProcess(tmp_path, api.url) as daemon:
        site = DEFAULTS[name].format(port=port, daemon=daemon.port)
        async with proxy(name, tmp_path, site, port), aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{port}"
            assert await _status(client, "GET", f"{url}/api/v1/status") == 200
            assert await _status(client, "POST", f"{url}/api/v1/placements", json=BODY) == 403
            assert await _status(client, "POST", f"{url}/-/reload") == 403
            assert await _status(client, "POST", f"{daemon.url}/api/v1/placements", json=BODY) == 202
