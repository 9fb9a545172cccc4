"""The alertmanager receiver: alerts POSTed to one Alertmanager as Prometheus does it (product.md, section 4).
Used by `worker`, and run by `deliveries`.

That an alert began or ended is a message of the outbox. Beside that, what this Alertmanager was told is told
again every minute from what is true now: a firing alert until it ends, its end for another 15 minutes. An
Alertmanager takes an alert that it does not hear of any more for ended, and one that was restarted may know
of none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import structlog

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.backlog import addresses_of
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.webhook_body import rfc3339
from nexusd.core.world import World
from nexusd.delivery.beside import about_bytes
from nexusd.delivery.complaints import Complaints
from nexusd.delivery.http import HttpOptions, HttpTarget
from nexusd.ports import Clock, Delivery, Metrics, OutboxMessage, Store

log = structlog.get_logger(__name__)

RESEND_S = 60.0
"""Prometheus: `--rules.alert.resend-delay`."""
VALID_S = 4 * RESEND_S
"""How long an Alertmanager takes an alert for firing that it hears of no more (Prometheus: four delays)."""
RESOLVED_S = 900.0
"""How long an end is told again (Prometheus: resolvedRetention)."""
BATCH = 256
"""Alerts in one request."""
PATH = "api/v2/alerts"


@dataclass(frozen=True, slots=True)
class AlertmanagerOptions:
    """`targets`: each Alertmanager's base URL; they hear the same, each in its own time."""

    name: str
    targets: tuple[HttpOptions, ...]
    send_resolved: bool = True
    external_url: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The name of each target in the outbox, in metrics and logs."""
        return addresses_of(self.name, len(self.targets))


class _Postable(msgspec.Struct, rename="camel", omit_defaults=True):
    """Alertmanager's API, version 2: postableAlert."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str
    generator_url: str = msgspec.field(name="generatorURL", default="")


class _Said(_Postable):
    """An alert in a message of ours, with what is in there besides."""

    status: str = ""
    fingerprint: str = ""


class _Body(msgspec.Struct):
    alerts: list[_Said]


_DECODER = msgspec.json.Decoder(_Body)


class AlertmanagerReceiver:
    """`ports.Receiver` for the target at `index`. Raises `InputError` or `ConfigError` for options that can
    never work.
    """

    def __init__(
        self,
        options: AlertmanagerOptions,
        index: int,
        world: World,
        store: Store,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._name = options.addresses[index]
        self._http = options.targets[index]
        self._target = HttpTarget(self._name, self._http, clock, PATH)
        self._world = world
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._told: dict[str, float] = {}
        self._complaints = Complaints("resending", self._name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def owner(self) -> str:
        """The configured receiver that it is an address of."""
        return self._options.name

    @property
    def timeout_s(self) -> float:
        return self._http.timeout_s

    async def send(self, message: OutboxMessage) -> Delivery:
        """The message's alerts; one that fires is valid from now, however long the message has waited."""
        until = rfc3339(self._target.utc() + VALID_S)
        try:
            fingerprints, body = await about_bytes(len(message.body), _translated, message.body, until)
        except msgspec.DecodeError:
            return Delivery("rejected", "invalid", "the message is not one of alerts")
        delivery = await self._target.request("POST", body)
        if delivery.outcome == "delivered":
            self._told.update(dict.fromkeys(fingerprints, message.created_at))
        return delivery

    async def close(self) -> None:
        await self._target.close()

    async def run(self) -> None:
        """Tell again at once and every minute, for ever."""
        remembered = False
        while True:
            remembered = remembered or await self._remember()
            await self.resend()
            await asyncio.sleep(RESEND_S)

    async def resend(self) -> None:
        """Tell what it was told before, as it is now."""
        alerts = list(self._current(self._clock.now()))
        for start in range(0, len(alerts), BATCH):
            body = msgspec.json.encode(alerts[start : start + BATCH])
            delivery = await self._target.request("POST", body)
            self._metrics.notification_request(self._name, delivery.code)
            self._complaints.hear(delivery)
            if delivery.outcome != "delivered":
                return  # what is left is told a minute later

    async def _remember(self) -> bool:
        """What an earlier process told. False: the store is away."""
        try:
            entries = await self._store.run(lambda tx: tx.notification_log.load())
        except StoreUnavailableError as error:
            log.warning("store_unavailable", waiting=f"resending to {self._name}", error=str(error))
            return False
        for entry in entries:
            if entry.receiver == self._options.name:
                self._told |= dict.fromkeys(entry.firing | entry.resolved, entry.at)
        return True

    def _current(self, now: float) -> Iterator[_Postable]:
        """The alerts to tell again; those that need it no more are forgotten."""
        for fingerprint, told_at in tuple(self._told.items()):
            alert = self._world.alerts.get(fingerprint)
            ends_at = _ends_at(alert, told_at, now) if alert is not None else None
            if alert is None or ends_at is None:
                del self._told[fingerprint]
            elif alert.state is AlertState.FIRING or self._options.send_resolved:
                yield self._as_it_is(alert, ends_at)

    def _as_it_is(self, alert: Alert, ends_at: float) -> _Postable:
        offset_s = self._clock.utc_offset_s()
        starts_at = alert.fired_at if alert.fired_at is not None else alert.active_at
        return _Postable(
            dict(alert.labels),
            dict(alert.annotations),
            rfc3339(starts_at + offset_s),
            rfc3339(ends_at + offset_s),
            self._options.external_url,
        )


def _ends_at(alert: Alert, told_at: float, now: float) -> float | None:
    """Until when an alert that was told at that time is to be taken for true; None: not to be told again."""
    if alert.state is AlertState.FIRING:
        of_this_time = alert.fired_at is None or alert.fired_at <= told_at
        return now + VALID_S if of_this_time else None
    if alert.resolved_at is not None and now < alert.resolved_at + RESOLVED_S:
        return alert.resolved_at
    return None


def _translated(message: bytes, until: str) -> tuple[list[str], bytes]:
    """The fingerprints of a message's alerts, and what to POST of them. Raises `DecodeError`."""
    said = _DECODER.decode(message).alerts
    return [alert.fingerprint for alert in said], msgspec.json.encode([_postable(a, until) for a in said])


def _postable(said: _Said, until: str) -> _Postable:
    ends_at = until if said.status == AlertState.FIRING else said.ends_at
    return _Postable(said.labels, said.annotations, said.starts_at, ends_at, said.generator_url)
