"""Messages become rows: one each, rendered once, with ids that sort by time."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions
from nexusd.delivery.beside import ALERTS_ON_LOOP
from nexusd.delivery.outbox import OutboxOptions, OutboxWriter

NOW = 1_700_000_000.0
ALERT = Alert("f" * 16, (("alertname", "A"),), (), AlertState.FIRING, NOW, NOW)
MESSAGE = Message("ops", '{}:{alertname="A"}', (("alertname", "A"),), (ALERT,))


async def test_a_row_is_due_at_once_and_expires_after_a_day() -> None:
    (row,) = await OutboxWriter(OutboxOptions(), Random(1)).rows([MESSAGE], NOW, 0.0)
    assert (row.receiver, row.state, row.tries) == ("ops", "pending", 0)
    assert (row.created_at, row.next_try_at, row.expires_at) == (NOW, NOW, NOW + 86400.0)


async def test_ids_are_unique_and_sort_by_time() -> None:
    writer = OutboxWriter(OutboxOptions(), Random(1))
    ids = [row.id for n in range(20) for row in await writer.rows([MESSAGE], NOW + n, 0.0)]
    assert ids == sorted(set(ids))
    assert all(i.startswith("msg_") and len(i) == 30 for i in ids)


async def test_each_receiver_has_its_own_way_of_rendering() -> None:
    options = OutboxOptions({"ops": BodyOptions("https://nexusd.example.com")})
    (row,) = await OutboxWriter(options, Random(1)).rows([MESSAGE], NOW, 3600.0)
    body = json.loads(row.body)
    assert body["externalURL"] == "https://nexusd.example.com"
    assert body["alerts"][0]["startsAt"] == "2023-11-14T23:13:20Z"


class WatchedAlerts(tuple[Alert, ...]):
    """Knows which threads have read it."""

    read_by: set[int]

    def __getitem__(self, part: Any) -> Any:
        self.read_by.add(threading.get_ident())
        return super().__getitem__(part)


@pytest.mark.parametrize(("count", "on_loop"), [(ALERTS_ON_LOOP, True), (ALERTS_ON_LOOP + 1, False)])
async def test_messages_about_many_alerts_are_rendered_on_a_thread(count: int, on_loop: bool) -> None:
    alerts = WatchedAlerts([ALERT] * count)
    alerts.read_by = set()
    message = replace(MESSAGE, alerts=alerts)
    (row,) = await OutboxWriter(OutboxOptions(), Random(1)).rows([message], NOW, 0.0)
    assert len(json.loads(row.body)["alerts"]) == count
    assert (threading.get_ident() in alerts.read_by) is on_loop
    assert len(alerts.read_by) == 1
