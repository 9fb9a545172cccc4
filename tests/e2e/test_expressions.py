"""Every expression of the dashboards and rules returns data, asked of a real Prometheus that scrapes a real
daemon while a day's trouble happens to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from nexusd.emulator.calls import CreateOrder
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Answer, Drop
from nexusd.emulator.faults import Fault, Match, Schedule
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.config import shipped
from tests.config.dashboards import expressions
from tests.delivery.receivers import endpoint
from tests.e2e.daemon import KEY, DaemonProcess
from tests.e2e.prometheus import configuration, prometheus, query
from tests.requirements import need_program

PATIENCE_S = 60.0
DESCRIPTORS = 512
"""The daemon's limit: half of it is for client connections."""
POST = Match("instances", "POST")


def asked() -> dict[str, str]:
    """What is asked for, by a name of where that is."""
    panels = {f"{board}: {title} #{number}": e for number, (board, title, e) in enumerate(expressions())}
    rules = {
        rule.get("alert") or f"{rule['record']} {rule.get('labels')}": rule["expr"]
        for rule in shipped.rules()
    }
    return {**{name: of_test(expression) for name, expression in panels.items()}, **rules}


def of_test(expression: str) -> str:
    """With what Grafana puts in for its variables."""
    chosen = {"$job": ".+", "$instance": ".+", "$__rate_interval": "10s"}
    for variable, value in chosen.items():
        expression = expression.replace(variable, value)
    return expression


def tells(sample: Any) -> bool:
    return not isnan(float(sample["value"][1]))


