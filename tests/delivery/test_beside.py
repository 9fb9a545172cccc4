"""A message about thousands of alerts is read, written and signed on a thread, not on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.notifications import Message
from nexusd.core.world import World
from nexusd.delivery import alertmanager, apprise, signing
from nexusd.delivery.beside import BYTES_ON_LOOP
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.outbox import OutboxOptions, OutboxWriter
from nexusd.delivery.webhook import WebhookOptions, WebhookReceiver
from nexusd.ports import Delivery, OutboxMessage, Receiver
from tests.delivery.receivers import endpoint, post
from tests.fakes import RecordingMetrics

NOW = 1_700_000_000.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def message_about(count: int) -> OutboxMessage:
    alerts = tuple(
        Alert(f"{n:016x}", (("alertname", "A"), ("n", str(n))), (), AlertState.FIRING, NOW, NOW)
        for n in range(count)
    )
    writer = OutboxWriter(OutboxOptions(), Random(1))
    (row,) = await writer.rows([Message("ops", "g", (), alerts)], NOW, 0.0)
    return row


async def told(kind: str, folder: Path, row: OutboxMessage) -> tuple[Delivery, int]:
    """What came of it, and how many requests there were."""
    async with endpoint() as far_end, post(folder) as office:
        receiver: Receiver
        match kind:
            case "webhook":
                http = HttpOptions(far_end.url)
                receiver = WebhookReceiver(WebhookOptions("ops", http, (SECRET,)), office.clock)
            case "apprise":
                url = far_end.url.replace("http:", "json:")
                receiver = apprise.AppriseReceiver(apprise.AppriseOptions("ops", (url,)), 0)
            case _:
                options = alertmanager.AlertmanagerOptions("ops", (HttpOptions(far_end.url),))
                receiver = alertmanager.AlertmanagerReceiver(
                    options, 0, World(polls={}), office.store, office.clock, RecordingMetrics()
                )
        try:
            return await receiver.send(row), len(far_end.got)
        finally:
            await receiver.close()


STEPS = [
    ("webhook", signing.Signer, "headers"),
    ("apprise", apprise, "message_text"),
    ("alertmanager", alertmanager, "_translated"),
]


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise, Python 3.11
@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize(("kind", "owner", "step"), STEPS)
async def test_a_large_message_is_worked_on_beside_the_event_loop(
    kind: str, owner: object, step: str, many: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    real: Callable[..., Any] = getattr(owner, step)

    def watched(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return real(*arguments)

    monkeypatch.setattr(owner, step, watched)
    row = await message_about(3_000 if many else 1)
    assert (len(row.body) > BYTES_ON_LOOP) is many
    delivery, requests = await told(kind, tmp_path, row)
    assert (delivery.outcome, requests) == ("delivered", 1)
    assert len(threads) == 1
    assert (threads[0] != threading.get_ident()) is many
