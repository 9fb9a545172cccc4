"""Alerts: from what is known to pending, firing and resolved (product.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AlertState(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, and all that is remembered of it. `fingerprint` is Alertmanager's, 16 hex digits.

    `active_at`: when the condition was first seen to hold. `fired_at`: when it last began to fire.
    `resolved_at`: when it last ended, None while it fires; a pending alert that was resolved shortly before
    keeps it, so that the end is still told. `keep_firing_since`: when the condition was first seen not to
    hold while the alert fires on (`keep_firing_for`). `expired`: it was resolved by `resolve_after` while
    its condition still holds, and does not fire again before that has ended.
    """

    fingerprint: str
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    state: AlertState
    active_at: float
    fired_at: float | None = None
    resolved_at: float | None = None
    keep_firing_since: float | None = None
    expired: bool = False
