"""Real processes: what becomes of creates whose answers are lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Answer, Drop, Effect, LateAnswer, ListLag, Omit, Truncate
from nexusd.emulator.faults import Fault, Match, Schedule
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess

OPTIONS = EmulatorOptions(api_key=KEY, instances=30, pending_s=0.2, provisioning_s=0.4, latency_jitter_ms=0)
CREATES = Match(endpoint="instances", method="POST")


@pytest.mark.parametrize(
    "effects",
    [
        pytest.param((Drop("after_commit"),), id="dropped"),
        pytest.param((Answer(500, after_commit=True),), id="500", marks=pytest.mark.slow),
        pytest.param((Truncate(),), id="truncated", marks=pytest.mark.slow),
        pytest.param((Omit(("id",)),), id="without id", marks=pytest.mark.slow),
        pytest.param((LateAnswer(3.0),), id="late", marks=pytest.mark.slow),
        pytest.param((Drop("after_commit"), ListLag(1.5)), id="listed late", marks=pytest.mark.slow),
    ],
)
async def test_a_create_whose_answer_is_lost_makes_one_instance_that_is_adopted(
    tmp_path: Path, effects: tuple[Effect, ...]
) -> None:
    cloud = Cloud(OPTIONS)
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        for effect in effects:
            cloud.add_fault(Fault(effect, CREATES, Schedule(count=1)))
        placed = await daemon.place("worker-01")
        ended = await daemon.placed(placed["id"], "running", "failed")
        await asyncio.sleep(0.5)
        [made] = cloud.instances_named("worker-01")
        assert (ended["state"], ended["instance_id"]) == ("running", made.id)


@pytest.mark.slow
async def test_a_killed_daemon_goes_on_where_it_was(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    cloud.add_fault(Fault(LateAnswer(0.3), CREATES))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        ids = [(await daemon.place(f"worker-{n}"))["id"] for n in range(5)]
        await asyncio.sleep(0.2)
        await daemon.kill()
        await daemon.start()
        await daemon.ready()
        for placement_id in ids:
            await daemon.placed(placement_id, "running")
        assert [len(cloud.instances_named(f"worker-{n}")) for n in range(5)] == [1] * 5


@pytest.mark.slow
async def test_the_key_is_nowhere_in_what_is_written_or_served(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    quoting = Answer(401, "UNAUTHORIZED", f"the key {KEY} is not valid")
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        placed = await daemon.place("worker-01")
        await daemon.placed(placed["id"], "running")
        cloud.add_fault(Fault(quoting, Match(), Schedule(for_s=2.0)))
        async with asyncio.timeout(10.0):
            while await daemon.status("/-/ready") == 200:
                await asyncio.sleep(0.05)
        paths = ["/", "/metrics", "/-/ready", "/api/v1/status", "/api/v1/events", "/api/v1/placements"]
        served = "".join([await daemon.text(path) for path in paths])
        await daemon.stop()
    stored = b"".join(p.read_bytes() for p in tmp_path.glob("nexusd.db*"))
    assert "refuses the API key" in served
    assert KEY not in served
    assert KEY not in daemon.log.read_text()
    assert KEY.encode() not in stored


@pytest.mark.slow
async def test_placing_goes_on_as_soon_as_the_key_is_another(tmp_path: Path) -> None:
    cloud = Cloud(OPTIONS)
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        cloud.add_fault(Fault(Answer(403, "FORBIDDEN"), CREATES, Schedule(count=1)))
        placed = await daemon.place("worker-01")
        async with asyncio.timeout(10.0):
            while await daemon.status("/-/ready") == 200:
                await asyncio.sleep(0.05)
        cloud.api_key = "another-key"
        (tmp_path / "api-key").write_text("another-key\n")
        await daemon.placed(placed["id"], "running", within_s=20.0)
        assert [create.outcome for create in cloud.creates] == ["refused", "created"]
