"""An outage of the API is one message, and one when it ends, whatever the fleet (reliability.md, I5)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from nexusd.core.alerts import AlertState
from nexusd.core.lifecycle import Placement, State
from nexusd.core.notifications import Message
from nexusd.core.placement import PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.records import Instance
from nexusd.core.rules_default import DEFAULT_RULES
from tests.core.alert_scenes import EU, US, instance
from tests.core.newsroom import Newsroom

MINUTE = 60.0
FLEET = tuple(instance(n) for n in range(10_000))


class Polling:
    """Regions are read every 15 s and instances every 30 s, or fail to be, each at its own second."""

    def __init__(self, room: Newsroom, fleet: tuple[Instance, ...] = FLEET) -> None:
        self.room = room
        self.fleet = fleet
        self.reason: str | None = None
        self._next = {REGIONS: room.now, INSTANCES: room.now + 4.0}

    def run(self, seconds: float) -> None:
        until = self.room.now + seconds
        while min(self._next.values()) <= until:
            resource = min(self._next, key=lambda name: self._next[name])
            self.room.pass_time(self._next[resource] - self.room.now)
            self._poll(resource)
            self._next[resource] += 15.0 if resource == REGIONS else 30.0
        self.room.pass_time(until - self.room.now)

    def _poll(self, resource: str) -> None:
        if self.reason is not None:
            self.room.fail(resource, self.reason)
        elif resource == REGIONS:
            self.room.regions(EU, US)
        else:
            self.room.sweep(*self.fleet)


def said(messages: list[Message]) -> list[tuple[str, list[str]]]:
    return [(m.alerts[0].name, [a.state.value for a in m.alerts]) for m in messages]


OUTAGE = [("CloudAPIUnreachable", ["firing"]), ("CloudAPIUnreachable", ["resolved"])]


def test_over_ten_thousand_instances() -> None:
    room = Newsroom()
    polling = Polling(room)
    polling.run(MINUTE)
    polling.reason = "connect"
    polling.run(20 * MINUTE)
    assert said(room.messages) == OUTAGE[:1]
    polling.reason = None
    polling.run(60 * MINUTE)
    assert said(room.messages) == OUTAGE


@pytest.mark.parametrize("seed", range(5))
def test_whenever_it_begins_and_however_long_it_takes(seed: int) -> None:
    rng = random.Random(seed)
    room = Newsroom()
    polling = Polling(room, FLEET[:50])
    polling.run(MINUTE + rng.uniform(0.0, 60.0))
    polling.reason = rng.choice(["connect", "timeout", "server_error", "dns"])
    polling.run(rng.uniform(2 * MINUTE, 200 * MINUTE))
    if rng.random() < 0.5:
        room.restart()
    polling.run(rng.uniform(0.0, 60.0))
    polling.reason = None
    polling.run(30 * MINUTE)
    assert said(room.messages) == OUTAGE


def test_what_waits_because_of_it_is_not_told() -> None:
    room = Newsroom()
    polling = Polling(room, FLEET[:50])
    polling.run(MINUTE)
    request = PlacementRequest("web-1", "pro")
    room.placements = (Placement("plc_1", request, State.QUEUED, room.now, room.now),)
    polling.reason = "connect"
    polling.run(60 * MINUTE)
    assert room.count("PlacementDelayed") == 1
    polling.reason = None
    polling.run(20.0)
    room.placements = ()
    polling.run(30 * MINUTE)
    assert said(room.messages) == OUTAGE


def test_what_fired_before_is_neither_resolved_nor_told_again() -> None:
    room = Newsroom()
    polling = Polling(room, FLEET[:50])
    polling.run(MINUTE)
    polling.fleet = (instance(0, "stopped"), *FLEET[1:50])
    polling.run(MINUTE)
    polling.reason = "connect"
    polling.run(60 * MINUTE)
    polling.reason = None
    polling.run(30 * MINUTE)
    assert said(room.messages) == [("InstanceStopped", ["firing"]), *OUTAGE]


def test_a_rule_that_takes_unknown_for_false_is_noticed() -> None:
    def judge(facts: object, rule: object) -> object:
        judgement = right.condition.judge(facts, rule)  # type: ignore[arg-type]
        return replace(judgement, known=True)

    right = DEFAULT_RULES["InstanceStopped"]
    wrong = replace(right, condition=replace(right.condition, judge=judge, continues=None))  # type: ignore[arg-type]
    others = [rule for rule in DEFAULT_RULES.values() if rule.name != right.name]
    room = Newsroom(*others, wrong)
    polling = Polling(room, FLEET[:50])
    polling.run(MINUTE)
    polling.fleet = (instance(0, "stopped"), *FLEET[1:50])
    polling.run(MINUTE)
    polling.reason = "connect"
    polling.run(60 * MINUTE)
    assert room.alert("InstanceStopped").state is not AlertState.FIRING
