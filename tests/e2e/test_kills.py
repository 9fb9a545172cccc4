"""Real processes: `kill -9` again and again with placements in flight, on the same store (I1, I2)."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Drop, LateAnswer, ListLag
from nexusd.emulator.faults import Fault, Match, Schedule
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess

CREATES = Match(endpoint="instances", method="POST")
IN_FLIGHT = 20
KILLS = int(os.environ.get("NEXUSD_KILLS", "100"))
LONGEST_LIFE_S = 1.5
OPEN = ("queued", "creating", "verifying", "provisioning", "held")


def unreliable_cloud(seed: int) -> Cloud:
    """Answers late, loses some, and lists what it made a little later."""
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=30, seed=seed, pending_s=0.2, provisioning_s=0.4))
    cloud.add_fault(Fault(Drop("after_commit"), CREATES, Schedule(probability=0.1)))
    cloud.add_fault(Fault(Drop("before"), CREATES, Schedule(probability=0.1)))
    cloud.add_fault(Fault(LateAnswer(0.4), CREATES, Schedule(probability=0.5)))
    cloud.add_fault(Fault(ListLag(0.7), Match(), Schedule(probability=0.3)))
    return cloud


class Asking:
    """Keeps placements in flight; `accepted` maps the id of each that was answered with 202 to its name."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.asked = 0
        self.accepted: dict[str, str] = {}

    async def top_up(self) -> None:
        """Ask until so many are open; what a kill interrupts was not accepted."""
        try:
            for _ in range(IN_FLIGHT - await self.open()):
                self.asked += 1
                name = f"worker-{self.asked:04d}"
                self.accepted[(await self.daemon.place(name))["id"]] = name
        except aiohttp.ClientError:
            return

    async def open(self) -> int:
        return sum([(await self._listed(state))["meta"]["total"] for state in OPEN])

    async def states(self) -> Counter[str]:
        return Counter([(await self._shown(key))["state"] for key in self.accepted])

    async def outcomes(self) -> Counter[str]:
        """How all attempts ended."""
        return Counter([a["outcome"] for key in self.accepted for a in (await self._shown(key))["attempts"]])

    async def _shown(self, placement_id: str) -> dict:
        return await self.daemon.get(f"/api/v1/placements/{placement_id}")

    async def _listed(self, state: str) -> dict:
        return await self.daemon.get(f"/api/v1/placements?state={state}&limit=1")


@pytest.mark.slow
async def test_a_hundred_kills_with_twenty_in_flight_make_each_instance_once(tmp_path: Path) -> None:
    rng = random.Random(KILLS)
    cloud = unreliable_cloud(1)
    limits = {"cloudnexus": {"max_concurrent_requests": 32, "max_requests_per_second": 500}}
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, limits) as daemon:
        asking = Asking(daemon)
        for _ in range(KILLS):
            life_s = rng.uniform(0.0, LONGEST_LIFE_S)
            topping_up = asyncio.ensure_future(asking.top_up())
            await asyncio.sleep(life_s)
            await daemon.kill()
            await topping_up
            await daemon.start()
            if rng.random() < 0.8:  # else it is killed while it starts
                await daemon.ready()
        await daemon.kill()
        await daemon.start()
        await daemon.ready()
        async with asyncio.timeout(120.0):
            while await asking.open():
                await asyncio.sleep(0.5)
        assert len(asking.accepted) > IN_FLIGHT
        assert await asking.states() == {"running": len(asking.accepted)}
        made = Counter({n: len(cloud.instances_named(n)) for n in asking.accepted.values()})
        assert set(made.values()) == {1}
        outcomes = await asking.outcomes()
        assert outcomes["created"]
        assert outcomes["adopted"]  # else nothing was in doubt, and this proves nothing
