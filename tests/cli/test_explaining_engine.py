"""`nexusd explain` of what the real engine did: every region, every reason, every word of the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nexusd.core.answers import Refused
from nexusd.core.errors import UnavailableError
from nexusd.core.lifecycle import Placement, State
from nexusd.core.polls import INSTANCES
from nexusd.core.records import Region
from nexusd.web.shapes import Shaper
from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon
from tests.fakes import NEVER_ARRIVED, Create, refusal
from tests.provisioning.site import Site, site
from tests.virtual_time import in_virtual_time

TIRED = Region("sa-east-1", "São Paulo", "degraded", 160.0, capacity=False)
NO_ROOM = Create(Refused(409, "INSUFFICIENT_CAPACITY", "no pro left", "capacity", "region"), makes=False)
INVALID = Create(
    Refused(422, "VALIDATION_ERROR", "image is retired", "rejected", "request", ["image"]), makes=False
)


async def queued(here: Site) -> Placement:
    accepted = await here.place(where="region.latency_ms < 10.0", avoid_regions=("us-east-1",))
    await asyncio.sleep(30.0)
    return accepted


async def failed(here: Site) -> Placement:
    here.cloud.script_creates(NO_ROOM, INVALID)
    return await here.until(await here.place(), State.FAILED)


async def held(here: Site) -> Placement:
    here.cloud.script_creates(NEVER_ARRIVED)
    here.cloud.break_(INSTANCES, UnavailableError("down"))
    return await here.until(await here.place(), State.HELD, within_s=3 * 3600.0)


async def running(here: Site) -> Placement:
    here.cloud.script_creates(refusal("capacity"))
    placed = await here.until(await here.place(), State.PROVISIONING)
    assert placed.instance_id is not None
    here.cloud.change(placed.instance_id, status="running")
    return await here.until(placed, State.RUNNING)


def explained(folder: Path, scene: Callable[[Site], Awaitable[Placement]]) -> dict[str, Any]:
    """The placement as the API answers it once the scene is over."""
    found: dict[str, Any] = {}

    @in_virtual_time
    async def scenario() -> None:
        async with site(folder) as here:
            here.cloud.put_region(TIRED)
            await here.poll()
            placement = await here.placement(await scene(here))
            attempts = await here.store.run(lambda tx: tx.placements.attempts(placement.id))
            decisions = await here.store.run(lambda tx: tx.placements.decisions(placement.id))
            shape = Shaper(here.clock.now(), 0.0).whole_placement(placement, attempts, decisions, ())
            found.update(msgspec.json.decode(msgspec.json.encode(shape)))

    scenario()
    return found


SCENES = {
    "queued": (
        queued,
        1,
        ["among the avoided regions", "where is false", "status is degraded", "no capacity"],
    ),
    "failed": (
        failed,
        2,
        ["409 INSUFFICIENT_CAPACITY: no pro left", "422 VALIDATION_ERROR: image is retired (['image'])"],
    ),
    "held": (held, 1, ["no answer within 10s", "sweeps stay incomplete"]),
    "running": (running, 2, ["409 INSUFFICIENT_CAPACITY: refused: capacity", "cooling off after"]),
}


@pytest.mark.parametrize("state", SCENES)
def test_every_decision_has_every_region_with_latency_rank_and_reasons_and_the_datas_age(
    tmp_path: Path, state: str
) -> None:
    scene, at_least, _ = SCENES[state]
    found = explained(tmp_path, scene)
    assert found["state"] == state
    assert len(found["decisions"]) >= at_least
    for decided in found["decisions"]:
        assert {c["region"] for c in decided["considered"]} == {"us-east-1", "eu-west-2", "sa-east-1"}
        assert decided["data_age_s"] >= 0.0
        for region in decided["considered"]:
            assert region["latency_ms"] in {12.0, 45.0, 160.0}
            assert region["eligible"] == (region["rank"] is not None) == (region["reasons"] == [])
        assert (decided["region"] is None) == (decided["reason"] is not None)


@pytest.mark.parametrize("state", SCENES)
def test_all_of_it_is_printed(run: Run, daemon: FakeDaemon, tmp_path: Path, state: str) -> None:
    scene, _, told = SCENES[state]
    found = explained(tmp_path, scene)
    daemon.on("GET", f"/api/v1/placements/{found['id']}", Answer(found))
    out = run("explain", found["id"]).out
    for words in told:
        assert words in out
    for decided in found["decisions"]:
        assert f"decided {decided['decided_at']}: {decided['region'] or 'none: ' + decided['reason']}" in out
        for region in decided["considered"]:
            lines = [line for line in out.splitlines() if line.startswith(region["region"])]
            assert any(all(reason in line for reason in region["reasons"]) for line in lines)
    for attempt in found["attempts"]:
        assert (attempt["detail"] or attempt["outcome"]) in out
