"""A plan creates nothing: no row and no POST, whatever is planned."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nexusd.core.placement import PlacementRequest, Spread
from nexusd.store.schema import metadata
from tests.provisioning.site import Site, site
from tests.virtual_time import in_virtual_time

PLANNED = {
    "placed": PlacementRequest("worker-01", "pro"),
    "nowhere": PlacementRequest("worker-01", "pro", regions=("mars-1",)),
    "spread": PlacementRequest("worker-01", "pro", spread=Spread("web")),
    "taken name": PlacementRequest("worker-00", "pro"),
    "past its deadline": PlacementRequest("worker-01", "pro", deadline=1.0),
}


async def everything(here: Site) -> dict[str, list[str]]:
    """Every row of every table."""

    def read(tx: Any) -> dict[str, list[str]]:
        return {t.name: sorted(map(repr, tx.session.rows(t.select()))) for t in metadata.sorted_tables}

    return await here.store.run(read)


@pytest.mark.parametrize("request_", PLANNED.values(), ids=PLANNED)
def test_a_plan_writes_no_row_and_sends_no_post(request_: PlacementRequest, tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with site(tmp_path) as here:
            await here.place("worker-00")
            await asyncio.sleep(60.0)
            before, posted = await everything(here), len(here.cloud.requests)
            for _ in range(3):
                await here.intake.plan(request_)
            assert await everything(here) == before
            await asyncio.sleep(60.0)
            assert await everything(here) == before
            assert len(here.cloud.requests) == posted

    scenario()


@in_virtual_time
async def test_the_look_at_all_rows_would_see_a_placement(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        before = await everything(here)
        await here.place()
        assert await everything(here) != before
