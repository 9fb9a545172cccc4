"""Messages become rows: one each, rendered once, with ids that sort by time."""

from __future__ import annotations

import json
from random import Random

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions
from nexusd.delivery.outbox import OutboxOptions, OutboxWriter

NOW = 1_700_000_000.0
ALERT = Alert("f" * 16, (("alertname", "A"),), (), AlertState.FIRING, NOW, NOW)
MESSAGE = Message("ops", '{}:{alertname="A"}', (("alertname", "A"),), (ALERT,))


def test_a_row_is_due_at_once_and_expires_after_a_day() -> None:
    (row,) = OutboxWriter(OutboxOptions(), Random(1)).rows([MESSAGE], NOW, 0.0)
    assert (row.receiver, row.state, row.tries) == ("ops", "pending", 0)
    assert (row.created_at, row.next_try_at, row.expires_at) == (NOW, NOW, NOW + 86400.0)


def test_ids_are_unique_and_sort_by_time() -> None:
    writer = OutboxWriter(OutboxOptions(), Random(1))
    ids = [row.id for n in range(20) for row in writer.rows([MESSAGE], NOW + n, 0.0)]
    assert ids == sorted(set(ids))
    assert all(i.startswith("msg_") and len(i) == 30 for i in ids)


def test_each_receiver_has_its_own_way_of_rendering() -> None:
    options = OutboxOptions({"ops": BodyOptions("https://nexusd.example.com")})
    (row,) = OutboxWriter(options, Random(1)).rows([MESSAGE], NOW, 3600.0)
    body = json.loads(row.body)
    assert body["externalURL"] == "https://nexusd.example.com"
    assert body["alerts"][0]["startsAt"] == "2023-11-14T23:13:20Z"
