"""Options that several commands share, and the environment variables behind them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:9650"


class Output(StrEnum):
    """How a result is printed. `table`: with colours on a terminal, plain columns in a pipe."""

    TABLE = "table"
    JSON = "json"


PLANS = ("starter", "pro", "enterprise")
PLACEMENT_STATES = (
    "queued",
    "creating",
    "verifying",
    "provisioning",
    "held",
    "running",
    "failed",
    "cancelled",
    "expired",
)
INSTANCE_STATUSES = ("pending", "provisioning", "running", "stopped", "terminated")
ALERT_STATES = ("pending", "firing", "suppressed", "resolved")
MESSAGE_STATES = ("pending", "sent", "dead")
EVENT_TYPES = (
    "AlertBecamePending",
    "AlertBeganFlapping",
    "AlertFired",
    "AlertInhibited",
    "AlertResolved",
    "AlertSilenced",
    "AlertStoppedFlapping",
    "AlertUnmuted",
    "AlertWithdrawn",
    "InstanceAppeared",
    "InstanceStatusChanged",
    "InstanceVanished",
    "PlacementAccepted",
    "PlacementStateChanged",
    "RegionAppeared",
    "RegionCapacityChanged",
    "RegionStatusChanged",
    "RegionVanished",
    "SilenceChanged",
    "SilenceCreated",
    "SilenceExpired",
)


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Complete a value.

    The daemon checks it: a daemon of another version may have other values.
    """
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


Url = Annotated[str, typer.Option("--url", envvar="NEXUSD_URL", metavar="URL", help="URL of the daemon.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="NEXUSD_TOKEN",
        metavar="TOKEN",
        show_default=False,
        help="API token. Prefer the environment variable: command lines are visible to other users.",
    ),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="Output format.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        show_default=False,
        help="Configuration file. Default: $NEXUSD_CONFIG, else /etc/nexusd/nexusd.yaml if it exists.",
    ),
]
