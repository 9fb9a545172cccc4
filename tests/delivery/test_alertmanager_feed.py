"""A real Alertmanager takes what the alertmanager receiver sends: it shows, groups and resolves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.notifications import LoggedNotification
from nexusd.runtime.clock import SystemClock
from tests.delivery.receivers import Endpoint, Post, endpoint
from tests.delivery.test_alertmanager import alert, alertmanager, received
from tests.delivery.test_alertmanager_receiver import URL, options, tell, world_with
from tests.delivery.test_deliveries import deliveries, leading
from tests.requirements import need_program

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _needs_alertmanager() -> None:
    need_program("prometheus-alertmanager")


@asynccontextmanager
async def office_in(folder: Path) -> AsyncIterator[Post]:
    office = Post(folder, SystemClock())
    try:
        yield office
    finally:
        await office.store.close()


async def shown(url: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/v2/alerts") as answer:
        found: list[dict[str, Any]] = await answer.json()
        return sorted(found, key=lambda a: str(a["labels"]))


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def over(one: Alert, at: float) -> Alert:
    return altered(one, state=AlertState.RESOLVED, resolved_at=at)


async def test_it_shows_what_fires_with_the_times_that_prometheus_gives(tmp_path: Path) -> None:
    pair = alert("RegionUnhealthy", region="eu-west-2"), alert("InstanceStopped", name='ünï "x"')
    async with endpoint() as hook, alertmanager(tmp_path, hook.url) as url, office_in(tmp_path) as office:
        made = deliveries(office, options(Endpoint(url)), world_with(*pair))
        async with leading(office, made):
            now = office.clock.now()
            await tell(office, made, *pair)
            await received(hook, 2)
        for ours, theirs in zip(
            sorted(pair, key=lambda a: str(dict(a.labels))), await shown(url), strict=True
        ):
            assert theirs["labels"] == dict(ours.labels)
            assert theirs["annotations"] == dict(ours.annotations)
            assert theirs["fingerprint"] == ours.fingerprint
            assert theirs["generatorURL"] == URL
            assert theirs["status"]["state"] == "active"
            assert instant(theirs["startsAt"]) == pytest.approx(ours.fired_at, abs=0.001)
            assert instant(theirs["endsAt"]) == pytest.approx(now + 240.0, abs=5.0)


async def test_it_groups_and_resolves_what_it_was_sent(tmp_path: Path) -> None:
    pair = [alert("RegionUnhealthy", region=region) for region in ("eu-west-2", "us-east-1")]
    world = world_with(*pair)
    async with endpoint() as hook, alertmanager(tmp_path, hook.url) as url, office_in(tmp_path) as office:
        made = deliveries(office, options(Endpoint(url)), world)
        async with leading(office, made):
            await tell(office, made, *pair)
            async with asyncio.timeout(20.0):
                while not hook.got or len(json.loads(hook.got[-1].body)["alerts"]) < 2:
                    await asyncio.sleep(0.02)
            group = json.loads(hook.got[-1].body)
            assert (group["status"], group["groupLabels"]) == ("firing", {"alertname": "RegionUnhealthy"})
            ended_at = office.clock.now()
            ended = [over(one, ended_at) for one in pair]
            world.alerts = {a.fingerprint: a for a in ended}
            await tell(office, made, *ended)
            async with asyncio.timeout(20.0):
                while json.loads(hook.got[-1].body)["status"] != "resolved":
                    await asyncio.sleep(0.02)
            ends = [instant(a["endsAt"]) for a in json.loads(hook.got[-1].body)["alerts"]]
        assert ends == [pytest.approx(ended_at, abs=0.001)] * len(ends)
        assert await shown(url) == []


async def test_one_that_forgot_everything_is_told_by_a_restarted_nexusd(tmp_path: Path) -> None:
    one = alert("RegionUnhealthy", region="eu-west-2")
    told = LoggedNotification("am", "g", one.active_at, frozenset({one.fingerprint}), frozenset())
    async with endpoint() as hook, alertmanager(tmp_path, hook.url) as url, office_in(tmp_path) as office:
        await office.store.run(lambda tx: tx.notification_log.save([told]))
        assert await shown(url) == []
        async with leading(office, deliveries(office, options(Endpoint(url)), world_with(one))):
            (theirs,) = await received(hook, 1)
        assert theirs["alerts"][0]["fingerprint"] == one.fingerprint
