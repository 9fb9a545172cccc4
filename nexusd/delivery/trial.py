"""Test notifications: does what is sent arrive? (`nexusd alert test`). Used by `deliveries`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.notifications import Message
from nexusd.ports import Delivery

NAME = "TestNotification"
LONGEST_TRIAL_S = 20.0
"""Somebody waits for the answer."""


def trial_message(receiver: str, now: float) -> Message:
    """A firing alert that says that it is a test, as a group of its own."""
    labels = (("alertname", NAME), ("receiver", receiver), ("severity", "info"), ("test", "true"))
    annotations = (
        ("description", "Sent by `nexusd alert test`. Nothing is wrong, and no end of this will be told."),
        ("summary", f"This is a test of the receiver {receiver}"),
    )
    alert = Alert(fingerprint(labels), labels, annotations, AlertState.FIRING, now, now)
    return Message(receiver, f'{{}}:{{alertname="{NAME}"}}', (("alertname", NAME),), (alert,))


async def timed(sending: Awaitable[Delivery]) -> tuple[Delivery, float]:
    """What became of it, and after how many seconds."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    try:
        async with asyncio.timeout(LONGEST_TRIAL_S):
            delivery = await sending
    except TimeoutError:
        delivery = Delivery("retry", "timeout", f"no answer within {LONGEST_TRIAL_S:g}s")
    return delivery, loop.time() - began_at
