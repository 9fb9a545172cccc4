"""All that goes out to receivers: a worker for each, and the rows they work on. Owned by `engine`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

import structlog

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions
from nexusd.delivery.heartbeat import Heartbeat, HeartbeatOptions
from nexusd.delivery.outbox import OutboxOptions, OutboxWriter
from nexusd.delivery.webhook import WebhookOptions, WebhookReceiver
from nexusd.delivery.worker import DeliveryWorker, WorkerOptions
from nexusd.ports import Clock, Metrics, OutboxMessage, Receiver, Store, Transaction

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """`bodies`: by receiver, how its messages are rendered."""

    webhooks: tuple[WebhookOptions, ...] = ()
    heartbeats: tuple[HeartbeatOptions, ...] = ()
    bodies: Mapping[str, BodyOptions] = field(default_factory=dict)


class Deliveries:
    """Raises `InputError` or `ConfigError` for a receiver that can never work."""

    def __init__(
        self, options: DeliveryOptions, store: Store, clock: Clock, rng: Random, metrics: Metrics
    ) -> None:
        self._store = store
        self._clock = clock
        self._outbox = OutboxWriter(OutboxOptions(options.bodies), rng)
        receivers: list[tuple[Receiver, float]] = [
            (WebhookReceiver(o, clock), o.http.timeout_s) for o in options.webhooks
        ]
        self._workers = {
            receiver.name: DeliveryWorker(
                receiver, store, clock, rng, metrics, WorkerOptions.within(timeout_s)
            )
            for receiver, timeout_s in receivers
        }

        self._heartbeats = [Heartbeat(o, clock, metrics) for o in options.heartbeats]

    def compose(self, messages: Iterable[Message], now: float) -> list[OutboxMessage]:
        """The outbox rows of messages (`cycle.Parts.compose`)."""
        return self._outbox.rows(messages, now, self._clock.utc_offset_s())

    def wake(self, receivers: Iterable[str]) -> None:
        """Look at the outbox soon: messages were added or replayed for these."""
        for name in set(receivers) & self._workers.keys():
            self._workers[name].wake()

    def progress(self) -> dict[str, float]:
        """When each worker last made a pass."""
        return {f"delivery to {name}": worker.progressed_at for name, worker in self._workers.items()}

    async def run(self, stop: asyncio.Event, healthy: Callable[[], bool]) -> None:
        """One term as the leader, until `stop` is set. Hearts beat while it is `healthy`.

        Raises `LeaseLostError`, in a group.
        """
        await self._take_over()
        async with asyncio.TaskGroup() as group:
            for name, worker in self._workers.items():
                group.create_task(worker.run(stop), name=f"delivery to {name}")
            for heartbeat in self._heartbeats:
                group.create_task(heartbeat.run(stop, healthy), name=f"heartbeat to {heartbeat.name}")

    async def _take_over(self) -> None:
        """What an earlier process leased is due again; what is for nobody any more is dead, to be seen."""
        now = self._clock.now()

        def transaction(tx: Transaction) -> int:
            tx.outbox.release_leases()
            return tx.outbox.abandon(self._workers, now)

        try:
            abandoned = await self._store.run_leading(transaction)
        except StoreUnavailableError as error:
            # leases that are not given back now run out by themselves
            log.warning("store_unavailable", waiting="deliveries", error=str(error))
        else:
            if abandoned:
                log.warning("notifications_abandoned", messages=abandoned, reason="no such receiver any more")
