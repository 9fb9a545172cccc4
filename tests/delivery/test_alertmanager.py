"""Beside a real Alertmanager: the same alerts, the same fingerprints, the same JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.notifications import Message, Routing, plan
from nexusd.core.webhook_body import BodyOptions, webhook_body
from tests.delivery.receivers import Endpoint, endpoint

BINARY = shutil.which("prometheus-alertmanager")
EXTERNAL_URL = "http://alerts.example.com"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="needs Debian's prometheus-alertmanager"),
]


def alert(alertname: str, **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": alertname, "severity": "warning", **labels}.items()))
    annotations = (
        ("description", f"{alertname} <&> ünï"),
        ("runbook_url", f"https://example.com/#{alertname.lower()}"),
        ("summary", f"{labels.get('region', 'it')} is not well"),
    )
    now = datetime.now(UTC).timestamp() - 5.0
    return Alert(fingerprint(pairs), pairs, annotations, AlertState.FIRING, now, now)


@asynccontextmanager
async def alertmanager(folder: Path, webhook: str) -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "alertmanager.yml"
    config.write_text(
        "route: {receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: ops, webhook_configs: [{{url: '{webhook}'}}]}}]\n"
    )
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


def ours(*alerts: Alert) -> dict[str, Any]:
    """What nexusd sends about them."""
    firing = tuple(replace(a, state=AlertState.FIRING, resolved_at=None) for a in alerts)
    (message,) = plan(firing, Routing({"ops": True}), {}, 1e12).messages
    now: dict[str, Alert] = {a.fingerprint: a for a in alerts}
    shown = Message(
        message.receiver,
        message.group_key,
        message.group_labels,
        tuple(now[a.fingerprint] for a in message.alerts),
    )
    body: dict[str, Any] = json.loads(webhook_body(shown, BodyOptions(EXTERNAL_URL), 0.0))
    return body


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
        ended = replace(one, state=AlertState.RESOLVED, resolved_at=datetime.now(UTC).timestamp())
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
