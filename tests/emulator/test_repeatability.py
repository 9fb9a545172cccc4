"""The same seed and the same requests give the same answers."""

from __future__ import annotations

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Answer, Drift, InstanceChange
from nexusd.emulator.faults import Fault, Schedule
from nexusd.emulator.options import EmulatorOptions
from tests.emulator.clients import WORKER, HandClock, emulated

FAULTS = (
    Fault(Drift(insert=1, remove=1, move=1)),
    Fault(Answer(503), schedule=Schedule(probability=0.2)),
    Fault(InstanceChange("stopped", take=3), schedule=Schedule(at_s=5)),
)


async def story(seed: int) -> list[bytes]:
    """Every body that one series of requests is answered with, with every kind of chance at work."""
    clock = HandClock()
    cloud = Cloud(EmulatorOptions(seed=seed, instances=250, latency_jitter_ms=5.0, stopped_share=0.1), clock)
    bodies = []
    async with emulated(cloud, *FAULTS) as client:
        for step in range(12):
            clock.advance(1)
            for path in ("/regions", "/instances?limit=100", "/instances?limit=100&offset=100"):
                async with client.session.get(client.url + path) as response:
                    bodies.append(await response.read())
            async with client.session.post(
                f"{client.url}/instances", json={**WORKER, "name": f"web-{step}"}
            ) as response:
                bodies.append(await response.read())
    return bodies


async def test_the_same_seed_repeats_every_byte() -> None:
    assert await story(7) == await story(7)


async def test_another_seed_is_another_cloud() -> None:
    assert await story(7) != await story(8)


async def test_latency_wanders_near_its_base_and_stands_still_without_jitter() -> None:
    async def readings(jitter_ms: float) -> list[float]:
        cloud = Cloud(EmulatorOptions(latency_jitter_ms=jitter_ms), HandClock())
        async with emulated(cloud) as client:
            return [(await client.get("/regions"))[1]["regions"][1]["avg_latency_ms"] for _ in range(100)]

    assert set(await readings(0)) == {45}
    wandering = await readings(3)
    assert len(set(wandering)) > 4
    assert all(45 - 9 <= latency_ms <= 45 + 9 for latency_ms in wandering)
