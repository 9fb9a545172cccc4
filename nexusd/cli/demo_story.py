"""The demo's incidents, in order. Each says what it does to the cloud; the daemon's events tell the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Answer, Drop
from nexusd.emulator.faults import Fault, Match, Schedule

Say = Callable[[str], None]
Place = Callable[[str], Awaitable[None]]

POST = Match(endpoint="instances", method="POST")
BETWEEN_S = 6.0


async def tell(cloud: Cloud, place: Place, say: Say) -> None:
    """Play everything once; afterwards the cloud is whole again."""
    say("A placement: worker-01 may go anywhere.")
    await place("worker-01")
    stopped = next(i for i in cloud.instances() if i.status == "running")
    await asyncio.sleep(2.0)
    say(f"Incident: instance {stopped.name} stops.")
    cloud.stop_instance(stopped.id)
    await asyncio.sleep(BETWEEN_S)

    nearest, second = _by_latency(cloud)[:2]
    say(f"Incident: {nearest}, the nearest region, degrades. worker-02 has to go elsewhere.")
    cloud.set_region(nearest, status="degraded")
    await asyncio.sleep(2.0)
    await place("worker-02")
    await asyncio.sleep(BETWEEN_S)

    say(f"Incident: {second} runs out of capacity just as worker-03 is sent there.")
    no_room = Answer(409, "INSUFFICIENT_CAPACITY", f"no capacity left in {second}")
    cloud.add_fault(Fault(no_room, Match("instances", "POST", region=second), Schedule(for_s=30.0)))
    await place("worker-03")
    await asyncio.sleep(BETWEEN_S)

    say("Incident: the answer to worker-04's create is lost. Was it made? Nobody may guess.")
    cloud.add_fault(Fault(Drop("after_commit"), POST, Schedule(count=1)))
    await place("worker-04")
    await asyncio.sleep(2 * BETWEEN_S)
    made = len(cloud.instances_named("worker-04"))
    say(f"The cloud has {made} instance named worker-04: found in the listing and adopted.")

    say(f"All clear: {nearest} is healthy and {stopped.name} runs again.")
    cloud.set_region(nearest, status="healthy")
    cloud.start_instance(stopped.id)


def _by_latency(cloud: Cloud) -> list[str]:
    return [region.slug for region in sorted(cloud.regions().values(), key=lambda r: r.latency_ms)]
