"""Grouping, waiting, repeating, routing: who is told what, and when."""

from __future__ import annotations

from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.matchers import parse_matcher
from nexusd.core.notifications import (
    MAX_GROUP_KEY_BYTES,
    LoggedNotification,
    LogKey,
    Message,
    Route,
    Routing,
)
from nexusd.core.planning import plan

T0 = 1_000_000.0
OPS = Routing({"ops": True})


def fired(name: str = "RegionUnhealthy", at: float = T0, **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": name, "severity": "warning", **labels}.items()))
    return Alert(fingerprint(pairs), pairs, (("summary", name),), AlertState.FIRING, at, at)


def ended(alert: Alert, at: float) -> Alert:
    return altered(alert, state=AlertState.RESOLVED, resolved_at=at)


class Desk:
    """Plans, and remembers the log and the alerts as the store would."""

    def __init__(self, routing: Routing = OPS) -> None:
        self.routing = routing
        self.alerts: dict[str, Alert] = {}
        self.log: dict[LogKey, LoggedNotification] = {}
        self.next_due: float | None = None

    def put(self, *alerts: Alert) -> None:
        self.alerts.update({a.fingerprint: a for a in alerts})

    def at(self, now: float) -> tuple[Message, ...]:
        planned = plan(self.alerts.values(), self.routing, self.log, now)
        self.log.update({(e.receiver, e.group_key): e for e in planned.log})
        for key in planned.forgotten_log:
            del self.log[key]
        for mark in planned.settled:
            del self.alerts[mark]
        self.next_due = planned.next_due
        return planned.messages


def test_a_new_group_waits_for_more_of_it() -> None:
    desk = Desk()
    first, second = fired(region="eu-west-2"), fired(region="us-east-1", at=T0 + 9.0)
    desk.put(first)
    assert desk.at(T0) == ()
    assert desk.next_due == T0 + 10.0
    desk.put(second)
    assert desk.at(T0 + 9.0) == ()
    (message,) = desk.at(T0 + 10.0)
    assert set(message.alerts) == {first, second}
    assert message.group_key == '{}:{alertname="RegionUnhealthy"}'
    assert message.group_labels == (("alertname", "RegionUnhealthy"),)


def test_alerts_of_different_names_are_different_messages() -> None:
    desk = Desk()
    desk.put(fired("A"), fired("B"))
    assert {m.group_key for m in desk.at(T0 + 10.0)} == {'{}:{alertname="A"}', '{}:{alertname="B"}'}


def test_what_was_told_is_not_told_again() -> None:
    desk = Desk()
    desk.put(fired())
    assert len(desk.at(T0 + 10.0)) == 1
    assert desk.at(T0 + 11.0) == ()
    assert desk.at(T0 + 3600.0) == ()
    assert desk.next_due == T0 + 10.0 + 4 * 3600.0


def test_it_is_repeated_after_the_repeat_interval() -> None:
    desk = Desk()
    desk.put(fired())
    desk.at(T0 + 10.0)
    assert len(desk.at(T0 + 10.0 + 4 * 3600.0)) == 1


def test_a_change_of_a_known_group_waits_for_the_group_interval() -> None:
    desk = Desk()
    desk.put(fired(region="a"))
    desk.at(T0 + 10.0)
    desk.put(fired(region="b", at=T0 + 20.0))
    assert desk.at(T0 + 30.0) == ()
    assert desk.next_due == T0 + 310.0
    (message,) = desk.at(T0 + 310.0)
    assert len(message.alerts) == 2


def test_the_end_is_told_once_and_then_the_alert_is_forgotten() -> None:
    desk = Desk()
    alert = fired()
    desk.put(alert)
    desk.at(T0 + 10.0)
    desk.put(ended(alert, T0 + 1000.0))
    assert desk.at(T0 + 1000.0) == ()
    assert desk.alerts
    (message,) = desk.at(T0 + 1010.0)
    assert message.alerts == (ended(alert, T0 + 1000.0),)
    assert (desk.alerts, desk.log, desk.next_due) == ({}, {}, None)


def test_an_alert_that_ends_before_it_could_be_told_is_told_as_ended() -> None:
    desk = Desk()
    desk.put(ended(fired(), T0 + 3.0))
    assert desk.at(T0 + 3.0) == ()
    assert len(desk.at(T0 + 10.0)) == 1
    assert desk.alerts == {}


def test_a_second_short_incident_is_told_though_the_end_of_the_first_was() -> None:
    desk = Desk()
    desk.put(fired(region="b"), ended(fired(region="a"), T0 + 3.0))
    assert len(desk.at(T0 + 10.0)) == 1
    again = ended(fired(region="a", at=T0 + 1000.0), T0 + 1003.0)
    desk.put(again)
    (message,) = desk.at(T0 + 1010.0)
    assert again in message.alerts


def test_a_receiver_that_is_not_told_of_ends_hears_only_of_firing() -> None:
    desk = Desk(Routing({"ops": False}))
    alert = fired()
    desk.put(alert)
    assert len(desk.at(T0 + 10.0)) == 1
    desk.put(ended(alert, T0 + 1000.0))
    assert desk.at(T0 + 1010.0) == ()
    assert (desk.alerts, desk.log) == ({}, {})


def test_a_receiver_that_is_not_told_of_ends_hears_of_the_next_time_it_fires() -> None:
    desk = Desk(Routing({"ops": False}))
    a, b = fired(region="a"), fired(region="b")
    desk.put(a, b)
    desk.at(T0 + 10.0)
    desk.put(ended(a, T0 + 1000.0))
    assert desk.at(T0 + 1010.0) == ()
    desk.put(fired(region="a", at=T0 + 2000.0))
    (message,) = desk.at(T0 + 2010.0)
    assert len(message.alerts) == 2


def test_a_flap_within_the_group_interval_is_not_told() -> None:
    desk = Desk()
    desk.put(fired())
    desk.at(T0 + 10.0)
    desk.put(ended(fired(), T0 + 60.0))
    desk.at(T0 + 60.0)
    desk.put(fired(at=T0 + 90.0))
    assert desk.at(T0 + 310.0) == ()


def test_an_alert_that_is_pending_again_is_told_to_have_ended() -> None:
    desk = Desk()
    alert = fired()
    desk.put(alert)
    desk.at(T0 + 10.0)
    again = altered(ended(alert, T0 + 1000.0), state=AlertState.PENDING, active_at=T0 + 1005.0)
    desk.put(again)
    (message,) = desk.at(T0 + 1010.0)
    assert message.alerts == (again,)
    assert desk.at(T0 + 1020.0) == ()
    assert desk.alerts


def test_an_expired_alert_is_told_once_and_kept() -> None:
    desk = Desk()
    alert = fired()
    desk.put(alert)
    desk.at(T0 + 10.0)
    expired = altered(ended(alert, T0 + 1000.0), expired=True)
    desk.put(expired)
    assert len(desk.at(T0 + 1010.0)) == 1
    assert desk.at(T0 + 90_000.0) == ()
    assert desk.alerts == {alert.fingerprint: expired}
    desk.put(altered(expired, expired=False))
    assert desk.at(T0 + 90_010.0) == ()
    assert (desk.alerts, desk.log) == ({}, {})


def test_an_expired_alert_does_not_ride_along_with_later_messages() -> None:
    desk = Desk()
    old = altered(ended(fired(region="a"), T0 + 5.0), expired=True)
    desk.put(old)
    desk.at(T0 + 10.0)
    fresh = fired(region="b", at=T0 + 5000.0)
    desk.put(fresh)
    (message,) = desk.at(T0 + 5010.0)
    assert message.alerts == (fresh,)
    assert desk.at(T0 + 5020.0) == ()


def test_pending_alerts_are_told_to_nobody() -> None:
    desk = Desk()
    desk.put(altered(fired(), state=AlertState.PENDING, fired_at=None))
    assert desk.at(T0 + 3600.0) == ()
    assert desk.alerts


def test_without_routes_all_but_severity_none_go_to_every_receiver() -> None:
    desk = Desk(Routing({"ops": True, "dev": True}))
    desk.put(fired("Watchdog", severity="none"), fired("A"))
    assert {(m.receiver, m.group_key) for m in desk.at(T0 + 10.0)} == {
        ("ops", '{}:{alertname="A"}'),
        ("dev", '{}:{alertname="A"}'),
    }


def test_with_routes_the_first_match_takes_the_alert() -> None:
    routes = (
        Route(("ops",), (parse_matcher('severity="critical"'),)),
        Route(("dev",), (parse_matcher('severity=~"warning|critical"'),)),
    )
    desk = Desk(Routing({"ops": True, "dev": True}, routes))
    desk.put(fired("A", severity="critical"), fired("B"), fired("C", severity="info"))
    assert {(m.receiver, m.group_key) for m in desk.at(T0 + 10.0)} == {
        ("ops", '{}/{severity="critical"}:{alertname="A"}'),
        ("dev", '{}/{severity=~"warning|critical"}:{alertname="B"}'),
    }


def test_an_alert_that_no_route_matches_is_not_sent_and_forgotten_when_it_ends() -> None:
    desk = Desk(Routing({"ops": True}, (Route(("ops",), (parse_matcher("severity=critical"),)),)))
    desk.put(fired())
    assert desk.at(T0 + 3600.0) == ()
    desk.put(ended(fired(), T0 + 3601.0))
    desk.at(T0 + 3601.0)
    assert desk.alerts == {}


def test_continue_offers_the_alert_to_the_next_route_too() -> None:
    routes = (Route(("ops",), continues=True), Route(("dev",)), Route(("never",)))
    desk = Desk(Routing({"ops": True, "dev": True, "never": True}, routes))
    desk.put(fired())
    assert [m.receiver for m in desk.at(T0 + 10.0)] == ["ops", "dev"]


def test_group_by_several_labels_and_by_all() -> None:
    routes = (
        Route(("ops",), group_by=("alertname", "region"), continues=True),
        Route(("dev",), group_by=("...",)),
    )
    desk = Desk(Routing({"ops": True, "dev": True}, routes))
    desk.put(fired(region="a", name_="x"), fired(region="a", name_="y"), fired(region="b"))
    messages = desk.at(T0 + 10.0)
    assert sorted(len(m.alerts) for m in messages if m.receiver == "ops") == [1, 2]
    assert [len(m.alerts) for m in messages if m.receiver == "dev"] == [1, 1, 1]


def test_intervals_are_the_routes_own() -> None:
    route = Route(("ops",), group_wait_s=0.0, group_interval_s=60.0, repeat_interval_s=600.0)
    desk = Desk(Routing({"ops": True}, (route,)))
    desk.put(fired())
    assert len(desk.at(T0)) == 1
    assert desk.next_due == T0 + 600.0
    desk.put(fired(region="b", at=T0 + 5.0))
    assert desk.at(T0 + 59.0) == ()
    assert len(desk.at(T0 + 60.0)) == 1


def test_a_receiver_that_is_no_more_holds_nothing_back() -> None:
    desk = Desk(Routing({"ops": True, "old": True}))
    desk.put(fired())
    desk.at(T0 + 10.0)
    desk.routing = OPS
    desk.put(ended(fired(), T0 + 1000.0))
    assert len(desk.at(T0 + 1010.0)) == 1
    assert (desk.alerts, desk.log) == ({}, {})


def test_labels_are_quoted_in_the_group_key() -> None:
    desk = Desk()
    desk.put(fired('a"b\\c\nd'))
    (message,) = desk.at(T0 + 10.0)
    assert message.group_key == '{}:{alertname="a\\"b\\\\c\\nd"}'


def test_the_key_of_a_group_is_bounded_and_stays_different_for_different_groups() -> None:
    """It is a key of the store, and labels may hold whatever the operator or CloudNexus writes."""
    routing = Routing({"ops": True}, (Route(("ops",), group_by=("note",), group_wait_s=0.0),))
    desk = Desk(routing)
    texts = ("\U0001f600" * 4_000, "\U0001f600" * 4_000 + "x", "short")
    desk.put(*(fired(note=text) for text in texts))
    keys = {message.group_key for message in desk.at(T0)}
    assert len(keys) == len(texts)
    assert max(len(key.encode()) for key in keys) <= MAX_GROUP_KEY_BYTES
    assert any(key.endswith('{note="short"}') for key in keys)
