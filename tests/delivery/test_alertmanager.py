"""Beside a real Alertmanager: the same alerts, the same fingerprints, the same JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.matchers import parse_matcher
from nexusd.core.notifications import Route, Routing
from nexusd.core.planning import plan
from nexusd.core.webhook_body import BodyOptions, webhook_body
from tests.delivery.receivers import Endpoint, endpoint
from tests.requirements import need_program

BINARY = shutil.which("prometheus-alertmanager")
EXTERNAL_URL = "http://alerts.example.com"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _installed() -> None:
    need_program("prometheus-alertmanager")


def alert(alertname: str, **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": alertname, "severity": "warning", **labels}.items()))
    annotations = (
        ("description", f"{alertname} <&> ünï"),
        ("runbook_url", f"https://example.com/#{alertname.lower()}"),
        ("summary", f"{labels.get('region', 'it')} is not well"),
    )
    now = datetime.now(UTC).timestamp() - 5.0
    return Alert(fingerprint(pairs), pairs, annotations, AlertState.FIRING, now, now)


def just_begun(old: Alert) -> Alert:
    """Alertmanager does not wait for more alerts of a group whose first is older than `group_wait`."""
    now = datetime.now(UTC).timestamp()
    return altered(old, active_at=now, fired_at=now)


ROUTE = "receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s"


@asynccontextmanager
async def alertmanager(
    folder: Path, webhook: str, route: str = ROUTE, max_alerts: int = 0
) -> AsyncIterator[str]:
    """One with that route, which tells the webhook."""
    config = folder / "alertmanager.yml"
    config.write_text(
        f"route: {{{route}}}\n"
        f"receivers: [{{name: ops, webhook_configs: [{{url: '{webhook}', max_alerts: {max_alerts}}}]}}]\n"
    )
    async with serving(config, folder) as url:
        yield url


@asynccontextmanager
async def serving(config: Path, folder: Path) -> AsyncIterator[str]:
    """One with that configuration."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(BINARY),
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        f"--web.external-url={EXTERNAL_URL}",
        "--web.route-prefix=/",
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await until_ready(url)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20.0):
        while True:
            try:
                async with session.get(f"{url}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def post_alerts(url: str, *alerts: Alert) -> None:
    posted = [
        {
            "labels": dict(a.labels),
            "annotations": dict(a.annotations),
            "startsAt": datetime.fromtimestamp(a.active_at, UTC).isoformat(),
            "generatorURL": EXTERNAL_URL,
        }
        | ({"endsAt": datetime.fromtimestamp(a.resolved_at, UTC).isoformat()} if a.resolved_at else {})
        for a in alerts
    ]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/v2/alerts", json=posted) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def received(far_end: Endpoint, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20.0):
        while len(far_end.got) < count:
            await asyncio.sleep(0.02)
    return [json.loads(got.body) for got in far_end.got]


OPS = Routing({"ops": True})


def ours(*alerts: Alert, routing: Routing = OPS, max_alerts: int = 0) -> dict[str, Any]:
    """What nexusd sends about them in one message: those that have ended did fire before."""
    (body,) = all_of_ours(*alerts, routing=routing, max_alerts=max_alerts)
    return body


def all_of_ours(*alerts: Alert, routing: Routing = OPS, max_alerts: int = 0) -> list[dict[str, Any]]:
    """The same where they are several messages."""
    fired = tuple(altered(a, state=AlertState.FIRING, resolved_at=None) for a in alerts)
    told = plan(fired, routing, {}, 1e12)
    said = {(e.receiver, e.group_key): e for e in told.log}
    messages = told.messages
    if any(a.state is AlertState.RESOLVED for a in alerts):
        messages = plan(alerts, routing, said, 2e12).messages
    options = BodyOptions(EXTERNAL_URL, max_alerts)
    return [json.loads(webhook_body(message, options, 0.0)) for message in messages]


def without_times(body: dict[str, Any]) -> dict[str, Any]:
    """Times are compared as instants: how many digits a fraction has is each one's own."""
    alerts = [
        {
            **a,
            "startsAt": datetime.fromisoformat(a["startsAt"]),
            "endsAt": datetime.fromisoformat(a["endsAt"]),
        }
        for a in body["alerts"]
    ]
    return {**body, "alerts": alerts}


async def test_a_firing_group_is_the_same_json(tmp_path: Path) -> None:
    pair = alert("RegionUnhealthy", region="eu-west-2"), alert("RegionUnhealthy", region="us-east-1")
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url) as url:
        await post_alerts(url, *pair)
        (theirs,) = (await received(far_end, 1))[-1:]
        assert without_times(ours(*pair)) == without_times(theirs)
        assert list(ours(*pair)) == list(theirs)
        assert list(ours(*pair)["alerts"][0]) == list(theirs["alerts"][0])


