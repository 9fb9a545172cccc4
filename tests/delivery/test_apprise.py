"""Apprise, driven for real: its json:// service against a server of ours, in real time."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.errors import ConfigError
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions, webhook_body
from nexusd.delivery.apprise import THREADS, AppriseOptions, AppriseReceiver
from nexusd.delivery.deliveries import DeliveryOptions
from nexusd.ports import Delivery, OutboxMessage
from nexusd.runtime.clock import SystemClock
from tests.delivery.receivers import Endpoint, Post, endpoint
from tests.delivery.test_deliveries import deliveries, leading, webhook

pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"
)  # Apprise's import

LABELS = (("alertname", "InstanceStopped"), ("severity", "critical"))
ALERT = Alert("f" * 16, LABELS, (("summary", "web-1 is stopped"),), AlertState.FIRING, 0.0, 0.0)
MESSAGE = Message("chat", "g", LABELS[:1], (ALERT,))


def row(number: int = 1, receiver: str = "chat") -> OutboxMessage:
    body = webhook_body(MESSAGE, BodyOptions("https://nexusd.example.com"), 0.0)
    return OutboxMessage(f"msg_{number}", receiver, body, 0.0, 1e12)


def json_url(far_end: Endpoint, path: str = "") -> str:
    return f"json://{urlsplit(far_end.url).netloc}/{path}"


async def sent(*urls: str, **options: Any) -> Delivery:
    return await AppriseReceiver(AppriseOptions("chat", urls, **options), 0).send(row())


class Gate:
    """A far end whose answers wait until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.most = self.inside = 0

    async def __call__(self, _: web.Request) -> web.StreamResponse:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.open.wait()
        self.inside -= 1
        return web.Response()


async def test_a_service_is_told_in_words() -> None:
    async with endpoint() as far_end:
        assert await sent(json_url(far_end)) == Delivery("delivered", "ok")
        (got,) = far_end.got
        told = json.loads(got.body)
        assert told["title"] == "[FIRING:1] InstanceStopped (critical)"
        assert told["message"].splitlines()[:2] == ["Firing:", "- web-1 is stopped"]
        assert told["type"] == "failure"


@pytest.mark.parametrize("status", [500, 404, 429])
async def test_what_a_service_does_not_take_is_tried_again(status: int) -> None:
    async with endpoint(status) as far_end:
        delivery = await sent(json_url(far_end))
        assert (delivery.outcome, delivery.code) == ("retry", "failed")


async def test_a_message_that_is_none_is_refused() -> None:
    receiver = AppriseReceiver(AppriseOptions("chat", ("json://127.0.0.1:1/",)), 0)
    delivery = await receiver.send(OutboxMessage("msg_1", "chat", b"{}", 0.0, 1.0))
    assert (delivery.outcome, delivery.code) == ("rejected", "invalid")


async def test_a_service_that_hangs_costs_its_time_out_and_stops_nobody() -> None:
    gate = Gate()
    async with endpoint(gate) as far_end:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        delivery = await sent(f"{json_url(far_end)}?rto=30", timeout_s=0.5)
        ticking.cancel()
        gate.open.set()
        assert (delivery.outcome, delivery.code) == ("retry", "timeout")
        assert ticks > 10


async def test_threads_at_once_are_bounded_and_come_free_again() -> None:
    gate = Gate()
    async with endpoint(gate) as far_end:
        receiver = AppriseReceiver(AppriseOptions("chat", (f"{json_url(far_end)}?rto=30",), 0.5), 0)
        answers = await asyncio.gather(*(receiver.send(row(n)) for n in range(3 * THREADS)))
        assert {a.code for a in answers} == {"timeout"}
        assert gate.most <= THREADS
        gate.open.set()
        async with asyncio.timeout(10.0):
            while (await receiver.send(row())).outcome != "delivered":
                pass


async def test_no_thread_is_left_that_the_end_of_the_process_would_wait_for() -> None:
    before = {t for t in threading.enumerate() if not t.daemon}
    async with endpoint() as far_end:
        await sent(json_url(far_end))
    assert {t for t in threading.enumerate() if not t.daemon} <= before
    assert sys.modules["apprise.apprise"]._shared_executor is None  # type: ignore[attr-defined]


