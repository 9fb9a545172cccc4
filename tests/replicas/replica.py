"""One replica: a `nexusd run` process, its proxies, and what was done to it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.e2e.daemon import KEY, environment, free_port
from tests.silent_proxy import SilentProxy

POLL_S = 2.0
SETTLE_S = 8.0
READY_WITHIN_S = 30.0


class FaultKind(StrEnum):
    KILLED = "killed"
    FROZEN = "frozen"
    RESTARTED = "restarted"
    NO_STORE = "store silent"
    NO_CLOUD = "cloud silent"


@dataclass(slots=True)
class FaultWindow:
    """Time of one fault of a replica, by `time.monotonic()`.

    `end` is infinite while it lasts.
    """

    kind: FaultKind
    replica: str
    start: float
    end: float = float("inf")


@dataclass(slots=True)
class Replica:
    """A process that can be killed, frozen, restarted, and partitioned.

    Partitions cut it off from its store or from the cloud.
    """

    name: str
    folder: Path
    store: SilentProxy
    cloud: SilentProxy
    webhook_url: str
    ahead_s: float = 0.0
    port: int = field(default_factory=free_port)
    windows: list[FaultWindow] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def configure(self) -> Path:
        receiver = {"name": "ops", "type": "webhook", "url": self.webhook_url}
        route = {
            "receivers": ["ops"],
            "group_by": ["alertname", "instance_id", "placement_id", "region"],
            "group_wait": "0s",
            "group_interval": "5s",
        }
        settings: dict[str, Any] = {
            "cloudnexus": {
                "base_url": f"http://127.0.0.1:{self.cloud.port}/v1",
                "api_key": KEY,
                "timeout": "3s",
            },
            "polling": {"regions": f"{POLL_S:g}s", "instances": f"{POLL_S:g}s"},
            "placement": {"settle": f"{SETTLE_S:g}s", "max_creates_per_minute": 600},
            "receivers": [receiver],
            "routes": [route],
            "server": {"listen": f"127.0.0.1:{self.port}"},
            "store": {"url": f"postgresql://postgres@127.0.0.1:{self.store.port}/replicas"},
            "log": {"format": "json"},
        }
        path = self.folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path

    async def start(self) -> None:
        config = self.configure()
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.replicas.ahead", f"{self.ahead_s}"),
                *("run", "--config", str(config)),
                stdout=log,
                stderr=log,
                env=environment(self.folder),
                cwd=Path.cwd(),
            )

    async def start_and_wait(self) -> None:
        await self.start()
        await self.wait_ready()

    async def wait_ready(self) -> None:
        async with asyncio.timeout(READY_WITHIN_S):
            while await self.status("/-/ready") != 200:
                assert self.process is not None
                assert self.process.returncode is None, f"{self.name} exited: {self.log.read_text()[-2000:]}"
                await asyncio.sleep(0.1)

    async def status(self, path: str) -> int | None:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
                http.get(self.url + path) as response,
            ):
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def suffer(self, kind: FaultKind, seconds: float) -> None:
        """Apply the fault for so long, heal it, and record when it was."""
        window = FaultWindow(kind, self.name, time.monotonic())
        self.windows.append(window)
        try:
            await self._suffer(kind, seconds)
        finally:
            window.end = time.monotonic()

    async def _suffer(self, kind: FaultKind, seconds: float) -> None:
        assert self.process is not None
        match kind:
            case FaultKind.KILLED:
                self.process.kill()
                await self.process.wait()
                await asyncio.sleep(seconds)
                await self.start_and_wait()
            case FaultKind.RESTARTED:
                self.process.terminate()
                await self.process.wait()
                await self.start_and_wait()
            case FaultKind.FROZEN:
                self.process.send_signal(signal.SIGSTOP)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self.process.send_signal(signal.SIGCONT)
            case FaultKind.NO_STORE:
                await self._silence(self.store, seconds)
            case FaultKind.NO_CLOUD:
                await self._silence(self.cloud, seconds)

    async def _silence(self, proxy: SilentProxy, seconds: float) -> None:
        proxy.silence()
        try:
            await asyncio.sleep(seconds)
        finally:
            proxy.restore()

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 30.0)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()

    def affected(self, start: float, end: float, kinds: frozenset[FaultKind] = frozenset(FaultKind)) -> bool:
        """Return whether one of these faults overlaps the time from `start` to `end`."""
        return any(w.kind in kinds and w.start <= end and w.end >= start for w in self.windows)
