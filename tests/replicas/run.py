"""The run itself: start the parts, drive them, inject faults, heal, and report."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Answer, Drop, ListLag
from nexusd.emulator.faults import Fault, Match, Schedule
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY
from tests.replicas.replica import POLL_S, SETTLE_S, FaultKind, Replica
from tests.replicas.report import UNREACHABLE_GRACE_S, Report
from tests.replicas.scraping import Scraper
from tests.silent_proxy import SilentProxy
from tests.store.cluster import running_cluster

INSTANCES = 300
PLACE_EVERY_S = 2.7
STOP_EVERY_S = 20.0
FAULT_EVERY_S = 12.0
REFUSE_EVERY_S = 90.0
REFUSED_FOR_S = 8.0
LONGEST_FAULT_S = 45.0
AGREE_WITHIN_S = 2 * POLL_S + 2.0
"""Two polls, and the time between two comparisons."""
RECOVERY_S = 20.0
"""A replica is compared with the others again so long after its last fault: a lease and a few polls."""
FINISH_WITHIN_S = 180.0
CLOCK_AHEAD_S = 600.0
CREATES = Match(endpoint="instances", method="POST")


@dataclass(slots=True)
class Run:
    """One run's parts and its report."""

    cloud: Cloud
    replicas: list[Replica]
    http: aiohttp.ClientSession
    rng: random.Random
    began: float = field(default_factory=time.monotonic)
    report: Report = field(default_factory=Report)
    differing: dict[str, float] = field(default_factory=dict)
    placed: int = 0

    # what a user does

    async def place_periodically(self) -> None:
        while True:
            await asyncio.sleep(PLACE_EVERY_S * self.rng.uniform(0.5, 1.5))
            self.placed += 1
            await self._place(f"worker-{self.placed:05d}")

    async def _place(self, name: str) -> None:
        """Send the request to replicas in turn until it is accepted.

        All requests have one idempotency key.

        The first attempt goes to two replicas at the same time.
        """
        body = {"name": name, "plan": "pro"}
        first = self.rng.sample(self.replicas, 2)
        answers = await asyncio.gather(*(self._post_placement(r, body) for r in first))
        ids = {placement_id for placement_id in answers if placement_id is not None}
        while not ids:
            await asyncio.sleep(0.5)
            placement_id = await self._post_placement(self.rng.choice(self.replicas), body)
            ids = {placement_id} if placement_id is not None else set()
        if len(ids) > 1:
            self.report.conflicts.append(f"{name}: one key, placements {sorted(ids)}")
        self.report.accepted[ids.pop()] = name

    async def _post_placement(self, replica: Replica, body: dict[str, str]) -> str | None:
        try:
            async with self.http.post(
                f"{replica.url}/api/v1/placements", json=body, headers={"Idempotency-Key": body["name"]}
            ) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return None
        if response.status == 202:
            return str(answer["id"])
        if response.status < 500:
            self.report.conflicts.append(f"{body['name']}: {response.status} {answer}")
        return None

    # what the cloud does

    async def stop_instances(self) -> None:
        candidates = [instance.id for instance in self.cloud.instances()]
        self.rng.shuffle(candidates)
        for instance_id in candidates:
            await asyncio.sleep(STOP_EVERY_S)
            self.cloud.stop_instance(instance_id)
            self.report.stopped.add(instance_id)

    async def refuse_creates(self) -> None:
        """Refuse every create in the best region for a while: it cools off."""
        while True:
            await asyncio.sleep(REFUSE_EVERY_S)
            best = min(self.cloud.regions().values(), key=lambda region: region.latency_ms).slug
            effect = Answer(409, code="INSUFFICIENT_CAPACITY", message="no room")
            match = Match(endpoint="instances", method="POST", region=best)
            self.cloud.add_fault(Fault(effect, match, Schedule(for_s=REFUSED_FOR_S)))

    async def receive(self, request: web.Request) -> web.Response:
        """The webhook: every alert of a message, judged by when it arrives."""
        message: dict[str, Any] = await request.json()
        now = time.monotonic()
        for alert in message["alerts"]:
            labels = alert["labels"]
            name = labels["alertname"]
            if alert["status"] != "firing" or name == "Watchdog":
                continue
            self.report.alerts[name] += 1
            if name == "InstanceStopped" and labels["instance_id"] in self.report.stopped:
                self.report.notified.add(labels["instance_id"])
            elif name == "CloudAPIUnreachable" and self._cloud_was_silent(now):
                continue
            else:
                self.report.false_alerts.append(f"{now - self.began:.0f}s: {labels}")
        return web.Response()

    def _cloud_was_silent(self, now: float) -> bool:
        silent = frozenset({FaultKind.NO_CLOUD})
        return any(r.affected(now - UNREACHABLE_GRACE_S, now, silent) for r in self.replicas)

    # what goes wrong

    async def inject_faults(self, until: float) -> None:
        """Inject faults at random.

        Two replicas may suffer at the same time.
        """
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < until:
                await asyncio.sleep(FAULT_EVERY_S * self.rng.uniform(0.3, 1.7))
                idle = [r for r in self.replicas if not r.affected(time.monotonic(), time.monotonic())]
                if len(idle) < 2:
                    continue
                kind = self.rng.choice(list(FaultKind))
                seconds = self.rng.uniform(1.0, LONGEST_FAULT_S)
                if kind is FaultKind.KILLED:
                    seconds = self.rng.uniform(0.0, 10.0)
                self.report.faults[kind] += 1
                group.create_task(self.rng.choice(idle).suffer(kind, seconds))

    # what is compared

    async def compare_replicas(self) -> None:
        """Every second: whether all undisturbed replicas call the same regions eligible."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            sound = [r for r in self.replicas if not r.affected(now - RECOVERY_S, now)]
            answers = await asyncio.gather(*(self._eligible(r) for r in sound))
            shown = {r.name: a for r, a in zip(sound, answers, strict=True) if a is not None}
            self._note_difference(now, shown)

    def _note_difference(self, now: float, shown: dict[str, tuple[str, ...]]) -> None:
        if len(set(shown.values())) < 2:
            self.differing.clear()
            return
        since = self.differing.setdefault("since", now)
        if now - since > AGREE_WITHIN_S and "reported" not in self.differing:
            self.differing["reported"] = now
            self.report.disagreements.append(f"{now - self.began:.0f}s: {shown}")

    async def _eligible(self, replica: Replica) -> tuple[str, ...] | None:
        try:
            async with self.http.get(f"{replica.url}/api/v1/regions") as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return None
        return tuple(sorted(region["slug"] for region in answer["regions"] if region["eligible"]))

    # the end

    async def finish(self) -> None:
        """Wait until every accepted placement has ended, and count."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_WITHIN_S):
                while (states := await self._states())["running"] < len(self.report.accepted):
                    self.report.states = states
                    await asyncio.sleep(2.0)
                while self.report.undelivered:
                    await asyncio.sleep(1.0)
        self.report.states = await self._states()
        names = self.report.accepted.values()
        self.report.instances = Counter({name: len(self.cloud.instances_named(name)) for name in names})

    async def _states(self) -> Counter[str]:
        states: Counter[str] = Counter()
        for placement_id in self.report.accepted:
            async with self.http.get(f"{self.replicas[0].url}/api/v1/placements/{placement_id}") as response:
                states[(await response.json()).get("state", f"status {response.status}")] += 1
        return states


