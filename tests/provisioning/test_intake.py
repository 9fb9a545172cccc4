"""What intake says when another replica was quicker: PostgreSQL shows a row as it was a moment ago."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from nexusd.core.errors import ConflictError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Attempt, Placement, State, Verdict
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.world import World
from nexusd.provisioning.intake import Intake
from tests.fakes import FakeClock

T = TypeVar("T")

HELD = Placement("plc_1", PlacementRequest("worker-01", "pro"), State.HELD, 1.0, 2.0, region="us-east-1")
QUEUED = replace(HELD, state=State.QUEUED, region=None)


class OvertakenStore:
    """One placement, read as it was before another replica moved it: no compare and swap succeeds."""

    leading = True
    epoch = 1

    def __init__(self, placement: Placement) -> None:
        self.placements = self
        self.events = self
        self._placement = placement
        self.appended: list[Event] = []

    async def run(self, transaction: Callable[[Any], T]) -> T:
        return transaction(self)

    async def run_leading(self, transaction: Callable[[Any], T]) -> T:
        return await self.run(transaction)

    async def read(self, transaction: Callable[[Any], T]) -> T:
        return await self.run(transaction)

    def get(self, placement_id: str) -> Placement:
        return self._placement

    def attempts(self, placement_id: str) -> list[Attempt]:
        return [Attempt(placement_id, 1, "us-east-1", 1.0, 2.0, 1)]

    def in_states(self, states: Iterable[State]) -> list[Placement]:
        return [self._placement]

    def plans_of_instances(self, closed_since: float) -> dict[str, str]:
        return {}

    def update(self, placement: Placement, expected: State) -> bool:
        return False

    def append(self, events: list[Event]) -> list[Event]:
        self.appended += events
        return events


@pytest.mark.parametrize(
    ("placement", "change"),
    [
        (QUEUED, lambda intake: intake.cancel("plc_1")),
        (HELD, lambda intake: intake.resolve("plc_1", Verdict.EXISTS)),
    ],
    ids=["cancel", "resolve"],
)
async def test_what_another_replica_has_just_moved_is_a_conflict(
    placement: Placement, change: Callable[[Intake], Awaitable[Placement]]
) -> None:
    store = OvertakenStore(placement)
    told: list[Event] = []
    intake = Intake(World({}), store, FakeClock(), random.Random(1), PlacementPolicy(), told.extend)
    with pytest.raises(ConflictError, match="has just changed"):
        await change(intake)
    assert store.appended == told == []
