"""From the settings to who is told what: the options of every receiver, the routing. Used by `engine`."""

from __future__ import annotations

from nexusd.core.matchers import parse_matcher
from nexusd.core.notifications import Route, Routing
from nexusd.core.webhook_body import BodyOptions
from nexusd.delivery.deliveries import DeliveryOptions
from nexusd.delivery.heartbeat import HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.tls import TlsFiles
from nexusd.delivery.webhook import WebhookOptions
from nexusd.settings.alerting import HeartbeatReceiver, OverHttp, WebhookReceiver
from nexusd.settings.model import Settings
from nexusd.settings.values import SecretUrl


def delivery_options(settings: Settings) -> DeliveryOptions:
    """What every receiver needs to be told anything."""
    external_url = settings.server.external_url or ""
    return DeliveryOptions(
        webhooks=tuple(_webhook(r) for r in _webhooks(settings)),
        heartbeats=tuple(_heartbeat(r) for r in _heartbeats(settings)),
        bodies={r.name: BodyOptions(external_url, r.max_alerts) for r in _webhooks(settings)},
    )


def _webhooks(settings: Settings) -> list[WebhookReceiver]:
    return [r for r in settings.receivers if isinstance(r, WebhookReceiver)]


def routing(settings: Settings) -> Routing:
    routes = tuple(
        Route(
            receivers=route.receivers,
            matchers=tuple(parse_matcher(text) for text in route.matchers),
            group_by=route.group_by,
            group_wait_s=route.group_wait_s,
            group_interval_s=route.group_interval_s,
            repeat_interval_s=route.repeat_interval_s,
            continues=route.continue_,
        )
        for route in settings.routes
    )
    return Routing({r.name: r.send_resolved for r in _webhooks(settings)}, routes)


def outbox_names(settings: Settings) -> tuple[str, ...]:
    """Under which names messages are in the outbox, and in the metrics of deliveries."""
    return tuple(r.name for r in _webhooks(settings))


def receiver_names(settings: Settings) -> tuple[str, ...]:
    """The same, and who is sent requests without the outbox."""
    return (*outbox_names(settings), *(r.name for r in _heartbeats(settings)))


def _heartbeats(settings: Settings) -> list[HeartbeatReceiver]:
    return [r for r in settings.receivers if isinstance(r, HeartbeatReceiver)]


def _heartbeat(receiver: HeartbeatReceiver) -> HeartbeatOptions:
    http = _http(receiver, receiver.url)
    return HeartbeatOptions(receiver.name, http, receiver.method, receiver.interval_s)


def _webhook(receiver: WebhookReceiver) -> WebhookOptions:
    secrets = tuple(secret.get_secret_value() for secret in receiver.secret)
    return WebhookOptions(receiver.name, _http(receiver, receiver.url), secrets)


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
