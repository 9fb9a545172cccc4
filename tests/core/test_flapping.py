"""An alert that comes and goes too often is told once, and again when it is calm."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as altered

from nexusd.core import flapping
from nexusd.core.alerts import Alert, AlertState
from nexusd.core.polls import INSTANCES
from tests.core.alert_scenes import START, only
from tests.core.alert_scenes import instance as one
from tests.core.newsroom import Newsroom, states

MINUTE = 60.0
HOUR = 3600.0
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


def newsroom(**changes: object) -> Newsroom:
    room = Newsroom(only("InstanceStopped", **changes))
    room.sweep(one(1))
    return room


def flip(room: Newsroom, count: int, every_s: float = MINUTE) -> None:
    """It stops and runs in turn, read every 30 s."""
    for _ in range(count):
        stopped = room.inventory.get("inst_1") != one(1, "stopped")
        for _ in range(int(every_s // 30.0)):
            room.sweep(one(1, "stopped" if stopped else "running"))
            room.pass_time(30.0)


def calm(room: Newsroom, seconds: float) -> None:
    """It is read on, and stays as it is."""
    known = room.inventory.get("inst_1")
    assert known is not None
    for _ in range(int(seconds // 30)):
        room.sweep(known)
        room.pass_time(30.0)


def says_flapping(alert: Alert) -> bool:
    annotations = dict(alert.annotations)
    summary = annotations["summary"].startswith("Flapping: ")
    assert summary is (flapping.ANNOTATION in annotations)
    return summary


def test_sixty_flips_in_an_hour_are_three_messages_of_which_one_says_flapping() -> None:
    room = newsroom()
    flip(room, 60)
    calm(room, HOUR)
    told = room.about("InstanceStopped")
    assert states(told) == [[FIRING], [FIRING], [RESOLVED]]
    assert [says_flapping(alert) for (alert,) in told] == [False, True, False]


def test_one_that_stays_stopped_in_the_end_is_told_no_more() -> None:
    room = newsroom()
    flip(room, 61)
    calm(room, HOUR)
    assert [says_flapping(alert) for (alert,) in room.about("InstanceStopped")] == [False, True]
    alert = room.alert("InstanceStopped")
    assert (alert.state, alert.flapping_since, says_flapping(alert)) == (FIRING, None, False)


@pytest.mark.parametrize("flips", [5, 4, 2])
def test_five_flips_are_not_flapping(flips: int) -> None:
    room = newsroom()
    flip(room, flips)
    calm(room, HOUR)
    assert not any(says_flapping(a) for alerts in room.about("InstanceStopped") for a in alerts)


def test_flips_that_are_far_apart_are_not_flapping() -> None:
    room = newsroom()
    flip(room, 20, every_s=390.0)
    assert not any(says_flapping(a) for alerts in room.about("InstanceStopped") for a in alerts)


def test_flips_are_counted_though_each_end_was_told_and_settled() -> None:
    room = newsroom()
    flip(room, 7, every_s=330.0)
    told = [says_flapping(alert) for (alert,) in room.about("InstanceStopped")]
    assert told == [False] * 3 + [True]


def test_flapping_survives_a_restart() -> None:
    room = newsroom()
    for _ in range(60):
        flip(room, 1)
        room.restart()
    calm(room, HOUR)
    assert [says_flapping(alert) for (alert,) in room.about("InstanceStopped")] == [False, True, False]


def test_it_fires_on_while_it_flaps_and_a_while_after() -> None:
    room = newsroom()
    flip(room, 6)
    assert room.state("InstanceStopped") == "firing"
    last_flip = START + 5 * MINUTE
    calm(room, last_flip + flapping.CALM_AFTER_S - room.now - 30.0)
    assert room.state("InstanceStopped") == "firing"
    calm(room, 60.0)
    assert room.state("InstanceStopped") == "resolved"


def test_what_is_not_known_calms_nothing() -> None:
    room = newsroom()
    flip(room, 6)
    for _ in range(60):
        room.fail(INSTANCES)
        room.pass_time(60.0)
    assert room.alert("InstanceStopped").flapping_since is not None


def test_a_gap_that_keep_firing_for_bridges_is_no_flip() -> None:
    room = newsroom(keep_firing_for_s=90.0)
    flip(room, 60)
    assert room.alert("InstanceStopped").flapping_since is None
    assert len(room.messages) == 1


def test_it_is_in_the_history_when_it_begins_and_when_it_is_over() -> None:
    room = newsroom()
    flip(room, 8)
    assert room.events == ["AlertFired", "AlertResolved"] * 2 + ["AlertFired", "AlertBeganFlapping"]
    room.events.clear()
    calm(room, HOUR)
    assert room.events == ["AlertStoppedFlapping", "AlertResolved"]


def test_a_rule_that_is_no_more_ends_it_at_once() -> None:
    room = newsroom()
    flip(room, 8)
    room.reconfigure(only("InstanceStopped", enabled=False))
    room.evaluate()
    alert = room.alert("InstanceStopped")
    assert (alert.state, alert.flapping_since, says_flapping(alert)) == (RESOLVED, None, False)


def test_what_is_over_is_forgotten_after_half_an_hour() -> None:
    room = newsroom()
    flip(room, 2)
    calm(room, 25 * MINUTE)
    assert room.alert("InstanceStopped").settled
    calm(room, 10 * MINUTE)
    assert room.alerts == {}
    assert "AlertWithdrawn" not in [e.type for e in room.last.events]


def test_own_summary_is_kept() -> None:
    room = newsroom(annotations=(("summary", "mine"),))
    flip(room, 6)
    assert dict(room.alert("InstanceStopped").annotations)["summary"] == "Flapping: mine"


GAPS = st.lists(st.integers(1, 9), min_size=60, max_size=60)
"""Half minutes between 60 flips: each shorter than `group_interval`."""
HALF_HOURS = st.lists(st.integers(1, 60), min_size=10, max_size=60)


@given(GAPS)
@settings(max_examples=15, deadline=None)
def test_however_irregular_three_messages_tell_it_begins_flaps_and_ends(gaps: list[int]) -> None:
    room = newsroom()
    in_order = sorted(gaps, reverse=gaps[0] % 2 == 0) if gaps[-1] % 3 == 0 else gaps
    for gap in in_order:
        flip(room, 1, every_s=gap * 30.0)
    calm(room, HOUR)
    told = room.about("InstanceStopped")
    assert states(told) == [[FIRING], [FIRING], [RESOLVED]]
    assert [says_flapping(alert) for (alert,) in told] == [False, True, False]


@given(HALF_HOURS)
@example([*[1] * 8, 30, 1])  # calm for just long enough, then it flaps anew
@settings(max_examples=15, deadline=None)
def test_whatever_happens_the_last_message_is_true_and_none_says_what_is_known(gaps: list[int]) -> None:
    room = newsroom()
    for gap in gaps:
        flip(room, 1, every_s=gap * 30.0)
    calm(room, HOUR)
    told = [alert for (alert,) in room.about("InstanceStopped")]
    running = room.inventory.get("inst_1") == one(1)
    assert (told[-1].state is RESOLVED) is running
    said = [(alert.state, alert.flapping_since) for alert in told]  # that it flaps anew is news
    assert all(one_said != next_said for one_said, next_said in pairwise(said))


@pytest.mark.parametrize(("fired_min", "told_after_min"), [(2.0, 7.0), (4.5, 9.5), (6.0, 6.0)])
def test_an_end_is_told_once_it_has_lasted_if_it_fired_shortly(
    fired_min: float, told_after_min: float
) -> None:
    room = newsroom()
    flip(room, 1, every_s=fired_min * MINUTE)
    flip(room, 1)
    calm(room, HOUR)
    at = [told_at for told_at, message in room.sent if message.alerts[0].state is RESOLVED]
    assert [told_at - START for told_at in at] == [pytest.approx(told_after_min * MINUTE, abs=31.0)]


def test_the_check_notices_a_machine_that_forgets_what_it_settled() -> None:
    room = newsroom()
    for _ in range(7):
        flip(room, 1, every_s=330.0)
        room.alerts = {f: altered(a, changes=()) if a.settled else a for f, a in room.alerts.items()}
    assert not any(says_flapping(a) for alerts in room.about("InstanceStopped") for a in alerts)