@dataclass
class Watch:
    """Asks again for whatever has not returned data yet."""

    port: int
    missing: dict[str, str] = field(default_factory=asked)

    async def run(self) -> None:
        while True:
            for name, expression in list(self.missing.items()):
                if any(map(tells, await query(self.port, expression))):
                    del self.missing[name]
            await asyncio.sleep(0.3)

    async def until(self, *names: str) -> None:
        """Until those that begin like this have returned data."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while left := [name for name in self.missing if name.startswith(names)]:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"no data: {left}") from None


@dataclass
class Scene:
    cloud: Cloud
    server: EmulatorServer
    daemon: DaemonProcess
    watch: Watch

    async def trouble_with_regions_and_instances(self) -> None:
        names = [region.slug for region in self.cloud.regions().values()]
        self.cloud.set_region(names[1], status="degraded")
        self.cloud.set_region(names[2], capacity=False)
        self.cloud.set_region(names[3], latency_ms=420.0)
        stopped, terminated, vanished, stuck = list(self.cloud.instances())[:4]
        self.cloud.stop_instance(stopped.id)
        self.cloud.terminate_instance(terminated.id)
        self.cloud.vanish_instance(vanished.id)
        self.cloud.set_status(stuck.id, "provisioning")
        await self.watch.until(
            *(f"NexusdRegion{name}" for name in ("Unhealthy", "CapacityExhausted", "LatencyHigh")),
            *(f"NexusdInstance{name}" for name in ("Stopped", "Terminated", "Vanished", "Stuck")),
        )

    async def trouble_with_placements(self) -> None:
        no_room = Answer(409, "INSUFFICIENT_CAPACITY", "no capacity left")
        self.cloud.add_fault(Fault(no_room, POST, Schedule(count=1)))
        for number in range(3):
            placed = await self.daemon.place(f"worker-{number}")
            await self.daemon.placed(placed["id"], "running")
        refused = Answer(422, "VALIDATION_ERROR", "no such image")
        self.cloud.add_fault(Fault(refused, Match("instances", "POST", name="refused")))
        await self.daemon.place("refused")
        await self.daemon.place("delayed", where="region.latency_ms < 0.0")
        await self.watch.until("NexusdPlacementFailed", "NexusdPlacementDelayed", "NexusdFleetBelowCount")
        await self.watch.until("NexusdInstanceLimitNear")
        await self.watch.until("NexusdNotificationsFailing")

    async def a_namesake_of_a_lost_create(self) -> None:
        self.cloud.add_fault(Fault(Drop("after_commit"), Match("instances", "POST", name="twice")))
        await self.daemon.place("twice")
        while not (made := self.cloud.instances_named("twice")):
            await asyncio.sleep(0.01)
        self.cloud.create(CreateOrder("twice", made[0].region, "pro"))
        await self.watch.until("NexusdDuplicateName")

    async def listings_that_cannot_be_read_after_a_lost_create(self) -> None:
        self.cloud.add_fault(Fault(Answer(200, body=b"no JSON"), Match("instances", "GET")))
        self.cloud.add_fault(Fault(Drop("after_commit"), Match("instances", "POST", name="lost")))
        await self.daemon.place("lost")
        await self.watch.until("NexusdPlacementHeld", "NexusdSnapshotStale")
        (made,) = self.cloud.instances_named("lost")
        self.cloud.create(CreateOrder("lost", made.region, "pro"))
        self.cloud.clear_faults()
        await self.watch.until("NexusdDuplicateName")

    async def most_instances_gone(self) -> None:
        for instance in list(self.cloud.instances())[10:40]:
            self.cloud.vanish_instance(instance.id)
        await self.watch.until("NexusdMassDisappearance")

    async def no_region(self) -> None:
        for slug in self.cloud.regions():
            self.cloud.set_region(slug, status="maintenance")
        await self.watch.until("NexusdNoEligibleRegion")

    async def key_refused(self) -> None:
        self.cloud.add_fault(Fault(Answer(401)))
        await self.watch.until("nexusd:api_unauthorized", "NexusdCloudAPIUnauthorized")
        self.cloud.clear_faults()

    async def outage(self) -> None:
        await self.server.refuse()
        await self.watch.until("nexusd:api_unreachable", "NexusdCloudAPIUnreachable", "nexusd:alerts_held")

    async def too_many_clients(self) -> None:
        """More idle connections than the daemon's limit of descriptors allows."""
        async with AsyncExitStack() as stack:
            for _ in range(DESCRIPTORS):
                _, writer = await asyncio.open_connection("127.0.0.1", self.daemon.port)
                stack.callback(writer.close)
            await self.watch.until("NexusdConnectionsLimited")

    async def nexusd_down(self) -> None:
        await self.daemon.stop()
        await self.watch.until("NexusdDown")


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with endpoint(200) as kept, endpoint(400) as refusing, endpoint(503) as away:
        urls = {"ops": kept.url, "refusing": refusing.url, "away": away.url}
        more = {
            "polling": {"regions": "2s", "instances": "2s"},
            "placement": {"hold_after": "1s", "max_instances": 55},
            "fleets": [
                {"name": "web", "count": 2, "plan": "pro"},
                {"name": "nowhere", "count": 1, "plan": "pro", "regions": ["no-region"]},
            ],
            "receivers": [{"name": name, "type": "webhook", "url": url} for name, url in urls.items()],
            "alerts": {
                "rules": {
                    "InstanceStuck": {"threshold": "1s"},
                    "PlacementDelayed": {"threshold": "1s"},
                    "RegionUnhealthy": {"for": "1s"},
                }
            },
        }
        async with EmulatorServer(cloud) as server:
            daemon = DaemonProcess(folder, server.url, more)
            daemon.prefix = (need_program("prlimit"), f"--nofile={DESCRIPTORS}")
            async with daemon, prometheus(configuration(daemon), folder) as port:
                watch = Watch(port)
                watching = asyncio.create_task(watch.run(), name="watch")
                try:
                    yield Scene(cloud, server, daemon, watch)
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])


@pytest.mark.slow
async def test_every_expression_returns_data(tmp_path: Path) -> None:
    async with scene(tmp_path) as on:
        await on.watch.until("nexusd:snapshot", "NexusdWatchdog")
        await on.trouble_with_regions_and_instances()
        await on.trouble_with_placements()
        await on.too_many_clients()
        await on.a_namesake_of_a_lost_create()
        await on.listings_that_cannot_be_read_after_a_lost_create()
        await on.most_instances_gone()
        await on.no_region()
        await on.key_refused()
        await on.outage()
        await on.nexusd_down()
        assert sorted(on.watch.missing) == []


def test_every_expression_is_asked_for() -> None:
    assert len(asked()) == len(list(expressions())) + len(shipped.rules())
