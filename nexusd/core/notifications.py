"""Notifications: from alerts to messages, by Alertmanager's rules (product.md, section 4). Used by `cycle`.

A message goes to one receiver about one group: the alerts of one route that agree on the labels of
`group_by`. When it goes out follows from the alerts and from the notification log (what each receiver was
last told of each group), so nothing else has to survive a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cmp_to_key
from hashlib import sha256

from nexusd.core import flapping
from nexusd.core.alerts import Alert, AlertState
from nexusd.core.matchers import OPERATORS, Matcher, all_match, quoted
from nexusd.core.rules_notifications import NOTIFICATIONS_FAILING

ALL_LABELS = "..."
"""As `group_by`: every alert is a group of its own, as in Alertmanager."""

MAX_GROUP_KEY_BYTES = 1_024
"""With a receiver's name it is a key of the store; PostgreSQL indexes at most 2,704 bytes."""

Labels = tuple[tuple[str, str], ...]
LogKey = tuple[str, str]
"""Receiver and group key."""


@dataclass(frozen=True, slots=True)
class LoggedNotification:
    """What a receiver was last told about a group (Alertmanager's nflog): what was said, not what is true.

    `firing`, `resolved`: the fingerprints it was told of as such and that still matter.
    """

    receiver: str
    group_key: str
    at: float
    firing: frozenset[str]
    resolved: frozenset[str]


@dataclass(frozen=True, slots=True)
class Route:
    """Which alerts go to whom, and when (Alertmanager: route). Durations in seconds.

    `continues`: alerts that match here are offered to the next routes too.
    """

    receivers: tuple[str, ...]
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ("alertname",)
    group_wait_s: float = 10.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 4 * 3600.0
    continues: bool = False

    @property
    def key(self) -> str:
        """As Alertmanager names a route: its root is `{}`, and matchers are sorted."""
        ordered = sorted(self.matchers, key=lambda m: (m.name, m.value, OPERATORS.index(m.operator)))
        return "{}/{" + ",".join(str(m) for m in ordered) + "}"