async def run(minutes: float, seed: int, folder: Path) -> Report:
    """Run for so many minutes of faults, and then until everything has ended."""
    cloud = _unreliable_cloud(seed)
    rng = random.Random(seed)
    with running_cluster() as cluster:
        cluster.execute("CREATE DATABASE replicas")
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            EmulatorServer(cloud) as server,
            _started(cloud, server.port, f"{cluster.folder}/.s.PGSQL.5432", folder, rng, timeout) as started,
        ):
            until = time.monotonic() + minutes * 60
            with Scraper(started.replicas) as scraper:
                periodic = (
                    started.place_periodically(),
                    started.stop_instances(),
                    started.refuse_creates(),
                    started.compare_replicas(),
                )
                tasks = [asyncio.create_task(coroutine) for coroutine in periodic]
                await started.inject_faults(until)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                for result in results:
                    if isinstance(result, Exception):
                        raise result
                cloud.clear_faults()
                await started.finish()
            scraper.fill(started.report)
            return started.report


@contextlib.asynccontextmanager
async def _started(
    cloud: Cloud,
    cloud_port: int,
    socket: str,
    folder: Path,
    rng: random.Random,
    timeout: aiohttp.ClientTimeout,
) -> AsyncIterator[Run]:
    """Three ready replicas with their proxies, and the webhook."""
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        started = Run(cloud, [], http, rng)
        app = web.Application()
        app.add_routes([web.post("/hook", started.receive)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        webhook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        for number in (1, 2, 3):
            store = await stack.enter_async_context(SilentProxy(socket))
            to_cloud = await stack.enter_async_context(SilentProxy(cloud_port))
            ahead_s = CLOCK_AHEAD_S if number == 3 else 0.0
            replica = Replica(f"replica-{number}", folder, store, to_cloud, webhook, ahead_s)
            started.replicas.append(replica)
            stack.push_async_callback(replica.stop)
            await replica.start_and_wait()
        yield started


def _unreliable_cloud(seed: int) -> Cloud:
    """Lose some responses of creates, and list some instances late within `settle`."""
    cloud = Cloud(
        EmulatorOptions(api_key=KEY, instances=INSTANCES, seed=seed, pending_s=1.0, provisioning_s=2.0)
    )
    cloud.add_fault(Fault(Drop("after_commit"), CREATES, Schedule(probability=0.1)))
    cloud.add_fault(Fault(Drop("before"), CREATES, Schedule(probability=0.05)))
    cloud.add_fault(Fault(ListLag(SETTLE_S / 2), Match(), Schedule(probability=0.2)))
    return cloud


async def run_in_temporary_folder(minutes: float, seed: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="nexusd-replicas-") as folder:
        return await run(minutes, seed, Path(folder))
