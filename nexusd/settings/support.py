"""What a configuration may hold that has no effect, and what else is worth a warning."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import BaseModel, Secret

from nexusd.settings.alerting import WITH_RESOLVE_AFTER, WITH_THRESHOLD, Told, WebhookReceiver, looked_at
from nexusd.settings.model import Settings
from nexusd.settings.values import is_loopback


def warnings(settings: Settings) -> list[str]:
    """All that `config check` prints and the daemon logs at its start: nothing of it stops anything."""
    return [
        *_without_effect(settings),
        *_unexpanded(settings, ""),
        *_receivers(settings),
        *_fleets(settings),
        *_exposed(settings),
    ]


def _without_effect(settings: Settings) -> Iterator[str]:
    cloud = settings.cloudnexus
    if cloud.base_url.startswith("http:"):
        for key in ("proxy", "ca_file"):
            if getattr(cloud, key) is not None:
                yield f"cloudnexus.{key}: has no effect on cloudnexus.base_url, which is plain http"
    for name, rule in settings.alerts.rules.items():
        if rule.threshold_s is not None and name not in WITH_THRESHOLD:
            yield f"alerts.rules.{name}.threshold: has no effect on this rule"
        if rule.resolve_after_s is not None and name not in WITH_RESOLVE_AFTER:
            yield f"alerts.rules.{name}.resolve_after: has no effect on this rule"
        if rule.where is not None and looked_at(name) is None:
            yield f"alerts.rules.{name}.where: has no effect on this rule"
    told = {name for route in settings.routes for name in route.receivers}
    for receiver in settings.receivers:
        if settings.routes and receiver.name not in told and receiver.type != "heartbeat":
            yield f"receivers: no route names {receiver.name}, so it is told nothing"


_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|^\$[A-Za-z_][A-Za-z0-9_]*$")


def _unexpanded(value: object, path: str) -> Iterator[str]:
    """Warn of secrets that hold `${VAR}`, which other programs expand.

    The secret itself is not shown.
    """
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            key = info.alias or name
            yield from _unexpanded(getattr(value, name), f"{path}.{key}" if path else key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _unexpanded(inner, f"{path}.{name}")
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _unexpanded(inner, f"{path}[{number}]")
    elif isinstance(value, Secret) and _VARIABLE.search(str(value.get_secret_value())):
        yield (
            f"{path}: looks like a variable that was not expanded; nexusd does not expand ${{VAR}}: "
            "give the secret by a file or by a NEXUSD_ variable"
        )


def _receivers(settings: Settings) -> Iterator[str]:
    if not any(isinstance(receiver, Told) for receiver in settings.receivers):
        yield "receivers: none is configured, so alerts are shown on the page and sent to no one"
    for number, receiver in enumerate(settings.receivers):
        if not isinstance(receiver, WebhookReceiver):
            continue
        for secret in receiver.secret:
            if _looks_like_base64(secret.get_secret_value()):
                yield (
                    f"receivers[{number}].secret: looks like base64, but its text is the key; "
                    "if the receiver decodes it, write whsec_ before it, else no signature matches"
                )


_SECRET_BYTES = range(24, 65)
"""Standard Webhooks, 1.0: how long a secret is that is written in base64."""


def _looks_like_base64(secret: str) -> bool:
    """Return whether a secret without `whsec_` is likely base64.

    Base64 encodes random bytes, and is not a hexadecimal number.
    """
    mixed_case = re.search("[a-z]", secret) and re.search("[A-Z]", secret)
    if not mixed_case or re.fullmatch(r"[0-9a-fA-F]+", secret):
        return False
    try:
        return len(base64.b64decode(secret, validate=True)) in _SECRET_BYTES
    except (binascii.Error, ValueError):
        return False


def _fleets(settings: Settings) -> Iterator[str]:
    for number, fleet in enumerate(settings.fleets):
        if fleet.replace_stopped and fleet.max_replacements == 0:
            yield f"fleets[{number}].replace_stopped: has no effect while max_replacements is 0"
        if fleet.regions is not None and set(fleet.regions) <= set(fleet.avoid_regions):
            yield f"fleets[{number}].avoid_regions: leaves no region of fleets[{number}].regions"


def _exposed(settings: Settings) -> Iterator[str]:
    host, _ = settings.server.address
    if not is_loopback(host) and settings.server.write_token is None:
        yield (
            f"server.listen: {settings.server.listen} is reachable from other machines and there is no "
            "server.write_token, so requests that change anything are refused unless they come from this one"
        )
    external_host = urlsplit(settings.server.external_url or "").hostname
    if external_host and not is_loopback(external_host) and settings.server.write_token is None:
        yield (
            "server.external_url: is set without server.write_token, so requests that change anything are "
            "refused, including those of the command line on this machine; set server.write_token_file"
        )
    if settings.server.write_token is not None and _same_tokens(settings):
        yield "server.read_token: is the write token, so every reader may write"


def _same_tokens(settings: Settings) -> bool:
    read, write = settings.server.read_token, settings.server.write_token
    return read is not None and write is not None and read.get_secret_value() == write.get_secret_value()