@dataclass(frozen=True, slots=True)
class Routing:
    """`receivers`: each with whether it is told of resolved alerts (`send_resolved`). `routes` empty: every
    alert but those of severity `none` goes to every receiver.
    """

    receivers: Mapping[str, bool]
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One notification. `alerts` are firing or have ended; never empty."""

    receiver: str
    group_key: str
    group_labels: Labels
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class NotificationPlan:
    """What to send now and what to remember of it, to be committed together.

    `settled`: resolved alerts of which everybody was told who is to be (`alerts.settle`). `forgotten_log`:
    entries of groups that are over. `next_due`: when to plan again if no alert changes before.
    """

    messages: tuple[Message, ...] = ()
    log: tuple[LoggedNotification, ...] = ()
    settled: tuple[str, ...] = ()
    forgotten_log: tuple[LogKey, ...] = ()
    next_due: float | None = None


def routes_of(routing: Routing) -> tuple[Route, ...]:
    """The routes that apply: the configured ones, or the one that stands for none."""
    if routing.routes:
        return routing.routes
    return (Route(tuple(routing.receivers), (Matcher("severity", "!=", "none"),)),)


def receivers_of(alert: Alert, routing: Routing) -> tuple[str, ...]:
    """Whom the alert is routed to, each once."""
    routes = [(route, "") for route in routes_of(routing)]
    named = (name for route, _ in _routes_of(alert, routes) for name in route.receivers)
    told = (name for name in named if name in routing.receivers and not _about(alert, name))
    return tuple(dict.fromkeys(told))


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """Alerts that a receiver is told of together."""

    receiver: str
    labels: Labels
    alerts: tuple[Alert, ...]


def grouped(firing: Iterable[Alert], routing: Routing) -> list[AlertGroup]:
    """Firing alerts by receiver and group."""
    places = Places(routing)
    groups: dict[LogKey, Group] = {}
    for alert in firing:
        for place in places.of(alert):
            groups.setdefault((place.receiver, place.key), place).alerts[alert.fingerprint] = alert
    return [AlertGroup(g.receiver, g.labels, tuple(g.alerts.values())) for g in groups.values()]


@dataclass(slots=True)
class Group:
    """The alerts of one route and receiver that share `labels`: firing, or ended; the muted apart. By
    fingerprint.
    """

    route: Route
    receiver: str
    sends_resolved: bool
    key: str
    labels: Labels
    alerts: dict[str, Alert]
    muted: dict[str, Alert]


class Places:
    """Which groups alerts belong to. That follows from their labels alone."""

    def __init__(self, routing: Routing) -> None:
        self._receivers = routing.receivers
        self._routes = [(route, route.key if routing.routes else "{}") for route in routes_of(routing)]

    def of(self, alert: Alert) -> Iterator[Group]:
        """Each as a new one without alerts; some may be the same."""
        for route, route_key in _routes_of(alert, self._routes):
            labels = _group_labels(alert, route)
            key = _bounded(f"{route_key}:{_written(labels)}")
            for receiver in route.receivers:
                if receiver in self._receivers and not _about(alert, receiver):
                    yield Group(route, receiver, self._receivers[receiver], key, labels, {}, {})


def _about(alert: Alert, receiver: str) -> bool:
    """Whether the alert says that this very receiver fails."""
    return alert.name == NOTIFICATIONS_FAILING and alert.label("receiver") == receiver


def _routes_of(alert: Alert, routes: Iterable[tuple[Route, str]]) -> Iterator[tuple[Route, str]]:
    labels = dict(alert.labels)
    for route, key in routes:
        if all_match(route.matchers, labels):
            yield route, key
            if not route.continues:
                return


def _group_labels(alert: Alert, route: Route) -> Labels:
    if ALL_LABELS in route.group_by:
        return alert.labels
    return tuple((name, value) for name, value in alert.labels if name in route.group_by)


def _bounded(key: str) -> str:
    """Return a group key that every database can index, unique for each group."""
    encoded = key.encode(errors="replace")
    if len(encoded) <= MAX_GROUP_KEY_BYTES:
        return key
    suffix = f"~{sha256(key.encode(errors='surrogatepass')).hexdigest()}"
    return encoded[: MAX_GROUP_KEY_BYTES - len(suffix)].decode(errors="ignore") + suffix


def _written(labels: Labels) -> str:
    """As Prometheus writes a label set."""
    return "{" + ", ".join(f"{name}={quoted(value)}" for name, value in labels) + "}"


@dataclass(frozen=True, slots=True)
class News:
    """What a receiver does not know yet of a group.

    `fired`: alerts that it does not take for firing, or not for flapping. `ended`: alerts that it takes for
    firing; and those that it was never told of and that ended before it could be, if it is told of ends at
    all (they did fire). `firing`: all that fire, known or not.
    """

    fired: tuple[Alert, ...]
    ended: tuple[Alert, ...]
    firing: tuple[Alert, ...]


def news_for(group: Group, said: LoggedNotification | None) -> News:
    told_firing = said.firing if said is not None else frozenset()
    firing = tuple([a for a in group.alerts.values() if a.state is AlertState.FIRING])
    return News(
        tuple(a for a in firing if a.fingerprint not in told_firing or _flaps_unknown(a, said)),
        tuple(
            a
            for a in group.alerts.values()
            if a.ended
            and (a.fingerprint in told_firing or (group.sends_resolved and not _told_of_end(a, said)))
        ),
        firing,
    )


def _flaps_unknown(alert: Alert, said: LoggedNotification | None) -> bool:
    """Whether it began to flap after the last message."""
    return alert.flapping_since is not None and (said is None or said.at < alert.flapping_since)


def _told_of_end(alert: Alert, said: LoggedNotification | None) -> bool:
    """Whether its end was told, and of this time that it fired, not of an earlier one."""
    return said is not None and alert.fingerprint in said.resolved and _fired_at(alert) <= said.at


def held(group: Group, said: LoggedNotification | None) -> Iterator[str]:
    """The muted alerts whose end is still to be told, once they are not muted."""
    if said is not None:
        yield from (a.fingerprint for a in group.muted.values() if a.ended and a.fingerprint in said.firing)


def due_at(group: Group, news: News, said: LoggedNotification | None) -> float | None:
    """When the receiver is to be told about the group, None when there is nothing to tell."""
    dues = []
    changed = [_began_at(a, said) for a in news.fired] + [_ended_at(a, said, group.route) for a in news.ended]
    open_since = said.at if said is not None and said.firing else None
    if changed:
        earliest = open_since + group.route.group_interval_s if open_since is not None else 0.0
        dues.append(max(min(changed) + group.route.group_wait_s, earliest))
    if open_since is not None and news.firing:
        dues.append(open_since + group.route.repeat_interval_s)
    return min(dues, default=None)


def _began_at(alert: Alert, said: LoggedNotification | None) -> float:
    """When that began which is to be told: to fire, or for who knows that it fires to flap."""
    known = said is not None and alert.fingerprint in said.firing
    return alert.flapping_since if known and alert.flapping_since is not None else _fired_at(alert)


def _fired_at(alert: Alert) -> float:
    return alert.fired_at if alert.fired_at is not None else alert.active_at


def _ended_at(alert: Alert, said: LoggedNotification | None, route: Route) -> float:
    """When that happened which is to be told: the end, once it has lasted, or for who never heard of it that
    it fired.
    """
    if said is None or alert.fingerprint not in said.firing or alert.resolved_at is None:
        return _fired_at(alert)
    fired_s = alert.resolved_at - _fired_at(alert)
    return alert.resolved_at + flapping.end_lasts_s(alert.changes, fired_s, route.group_interval_s)


def message_of(group: Group, news: News, said: LoggedNotification | None, now: float) -> Message | None:
    """The firing alerts and those that ended; None when only ends are new and it is not told of ends."""
    ended = news.ended if group.sends_resolved else ()
    repeats = bool(news.firing) and said is not None and said.at + group.route.repeat_interval_s <= now
    if not (news.fired or ended or repeats):
        return None
    return Message(group.receiver, group.key, group.labels, in_order((*news.firing, *ended)))


_FIRST_LABELS = ("job", "instance")


def in_order(alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
    """As Alertmanager lists the alerts of a message: by `job` and `instance`, then by how many labels they
    have, then by these.
    """
    if len(alerts) == 1:
        return alerts
    names = {tuple(name for name, _ in alert.labels) for alert in alerts}
    if len(names) == 1 and set(_FIRST_LABELS).isdisjoint(names.pop()):
        return tuple(sorted(alerts, key=lambda alert: alert.labels))
    return tuple(sorted(alerts, key=cmp_to_key(_compared)))


def _compared(one: Alert, other: Alert) -> int:
    for name in _FIRST_LABELS:
        ours, theirs = one.label(name), other.label(name)
        if ours != theirs:
            return _sign(before=bool(ours) and (not theirs or ours < theirs))
    if len(one.labels) != len(other.labels):
        return _sign(before=len(one.labels) < len(other.labels))
    for (name, value), (other_name, other_value) in zip(one.labels, other.labels, strict=True):
        if name != other_name:
            return _sign(before=name > other_name)  # whoever lacks the lesser name comes first
        if value != other_value:
            return _sign(before=value < other_value)
    return 0


def _sign(*, before: bool) -> int:
    return -1 if before else 1


def entry_of(group: Group, news: News, said: LoggedNotification | None, at: float) -> LoggedNotification:
    """What the receiver knows as of `at`."""
    ended = {a.fingerprint for a in (*group.alerts.values(), *group.muted.values()) if a.ended}
    known = said.resolved & ended if said is not None else frozenset()
    muted = said.firing.intersection(group.muted) if said is not None else frozenset()
    return LoggedNotification(
        group.receiver,
        group.key,
        at,
        muted.union(a.fingerprint for a in news.firing),
        known.union(a.fingerprint for a in news.ended),
    )
