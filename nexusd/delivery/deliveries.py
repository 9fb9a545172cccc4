"""All that goes out to receivers: a worker for each address, the rows they work on, heartbeats, and tests.
Owned by `engine`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import structlog

from nexusd.core.errors import ConfigError, InputError, NotFoundError, StoreUnavailableError
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions
from nexusd.core.world import World
from nexusd.delivery.alertmanager import AlertmanagerOptions, AlertmanagerReceiver
from nexusd.delivery.apprise import THREADS, AppriseOptions, AppriseReceiver
from nexusd.delivery.heartbeat import Heartbeat, HeartbeatOptions
from nexusd.delivery.http import HttpTarget
from nexusd.delivery.outbox import OutboxOptions, OutboxWriter
from nexusd.delivery.trial import timed, trial_message
from nexusd.delivery.webhook import WebhookOptions, WebhookReceiver
from nexusd.delivery.worker import DeliveryWorker, WorkerOptions
from nexusd.ports import Clock, Delivery, Metrics, OutboxMessage, Receiver, ReceiverTest, Store, Transaction

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """`bodies`: by receiver, how its messages are rendered."""

    webhooks: tuple[WebhookOptions, ...] = ()
    alertmanagers: tuple[AlertmanagerOptions, ...] = ()
    apprise: tuple[AppriseOptions, ...] = ()
    heartbeats: tuple[HeartbeatOptions, ...] = ()
    bodies: Mapping[str, BodyOptions] = field(default_factory=dict)

    @property
    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Of receivers that have several: under which name each has its messages."""
        feeds = {o.name: o.addresses for o in self.alertmanagers}
        return feeds | {o.name: o.addresses for o in self.apprise}


@dataclass(frozen=True, slots=True)
class _Outlet:
    """One address that messages go to. `owner`: the configured receiver that it belongs to."""

    owner: str
    type: str
    receiver: Receiver
    worker: WorkerOptions


