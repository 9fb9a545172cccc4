"""Which messages are due, at the cost of the groups that changed or whose time has come. Used by `alerting`.

`Planner` keeps the groups between two passes: what a group is told follows from its alerts, what it was last
told, and the time. Made anew, every group is looked at, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.muting import UNMUTED, Muting
from nexusd.core.notifications import (
    Group,
    LoggedNotification,
    LogKey,
    Message,
    NotificationPlan,
    Places,
    Routing,
    due_at,
    entry_of,
    held,
    message_of,
    news_for,
)
from nexusd.core.timers import NEVER, Timers

Log = Mapping[LogKey, LoggedNotification]
_NOBODY: frozenset[str] = frozenset()


def plan(
    alerts: Iterable[Alert],
    routing: Routing,
    log: Log,
    now: float,
    muting: Muting = UNMUTED,
) -> NotificationPlan:
    """All messages that are due. `alerts` are those in any state.

    What is muted is not told, and its end neither: who takes it for firing hears of that when the muting is
    over, who never heard of it hears nothing.
    """
    planner = Planner(routing, log)
    for alert in alerts:
        planner.look_at(alert.fingerprint, alert, muting)
    return planner.plan(log, now)


class Planner:
    """The groups of all alerts under one routing. Each plan is given the log that the one before it left."""

    def __init__(self, routing: Routing, log: Log) -> None:
        self._places = Places(routing)
        self._open: dict[str, Alert] = {}
        self._groups: dict[LogKey, Group] = {}
        self._keys: dict[str, tuple[LogKey, ...]] = {}
        self._untold: dict[LogKey, frozenset[str]] = {}
        self._timers: Timers[LogKey] = Timers()
        self._named_in: dict[str, set[LogKey]] = {}
        self._dirty: dict[LogKey, None] = {}
        self._unclear: dict[str, None] = {}
        self._left: set[str] = set()
        for key, entry in log.items():
            self._note(key, None, entry)
        self._stale = dict.fromkeys(log)

    def look_at(self, mark: str, alert: Alert | None, muting: Muting) -> None:
        """The alert has changed, or whether it is muted. None: there is no such alert any more."""
        if alert is not None and not alert.settled:
            self._open[mark] = alert
            self._unclear[mark] = None
            keys = self._put(alert, muting)
        elif self._open.pop(mark, None) is not None:
            keys = self._take_out(mark)
            self._left.add(mark)
        else:
            return
        for key in keys:
            self._dirty[key] = None

    def reworded(self, alert: Alert, muting: Muting) -> None:
        """Its annotations have changed, which is no news."""
        if alert.fingerprint in self._open:
            self._open[alert.fingerprint] = alert
            self._put(alert, muting)

    def plan(self, log: Log, now: float) -> NotificationPlan:
        """All messages that are due."""
        messages: list[Message] = []
        entries: dict[LogKey, LoggedNotification] = {}
        looked_at = self._dirty | dict.fromkeys(self._timers.take_due(now))
        for key in looked_at:
            message, entry = self._tell(key, log.get(key), now)
            messages += [message] if message is not None else []
            if entry is not None:
                entries[key] = entry
        over = tuple(mark for mark in self._unclear if self._is_over(mark))
        for mark in over:
            self._leave(mark)
        idle = self._idle(looked_at, entries, log)
        self._remember(entries, idle, log)
        self._dirty, self._unclear, self._left, self._stale = {}, {}, set(), {}
        return NotificationPlan(
            tuple(messages),
            tuple(entry for key, entry in entries.items() if key not in idle),
            over,
            tuple(key for key in idle if key in log),
            self._timers.next if self._timers.next < NEVER else None,
        )

    def _put(self, alert: Alert, muting: Muting) -> tuple[LogKey, ...]:
        """Into its groups, if it is one to be told of: it fires, or has ended. All that it is or was in."""
        if alert.state is not AlertState.FIRING and not alert.ended:
            return self._take_out(alert.fingerprint)
        mark = alert.fingerprint
        keys = self._keys.get(mark)
        if keys is None:
            places = {(place.receiver, place.key): place for place in self._places.of(alert)}
            keys = self._keys[mark] = tuple(places)
            for key, place in places.items():
                self._groups.setdefault(key, place)
        muted = alert in muting
        for key in keys:
            group = self._groups[key]
            if muted:
                group.alerts.pop(mark, None)
                group.muted[mark] = alert
            else:
                group.muted.pop(mark, None)
                group.alerts[mark] = alert
        return keys

    def _take_out(self, mark: str) -> tuple[LogKey, ...]:
        keys = self._keys.pop(mark, ())
        for key in keys:
            group = self._groups[key]
            group.alerts.pop(mark, None)
            group.muted.pop(mark, None)
        return keys

    def _tell(
        self, key: LogKey, said: LoggedNotification | None, now: float
    ) -> tuple[Message | None, LoggedNotification | None]:
        """What a group is told now, if anything, and what is then known of it."""
        message = entry = None
        untold: set[str] = set()
        group = self._groups.get(key)
        if group is None or not (group.alerts or group.muted):
            self._groups.pop(key, None)
            due = None
        else:
            news = news_for(group, said)
            due = due_at(group, news, said)
            if due is not None and due <= now:
                message = message_of(group, news, said, now)
                at = said.at if message is None and said is not None else now
                entry = said = entry_of(group, news, said, at)
                due = due_at(group, news_for(group, said), said)
            elif due is not None:
                untold.update(alert.fingerprint for alert in news.ended)
            untold.update(held(group, said))
        self._timers.set(key, due if due is not None else NEVER)
        before = self._untold.pop(key, _NOBODY)
        if untold:
            self._untold[key] = frozenset(untold)
        self._unclear |= dict.fromkeys(before.difference(untold))
        return message, entry

    def _is_over(self, mark: str) -> bool:
        """Whether everybody was told of its end who is to be."""
        alert = self._open.get(mark)
        if alert is None or alert.state is not AlertState.RESOLVED or alert.expired:
            return False
        return not any(mark in self._untold.get(key, ()) for key in self._keys.get(mark, ()))

    def _leave(self, mark: str) -> None:
        """It is settled: nothing about it will be told, so its groups have nothing new."""
        del self._open[mark]
        for key in self._take_out(mark):
            group = self._groups.get(key)
            if group is not None and not (group.alerts or group.muted):
                del self._groups[key]
        self._left.add(mark)

    def _idle(
        self, looked_at: Iterable[LogKey], entries: Mapping[LogKey, LoggedNotification], log: Log
    ) -> set[LogKey]:
        """The entries, old and new, that are about no alert any more."""
        keys = {*looked_at, *self._stale, *entries}
        for mark in self._left:
            keys |= self._named_in.get(mark, set())
        found = ((key, entries.get(key) or log.get(key)) for key in keys)
        return {
            key
            for key, entry in found
            if entry is not None and not any(m in self._open for m in (*entry.firing, *entry.resolved))
        }

    def _remember(
        self, entries: Mapping[LogKey, LoggedNotification], idle: Iterable[LogKey], log: Log
    ) -> None:
        for key, entry in entries.items():
            self._note(key, log.get(key), entry if key not in idle else None)
        for key in idle:
            if key not in entries:
                self._note(key, log.get(key), None)

    def _note(self, key: LogKey, was: LoggedNotification | None, entry: LoggedNotification | None) -> None:
        """Which entries name an alert."""
        before = was.firing | was.resolved if was is not None else _NOBODY
        after = entry.firing | entry.resolved if entry is not None else _NOBODY
        for mark in after - before:
            self._named_in.setdefault(mark, set()).add(key)
        for mark in before - after:
            named_in = self._named_in.get(mark)
            if named_in is not None:
                named_in.discard(key)
                if not named_in:
                    del self._named_in[mark]
