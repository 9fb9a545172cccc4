"""A real Prometheus with what is shipped as its configuration, but for places and intervals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.e2e.daemon import DaemonProcess, free_port
from tests.requirements import need_program

SHIPPED = Path(__file__).parents[2] / "config" / "prometheus"


def configuration(daemon: DaemonProcess, jobs: Iterable[str] = ("nexusd",)) -> str:
    """Of these jobs. Everything happens every second, and nobody is told of alerts."""
    shipped = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    shipped["global"] = {**shipped["global"], "scrape_interval": "1s", "scrape_timeout": "1s"}
    rules = yaml.safe_load((SHIPPED / "rules.yml").read_text())
    rules["groups"][0]["interval"] = "1s"
    (daemon.folder / "rules.yml").write_text(yaml.safe_dump(rules))
    shipped["scrape_configs"] = [job for job in shipped["scrape_configs"] if job["job_name"] in jobs]
    for job in shipped["scrape_configs"]:
        for discovery in job.get("http_sd_configs", []):
            discovery["url"] = discovery["url"].replace("127.0.0.1:9650", f"127.0.0.1:{daemon.port}")
            discovery["refresh_interval"] = "100ms"
        if "static_configs" in job:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{daemon.port}"]}]
    del shipped["alerting"]
    return yaml.safe_dump(shipped)


@asynccontextmanager
async def prometheus(config: str, folder: Path) -> AsyncIterator[int]:
    """One with that configuration, once it answers; its port."""
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(config)
    process = await asyncio.create_subprocess_exec(
        need_program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30.0):
            while not await _answers(port):
                await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def query(port: int, expression: str) -> list[Any]:
    return list((await ask(port, "query", query=expression))["result"])


async def ask(port: int, path: str, **params: str) -> Any:
    """What `/api/v1/…` answers."""
    url = f"http://127.0.0.1:{port}/api/v1/{path}"
    async with aiohttp.ClientSession() as http, http.get(url, params=params) as answer:
        return (await answer.json())["data"]


async def _answers(port: int) -> bool:
    try:
        await query(port, "up")
    except (aiohttp.ClientError, KeyError):
        return False
    return True
