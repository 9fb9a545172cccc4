"""The life of a placement: its states and every transition, as pure functions (product.md, section 3).

queued ──begin──▶ creating ──created──▶ provisioning ──running──▶ running ■
  ▲                  │ └─unknown─▶ verifying ──found──▶ provisioning
  └──refused, absent─┘                └── past hold_after ──▶ held
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nexusd.core.placement import PlacementRequest


class State(StrEnum):
    QUEUED = "queued"
    CREATING = "creating"
    VERIFYING = "verifying"
    PROVISIONING = "provisioning"
    HELD = "held"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


CLOSED = frozenset({State.RUNNING, State.FAILED, State.CANCELLED, State.EXPIRED})
OPEN = frozenset(State) - CLOSED
IN_DOUBT = frozenset({State.CREATING, State.VERIFYING, State.HELD})


class Outcome(StrEnum):
    """How an attempt ended; an attempt without one is in doubt."""

    CREATED = "created"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ADOPTED = "adopted"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Placement:
    """One placement as stored. `attempts` counts those begun; `instance_id` None until it is known.

    `provisioning_at`: when the create was known to have happened. `failed_at` is `updated_at` once failed.
    """

    id: str
    request: PlacementRequest
    state: State
    created_at: float
    updated_at: float
    reason: str | None = None
    region: str | None = None
    instance_id: str | None = None
    attempts: int = 0
    provisioning_at: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST, written and synced before its first byte (I1).

    `send_deadline`: when the POST is surely over. `epoch`: the lease term that made it; a later term cannot
    know what became of it. `outcome` None: no answer was recorded.
    """

    placement_id: str
    number: int
    region: str
    sent_at: float
    send_deadline: float
    epoch: int
    outcome: Outcome | None = None
    detail: str | None = None