async def test_code_of_a_service_that_raises_costs_a_try() -> None:
    receiver = AppriseReceiver(AppriseOptions("chat", ("json://127.0.0.1:1/",)), 0)
    receiver._service = _Raises()  # type: ignore[assignment]
    delivery = await receiver.send(row())
    assert (delivery.outcome, delivery.code) == ("retry", "error")
    assert "canary" not in delivery.detail


class _Raises:
    title_maxlen = body_maxlen = 100

    def __iter__(self) -> Any:
        return iter([self])

    def notify(self, **_: object) -> bool:
        raise ZeroDivisionError("canary")


async def test_a_body_is_cut_to_what_the_service_takes() -> None:
    receiver = AppriseReceiver(AppriseOptions("chat", ("json://127.0.0.1:1/",)), 0)
    receiver._service = kept = _Keeps()  # type: ignore[assignment]
    await receiver.send(row())
    assert len(kept.title) + len(kept.body) + 4 == 60
    assert kept.body.endswith("…")


class _Keeps:
    """A service that takes 60 characters and has no titles."""

    title_maxlen, body_maxlen = 0, 60
    title = body = ""

    def __iter__(self) -> Any:
        return iter([self])

    def notify(self, title: str, body: str, **_: object) -> bool:
        self.title, self.body = title, body
        return True


@pytest.mark.parametrize("url", ["canary://x", "slack://", "canary"])
def test_a_url_that_apprise_does_not_know_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        AppriseReceiver(AppriseOptions("chat", ("json://x.example", url)), 1)
    assert str(raised.value).startswith("receivers: chat: urls[1]: ")
    assert "canary" not in str(raised.value)


def test_a_missing_extra_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError) as raised:
        AppriseReceiver(AppriseOptions("chat", ("json://x.example",)), 0)
    said = "receivers: chat: type apprise needs an extra: pip install 'nexusd[apprise]'"
    assert str(raised.value) == said


async def test_nothing_of_the_url_is_said(caplog: pytest.LogCaptureFixture) -> None:
    options = AppriseOptions("chat", ("json://joe:hunter2@127.0.0.1:1/s3cret",))
    with capture_logs() as logged:
        delivery = await AppriseReceiver(options, 0).send(row())
    said = f"{options!r} {delivery!r} {logged} {caplog.text}"
    assert delivery.outcome == "retry"
    for part in ("hunter2", "s3cret", "joe", "127.0.0.1"):
        assert part not in said


@asynccontextmanager
async def office_in(folder: Path) -> AsyncIterator[Post]:
    office = Post(folder, SystemClock())
    try:
        yield office
    finally:
        await office.store.close()


async def test_each_url_has_messages_of_its_own_and_one_that_hangs_delays_nobody(tmp_path: Path) -> None:
    gate = Gate()
    async with endpoint(gate) as slow, endpoint() as quick, endpoint() as ops, office_in(tmp_path) as office:
        chat = AppriseOptions("chat", (f"{json_url(slow)}?rto=30", json_url(quick)), timeout_s=0.3)
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url),), apprise=(chat,)))
        async with leading(office, made):
            for_ops = Message("ops", "g", LABELS[:1], (ALERT,))
            rows = await made.compose([MESSAGE] * 8 + [for_ops], office.clock.now())
            assert [r.receiver for r in rows] == ["chat", "chat/2"] * 8 + ["ops"]
            await office.add(*rows)
            made.added(rows)
            async with asyncio.timeout(10.0):
                while len(quick.got) < 8 or not ops.got or not slow.got:
                    await asyncio.sleep(0.01)
            gate.open.set()
        states = {(r.receiver, r.state) for r in (await office.rows()).values()}
        assert {("chat/2", "sent"), ("ops", "sent")} <= states
        assert not {("chat/2", "pending"), ("ops", "pending"), ("chat", "dead")} & states
