"""`nexusd alert test`: the real path, each receiver once, and what each answers."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from nexusd.core.errors import NotFoundError
from nexusd.delivery.deliveries import DeliveryOptions
from nexusd.delivery.heartbeat import HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.webhook import WebhookOptions
from nexusd.ports import Delivery
from tests.delivery.receivers import endpoint, hang, post
from tests.delivery.test_deliveries import deliveries, leading, webhook
from tests.virtual_time import in_virtual_time

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@in_virtual_time
async def test_each_receiver_is_sent_one_marked_message_and_its_answer_is_told(tmp_path: Path) -> None:
    async with endpoint() as ops, endpoint(503) as web, endpoint() as beats, post(tmp_path) as office:
        pulse = HeartbeatOptions("pulse", HttpOptions(beats.url))
        hooks = webhook("ops", ops.url), webhook("web", web.url)
        made = deliveries(office, DeliveryOptions(hooks, heartbeats=(pulse,)))
        tested = await made.test(None)
        await made.close()
        assert [(t.receiver, t.type, t.delivery.outcome, t.delivery.code) for t in tested] == [
            ("ops", "webhook", "delivered", "200"),
            ("web", "webhook", "retry", "503"),
            ("pulse", "heartbeat", "delivered", "200"),
        ]
        (got,) = ops.got
        body = json.loads(got.body)
        assert (body["receiver"], body["status"]) == ("ops", "firing")
        assert body["commonLabels"]["test"] == "true"
        assert body["commonLabels"]["alertname"] == "TestNotification"
        assert "test of the receiver ops" in body["commonAnnotations"]["summary"]
        assert len(web.got) == len(beats.got) == 1
        assert await office.rows() == {}


@in_virtual_time
async def test_the_test_is_signed_as_every_message_is(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        office.clock.offset_s = time.time() - office.clock.now()  # type: ignore[attr-defined]
        signed = WebhookOptions("ops", HttpOptions(ops.url), (SECRET,))
        made = deliveries(office, DeliveryOptions((signed,)))
        await made.test("ops")
        await made.close()
        Webhook(SECRET).verify(ops.got[0].body, ops.got[0].headers)


@in_virtual_time
async def test_one_receiver_is_tested_alone(tmp_path: Path) -> None:
    async with endpoint() as ops, endpoint() as web, post(tmp_path) as office:
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url), webhook("web", web.url))))
        assert [t.receiver for t in await made.test("web")] == ["web"]
        await made.close()
        assert (len(ops.got), len(web.got)) == (0, 1)


@in_virtual_time
async def test_an_unknown_receiver_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    async with post(tmp_path) as office:
        hooks = webhook("ops", "https://x.example/"), webhook("chat", "https://x.example/")
        with pytest.raises(NotFoundError, match="there is no receiver opps; there are chat, ops"):
            await deliveries(office, DeliveryOptions(hooks)).test("opps")
        with pytest.raises(NotFoundError, match="there is no receiver ops; none is configured"):
            await deliveries(office, DeliveryOptions()).test("ops")


@in_virtual_time
async def test_receivers_are_tested_at_once_and_within_a_bound(tmp_path: Path) -> None:
    async with endpoint(hang) as slow, endpoint(hang) as slower, post(tmp_path) as office:
        slow_options = WebhookOptions("slow", HttpOptions(slow.url, timeout_s=5.0))
        slower_options = WebhookOptions("slower", HttpOptions(slower.url, timeout_s=900.0))
        made = deliveries(office, DeliveryOptions((slow_options, slower_options)))
        began_at = asyncio.get_running_loop().time()
        tested = await made.test(None)
        await made.close()
        assert [t.delivery.code for t in tested] == ["timeout", "timeout"]
        assert [round(t.duration_s) for t in tested] == [5, 20]
        assert asyncio.get_running_loop().time() - began_at == pytest.approx(20.0, abs=0.5)


@in_virtual_time
async def test_a_receiver_that_is_disabled_is_tested_all_the_same(tmp_path: Path) -> None:
    async with endpoint(200, 410) as ops, post(tmp_path) as office:
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url),)))
        async with leading(office, made):
            first = await made.test(None)
            second = await made.test(None)
        assert first[0].delivery.outcome == "gone"
        assert second[0].delivery == Delivery("delivered", "200")
