"""The forms of what `/api/v2/` answers, with the names of Alertmanager's OpenAPI description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from msgspec import Meta

from nexusd.core.silences import SilenceState
from nexusd.web.schemas import Fingerprint, Time


class Receiver(TypedDict):
    name: str


class AlertStatus(TypedDict):
    inhibitedBy: Sequence[str]
    mutedBy: Sequence[str]
    silencedBy: Sequence[str]
    state: Annotated[str, Meta(extra_json_schema={"enum": ["active", "suppressed", "unprocessed"]})]


class GettableAlert(TypedDict):
    """An alert that fires."""

    annotations: dict[str, str]
    endsAt: Time
    fingerprint: Fingerprint
    receivers: list[Receiver]
    startsAt: Time
    status: AlertStatus
    updatedAt: Time
    generatorURL: str
    labels: dict[str, str]


class AlertGroup(TypedDict):
    """Alerts that one receiver is told of together."""

    alerts: list[GettableAlert]
    labels: dict[str, str]
    receiver: Receiver


class Matcher(TypedDict):
    isEqual: bool
    isRegex: bool
    name: str
    value: str


class SilenceStatus(TypedDict):
    state: SilenceState


class GettableSilence(TypedDict):
    """A silence, be it over or not."""

    id: str
    status: SilenceStatus
    updatedAt: Time
    comment: str
    createdBy: str
    endsAt: Time
    matchers: list[Matcher]
    startsAt: Time


class SilenceId(TypedDict):
    silenceID: str


class ClusterStatus(TypedDict):
    status: Annotated[str, Meta(extra_json_schema={"enum": ["ready", "settling", "disabled"]})]
    peers: list[str]


class AlertmanagerConfig(TypedDict):
    """nexusd's routing in Alertmanager's words: YAML."""

    original: str


class VersionInfo(TypedDict):
    version: str
    revision: str
    branch: str
    buildUser: str
    buildDate: str
    goVersion: str


class AlertmanagerStatus(TypedDict):
    """`uptime` is when nexusd started."""

    cluster: ClusterStatus
    config: AlertmanagerConfig
    uptime: Time
    versionInfo: VersionInfo
