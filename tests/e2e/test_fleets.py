"""Real processes: a daemon that keeps a fleet in the emulated cloud."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexusd.emulator.cloud import Cloud, EmulatedInstance
from nexusd.emulator.effects import Answer, Drop, LateAnswer
from nexusd.emulator.faults import Fault, Match, Schedule
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess, run_to_end

pytestmark = pytest.mark.slow

OPTIONS = EmulatorOptions(api_key=KEY, instances=30, pending_s=0.2, provisioning_s=0.4, latency_jitter_ms=0)
CREATES = Match(endpoint="instances", method="POST")


def web(count: int, **more: Any) -> dict[str, Any]:
    return {"fleets": [{"name": "web", "count": count, "plan": "pro", **more}]}


def members(cloud: Cloud) -> list[EmulatedInstance]:
    return [i for i in cloud.instances() if i.name.startswith("web-")]


def running(cloud: Cloud) -> int:
    return sum(i.status == "running" for i in members(cloud))


async def until(reached: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.sleep(0.05)


async def shown(daemon: DaemonProcess) -> dict[str, Any]:
    [fleet] = (await daemon.get("/api/v1/fleets"))["data"]
    found: dict[str, Any] = fleet
    return found


def reconfigure(daemon: DaemonProcess, changes: dict[str, Any]) -> None:
    configuration = yaml.safe_load(daemon.config.read_text())
    daemon.config.write_text(yaml.safe_dump({**configuration, **changes}))
    daemon.process.send_signal(signal.SIGHUP)


async def test_a_fleet_is_filled_and_shown(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, web(4)) as daemon:
        await until(lambda: running(cloud) == 4)
        async with asyncio.timeout(10.0):
            while (fleet := await shown(daemon))["by_status"]["running"] < 4:
                await asyncio.sleep(0.05)
        assert (fleet["alive"], fleet["in_flight"], fleet["surplus"], fleet["reason"]) == (4, 0, 0, None)
        assert 'nexusd_fleet_alive{fleet="web"} 4' in await daemon.text("/metrics")
        code, out, _ = await run_to_end(tmp_path, "fleets", "--url", daemon.url)
        assert (code, out.splitlines()[1].split()[:5]) == (0, ["web", "pro", "4", "4", "0"])
        assert len(members(cloud)) == 4


async def test_a_fleet_follows_its_declaration_and_makes_good_what_is_lost(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, web(4)) as daemon:
        await until(lambda: running(cloud) == 4)
        cloud.vanish_instance(members(cloud)[0].id)
        cloud.terminate_instance(members(cloud)[1].id)
        await until(lambda: running(cloud) == 4)
        reconfigure(daemon, web(6))
        await until(lambda: running(cloud) == 6)
        reconfigure(daemon, web(5, replace_stopped=True))
        cloud.stop_instance(next(i.id for i in members(cloud) if i.status == "running"))
        await asyncio.sleep(3.0)
        assert running(cloud) == 5
        cloud.stop_instance(next(i.id for i in members(cloud) if i.status == "running"))
        await until(lambda: running(cloud) == 5)
        await asyncio.sleep(2.0)
        assert running(cloud) == 5
        assert (await shown(daemon))["alive"] == 5


async def test_kills_and_lost_answers_leave_exactly_what_was_declared(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    rng = random.Random(5)
    cloud.add_fault(Fault(LateAnswer(0.3), CREATES, Schedule(probability=0.5)))
    cloud.add_fault(Fault(Drop("after_commit"), CREATES, Schedule(probability=0.3)))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, web(12)) as daemon:
        for _ in range(6):
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            await daemon.kill()
            await daemon.start()
            await daemon.ready()
        cloud.clear_faults()
        await until(lambda: running(cloud) == 12, within_s=60.0)
        await asyncio.sleep(6.0)  # more than the quiet time
        assert len(members(cloud)) == 12
        assert len({i.name for i in members(cloud)}) == 12


async def test_a_plan_that_is_rejected_costs_one_create(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    cloud.add_fault(Fault(Answer(422, "VALIDATION_ERROR", "image is not known"), CREATES))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, web(50)) as daemon:
        await until(lambda: len(cloud.creates) > 0)
        await asyncio.sleep(3.0)
        assert len(cloud.creates) == 1
        fleet = await shown(daemon)
        assert "image is not known" in fleet["reason"]
        assert fleet["next_try_at"] is not None
