"""A real daemon's events, followed: every kind, through stops and reloads, and by a thousand at once."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexusd.core.events import Event, Subject
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store
from tests.e2e.daemon import KEY, DaemonProcess, run_to_end

pytestmark = pytest.mark.slow

OPTIONS = EmulatorOptions(api_key=KEY, instances=10, pending_s=0.1, provisioning_s=0.2)
READERS = 1_000
EARLIER = 30_000
"""Events before the test, of about 1 kB: more than all buffers between a reader and the daemon hold."""
BYTES_A_READER = 100 << 10
"""What one may cost: its connection, and what waits for it to be taken."""
WITHIN_S = 60.0


@asynccontextmanager
async def stream(daemon: DaemonProcess, **headers: str) -> AsyncIterator[aiohttp.StreamReader]:
    wanted = {"Accept": "text/event-stream"} | {name.replace("_", "-"): v for name, v in headers.items()}
    url = f"{daemon.url}/api/v1/events"
    async with aiohttp.ClientSession() as http, http.get(url, headers=wanted) as answer:
        assert answer.status == 200
        yield answer.content


async def events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    async for line in content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def types_until(content: aiohttp.StreamReader, wanted: set[tuple[str, str]]) -> None:
    """Read until each (kind of subject, type) was seen."""
    missing = set(wanted)
    async with asyncio.timeout(WITHIN_S):
        async for event in events(content):
            missing.discard((event["subject"]["kind"], event["type"]))
            if not missing:
                return
    raise AssertionError(f"never told: {missing}")


async def test_every_kind_of_change_is_told(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    async with (
        EmulatorServer(cloud) as server,
        DaemonProcess(tmp_path, server.url) as daemon,
        stream(daemon) as content,
    ):
        first, second = cloud.instances()[:2]
        await daemon.place("worker-77")
        cloud.stop_instance(first.id)
        cloud.set_region("us-east-1", capacity=False)
        await types_until(
            content,
            {
                ("placement", "PlacementAccepted"),
                ("placement", "PlacementStateChanged"),
                ("instance", "InstanceAppeared"),
                ("instance", "InstanceStatusChanged"),
                ("region", "RegionCapacityChanged"),
                ("alert", "AlertFired"),
            },
        )
        silence = ["silence", "add", "alertname=InstanceStopped", "--duration", "1s", "--comment", "x"]
        assert (await run_to_end(tmp_path, *silence, NEXUSD_URL=daemon.url))[0] == 0
        cloud.start_instance(first.id)
        cloud.stop_instance(second.id)
        told = {("silence", "SilenceCreated"), ("alert", "AlertSilenced"), ("alert", "AlertUnmuted")}
        await types_until(content, told | {("alert", "AlertResolved")})

        command = ["events", "--follow", "--since", "0", "--type", "AlertSilenced", "--limit", "1"]
        code, out, err = await run_to_end(tmp_path, *command, NEXUSD_URL=daemon.url)
        assert (code, err) == (0, "")
        assert "  AlertSilenced  alert InstanceStopped in " in out


async def test_a_stream_ends_with_the_daemon_and_resumes_with_the_next(tmp_path: Path) -> None:
    async with EmulatorServer(Cloud(OPTIONS)) as server:
        async with DaemonProcess(tmp_path, server.url) as daemon:
            async with stream(daemon) as content:
                placed = await daemon.place("worker-78")
                event = await anext(events(content))
                assert (event["type"], event["subject"]["id"]) == ("PlacementAccepted", placed["id"])
                stopping = asyncio.create_task(daemon.stop())
                async with asyncio.timeout(WITHIN_S):
                    await content.read()
            assert await stopping == 0
            await daemon.start()
            await daemon.ready()
            async with stream(daemon, Last_Event_ID=str(event["id"])) as content:
                resumed = await anext(events(content))
                assert resumed["id"] == event["id"] + 1
                daemon.process.send_signal(1)  # SIGHUP: another configuration, another stream
                async with asyncio.timeout(WITHIN_S):
                    await content.read()


class Follower:
    """One of the thousand, on a socket of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.ids: list[int] = []
        self.began = asyncio.Event()

    async def follow(self, after: int, last: int) -> None:
        """From after one event until it was told another."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(_request(f"?since={after}"))
        begun = await reader.readuntil(b"\n\n\r\n")
        assert b" 200 OK" in begun
        self.began.set()
        while not self.ids or self.ids[-1] < last:
            line = await reader.readline()
            assert line, "the stream ended"
            if line.startswith(b"id: "):
                self.ids.append(int(line[4:]))
        writer.close()


def _request(query: str) -> bytes:
    return (
        f"GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
    )


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) << 10


async def _write_history(folder: Path, count: int) -> int:
    """The id of the last."""
    store = open_store(StoreOptions(f"sqlite:///{folder / 'nexusd.db'}", "history"), SystemClock())
    subject = Subject("instance", "inst_1", "worker-1", "us-east-1")
    event = Event(SystemClock().now(), "InstanceStatusChanged", subject, {"text": "x" * 1_000})
    stored = await store.run(lambda tx: tx.events.append([event] * count))
    await store.close()
    return stored[-1].id or 0


async def test_a_thousand_follow_and_one_that_never_reads_costs_nobody_anything(tmp_path: Path) -> None:
    earlier = await _write_history(tmp_path, EARLIER)
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url) as daemon:
        names = set(re.findall(r"^# TYPE (\S+)", await daemon.text("/metrics"), re.MULTILINE))
        before = _memory(daemon.process.pid)
        never = socket.create_connection(("127.0.0.1", daemon.port))
        never.sendall(_request("?since=0"))
        last = earlier + 50
        followers = [Follower(daemon.port) for _ in range(READERS)]
        async with asyncio.timeout(2 * WITHIN_S), asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow(earlier, last))
            await asyncio.gather(*(follower.began.wait() for follower in followers))
            for number in range(60):
                await daemon.place(f"worker-{number:04}")
                scraped = await daemon.text("/metrics")
                assert names <= set(re.findall(r"^# TYPE (\S+)", scraped, re.MULTILINE))
        after = _memory(daemon.process.pid)
        async with asyncio.timeout(WITHIN_S):
            while "event_reader_dropped" not in daemon.log.read_text():
                await asyncio.sleep(0.1)
        never.close()

        for follower in followers:
            told = [number for number in follower.ids if number <= last]
            assert told == list(range(earlier + 1, last + 1))
        assert after - before < READERS * BYTES_A_READER
