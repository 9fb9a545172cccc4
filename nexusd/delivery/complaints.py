"""What is logged of requests that are made again and again. Used by `heartbeat` and `alertmanager`."""

from __future__ import annotations

import structlog

from nexusd.ports import Delivery

log = structlog.get_logger(__name__)


class Complaints:
    """Says when `what` begins to fail and when it works again, not every time between."""

    def __init__(self, what: str, receiver: str) -> None:
        self._what = what
        self._receiver = receiver
        self._failing = False

    def hear(self, delivery: Delivery) -> None:
        failed = delivery.outcome != "delivered"
        if failed and not self._failing:
            log.warning(
                f"{self._what}_failed", receiver=self._receiver, code=delivery.code, error=delivery.detail
            )
        elif self._failing and not failed:
            log.info(f"{self._what}_works_again", receiver=self._receiver)
        self._failing = failed