class Deliveries:
    """Raises `ConfigError` for a receiver that can never work."""

    def __init__(
        self,
        options: DeliveryOptions,
        world: World,
        store: Store,
        clock: Clock,
        rng: Random,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._resenders = []
        for o in options.alertmanagers:
            for n in range(len(o.targets)):
                with _naming(o.name):
                    self._resenders.append(AlertmanagerReceiver(o, n, world, store, clock, metrics))
        self._outlets = [
            *_webhooks(options, clock),
            *map(_alertmanager, self._resenders),
            *_apprise(options),
        ]
        self._workers = {
            o.receiver.name: DeliveryWorker(o.receiver, store, clock, rng, metrics, o.worker)
            for o in self._outlets
        }
        self._heartbeats = []
        for beating in options.heartbeats:
            with _naming(beating.name):
                self._heartbeats.append(Heartbeat(beating, clock, metrics))
        self._replayed = 0
        self._outbox = OutboxWriter(OutboxOptions(options.bodies, options.addresses), rng)

    async def compose(self, messages: Sequence[Message], now: float) -> list[OutboxMessage]:
        """The outbox rows of messages (`cycle.Parts.compose`). Those that a worker has room for are leased to
        it; it is given them by `added`.
        """

        def lease(address: str, size: int) -> float | None:
            worker = self._workers.get(address)
            return worker.claim(size, now) if worker is not None else None

        return await self._outbox.rows(messages, now, self._clock.utc_offset_s(), lease)

    def added(self, messages: Iterable[OutboxMessage]) -> None:
        """These are in the outbox now. To be told of all that `compose` has made, in that order."""
        by_address: dict[str, list[OutboxMessage]] = {}
        for message in messages:
            by_address.setdefault(message.receiver, []).append(message)
        for address, theirs in by_address.items():
            worker = self._workers.get(address)
            if worker is not None:
                if any(m.leased_until is None for m in theirs):
                    worker.wake()  # first, or what it is given now would go before these, which may be older
                worker.take(m for m in theirs if m.leased_until is not None)

    def wake(self, receivers: Iterable[str]) -> None:
        """Look at the outbox soon: messages were replayed for these."""
        self._replayed += 1
        for name in set(receivers) & self._workers.keys():
            self._workers[name].wake()

    @property
    def changes(self) -> int:
        """Grows whenever a message was tried in vain, or delivered after that, given up, or replayed."""
        return self._replayed + sum(worker.troubles for worker in self._workers.values())

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
            repeating = [
                *(group.create_task(r.run(), name=f"resending to {r.name}") for r in self._resenders),
                *(group.create_task(h.run(healthy), name=f"heartbeat to {h.name}") for h in self._heartbeats),
            ]
            await stop.wait()
            for task in repeating:
                task.cancel()  # whatever it was about to say is said again by the next term

    async def test(self, name: str | None) -> list[ReceiverTest]:
        """Send a marked notification to the receiver (None: to all), past the outbox: it is not tried again.

        Raises `NotFoundError` for one that does not exist.
        """
        beats = [(h.name, h.name, "heartbeat", h.beat) for h in self._heartbeats]
        sends = [(o.owner, o.receiver.name, o.type, self._sending(o)) for o in self._outlets]
        known = sorted({owner for owner, *_ in sends + beats})
        if name is not None and name not in known:
            there_are = f"there are {', '.join(known)}" if known else "none is configured"
            raise NotFoundError(f"there is no receiver {name}; {there_are}")
        chosen = [test for test in sends + beats if name in (None, test[0])]
        answers = await asyncio.gather(*(timed(send()) for *_, send in chosen))
        return [
            ReceiverTest(shown, kind, delivery, duration_s)
            for (_, shown, kind, _), (delivery, duration_s) in zip(chosen, answers, strict=True)
        ]

    def _sending(self, outlet: _Outlet) -> Callable[[], Awaitable[Delivery]]:
        async def send() -> Delivery:
            now, utc_offset_s = self._clock.now(), self._clock.utc_offset_s()
            rows = await self._outbox.rows([trial_message(outlet.owner, now)], now, utc_offset_s)
            row = next(row for row in rows if row.receiver == outlet.receiver.name)
            delivery = await outlet.receiver.send(row)
            self._metrics.notification_request(outlet.receiver.name, delivery.code)
            return delivery

        return send

    async def close(self) -> None:
        """Let the connections go that tests have made; terms close their own."""
        for outlet in self._outlets:
            await outlet.receiver.close()
        for heartbeat in self._heartbeats:
            await heartbeat.close()

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


def check(options: DeliveryOptions, clock: Clock) -> None:
    """Raises `ConfigError` for a receiver that can never work, as `Deliveries` would."""
    list(_webhooks(options, clock))
    list(_apprise(options))
    targets = [(o.name, target) for o in options.alertmanagers for target in o.targets]
    for name, target in [*targets, *((o.name, o.http) for o in options.heartbeats)]:
        with _naming(name):
            HttpTarget(name, target, clock)


def _webhooks(options: DeliveryOptions, clock: Clock) -> Iterator[_Outlet]:
    for webhook in options.webhooks:
        with _naming(webhook.name):
            receiver = WebhookReceiver(webhook, clock)
        yield _Outlet(webhook.name, "webhook", receiver, WorkerOptions.within(webhook.http.timeout_s))


def _alertmanager(receiver: AlertmanagerReceiver) -> _Outlet:
    return _Outlet(receiver.owner, "alertmanager", receiver, WorkerOptions.within(receiver.timeout_s))


def _apprise(options: DeliveryOptions) -> Iterator[_Outlet]:
    for apprise in options.apprise:
        worker = WorkerOptions.within(apprise.timeout_s, THREADS)
        for number in range(len(apprise.urls)):
            yield _Outlet(apprise.name, "apprise", AppriseReceiver(apprise, number), worker)


@contextmanager
def _naming(receiver: str) -> Iterator[None]:
    """What is wrong with options says whose they are."""
    try:
        yield
    except InputError as error:
        raise ConfigError(f"receivers: {receiver}: {error}") from error
