"""What a run is given: a seed, a length, the faults; and the engine's settings in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from nexusd.core.errors import InputError
from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.placement import PlacementPolicy, Spread
from nexusd.provisioning.following import FollowOptions
from nexusd.provisioning.worker import ProvisioningOptions


class Fault(StrEnum):
    """What goes wrong. docs/simulator.md tells each in a sentence."""

    KILL = "kill"
    CLOCK = "clock"
    LOST_ANSWER = "lost-answer"
    LATE_REQUEST = "late-request"
    LIST_LAG = "list-lag"
    ODD_ANSWER = "odd-answer"
    CAPACITY = "capacity"
    DRY = "dry"
    THROTTLE = "throttle"
    QUOTA = "quota"
    AUTH = "auth"
    REJECT = "reject"
    PARTITION = "partition"
    PARTIAL_SWEEP = "partial-sweep"
    EMPTY_LIST = "empty-list"
    STORE = "store"
    REGION = "region"
    NAMESAKE = "namesake"
    RENAME = "rename"


TIMEOUT_S = 10.0
SETTLE_S = 60.0
POLL_S = {"regions": 10.0, "instances": 20.0}
CREATES_PER_MINUTE = 120.0
MAX_PER_REGION = 90
OPERATOR_EVERY_S = 15.0
"""How often the operator resolves the placements that only an operator can."""


def engine_options() -> ProvisioningOptions:
    """The engine's settings in every run: its defaults, but quicker, so that a day holds more."""
    policy = PlacementPolicy(
        max_data_age_s=3 * POLL_S["regions"],
        max_inventory_age_s=3 * POLL_S["instances"],
        max_per_region=MAX_PER_REGION,
    )
    follow = FollowOptions(
        timeout_s=TIMEOUT_S, settle_s=SETTLE_S, provisioning_timeout_s=200.0, hold_after_s=600.0
    )
    return ProvisioningOptions(policy, follow, max_creates_per_minute=CREATES_PER_MINUTE)


FLEETS = Fleets(
    (
        FleetSpec("web", 20, "pro"),
        FleetSpec("db", 6, "pro", spread=Spread("db"), replace_stopped=True, max_replacements=2),
        FleetSpec("Edge", 8, "starter", regions=("us-west-2", "eu-west-2")),
    ),
    max_inventory_age_s=3 * POLL_S["instances"],
    recovery_s=120.0,
)
"""Declared in every run. Their instances last minutes, so they are replaced all the time."""


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """`days` of virtual time. `variant`: the name of a broken engine, to see that it is caught."""

    seed: int = 1
    days: float = 1.0
    faults: frozenset[Fault] = field(default_factory=lambda: frozenset(Fault))
    variant: str | None = None


def parse_faults(text: str) -> frozenset[Fault]:
    """`all`, `none`, or kinds joined by commas. Raises `InputError`."""
    if text in {"all", "none"}:
        return frozenset(Fault if text == "all" else ())
    return frozenset(_fault(name.strip()) for name in text.split(","))


def _fault(name: str) -> Fault:
    try:
        return Fault(name)
    except ValueError:
        raise InputError(f"{name!r} is no fault: use all, none, or some of {joined(Fault)}") from None


def joined(names: Iterable[str]) -> str:
    return ", ".join(names)
