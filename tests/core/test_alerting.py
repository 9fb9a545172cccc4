"""A whole pass: when messages are planned anew, and when that can be saved."""

from __future__ import annotations

import pytest

from nexusd.core import rules_instances
from nexusd.core.matchers import parse_matcher
from nexusd.core.polls import INSTANCES, REGIONS
from nexusd.core.silences import Silence
from tests.core.alert_scenes import EU, US, instance, only
from tests.core.newsroom import Newsroom


def test_a_pass_in_which_no_alert_changes_plans_nothing() -> None:
    room = Newsroom(only("Watchdog"), only("InstanceStopped"))
    room.sweep(instance(1))
    room.pass_time(60.0)
    before = room.memory
    room.sweep(instance(1))
    assert room.memory == before
    assert room.memory.muting is before.muting


def test_an_outage_that_only_says_how_long_it_lasts_is_written_and_plans_nothing() -> None:
    room = Newsroom(only("CloudAPIUnreachable"))
    room.regions(EU, US)
    room.later(60.0).fail(REGIONS)
    room.fail(INSTANCES)
    room.pass_time(60.0)
    before = room.memory
    update = room.later(15.0).fail(REGIONS)
    assert [a.name for a in update.changed] == ["CloudAPIUnreachable"]
    assert room.memory.muting is before.muting
    assert len(room.messages) == 1


def test_a_message_says_what_is_true_when_it_is_made() -> None:
    room = Newsroom(only("CloudAPIUnreachable"))
    room.regions(EU, US)
    room.later(46.0).fail(REGIONS)
    room.fail(INSTANCES)
    room.later(9.0).fail(REGIONS)
    room.pass_time(60.0)
    (message,) = room.messages
    assert "for 56s" in dict(message.alerts[0].annotations)["description"]


def test_silences_that_change_are_obeyed_though_no_alert_does() -> None:
    room = Newsroom(only("Watchdog", severity="critical"))
    room.evaluate()
    room.silence(Silence("s", (parse_matcher("a!=b"),), room.now, room.now + 60.0, room.now, "me", "why"))
    assert len(room.memory.muting.muted) == 1
    same = room.memory.silenced(dict(room.memory.silences))
    assert same is room.memory


def test_a_pass_is_due_when_a_silence_begins_or_ends() -> None:
    room = Newsroom(only("Watchdog", severity="critical"))
    room.evaluate()
    room.pass_time(60.0)
    now = room.now
    room.silence(Silence("s", (parse_matcher("a!=b"),), now + 100.0, now + 200.0, now, "me", "why"))
    assert room.due == now + 100.0
    room.pass_time(150.0)
    assert (len(room.memory.muting.muted), room.due) == (1, now + 200.0)
    room.pass_time(100.0)
    assert room.memory.muting.muted == {}


def test_alerts_stored_without_the_label_instance_are_kept_or_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Newsroom(only("InstanceStopped"), only("InstanceVanished"))
    with monkeypatch.context() as earlier:
        earlier.setattr(rules_instances, "instance_labels", lambda i: {"instance_id": i.id, "name": i.name})
        room.sweep(instance(1), instance(2))
        for _ in range(2):
            room.later(30.0).sweep(instance(1, "stopped"))
        room.pass_time(60.0)
    assert len(room.messages) == 2
    room.restart()
    room.later(30.0).sweep(instance(1, "stopped"))
    assert {(a.name, a.label("instance")): a.state.value for a in room.alerts.values()} == {
        ("InstanceStopped", ""): "resolved",
        ("InstanceStopped", "web-1"): "firing",
        ("InstanceVanished", ""): "firing",
    }
    room.pass_time(360.0)
    [message] = room.messages[2:]
    assert sorted((a.label("instance"), a.state.value) for a in message.alerts) == [
        ("", "resolved"),
        ("web-1", "firing"),
    ]
