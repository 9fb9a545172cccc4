"""`/api/v2/` beside a real Alertmanager that was told the same: the same keys, kinds of values, statuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexusd.core.notifications import Routing
from tests.delivery.test_alertmanager import alert, alertmanager, post_alerts
from tests.fakes import FakeClock
from tests.requirements import need_program
from tests.web.site import Reply, Site

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _installed() -> None:
    need_program("prometheus-alertmanager")


@dataclass
class Pair:
    """Both know the same alerts and one silence."""

    url: str
    site: Site
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, content: object = None) -> tuple[Reply, Reply]:
        """Theirs and ours."""
        async with self.session.request(method, self.url + path, json=content) as answer:
            theirs = Reply(answer.status, answer.headers, await answer.read())
        return theirs, await self.site.ask(method, path, json=content)


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Pair]:
    alerts = [alert("InstanceStopped", instance_id="inst_1"), alert("RegionUnhealthy", region="eu-west-2")]
    site = Site(clock=FakeClock(datetime.now(UTC).timestamp()))
    site.daemon.world.alerts = {a.fingerprint: a for a in alerts}
    async with (
        alertmanager(folder, "http://127.0.0.1:9/") as url,
        site.running(routing=Routing({"ops": True}), receivers=("ops",)),
        aiohttp.ClientSession() as session,
    ):
        await post_alerts(url, *alerts)
        yield Pair(url, site, session)


def silence(**changes: object) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "matchers": [{"name": "alertname", "value": "Inst.*", "isRegex": True, "isEqual": True}],
        "startsAt": (now - timedelta(minutes=1)).isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "ada",
        "comment": "moving",
    } | changes


def kinds(value: Any) -> Any:
    """The keys, and of what kind each value is; of a list those of its first."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [kinds(value[0])] if value else []
    return type(value).__name__


def without_news(value: Any) -> Any:
    """Without what Alertmanager has got since Debian's was made."""
    text = json.dumps(value).replace('"mutedBy": [], ', "").replace(', "mutedBy": []', "")
    return json.loads(text)


@pytest.mark.parametrize("path", ["alerts", "alerts/groups", "receivers", "silences"])
async def test_answers_have_the_same_form(tmp_path: Path, path: str) -> None:
    async with both(tmp_path) as pair:
        await pair.ask("POST", "/api/v2/silences", silence())
        theirs, ours = await pair.ask("GET", f"/api/v2/{path}")
        assert (theirs.status, ours.status) == (200, 200)
        assert len(theirs.json) == len(ours.json) > 0
        assert kinds(without_news(ours.json)) == kinds(theirs.json)


async def test_the_status_has_the_same_form(tmp_path: Path) -> None:
    async with both(tmp_path) as pair:
        theirs, ours = await pair.ask("GET", "/api/v2/status")
        assert kinds(ours.json) == kinds(theirs.json)


async def test_one_silence_has_the_same_form_and_is_expired_with_an_empty_answer(tmp_path: Path) -> None:
    async with both(tmp_path) as pair:
        made = [answer.json["silenceID"] for answer in await pair.ask("POST", "/api/v2/silences", silence())]
        shown = []
        for silence_id, side in zip(made, (0, 1), strict=True):
            path = f"/api/v2/silence/{silence_id}"
            shown.append(kinds((await pair.ask("GET", path))[side].json))
            ended = (await pair.ask("DELETE", path))[side]
            assert (ended.status, ended.body) == (200, b"")
        assert shown[0] == shown[1]


@pytest.mark.parametrize(
    "change",
    [
        {"matchers": []},
        {"matchers": [{"name": "a", "value": ".*", "isRegex": True}]},
        {"matchers": [{"name": "a", "value": "(", "isRegex": True}]},
        {"endsAt": "2020-01-01T00:00:00Z"},
        {"id": "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1"},
    ],
    ids=["no matchers", "all alerts", "no pattern", "in the past", "unknown id"],
)
async def test_what_is_refused_is_refused_alike(tmp_path: Path, change: dict[str, object]) -> None:
    async with both(tmp_path) as pair:
        theirs, ours = await pair.ask("POST", "/api/v2/silences", silence(**change))
        assert ours.status in {400, 404}
        assert isinstance(ours.json, str)
        assert theirs.status == ours.status or (theirs.status, ours.status) == (422, 400)


@pytest.mark.parametrize("query", ["filter=nonsense", "receiver=("])
async def test_a_bad_query_is_a_400_with_a_text(tmp_path: Path, query: str) -> None:
    async with both(tmp_path) as pair:
        theirs, ours = await pair.ask("GET", f"/api/v2/alerts?{query}")
        assert (theirs.status, ours.status) == (400, 400)
        assert kinds(theirs.json) == kinds(ours.json) == "str"


@pytest.mark.parametrize(
    "query",
    [
        "active=false",
        "silenced=false",
        "filter=alertname%3D~Inst.*",
        "filter=region!%3D%22%22",
        "receiver=o.*",
        "receiver=x",
    ],
)
async def test_queries_find_the_same(tmp_path: Path, query: str) -> None:
    async with both(tmp_path) as pair:
        await pair.ask("POST", "/api/v2/silences", silence())
        theirs, ours = await pair.ask("GET", f"/api/v2/alerts?{query}")
        assert [a["fingerprint"] for a in ours.json] == [a["fingerprint"] for a in theirs.json]
        assert [a["status"]["state"] for a in ours.json] == [a["status"]["state"] for a in theirs.json]
