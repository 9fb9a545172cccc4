"""All receivers of a configuration together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.notifications import LoggedNotification
from nexusd.core.world import World
from nexusd.delivery.alertmanager import AlertmanagerOptions
from nexusd.delivery.deliveries import Deliveries, DeliveryOptions
from nexusd.delivery.heartbeat import HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.webhook import WebhookOptions
from tests.delivery.receivers import Post, endpoint, hang, message, post
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

NOW = VIRTUAL_EPOCH


def deliveries(office: Post, options: DeliveryOptions, world: World | None = None) -> Deliveries:
    return Deliveries(
        options, world or World(polls={}), office.store, office.clock, Random(1), office.metrics
    )


def webhook(name: str, url: str) -> WebhookOptions:
    return WebhookOptions(name, HttpOptions(url))


@asynccontextmanager
async def leading(
    office: Post, made: Deliveries, healthy: Callable[[], bool] = lambda: True
) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(made.run(office.stop, healthy))
        try:
            yield
        finally:
            office.stop.set()


@in_virtual_time
async def test_a_new_term_takes_over_what_was_leased_and_buries_what_is_for_nobody(tmp_path: Path) -> None:
    async with endpoint() as ops, post(tmp_path) as office:
        await office.add(message(1, "ops", NOW), message(2, "removed", NOW))
        await office.store.run(lambda tx: tx.outbox.lease("ops", NOW, 900.0, 10, 1 << 20))
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url),)))
        async with leading(office, made):
            await asyncio.sleep(1.0)
        assert await office.states() == {"msg_000001": "sent", "msg_000002": "dead"}


@in_virtual_time
async def test_only_who_has_messages_is_woken(tmp_path: Path) -> None:
    async with endpoint() as ops, endpoint() as web, post(tmp_path) as office:
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url), webhook("web", web.url))))
        async with leading(office, made):
            await asyncio.sleep(1.0)
            await office.add(message(1, "ops", office.clock.now()), message(2, "web", office.clock.now()))
            made.wake(["web", "nobody"])
            await asyncio.sleep(1.0)
            assert (ops.ids, web.ids) == ([], ["msg_000002"])
            assert set(made.progress()) == {"delivery to ops", "delivery to web"}


@in_virtual_time
async def test_it_counts_what_changes_the_outbox(tmp_path: Path) -> None:
    async with endpoint(200, 503) as ops, post(tmp_path) as office:
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url),)))
        async with leading(office, made):
            await asyncio.sleep(1.0)
            at_rest = made.changes
            await asyncio.sleep(600.0)
            assert made.changes == at_rest
            await office.add(message(1, "ops", office.clock.now()))
            made.wake(["ops"])
            added = made.changes
            await asyncio.sleep(1.0)
            failed = made.changes
            await asyncio.sleep(10.0)
            assert at_rest < added < failed < made.changes


@in_virtual_time
async def test_a_stop_does_not_wait_for_what_is_only_repeated(tmp_path: Path) -> None:
    async with endpoint(hang) as far_end, post(tmp_path) as office:
        slow = HttpOptions(far_end.url, timeout_s=600.0)
        pulse, am = HeartbeatOptions("pulse", slow, interval_s=600.0), AlertmanagerOptions("am", (slow,))
        one = Alert("f" * 16, (("alertname", "A"),), (), AlertState.FIRING, NOW, NOW)
        told = LoggedNotification("am", "g", NOW, frozenset({one.fingerprint}), frozenset())
        await office.store.run(lambda tx: tx.notification_log.save([told]))
        options = DeliveryOptions(alertmanagers=(am,), heartbeats=(pulse,))
        made = deliveries(office, options, World(polls={}, alerts={one.fingerprint: one}))
        async with leading(office, made):
            await asyncio.sleep(1.0)
            assert len(far_end.got) == 2
        assert asyncio.get_running_loop().time() < 2.0


@in_virtual_time
async def test_what_was_written_first_goes_first_though_only_what_came_later_was_claimed(
    tmp_path: Path,
) -> None:
    """The store was away: the older message waited for it unclaimed, then both were written together."""
    async with endpoint() as ops, post(tmp_path) as office:
        made = deliveries(office, DeliveryOptions((webhook("ops", ops.url),)))
        async with leading(office, made):
            await asyncio.sleep(1.0)
            now = office.clock.now()
            lease = made._workers["ops"].claim(10, now)
            assert lease is not None
            fired = message(1, "ops", now - 30.0, group="g")
            ended = replace(message(2, "ops", now, group="g"), leased_until=lease)
            await office.store.run(lambda tx: tx.outbox.add([fired, ended]))
            made.added([fired, ended])
            await asyncio.sleep(1.0)
        assert ops.ids == [fired.id, ended.id]
