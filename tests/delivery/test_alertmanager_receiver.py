"""What Alertmanagers are told, when, and until when they take it for true."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as altered
from structlog.testing import capture_logs

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.notifications import LoggedNotification, Message
from nexusd.core.webhook_body import BodyOptions
from nexusd.core.world import World
from nexusd.delivery.alertmanager import BATCH, AlertmanagerOptions
from nexusd.delivery.deliveries import Deliveries, DeliveryOptions
from nexusd.delivery.http import HttpOptions
from tests.delivery.receivers import Endpoint, Post, endpoint, hang, post
from tests.delivery.test_deliveries import deliveries, leading, webhook
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

NOW = VIRTUAL_EPOCH
URL = "https://nexusd.example.com"


def alert(name: str = "RegionUnhealthy", **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": name, "severity": "warning", **labels}.items()))
    return Alert(fingerprint(pairs), pairs, (("summary", "as it was"),), AlertState.FIRING, NOW, NOW)


def ended(one: Alert, at: float) -> Alert:
    return altered(one, state=AlertState.RESOLVED, resolved_at=at)


def options(*far_ends: Endpoint, **more: Any) -> DeliveryOptions:
    targets = tuple(HttpOptions(far_end.url.removesuffix("/hook"), **more) for far_end in far_ends)
    made = AlertmanagerOptions("am", targets, external_url=URL)
    return DeliveryOptions(alertmanagers=(made,), bodies={"am": BodyOptions(URL)})


def world_with(*alerts: Alert) -> World:
    return World(polls={}, alerts={a.fingerprint: a for a in alerts})


async def tell(office: Post, made: Deliveries, *alerts: Alert) -> None:
    """As the cycle does: one message an alert, committed, the workers woken."""
    rows = await made.compose(
        [Message("am", f"{{}}:{a.labels}", a.labels, (a,)) for a in alerts], office.clock.now()
    )
    await office.store.run(lambda tx: tx.outbox.add(rows))
    made.added(rows)


def posted(far_end: Endpoint) -> list[tuple[float, list[dict[str, Any]]]]:
    return [(got.at, json.loads(got.body)) for got in far_end.got]


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - NOW


def summary(alerts: Iterable[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(a["labels"]["alertname"], instant(a["endsAt"])) for a in alerts]


@in_virtual_time
async def test_a_firing_alert_is_posted_as_prometheus_posts_it(tmp_path: Path) -> None:
    one = alert(region="eu-west-2")
    async with endpoint() as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world_with(one))
        async with leading(office, made):
            await asyncio.sleep(5.0)
            await tell(office, made, one)
            await asyncio.sleep(1.0)
        (got,) = am.got
        assert (got.method, got.path, got.headers["Content-Type"]) == (
            "POST",
            "/api/v2/alerts",
            "application/json",
        )
        assert json.loads(got.body) == [
            {
                "labels": {"alertname": "RegionUnhealthy", "region": "eu-west-2", "severity": "warning"},
                "annotations": {"summary": "as it was"},
                "startsAt": "2023-11-14T22:13:20Z",
                "endsAt": "2023-11-14T22:17:25Z",
                "generatorURL": URL,
            }
        ]
        assert await office.count("sent") == 1


@in_virtual_time
async def test_it_is_told_again_every_minute_as_it_is_now(tmp_path: Path) -> None:
    one = alert()
    world = world_with(one)
    async with endpoint() as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world)
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(90.0)
            changed = altered(one, annotations=(("summary", "as it is"),))
            world.alerts = {one.fingerprint: changed}
            await asyncio.sleep(40.0)
        assert [(round(at), summary(alerts)) for at, alerts in posted(am)] == [
            (0, [("RegionUnhealthy", pytest.approx(240, abs=1))]),
            (60, [("RegionUnhealthy", pytest.approx(300, abs=1))]),
            (120, [("RegionUnhealthy", pytest.approx(360, abs=1))]),
        ]
        assert posted(am)[-1][1][0]["annotations"] == {"summary": "as it is"}


@in_virtual_time
async def test_an_end_is_told_with_its_time_and_again_for_fifteen_minutes(tmp_path: Path) -> None:
    one = alert()
    world = world_with(one)
    async with endpoint() as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world)
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(90.0)
            over = ended(one, NOW + 90.0)
            world.alerts = {one.fingerprint: altered(over, settled=True)}
            await tell(office, made, over)
            await asyncio.sleep(3600.0)
        ends = [(round(at), summary(alerts)) for at, alerts in posted(am) if at > 80.0]
        assert ends == [(at, [("RegionUnhealthy", 90.0)]) for at in [90, *range(120, 990, 60)]]
        assert made._resenders[0]._told == {}


@in_virtual_time
async def test_without_send_resolved_an_end_is_not_told(tmp_path: Path) -> None:
    one = alert()
    world = world_with(one)
    async with endpoint() as am, post(tmp_path) as office:
        quiet = AlertmanagerOptions("am", (HttpOptions(am.url),), send_resolved=False)
        made = deliveries(office, DeliveryOptions(alertmanagers=(quiet,)), world)
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(30.0)
            world.alerts = {one.fingerprint: ended(one, NOW + 30.0)}
            await asyncio.sleep(600.0)
        assert [round(at) for at, _ in posted(am)] == [0]


@in_virtual_time
async def test_a_message_that_waited_is_valid_from_when_it_arrives(tmp_path: Path) -> None:
    one = alert()
    async with endpoint(503) as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world_with(one))
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(1800.0)
            am.always = 200
            await asyncio.sleep(300.0)
        at, (arrived,) = next((at, alerts) for at, alerts in posted(am) if at > 1800.0)
        assert instant(arrived["endsAt"]) == pytest.approx(at + 240.0, abs=1.0)
        assert instant(arrived["startsAt"]) == 0.0


@in_virtual_time
async def test_one_that_is_down_delays_no_other(tmp_path: Path) -> None:
    alerts = [alert(f"A{n}") for n in range(300)]
    async with endpoint(hang) as down, endpoint() as up, post(tmp_path) as office:
        made = deliveries(office, options(down, up), world_with(*alerts))
        async with leading(office, made):
            await asyncio.sleep(1.0)
            await tell(office, made, *alerts)
            await asyncio.sleep(1.0)
            assert len(up.got) == 300
            assert max(at for at, _ in posted(up)) < 1.1
            await asyncio.sleep(60.0)
            again = [alerts for at, alerts in posted(up) if at > 59.0]
            assert sorted(map(len, again)) == [300 - BATCH, BATCH]
        rows = (await office.rows()).values()
        assert {(r.receiver, r.state) for r in rows} == {("am", "pending"), ("am/2", "sent")}


@in_virtual_time
async def test_after_a_restart_what_was_told_is_told_again_at_once_and_nothing_else(tmp_path: Path) -> None:
    told, elsewhere, over = (altered(alert(n), fired_at=NOW - 200.0) for n in ("Told", "Elsewhere", "Over"))
    world = world_with(told, elsewhere, ended(over, NOW - 60.0))
    log = (
        LoggedNotification("am", "g1", NOW - 100.0, frozenset({told.fingerprint}), frozenset()),
        LoggedNotification("am", "g2", NOW - 60.0, frozenset(), frozenset({over.fingerprint})),
        LoggedNotification("ops", "g1", NOW - 100.0, frozenset({elsewhere.fingerprint}), frozenset()),
    )
    async with endpoint() as am, post(tmp_path) as office:
        await office.store.run(lambda tx: tx.notification_log.save(log))
        async with leading(office, deliveries(office, options(am), world)):
            await asyncio.sleep(1.0)
        ((at, alerts),) = posted(am)
        assert (at, sorted(summary(alerts))) == (0.0, [("Over", -60.0), ("Told", 240.0)])


@in_virtual_time
async def test_what_was_never_told_is_not_resent(tmp_path: Path) -> None:
    async with endpoint() as am, post(tmp_path) as office:
        async with leading(office, deliveries(office, options(am), world_with(alert()))):
            await asyncio.sleep(300.0)
        assert am.got == []


@in_virtual_time
async def test_an_alert_whose_end_could_not_be_told_is_not_resent_as_firing(tmp_path: Path) -> None:
    one = alert()
    world = world_with(one)
    async with endpoint(400, 200) as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world)
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(30.0)
            world.alerts = {}
            await tell(office, made, ended(one, NOW + 30.0))
            await asyncio.sleep(600.0)
        assert [instant(alerts[0]["endsAt"]) for _, alerts in posted(am)] == [240.0, 30.0]
        assert await office.count("dead") == 1


@in_virtual_time
async def test_an_alert_that_was_refused_is_not_told_again(tmp_path: Path) -> None:
    one = alert()
    async with endpoint(400) as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world_with(one))
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(600.0)
        assert len(am.got) == 1


@pytest.mark.parametrize("again_after_s", [100.0, 1200.0])
def test_one_that_fires_anew_is_not_resent_before_that_is_told(again_after_s: float, tmp_path: Path) -> None:
    """Perhaps it is muted now."""

    @in_virtual_time
    async def scenario() -> None:
        one = alert()
        world = world_with(one)
        async with endpoint() as am, post(tmp_path) as office:
            made = deliveries(office, options(am), world)
            async with leading(office, made):
                await tell(office, made, one)
                await asyncio.sleep(10.0)
                world.alerts = {one.fingerprint: ended(one, NOW + 10.0)}
                await asyncio.sleep(again_after_s)
                am.got.clear()
                anew = altered(one, fired_at=office.clock.now())
                world.alerts = {one.fingerprint: anew}
                await asyncio.sleep(300.0)
                assert am.got == []
                await tell(office, made, anew)
                await asyncio.sleep(121.0)
            assert len(am.got) == 3

    scenario()


@in_virtual_time
async def test_resending_that_fails_is_counted_each_time_and_logged_once(tmp_path: Path) -> None:
    one = alert()
    async with endpoint(503, 200) as am, post(tmp_path) as office:
        made = deliveries(office, options(am), world_with(one))
        with capture_logs() as logged:
            async with leading(office, made):
                await tell(office, made, one)
                await asyncio.sleep(181.0)
        assert office.metrics.counts["notification_request", "am", "503"] == 3
        events = [entry["event"] for entry in logged]
        assert events == ["notification_delivered", "resending_failed"]
        assert am.url not in str(logged)


@in_virtual_time
async def test_a_step_of_the_wall_clock_moves_all_times_alike(tmp_path: Path) -> None:
    one = alert()
    async with endpoint() as am, post(tmp_path) as office:
        office.clock.offset_s = 7200.0  # type: ignore[attr-defined]
        made = deliveries(office, options(am), world_with(one))
        async with leading(office, made):
            await tell(office, made, one)
            await asyncio.sleep(61.0)
        times = [(instant(a["startsAt"]), instant(a["endsAt"])) for _, (a,) in posted(am)]
        assert times == [(7200.0, pytest.approx(7440.0, abs=1)), (7200.0, pytest.approx(7500.0, abs=1))]


@in_virtual_time
async def test_the_path_is_put_behind_the_base_url(tmp_path: Path) -> None:
    async with endpoint() as am, post(tmp_path) as office:
        targets = HttpOptions(f"{am.url}/am"), HttpOptions(f"{am.url}/am/")
        made = deliveries(office, DeliveryOptions(alertmanagers=(AlertmanagerOptions("am", targets),)))
        tested = await made.test("am")
        await made.close()
        assert [got.path for got in am.got] == ["/hook/am/api/v2/alerts"] * 2
        assert [t.receiver for t in tested] == ["am", "am/2"]
        assert "generatorURL" not in json.loads(am.got[0].body)[0]


@in_virtual_time
async def test_an_alertmanager_that_hangs_leaves_a_webhook_as_quick_as_ever(tmp_path: Path) -> None:
    alerts = [alert(f"A{n}") for n in range(200)]
    async with endpoint(hang) as am, endpoint() as ops, post(tmp_path) as office:
        both = replace(options(am), webhooks=(webhook("ops", ops.url),))
        made = deliveries(office, both, world_with(*alerts))
        async with leading(office, made):
            await tell(office, made, *alerts)
            await asyncio.sleep(5.0)
            rows = await made.compose([Message("ops", "g", (), (alerts[0],))], office.clock.now())
            await office.store.run(lambda tx: tx.outbox.add(rows))
            made.added(rows)
            await asyncio.sleep(1.0)
            assert [got.at for got in ops.got] == [pytest.approx(5.0, abs=0.01)]
