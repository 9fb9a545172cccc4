"""The sections of the configuration that concern alerting: rules, routes and receivers."""

from __future__ import annotations

import base64
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.settings.sections import Name, Section, ShortText, duration
from nexusd.settings.values import (
    ONE_OR_MANY,
    Seconds,
    SecretText,
    SecretUrl,
    Whole,
    check_http_url,
    custom,
    one_or_many,
    refused,
)

RULE_NAMES = tuple(DEFAULT_RULES)
"""Every rule of product.md, section 4."""

WITH_THRESHOLD = frozenset(r.name for r in DEFAULT_RULES.values() if r.threshold is not None)
WITH_RESOLVE_AFTER = frozenset(r.name for r in DEFAULT_RULES.values() if r.resolve_after_s is not None)


def looked_at(rule: str) -> str | None:
    """What a rule's `where` is over: `region`, `instance`, `fleet`, or None where it has no effect."""
    kinds = {"Region": "region", "Instance": "instance", "Fleet": "fleet"}
    return next((kind for prefix, kind in kinds.items() if rule.startswith(prefix)), None)


LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=128)]
Labels = dict[LabelName, Annotated[str, StringConstraints(max_length=4096)]]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=128)]


def _header_value(value: SecretText) -> SecretText:
    text = value.get_secret_value()
    if not text.isprintable() or not text.isascii():
        raise refused("a header's value is one line of ASCII text")
    return value


def _secret_url(value: SecretUrl) -> SecretUrl:
    check_http_url(value.get_secret_value())
    return value


HttpUrl = Annotated[SecretUrl, AfterValidator(_secret_url)]
Headers = dict[HeaderName, Annotated[SecretText, AfterValidator(_header_value)]]


class Rule(Section):
    """One entry of `alerts.rules`; a key that is absent keeps the rule's own default."""

    enabled: bool = Field(default=True, description="Whether the rule is evaluated.")
    for_s: Seconds | None = duration("for", None, "How long the condition must hold before it fires.")
    keep_firing_for_s: Seconds | None = duration(
        "keep_firing_for", None, "How long it fires on after the condition has ended."
    )
    severity: ShortText | None = Field(default=None, description="Value of the `severity` label.")
    threshold_s: Seconds | None = duration(
        "threshold",
        None,
        "The limit of `RegionLatencyHigh`, `InstanceStuck`, `PlacementDelayed`, `NotificationsFailing`.",
    )
    where: str | None = Field(
        default=None, description="CEL over `instance`, `region` or `fleet`: what the rule looks at."
    )
    labels: Labels = Field(default={}, description="Labels to add.")
    annotations: Labels = Field(default={}, description="Annotations to add or replace.")
    resolve_after_s: Seconds | None = duration(
        "resolve_after", None, "When an alert about one event ends by itself.", at_least_s=1.0
    )


class CustomRule(Section):
    """One entry of `alerts.custom`: a rule of your own."""

    name: LabelName = Field(description="The alert's name; unique, and not a built-in one.")
    each: Literal["instance", "region", "fleet"] = Field(description="What it looks at.")
    when: str = Field(description="CEL over it: the condition.")
    where: str | None = Field(default=None, description="CEL over it: what the rule looks at.")
    enabled: bool = Field(default=True, description="Whether the rule is evaluated.")
    for_s: Seconds = duration("for", 0.0, "How long the condition must hold before it fires.")
    keep_firing_for_s: Seconds = duration(
        "keep_firing_for", 0.0, "How long it fires on after the condition has ended."
    )
    severity: ShortText = Field(default="warning", description="Value of the `severity` label.")
    labels: Labels = Field(default={}, description="Labels to add.")
    annotations: Labels = Field(default={}, description="Annotations to add.")


class Alerts(Section):
    """`alerts`: which conditions are told, and when."""

    rules: dict[str, Rule] = Field(
        default={},
        description="Changes to the built-in rules, by name.",
        json_schema_extra={"propertyNames": {"enum": list(RULE_NAMES)}},
    )
    custom: tuple[CustomRule, ...] = Field(default=(), description="Rules of your own.")

    def rule(self, name: str) -> Rule:
        """The changes to one rule; none when the file has none."""
        return self.rules.get(name, Rule())


class Route(Section):
    """One entry of `routes`: the first that matches takes the alert, and with `continue` the next as well."""

    matchers: tuple[str, ...] = Field(
        default=(), description='Alertmanager matchers, such as `severity="critical"`; all must match.'
    )
    receivers: tuple[Name, ...] = Field(min_length=1, description="Names of the receivers to tell.")
    group_by: tuple[Annotated[str, StringConstraints(pattern=r"^(\.\.\.|[a-zA-Z_][a-zA-Z0-9_]*)$")], ...] = (
        Field(default=("alertname",), description="Labels whose values make a group; `...` is all of them.")
    )
    group_wait_s: Seconds = duration("group_wait", 10.0, "How long a new group waits for more alerts.")
    group_interval_s: Seconds = duration(
        "group_interval", 300.0, "Least time between two messages about a changed group.", at_least_s=1.0
    )
    repeat_interval_s: Seconds = duration(
        "repeat_interval", 14400.0, "When a group that has not changed is told again.", at_least_s=1.0
    )
    continue_: bool = Field(default=False, alias="continue", description="Look at the next routes as well.")


