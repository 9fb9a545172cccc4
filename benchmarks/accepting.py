"""Placements taken in over HTTP by a daemon of its own process: each 202 stands for a synced commit.

The cloud that it is told of is not there, so that accepting is all it does.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

FOR_S = 3.0
WARM_UP_S = 1.0
START_WITHIN_S = 30.0
NO_CLOUD = "http://127.0.0.1:9/v1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _daemon() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{_free_port()}"
        settings = {
            "NEXUSD_CLOUDNEXUS__BASE_URL": NO_CLOUD,
            "NEXUSD_SERVER__LISTEN": url.removeprefix("http://"),
            "NEXUSD_STORE__URL": f"sqlite:///{folder}/nexusd.db",
            "NEXUSD_LOG__LEVEL": "error",
            "CN_API_KEY": "benchmark",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "nexusd", "run", env={**os.environ, **settings}, cwd=folder
        )
        try:
            await _listening(url)
            yield url
        finally:
            process.terminate()
            await process.wait()


async def _listening(url: str) -> None:
    async with asyncio.timeout(START_WITHIN_S), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/-/healthy"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def accepted_per_second(clients: int) -> float:
    """By as many clients, each with a connection of its own and one request under way."""
    async with _daemon() as url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as http:
        measured_from = time.perf_counter() + WARM_UP_S
        until = measured_from + FOR_S
        done = 0

        async def client(number: int) -> None:
            nonlocal done
            made = 0
            while time.perf_counter() < until:
                body = {"name": f"b-{number}-{made}", "plan": "pro"}
                async with http.post(f"{url}/api/v1/placements", json=body) as answer:
                    if answer.status != 202:
                        raise RuntimeError(f"not accepted: {answer.status} {await answer.text()}")
                made += 1
                done += time.perf_counter() >= measured_from

        await asyncio.gather(*(client(number) for number in range(clients)))
    return done / FOR_S
