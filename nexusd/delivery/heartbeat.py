"""The heartbeat receiver: a URL asked for while all is well, so that somebody else notices when it is not
(product.md, section 4, Receivers). Used by `deliveries`.

It is not in the outbox: a beat that comes late says nothing that is true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from nexusd.delivery.complaints import Complaints
from nexusd.delivery.http import HttpOptions, HttpTarget
from nexusd.ports import Clock, Delivery, Metrics


@dataclass(frozen=True, slots=True)
class HeartbeatOptions:
    """`method`: GET or POST, without a body. `interval_s`: from the beginning of a beat to the next one's."""

    name: str
    http: HttpOptions
    method: str = "GET"
    interval_s: float = 60.0


class Heartbeat:
    """Raises `InputError` or `ConfigError` for options that can never work."""

    def __init__(self, options: HeartbeatOptions, clock: Clock, metrics: Metrics) -> None:
        self._options = options
        self._clock = clock
        self._metrics = metrics
        timeout_s = min(options.http.timeout_s, options.interval_s)
        self._target = HttpTarget(options.name, replace(options.http, timeout_s=timeout_s), clock)
        self._complaints = Complaints("heartbeat", options.name)

    @property
    def name(self) -> str:
        return self._options.name

    async def run(self, healthy: Callable[[], bool]) -> None:
        """A beat at once and every interval while `healthy`, for ever. A missed one is not made up for."""
        due = self._clock.now()
        try:
            while True:
                if healthy():
                    self._complaints.hear(await self.beat())
                due = max(due + self._options.interval_s, self._clock.now())
                await asyncio.sleep(due - self._clock.now())
        finally:
            await self.close()

    async def beat(self) -> Delivery:
        """One request."""
        delivery = await self._target.request(self._options.method, None)
        self._metrics.notification_request(self.name, delivery.code)
        return delivery

    async def close(self) -> None:
        await self._target.close()
