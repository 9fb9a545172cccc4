"""A real daemon tells real receivers: every kind, tests, dead messages, and kills."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.delivery.receivers import Endpoint, endpoint
from tests.e2e.daemon import KEY, DaemonProcess, run_to_end

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "an older one"]
UNHURRIED = {"regions": "1s", "instances": "1s"}
"""So that a slow start is no outage, which would inhibit what is waited for."""
STOPPED = {"matchers": ['alertname="InstanceStopped"'], "group_wait": "0s", "group_interval": "1s"}


def options(instances: int) -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, instances=instances, pending_s=0.1, provisioning_s=0.2)


@asynccontextmanager
async def endpoints(*names: str) -> AsyncIterator[dict[str, Endpoint]]:
    async with endpoint() as a, endpoint() as b, endpoint() as c, endpoint() as d:
        yield dict(zip(names, (a, b, c, d), strict=False))


async def until(condition: Any, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


def bodies(far_end: Endpoint) -> list[Any]:
    return [json.loads(got.body) for got in far_end.got]


@pytest.mark.slow
async def test_every_kind_of_receiver_is_told_and_the_commands_show_it(tmp_path: Path) -> None:
    cloud = Cloud(options(10))
    async with endpoints("ops", "am", "pulse", "chat") as far, EmulatorServer(cloud) as server:
        base = {name: f"http://{urlsplit(far_end.url).netloc}" for name, far_end in far.items()}
        chat = base["chat"].replace("http:", "json:")
        receivers = [
            {"name": "ops", "type": "webhook", "url": f"{base['ops']}/s3cret", "secret": SECRETS},
            {"name": "am", "type": "alertmanager", "urls": [base["am"]]},
            {"name": "pulse", "type": "heartbeat", "url": f"{base['pulse']}/s3cret", "interval": "1s"},
            {"name": "chat", "type": "apprise", "urls": [f"{chat}/s3cret"]},
        ]
        routes = [{"receivers": ["ops", "am", "chat"], **STOPPED}]
        more = {"receivers": receivers, "routes": routes, "polling": UNHURRIED}
        async with DaemonProcess(tmp_path, server.url, more) as daemon:
            cloud.stop_instance(cloud.instances()[0].id)
            told = [far[name] for name in ("ops", "am", "chat")]
            await until(lambda: all(far_end.got for far_end in told) and len(far["pulse"].got) > 1)

            (hook,) = far["ops"].got
            for secret in SECRETS:
                Webhook(secret if secret.startswith("whsec_") else secret.encode()).verify(
                    hook.body, hook.headers
                )
            (posted,) = [a for alerts in bodies(far["am"]) for a in alerts]
            assert posted["labels"]["alertname"] == "InstanceStopped"
            assert bodies(far["chat"])[0]["title"].startswith("[FIRING:1] InstanceStopped")

            code, out, _ = await run_to_end(tmp_path, "alert", "test", NEXUSD_URL=daemon.url)
            assert code == 0
            assert [line.split()[:3] for line in out.splitlines()[1:]] == [
                ["ops", "webhook", "yes"],
                ["am", "alertmanager", "yes"],
                ["chat", "apprise", "yes"],
                ["pulse", "heartbeat", "yes"],
            ]
            metrics = await daemon.text("/metrics")
            assert 'nexusd_outbox_messages{receiver="am",state="sent"} 1' in metrics
            assert await daemon.stop() == 0
        said = daemon.log.read_text() + metrics
        assert "s3cret" not in said
        assert SECRETS[0] not in said
        assert "Traceback" not in said


@pytest.mark.slow
async def test_a_dead_message_is_shown_and_replayed(tmp_path: Path) -> None:
    cloud = Cloud(options(10))
    async with endpoint(400) as ops, EmulatorServer(cloud) as server:
        more = {
            "receivers": [{"name": "ops", "type": "webhook", "url": ops.url}],
            "routes": [{"receivers": ["ops"], **STOPPED}],
            "polling": UNHURRIED,
        }
        async with DaemonProcess(tmp_path, server.url, more) as daemon:
            cloud.stop_instance(cloud.instances()[0].id)
            await until(lambda: ops.got)
            listing = ("outbox", "list", "--state", "dead", "-o", "json")
            async with asyncio.timeout(10.0):
                while not (
                    dead := json.loads((await run_to_end(tmp_path, *listing, NEXUSD_URL=daemon.url))[1])[
                        "data"
                    ]
                ):
                    await asyncio.sleep(0.1)
            assert dead[0]["last_error"] == "400: the receiver refuses the message"
            ops.always = 200
            code, out, _ = await run_to_end(tmp_path, "outbox", "replay", "--all", NEXUSD_URL=daemon.url)
            assert (code, out) == (0, "1 replayed\n")
            await until(lambda: len(ops.got) == 2)
            assert len(set(ops.ids)) == 1


@dataclass
class Moody:
    """A receiver that fails half of the time, and remembers what it took."""

    random: random.Random
    got: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self.random.random() < 0.5:
            return web.Response(status=503)
        self.got[request.headers["webhook-id"]].add(await request.read())
        return web.Response()


@pytest.mark.slow
async def test_kill_9_at_a_hundred_moments_while_a_thousand_alerts_fire_loses_nothing(tmp_path: Path) -> None:
    """I3: fired = delivered, pending or dead, for each receiver; every message under one id."""
    alerts, kills, chance = 1000, 100, random.Random(9)
    cloud = Cloud(options(alerts))
    far = {name: Moody(random.Random(name)) for name in ("ops", "web")}
    async with endpoint(far["ops"]) as ops, endpoint(far["web"]) as web_, EmulatorServer(cloud) as server:
        urls = {"ops": ops.url, "web": web_.url}
        more = {
            "receivers": [{"name": name, "type": "webhook", "url": url} for name, url in urls.items()],
            "routes": [{"receivers": list(urls), "group_by": ["..."], **STOPPED}],
        }
        daemon = DaemonProcess(tmp_path, server.url, more)
        ids = [instance.id for instance in cloud.instances()]
        async with daemon:
            pass
        for life in range(kills):
            for instance_id in ids[life::kills]:
                cloud.stop_instance(instance_id)
            before = len(ops.got)
            await daemon.start()
            await until(lambda n=before: len(ops.got) > n)  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            await daemon.kill()
        await daemon.start()
        await daemon.ready()
        await asyncio.sleep(5.0)
        await daemon.stop()
    known, states = _in_the_store(tmp_path / "nexusd.db", far)
    fired = _fired(tmp_path / "nexusd.db")
    assert len(fired) == alerts
    for name, receiver in far.items():
        assert known[name] >= fired
        assert all(len(told) == 1 for told in receiver.got.values())
    assert states["sent"] > alerts


def _fired(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT subject_id FROM events WHERE type = 'AlertFired' AND name = 'InstanceStopped'"
        )
        return {subject for (subject,) in rows}


def _in_the_store(database: Path, far: dict[str, Moody]) -> tuple[dict[str, set[str]], dict[str, int]]:
    """By receiver the alerts it has or will get, or that are dead; and how many messages are in which state.
    What is marked as sent counts only if it arrived.
    """
    known: dict[str, set[str]] = defaultdict(set)
    states: dict[str, int] = defaultdict(int)
    with closing(sqlite3.connect(database)) as connection:
        for message_id, name, state, body in connection.execute(
            "SELECT id, receiver, state, body FROM outbox"
        ):
            states[state] += 1
            if state != "sent" or message_id in far[name].got:
                known[name] |= {alert["fingerprint"] for alert in json.loads(body)["alerts"]}
    return known, states
