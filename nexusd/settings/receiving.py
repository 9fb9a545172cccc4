"""From the settings to who is told what: the options of every receiver, the routing. Used by `engine`."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TypeVar

from nexusd.core.matchers import Matcher, parse_matchers
from nexusd.core.notifications import ALL_LABELS, Route, Routing
from nexusd.core.webhook_body import BodyOptions
from nexusd.delivery.alertmanager import AlertmanagerOptions
from nexusd.delivery.apprise import AppriseOptions
from nexusd.delivery.deliveries import DeliveryOptions
from nexusd.delivery.heartbeat import HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.tls import TlsFiles
from nexusd.delivery.webhook import WebhookOptions
from nexusd.settings.alerting import (
    AlertmanagerReceiver,
    AppriseReceiver,
    HeartbeatReceiver,
    OverHttp,
    Told,
    WebhookReceiver,
)
from nexusd.settings.alerting import Route as RouteSettings
from nexusd.settings.model import Settings
from nexusd.settings.values import SecretUrl

R = TypeVar("R")

NOT_NONE = (Matcher("severity", "!=", "none"),)
"""What everybody is told without routes."""
NEVER_S = 10 * 365 * 86_400.0
SHORTEST_S = 1.0
"""Alertmanager, and who reads our routing as its, takes no interval of 0."""


def delivery_options(settings: Settings) -> DeliveryOptions:
    """What every receiver needs to be told anything."""
    external_url = settings.server.public_url
    return DeliveryOptions(
        webhooks=tuple(_webhook(r) for r in _of(WebhookReceiver, settings)),
        alertmanagers=tuple(_alertmanager(r, external_url) for r in _of(AlertmanagerReceiver, settings)),
        apprise=tuple(_apprise(r) for r in _of(AppriseReceiver, settings)),
        heartbeats=tuple(_heartbeat(r) for r in _of(HeartbeatReceiver, settings)),
        bodies={r.name: BodyOptions(external_url, _max_alerts(r)) for r in _told(settings)},
    )


def routing(settings: Settings) -> Routing:
    """Alertmanagers group and repeat by themselves, so they are told each alert at once and alone: by a route
    of their own before each that names them.
    """
    feeds = {r.name for r in _of(AlertmanagerReceiver, settings)}
    receivers = {r.name: r.send_resolved for r in _told(settings)}
    routes = [_route(route) for route in settings.routes]
    if feeds and not routes:
        routes = [Route(tuple(receivers), NOT_NONE)]
    return Routing(receivers, tuple(part for route in routes for part in _parted(route, feeds)))


def _parted(route: Route, feeds: AbstractSet[str]) -> Iterator[Route]:
    fed = tuple(name for name in route.receivers if name in feeds)
    others = tuple(name for name in route.receivers if name not in feeds)
    if fed:
        yield Route(
            fed,
            route.matchers,
            (ALL_LABELS,),
            group_wait_s=0.0,
            group_interval_s=SHORTEST_S,
            repeat_interval_s=NEVER_S,
            continues=route.continues or bool(others),
        )
    if others:
        yield replace(route, receivers=others)


def _route(route: RouteSettings) -> Route:
    return Route(
        receivers=route.receivers,
        matchers=tuple(m for text in route.matchers for m in parse_matchers(text)),
        group_by=route.group_by,
        group_wait_s=route.group_wait_s,
        group_interval_s=route.group_interval_s,
        repeat_interval_s=route.repeat_interval_s,
        continues=route.continue_,
    )


def outbox_names(settings: Settings) -> tuple[str, ...]:
    """Under which names messages are in the outbox, and in the metrics of deliveries."""
    addresses = delivery_options(settings).addresses
    return tuple(name for r in _told(settings) for name in addresses.get(r.name, (r.name,)))


def receiver_names(settings: Settings) -> tuple[str, ...]:
    """The same, and who is sent requests without the outbox."""
    return (*outbox_names(settings), *(r.name for r in _of(HeartbeatReceiver, settings)))


def _of(kind: type[R], settings: Settings) -> list[R]:
    return [r for r in settings.receivers if isinstance(r, kind)]


def _told(settings: Settings) -> list[Told]:
    """Who takes notifications."""
    return [r for r in settings.receivers if isinstance(r, Told)]


def _max_alerts(receiver: Told) -> int:
    return receiver.max_alerts if isinstance(receiver, WebhookReceiver) else 0


def _webhook(receiver: WebhookReceiver) -> WebhookOptions:
    secrets = tuple(secret.get_secret_value() for secret in receiver.secret)
    return WebhookOptions(receiver.name, _http(receiver, receiver.url), secrets)


def _alertmanager(receiver: AlertmanagerReceiver, external_url: str) -> AlertmanagerOptions:
    targets = tuple(_http(receiver, url) for url in receiver.urls)
    return AlertmanagerOptions(receiver.name, targets, receiver.send_resolved, external_url)


def _apprise(receiver: AppriseReceiver) -> AppriseOptions:
    urls = tuple(url.get_secret_value() for url in receiver.urls)
    return AppriseOptions(receiver.name, urls, receiver.timeout_s)


def _heartbeat(receiver: HeartbeatReceiver) -> HeartbeatOptions:
    http = _http(receiver, receiver.url)
    return HeartbeatOptions(receiver.name, http, receiver.method, receiver.interval_s)


def _http(receiver: OverHttp, url: SecretUrl | None) -> HttpOptions:
    authorization, tls = receiver.authorization, receiver.tls
    return HttpOptions(
        url=url.get_secret_value() if url is not None else "",
        headers={name: value.get_secret_value() for name, value in receiver.headers.items()},
        authorization=authorization.header().get_secret_value() if authorization is not None else None,
        timeout_s=receiver.timeout_s,
        networks=receiver.networks,
        tls=TlsFiles(tls.ca_file, tls.cert_file, tls.key_file) if tls is not None else None,
    )
