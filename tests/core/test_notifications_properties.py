"""What holds of notifications whatever alerts do: nothing that fired is lost, nothing is said twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.matchers import parse_matcher
from nexusd.core.muting import mute
from nexusd.core.notifications import LoggedNotification, LogKey, Message, Route, Routing
from nexusd.core.planning import plan
from nexusd.core.silences import Silence
from tests.effort import examples

START = 1_000_000.0
LABELS = tuple(
    tuple(sorted({"alertname": name, "severity": "warning", "region": region}.items()))
    for name in ("A", "B")
    for region in ("eu", "us")
)
ROUTINGS = (
    Routing({"ops": True, "dev": True}),
    Routing(
        {"ops": True, "dev": True}, (Route(("ops",), continues=True), Route(("dev",), group_by=("...",)))
    ),
    Routing(
        {"ops": True, "dev": True},
        (Route(("dev",), (parse_matcher("alertname=A"),), group_wait_s=0.0), Route(("ops",))),
    ),
)


@dataclass
class Office:
    """Alerts flip, time passes, messages are kept with the time at which they were made."""

    routing: Routing
    forgets: bool = False
    forgets_muted: bool = False
    silences: list[Silence] = field(default_factory=list)
    now: float = START
    alerts: dict[str, Alert] = field(default_factory=dict)
    log: dict[LogKey, LoggedNotification] = field(default_factory=dict)
    sent: list[tuple[float, Message]] = field(default_factory=list)
    fired: dict[str, set[float]] = field(default_factory=lambda: defaultdict(set))
    due: float | None = None

    def flip(self, number: int) -> None:
        labels = LABELS[number]
        mark = fingerprint(labels)
        alert = self.alerts.get(mark)
        if alert is not None and alert.state is AlertState.FIRING:
            self.alerts[mark] = altered(alert, state=AlertState.RESOLVED, resolved_at=self.now)
        else:
            self.alerts[mark] = Alert(mark, labels, (), AlertState.FIRING, self.now, self.now)
            self.fired[mark].add(self.now)
        self.tell()

    def wait(self, seconds: float) -> None:
        """Plan whenever it is due, as the cycle does."""
        until = self.now + seconds
        while self.due is not None and self.due <= until:
            assert self.due > self.now, "planning again at once would change nothing: it would spin"
            self.now = self.due
            self.tell()
        self.now = until
        self.tell()

    def tell(self) -> None:
        muting = mute(self.alerts.values(), self.silences, self.now)
        planned = plan(self.alerts.values(), self.routing, self.log, self.now, muting)
        assert not any(alert in muting for message in planned.messages for alert in message.alerts)
        self.sent += [(self.now, message) for message in planned.messages]
        self.log.update({(e.receiver, e.group_key): e for e in planned.log})
        for key in planned.forgotten_log:
            del self.log[key]
        for mark in planned.settled:
            del self.alerts[mark]
        if self.forgets or self.forgets_muted:
            over = {f for f, a in self.alerts.items() if a.state is AlertState.RESOLVED}
            over = over & muting.muted.keys() if self.forgets_muted else over
            self.alerts = {f: a for f, a in self.alerts.items() if f not in over}
        self.due = min((due for due in (planned.next_due, muting.next_due) if due is not None), default=None)

    def silence(self, alertname: str, seconds: float) -> None:
        matchers = (parse_matcher(f"alertname={alertname}"),)
        ends_at = self.now + seconds
        self.silences.append(Silence(alertname, matchers, self.now, ends_at, self.now, "me", "why"))
        self.tell()


def receivers_of(labels: tuple[tuple[str, str], ...], routing: Routing) -> set[str]:
    if not routing.routes or routing.routes[0].continues:
        return {"ops", "dev"}
    return {"dev"} if dict(labels)["alertname"] == "A" else {"ops"}


def check(office: Office) -> None:
    """After all is over: everything that fired was told to everybody concerned, and that it ended."""
    for labels in LABELS:
        mark = fingerprint(labels)
        if not office.fired[mark]:
            continue
        for receiver in receivers_of(labels, office.routing):
            told = [
                alert
                for _, message in office.sent
                for alert in message.alerts
                if message.receiver == receiver and alert.fingerprint == mark
            ]
            assert told or office.silences, "it fired and nobody was told"
            assert not told or told[-1].state is AlertState.RESOLVED, (
                "the last that was said is that it fires"
            )
    assert office.alerts == {}
    assert office.log == {}
    by_group: dict[tuple[str, str], list[tuple[float, Message]]] = defaultdict(list)
    for at, message in office.sent:
        by_group[message.receiver, message.group_key].append((at, message))
    for messages in by_group.values():
        for (before, first), (at, second) in pairwise(messages):
            same = content(first) == content(second)
            still_firing = any(a.state is AlertState.FIRING for a in first.alerts)
            assert not (same and still_firing) or at - before >= 4 * 3600.0
            assert not still_firing or at - before >= 300.0


def content(message: Message) -> set[tuple[str, AlertState, float | None]]:
    """What a message says; an alert that ended, fired again and ended again is news."""
    ended = AlertState.RESOLVED
    return {(a.fingerprint, a.state, a.fired_at if a.state is ended else None) for a in message.alerts}


WAITS = st.sampled_from((1.0, 9.0, 11.0, 299.0, 400.0, 15_000.0))
ACTIONS = st.lists(st.one_of(st.integers(0, 3), WAITS), max_size=30)
SILENCES = st.tuples(st.sampled_from("AB"), st.sampled_from((5.0, 100.0, 700.0)))


@given(st.sampled_from(ROUTINGS), ACTIONS)
@settings(max_examples=examples(200), deadline=None)
def test_what_fired_is_told_to_all_concerned_and_nothing_is_said_twice(
    routing: Routing, actions: list[int | float]
) -> None:
    office = Office(routing)
    play(office, actions)
    check(office)


@given(st.sampled_from(ROUTINGS), st.lists(st.one_of(st.integers(0, 3), WAITS, SILENCES), max_size=30))
@settings(max_examples=examples(200), deadline=None)
def test_what_was_told_to_fire_is_told_to_have_ended_whatever_is_silenced_meanwhile(
    routing: Routing, actions: list[int | float | tuple[str, float]]
) -> None:
    office = Office(routing)
    play(office, actions)
    check(office)


def play(office: Office, actions: Sequence[int | float | tuple[str, float]]) -> None:
    for action in actions:
        if isinstance(action, int):
            office.flip(action)
        elif isinstance(action, tuple):
            office.silence(*action)
        else:
            office.wait(action)
    for number, labels in enumerate(LABELS):
        alert = office.alerts.get(fingerprint(labels))
        if alert is not None and alert.state is AlertState.FIRING:
            office.flip(number)
    office.wait(2000.0)


def test_the_check_notices_who_forgets_an_alert_before_its_end_was_told() -> None:
    office = Office(ROUTINGS[0], forgets=True)
    play(office, [0, 400.0])
    with pytest.raises(AssertionError):
        check(office)


def test_the_check_notices_who_forgets_an_alert_that_ended_while_it_was_silenced() -> None:
    actions = [0, 400.0, ("A", 700.0), 0, 900.0]
    office = Office(ROUTINGS[0], forgets_muted=True)
    play(office, actions)
    with pytest.raises(AssertionError):
        check(office)
    right = Office(ROUTINGS[0])
    play(right, actions)
    check(right)
