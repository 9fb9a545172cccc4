"""What is tracked between two passes makes them quick and changes nothing: beside passes over everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.core.alerting import Tracked, Tracks
from nexusd.core.backlog import Backlog
from nexusd.core.census import counted
from nexusd.core.errors import InputError
from nexusd.core.matchers import parse_matcher
from nexusd.core.muting import UNMUTED
from nexusd.core.notifications import ALL_LABELS, Route, Routing
from nexusd.core.records import Instance
from nexusd.core.rules import Rule
from nexusd.core.rules_custom import condition_over
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.silences import Silence
from tests.core.alert_scenes import only
from tests.core.newsroom import Newsroom
from tests.core.test_alerts_properties import RULES, Step, play, steps
from tests.effort import examples


def _odd(record: Instance) -> bool:
    """Of a pending instance nothing is known."""
    if record.status == "pending":
        raise InputError("no such field")
    return record.status in ("stopped", "terminated")


OWN = Rule("Odd", condition_over("instance", _odd, "odd"), "info", keep_firing_for_s=50.0)
ALL_RULES = (
    *RULES,
    OWN,
    DEFAULT_RULES["Watchdog"],
    only("NoEligibleRegion", for_s=20.0),
    only("NotificationsFailing", threshold=200.0, resolve_after_s=500.0),
)
ROUTINGS = (
    Routing({"ops": True}),
    Routing({"ops": True, "dev": False}, (Route(("ops", "dev"), group_by=(ALL_LABELS,), group_wait_s=0.0),)),
    Routing(
        {"ops": True, "dev": True},
        (
            Route(
                ("ops",),
                (parse_matcher("region=~us.*"),),
                ("region",),
                repeat_interval_s=300.0,
                continues=True,
            ),
            Route(("dev", "ops"), (parse_matcher("alertname!=Odd"),), ("alertname",), 5.0, 30.0, 200.0),
        ),
    ),
)
MATCHERS = ("alertname=InstanceStopped", "region=~us.*", "severity=critical", "instance_id=inst_1")

Action = Step | tuple[str, object]


def actions() -> st.SearchStrategy[list[Action]]:
    silences = st.tuples(
        st.just("silence"), st.tuples(st.sampled_from(MATCHERS), st.sampled_from((30.0, 200.0)))
    )
    backlogs = st.tuples(st.just("backlog"), st.sampled_from(((), (Backlog("ops", dead=1, dead_at=1e6),))))
    rules = st.tuples(st.just("reload"), st.sampled_from((ALL_RULES, ALL_RULES[2:], RULES)))
    long = st.tuples(st.just("time"), st.sampled_from((301.0, 2000.0)))
    renamed = st.tuples(st.just("rename"), st.sampled_from(("a", "b")))
    routed = st.tuples(st.just("route"), st.sampled_from(ROUTINGS))
    more = st.lists(st.one_of(silences, backlogs, rules, long, renamed, routed), max_size=10)
    return st.builds(lambda some, others: [x for xs in _mixed(some, others) for x in xs], steps(), more)


def _mixed(some: list[Step], others: list[tuple[str, object]]) -> list[list[Action]]:
    """The others spread among the steps."""
    every = max(1, len(some) // (len(others) + 1))
    mixed: list[list[Action]] = [[*some[at : at + every]] for at in range(0, len(some), every)]
    for place, other in enumerate(others):
        mixed.insert(min(2 * place + 1, len(mixed)), [other])
    return mixed


def act(room: Newsroom, action: Action) -> None:
    match action:
        case Step():
            play(room, action)
        case ("silence", (str() as matcher, float() as lasts_s)):
            ends_at = room.now + lasts_s
            made = Silence(f"{room.now}", (parse_matcher(matcher),), room.now, ends_at, room.now, "me", "why")
            room.silence(*room.memory.silences.values(), made)
        case ("backlog", tuple() as backlog):
            room.backlog = backlog
            room.evaluate()
        case ("reload", tuple() as rules):
            room.reconfigure(*rules)
            room.evaluate()
        case ("route", Routing() as routing):
            room.alerting = replace(room.alerting, routing=routing)
            room.memory = room.memory.replanned()
            room.evaluate()
        case ("rename", str() as name):
            room.sweep(*(Instance(i.id, f"{name}-{i.id}", i.status, i.region) for i in room.inventory))
        case ("time", float() as seconds):
            room.pass_time(seconds)


def outcome(room: Newsroom) -> dict[str, object]:
    """All that a pass is to others, whatever the order in which it was found."""
    judged, memory = room.judged, room.judged.memory
    assert memory.counts == counted(memory.alerts, memory.muting)
    return {
        "now": room.now,
        "alerts": dict(memory.alerts),
        "saved": {a.fingerprint: a for a in judged.saved},
        "removed": set(judged.removed),
        "said": dict(memory.said),
        "log": {(e.receiver, e.group_key): e for e in judged.log},
        "forgotten": set(judged.forgotten_log),
        "messages": {(m.receiver, m.group_key): m for m in judged.messages},
        "events": sorted(map(repr, judged.events)),
        "muting": memory.muting,
        "counts": memory.counts,
        "next_due": judged.next_due,
    }


class Forgetful(Newsroom):
    """The reference: nothing is tracked, every pass looks at all alerts and all groups."""

    def evaluate(self, **more: object):  # type: ignore[no-untyped-def]
        self.memory = replace(self.memory, tracked=Tracked(None))
        return super().evaluate(**more)


class Sabotaged(Newsroom):
    """What is tracked is spoilt after each pass."""

    def __init__(self, spoil: Callable[[Tracks], None], routing: Routing) -> None:
        super().__init__(*ALL_RULES, routing=routing)
        self.spoil = spoil

    def evaluate(self, **more: object):  # type: ignore[no-untyped-def]
        update = super().evaluate(**more)
        tracks = self.memory.tracked.take(self.alerting, self.memory)
        self.spoil(tracks)
        self.memory = tracks.kept_for(self.alerting, self.memory)
        return update


def differs(room: Newsroom, actions_: list[Action]) -> dict[str, object]:
    """Play it beside the reference; what they do not agree on, {} when they agree all the time."""
    reference = Forgetful(*ALL_RULES, routing=room.alerting.routing)
    for action in actions_:
        act(room, action)
        act(reference, action)
        mine, theirs = outcome(room), outcome(reference)
        if mine != theirs:
            return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
    return {}


@given(st.sampled_from(ROUTINGS), actions())
@settings(max_examples=20, deadline=None)
def test_passes_over_what_changed_come_to_the_same_as_passes_over_everything(
    routing: Routing, actions_: list[Action]
) -> None:
    assert differs(Newsroom(*ALL_RULES, routing=routing), actions_) == {}


@pytest.mark.slow
@given(st.sampled_from(ROUTINGS), actions())
@settings(max_examples=examples(200), deadline=None)
def test_and_so_they_do_in_very_many_histories(routing: Routing, actions_: list[Action]) -> None:
    assert differs(Newsroom(*ALL_RULES, routing=routing), actions_) == {}


STOPS = Step("sweep", 30.0, ("stopped", "running", "running"))
RUNS = Step("sweep", 30.0, ("running", "running", "running"))
UP = Step("regions", 1.0, ("healthy", "healthy"))
STORY: list[Action] = [
    UP, RUNS, STOPS, UP, STOPS, ("silence", ("alertname=InstanceStopped", 200.0)), UP, RUNS, UP,
    ("time", 301.0), UP, RUNS, STOPS, STOPS, UP, ("route", ROUTINGS[0]), UP, RUNS,
    ("time", 2000.0), UP, RUNS, ("time", 2000.0),
]  # fmt: skip


def test_the_story_has_all_that_is_spoilt_below() -> None:
    assert differs(Newsroom(*ALL_RULES), STORY) == {}


def no_timers(tracks: Tracks) -> None:
    tracks.watch._timers.clear()


def no_subjects(tracks: Tracks) -> None:
    tracks.watch._of_subject.clear()


def no_forgetting(tracks: Tracks) -> None:
    tracks.watch._forgetting.__init__()  # type: ignore[misc]


def no_group_timers(tracks: Tracks) -> None:
    tracks.planner._timers.__init__()  # type: ignore[misc]


def no_entries(tracks: Tracks) -> None:
    tracks.planner._named_in.clear()


def stale_silences(tracks: Tracks) -> None:
    mute = tracks.mutes.mute
    tracks.mutes.mute = lambda *_: (UNMUTED, [])  # type: ignore[method-assign]
    assert mute


@pytest.mark.parametrize(
    "spoil", [no_timers, no_subjects, no_forgetting, no_group_timers, no_entries, stale_silences]
)
def test_tracks_that_miss_something_are_noticed(spoil: Callable[[Tracks], None]) -> None:
    routing = ROUTINGS[1]
    try:
        found = differs(Sabotaged(spoil, routing), STORY)
    except (KeyError, AssertionError):
        return
    assert found != {}