async def test_a_resolved_group_is_the_same_json(tmp_path: Path) -> None:
    one = alert('quoted "name" \\ ünï', instance_id="inst_1")
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url) as url:
        await post_alerts(url, one)
        await received(far_end, 1)
        ended = altered(one, state=AlertState.RESOLVED, resolved_at=datetime.now(UTC).timestamp())
        await post_alerts(url, ended)
        theirs = (await received(far_end, 2))[1]
        assert without_times(ours(ended)) == without_times(theirs)


async def test_fingerprints_are_the_same(tmp_path: Path) -> None:
    odd = [
        alert("A", name="日本"),
        alert("B", z='\x01\n"x"\\'),
        alert("InstanceStopped", instance_id="inst_8x92j1k0"),
    ]
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url) as url:
        await post_alerts(url, *odd)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts") as answer:
            theirs = {a["fingerprint"] for a in await answer.json()}
        assert theirs == {a.fingerprint for a in odd}


async def test_a_group_of_which_a_part_has_ended_is_the_same_json(tmp_path: Path) -> None:
    one, two = (alert("InstanceStopped", instance_id=f"inst_{n}") for n in (1, 2))
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url) as url:
        await post_alerts(url, one, two)
        await received(far_end, 1)
        ended = altered(one, state=AlertState.RESOLVED, resolved_at=datetime.now(UTC).timestamp())
        await post_alerts(url, ended)
        theirs = (await received(far_end, 2))[1]
        mine = ours(ended, two)
        assert [a["status"] for a in mine["alerts"]] == ["resolved", "firing"]
        assert without_times(mine) == without_times(theirs)


async def test_the_order_of_alerts_is_the_same(tmp_path: Path) -> None:
    mixed = [
        alert("A", region="eu"),
        alert("A", fleet="web"),
        alert("A", region="eu", name="b"),
        alert("A", region="eu", job="z"),
        alert("A", job="a", instance="2"),
        alert("A", job="a", instance="10"),
        alert("A", instance="1"),
        alert("A", name="é"),
    ]
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url, ROUTE.replace("0s", "1s")) as url:
        await post_alerts(url, *mixed)
        (theirs,) = await received(far_end, 1)
        assert without_times(ours(*mixed)) == without_times(theirs)


async def test_a_message_that_is_cut_is_the_same_json(tmp_path: Path) -> None:
    many = [alert("InstanceStopped", instance_id=f"inst_{n}") for n in range(5)]
    slow = ROUTE.replace("0s", "1s")
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url, slow, max_alerts=3) as url:
        await post_alerts(url, *many)
        (theirs,) = await received(far_end, 1)
        assert theirs["truncatedAlerts"] == 2
        assert without_times(ours(*many, max_alerts=3)) == without_times(theirs)


@pytest.mark.parametrize(
    ("written", "route"),
    [
        ("group_by: [region, severity]", Route(("ops",), group_by=("region", "severity"))),
        ("group_by: ['...']", Route(("ops",), group_by=("...",))),
        ("group_by: [nothing]", Route(("ops",), group_by=("nothing",))),
        (
            """group_by: [alertname], matchers: ['severity="warning"', 'region=~"eu-.*"']""",
            Route(
                ("ops",),
                (parse_matcher('severity="warning"'), parse_matcher('region=~"eu-.*"')),
                ("alertname",),
            ),
        ),
    ],
    ids=["several labels", "all labels", "none", "a route with matchers"],
)
async def test_groups_are_the_same(tmp_path: Path, written: str, route: Route) -> None:
    tree = f"receiver: ops, group_wait: 2s, routes: [{{receiver: ops, {written}}}]"
    async with endpoint() as far_end, alertmanager(tmp_path, far_end.url, tree) as url:
        some = [
            just_begun(alert("RegionUnhealthy", region="eu-west-2")),
            just_begun(alert("RegionLatencyHigh", region="eu-west-2")),
            just_begun(alert("RegionUnhealthy", region="eu-north-1")),
        ]
        mine = all_of_ours(*some, routing=Routing({"ops": True}, (route,)))
        await post_alerts(url, *some)
        theirs = await received(far_end, len(mine))
    assert {body["groupKey"]: without_times(body) for body in mine} == {
        body["groupKey"]: without_times(body) for body in theirs
    }
