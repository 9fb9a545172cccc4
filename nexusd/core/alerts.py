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
    """One alert. `fingerprint` is Alertmanager's (see `fingerprint`), 16 hex digits.

    `active_at`: when the condition was first seen to hold. `fired_at`, `resolved_at`: None until then.
    """

    fingerprint: str
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    state: AlertState
    active_at: float
    fired_at: float | None = None
    resolved_at: float | None = None