class Authorization(Section):
    """`authorization` of a receiver: `Bearer` with `credentials`, or `Basic` with user and password."""

    type: Literal["Bearer", "Basic"] = Field(default="Bearer", description="The scheme.")
    credentials: SecretText | None = Field(default=None, description="The bearer token.")
    credentials_file: Path | None = Field(default=None, description="A file that holds the bearer token.")
    username: str | None = Field(default=None, description="For `Basic`.")
    password: SecretText | None = Field(default=None, description="For `Basic`.")
    password_file: Path | None = Field(default=None, description="A file that holds the password.")

    def header(self) -> SecretText:
        """The value of the `Authorization` header."""
        if self.type == "Bearer":
            return SecretText(f"Bearer {self.credentials.get_secret_value() if self.credentials else ''}")
        password = self.password.get_secret_value() if self.password else ""
        pair = base64.b64encode(f"{self.username}:{password}".encode()).decode()
        return SecretText(f"Basic {pair}")


class ReceiverTls(Section):
    """`tls` of a receiver. Certificates and host names are always checked."""

    ca_file: Path | None = Field(
        default=None, description="Authorities to trust instead of the system's; read again when it changes."
    )
    cert_file: Path | None = Field(
        default=None, description="A certificate to show to the receiver; read again when it changes."
    )
    key_file: Path | None = Field(
        default=None, description="Its key, when that is not in the same file; without a password."
    )


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise custom("a network such as 10.20.0.0/16") from None
    return text


Network = Annotated[str, AfterValidator(_network)]


class _Receiver(Section):
    name: Name = Field(description="By which routes refer to it; unique.")
    timeout_s: Seconds = duration("timeout", 10.0, "How long one request may take.", at_least_s=0.1)


class Told(_Receiver):
    """What takes notifications."""

    send_resolved: bool = Field(default=True, description="Whether ends are told, too.")


class OverHttp(_Receiver):
    """What is asked by HTTP."""

    headers: Headers = Field(default={}, description="Headers to add to each request.")
    authorization: Authorization | None = Field(default=None, description="Bearer or basic authentication.")
    tls: ReceiverTls | None = Field(default=None, description="Certificates; absent: the system's.")
    networks: tuple[Network, ...] = Field(
        default=(), description="Private networks that a public name in the URL may lead to."
    )


class WebhookReceiver(Told, OverHttp):
    """Alertmanager's webhook body, POSTed to a URL."""

    type: Literal["webhook"] = Field(description="The kind of receiver.")
    url: HttpUrl | None = Field(default=None, description="Where to POST; a secret.")
    url_file: Path | None = Field(default=None, description="A file that holds the URL.")
    secret: Annotated[tuple[SecretText, ...], BeforeValidator(one_or_many), WithJsonSchema(ONE_OR_MANY)] = (
        Field(
            default=(),
            description="Signs messages (Standard Webhooks); a list while rotating, the newest first.",
        )
    )
    secret_file: Annotated[tuple[Path, ...], BeforeValidator(one_or_many), WithJsonSchema(ONE_OR_MANY)] = (
        Field(default=(), description="Files that hold the secrets, one or a list.")
    )
    max_alerts: Whole = Field(default=0, ge=0, description="Alerts in one message, at most; 0 is no limit.")


class AlertmanagerReceiver(Told, OverHttp):
    """Alerts POSTed to Alertmanagers."""

    type: Literal["alertmanager"] = Field(description="The kind of receiver.")
    urls: Annotated[tuple[HttpUrl, ...], BeforeValidator(one_or_many), WithJsonSchema(ONE_OR_MANY)] = Field(
        default=(), description="Base URLs of every Alertmanager; secrets."
    )
    urls_file: Annotated[tuple[Path, ...], BeforeValidator(one_or_many), WithJsonSchema(ONE_OR_MANY)] = Field(
        default=(), description="Files that hold the URLs, one or a list."
    )


class HeartbeatReceiver(OverHttp):
    """A URL asked for while the daemon is healthy (dead-man's switch)."""

    type: Literal["heartbeat"] = Field(description="The kind of receiver.")
    url: HttpUrl | None = Field(default=None, description="Where to send; a secret.")
    url_file: Path | None = Field(default=None, description="A file that holds the URL.")
    method: Literal["GET", "POST"] = Field(default="GET", description="The HTTP method.")
    interval_s: Seconds = duration("interval", 60.0, "Time between two beats.", at_least_s=1.0)


class AppriseReceiver(Told):
    """Any service that Apprise knows."""

    type: Literal["apprise"] = Field(description="The kind of receiver.")
    urls: Annotated[tuple[SecretText, ...], BeforeValidator(one_or_many), WithJsonSchema(ONE_OR_MANY)] = (
        Field(default=(), description="Apprise URLs, each of one service; secrets.")
    )
    urls_file: Annotated[tuple[Path, ...], BeforeValidator(one_or_many), WithJsonSchema(ONE_OR_MANY)] = Field(
        default=(), description="Files that hold the URLs, one or a list."
    )


Receiver = Annotated[
    WebhookReceiver | AlertmanagerReceiver | HeartbeatReceiver | AppriseReceiver, Field(discriminator="type")
]
