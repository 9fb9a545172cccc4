"""A real `nexusd run` in a process of its own, against an emulator in the test's loop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

KEY = "canary-key-5f1c2e"
"""Looked for in everything that the daemon writes or serves."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEXUSD_", "CN_"))}
    return {**kept, "HOME": str(folder), "NO_COLOR": "1"}


class DaemonProcess:
    """`nexusd run` with quick polls. Entered, it is ready; left, it was stopped in order or killed."""

    def __init__(self, folder: Path, cloud_url: str, more: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "daemon.log"
        self.prefix: tuple[str, ...] = ()  # of the command, such as prlimit
        self._process: asyncio.subprocess.Process | None = None
        key_file = folder / "api-key"
        key_file.write_text(KEY)
        configuration: dict[str, Any] = {
            "cloudnexus": {"base_url": cloud_url, "api_key_file": str(key_file), "timeout": "1s"},
            "polling": {"regions": "300ms", "instances": "300ms"},
            "placement": {"settle": "2s", "max_creates_per_minute": 6000},
            "server": {"listen": f"127.0.0.1:{self.port}"},
            "store": {"url": f"sqlite:///{folder / 'nexusd.db'}"},
            "log": {"level": "debug", "format": "json"},
        }
        for section, values in (more or {}).items():
            known = configuration.get(section)
            configuration[section] = {**known, **values} if isinstance(known, dict) else values
        self.config = folder / "nexusd.yaml"
        self.config.write_text(yaml.safe_dump(configuration))

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "the daemon was not started"
        return self._process

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.prefix,
                sys.executable,
                "-m",
                "nexusd",
                "run",
                "--config",
                str(self.config),
                stdout=log,
                stderr=log,
                env=environment(self.folder),
                cwd=self.folder,
            )

    async def ready(self, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while await self.status("/-/ready") != 200:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.05)

    async def __aenter__(self) -> Self:
        await self.start()
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            await self.stop()

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), 15.0)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"it did not stop in time:\n{self.log.read_text()[-4000:]}") from None

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def status(self, path: str) -> int | None:
        """The answer's status; None when nobody listens."""
        try:
            async with aiohttp.ClientSession() as http, http.get(self.url + path) as answer:
                return answer.status
        except aiohttp.ClientError:
            return None

    async def text(self, path: str) -> str:
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as answer:
            return await answer.text()

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as answer:
            return await answer.json()

    async def place(self, name: str, **more: object) -> dict[str, Any]:
        body = {"name": name, "plan": "pro", **more}
        url = f"{self.url}/api/v1/placements"
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
            placed: dict[str, Any] = await answer.json()
            assert answer.status == 202, placed
            return placed

    async def placed(self, placement_id: str, *states: str, within_s: float = 30.0) -> dict[str, Any]:
        """The placement once it is in one of the states."""
        shown: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within_s):
                while (shown := await self.get(f"/api/v1/placements/{placement_id}"))["state"] not in states:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"still {shown}") from None
        return shown


async def run_to_end(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """A `nexusd` command that ends by itself: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nexusd",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment(folder), **variables},
        cwd=folder,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30.0)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
