"""One pass of alerting, from facts to messages and what is remembered of them. Used by `cycle`.

facts ─ Watch.evaluate ─▶ pending, firing, resolved ─ Mutes.mute ─▶ what is muted
                                       └──── Planner.plan ────┴─▶ messages, log of what was said

Each of the three looks only at what has changed: ten thousand alerts that stand cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from nexusd.core.alerts import Alert, AlertState, delayed, event_of, not_ahead, reworded, settle
from nexusd.core.census import NONE_COUNTED, AlertCounts, Census, counted
from nexusd.core.evaluation import AlertUpdate, Watch
from nexusd.core.events import Event
from nexusd.core.muting import UNMUTED, Muted, Mutes, Muting, mute
from nexusd.core.notifications import LoggedNotification, LogKey, Message, NotificationPlan, Routing
from nexusd.core.planning import Planner
from nexusd.core.rules import Facts, Rule
from nexusd.core.rules_placements import PLACEMENT_DELAYED
from nexusd.core.silences import Silence
from nexusd.core.suspension import Suspensions
from nexusd.core.timers import NEVER

AT_ONCE = 0.0
NOT_MUTED = Muted()


@dataclass(frozen=True, slots=True)
class Alerting:
    """What alerts are judged by and whom they are told to. `failed_for_s`: how long a failure is a fact."""

    rules: tuple[Rule, ...]
    routing: Routing
    failed_for_s: float = 3600.0

    @property
    def delayed_after_s(self) -> float:
        """The shortest time in the queue that is an alert: a placement must have been read by then."""
        delays = (r.threshold or 0.0 for r in self.rules if r.name == PLACEMENT_DELAYED)
        return min(delays, default=NEVER)


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """State of alerting between two passes, which is also stored.

    `alerts` by fingerprint, `said` by receiver and group, `silences` by id (those that are not over).
    `muting`: what was muted at the last pass, `counts`: how many alerts there were of each kind. `plan_at`:
    when messages are to be planned again if no alert changes before. `observed_until`: when rules were last
    evaluated; suspensions after it prolong waits. `tracked`: what makes the next pass
    quick; it changes nothing of what comes out.
    """

    alerts: Mapping[str, Alert] = field(default_factory=dict)
    said: Mapping[LogKey, LoggedNotification] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    muting: Muting = UNMUTED
    counts: AlertCounts = NONE_COUNTED
    plan_at: float = AT_ONCE
    observed_until: float = field(default=float("-inf"), compare=False)
    tracked: Tracked = field(default_factory=lambda: Tracked(None), compare=False, repr=False)

    @classmethod
    def restored(
        cls,
        alerts: Iterable[Alert],
        said: Iterable[LoggedNotification],
        silences: Iterable[Silence],
        now: float,
        observed_until: float | None = None,
    ) -> AlertMemory:
        """From what the store has. What was muted follows from it, so that no event says it again."""
        known = {alert.fingerprint: not_ahead(alert, now) for alert in alerts}
        log = {(entry.receiver, entry.group_key): entry for entry in said}
        silencing = {silence.id: silence for silence in silences}
        muting = mute(known.values(), silencing.values(), now)
        until = observed_until if observed_until is not None else now
        return cls(known, log, silencing, muting, counted(known, muting), observed_until=until)

    def following(self, alerts: Mapping[str, Alert], facts: Facts) -> AlertMemory:
        """Return the memory of a follower, which shows the leader's alerts only."""
        muting = mute(alerts.values(), self.silences.values(), facts.now, facts.evaluated_from)
        counts = counted(alerts, muting)
        return AlertMemory(
            alerts, {}, self.silences, muting, counts, tracked=Tracked(None), observed_until=facts.now
        )

    def replanned(self) -> AlertMemory:
        """The same, with messages planned at the next pass: somebody else is to be told, or otherwise."""
        return replace(self, plan_at=AT_ONCE)

    def silenced(self, silences: Mapping[str, Silence]) -> AlertMemory:
        """The same with these silences."""
        return self if silences == self.silences else replace(self, silences=silences, plan_at=AT_ONCE)


@dataclass(frozen=True, slots=True)
class AlertPass:
    """What a pass makes of the memory. Rows and messages are to be committed together.

    `saved`, `log`: rows to write. `removed`, `forgotten_log`: rows to delete. `next_due`: when to make a pass
    if nothing else asks for one.
    """

    memory: AlertMemory
    saved: tuple[Alert, ...] = ()
    removed: tuple[str, ...] = ()
    log: tuple[LoggedNotification, ...] = ()
    forgotten_log: tuple[LogKey, ...] = ()
    messages: tuple[Message, ...] = ()
    events: tuple[Event, ...] = ()
    next_due: float | None = None


class Tracks:
    """What is known beside the memory between two passes, and of which memory."""

    def __init__(self, alerting: Alerting, memory: AlertMemory) -> None:
        alerts = memory.alerts.values()
        self.watch = Watch(alerting.rules, alerts)
        self.mutes = Mutes(alerts)
        self.planner = Planner(alerting.routing, memory.said)
        self.census = Census()
        self.settled: dict[str, Alert | None] = {}
        self._of = alerting, memory.alerts, memory.said, memory.muting
        for alert in alerts:
            self.look_at(alert.fingerprint, alert, memory.muting)

    def look_at(self, mark: str, alert: Alert | None, muting: Muting) -> None:
        """The alert is new, changed, muted otherwise, or (None) gone."""
        self.planner.look_at(mark, alert, muting)
        self.census.look_at(mark, alert, muting)

    def belongs_to(self, alerting: Alerting, memory: AlertMemory) -> bool:
        mine = alerting, memory.alerts, memory.said, memory.muting
        return all(one is other for one, other in zip(mine, self._of, strict=True))

    def kept_for(self, alerting: Alerting, memory: AlertMemory) -> AlertMemory:
        """The memory of the next pass, with these tracks."""
        self._of = alerting, memory.alerts, memory.said, memory.muting
        return replace(memory, tracked=Tracked(self))


class Tracked:
    """Tracks can be taken once: a pass changes them, and one that never ends leaves none behind."""

    def __init__(self, tracks: Tracks | None) -> None:
        self._tracks = tracks

    def take(self, alerting: Alerting, memory: AlertMemory) -> Tracks:
        """Made anew when somebody else has taken them, or when they are another memory's."""
        tracks, self._tracks = self._tracks, None
        if tracks is not None and tracks.belongs_to(alerting, memory):
            return tracks
        return Tracks(alerting, memory)


def judge(alerting: Alerting, facts: Facts, memory: AlertMemory) -> AlertPass:
    """Evaluate all rules once.

    Waits are prolonged by suspensions since the last evaluation before.
    """
    memory, prolonged = _prolonged(memory, facts.suspensions, facts.now)
    result = _judge(alerting, facts, memory)
    if not prolonged:
        return result
    saved = {**prolonged, **{alert.fingerprint: alert for alert in result.saved}}
    left = saved.keys() - set(result.removed)
    return replace(result, saved=tuple(alert for mark, alert in saved.items() if mark in left))


def _prolonged(
    memory: AlertMemory, suspensions: Suspensions, now: float
) -> tuple[AlertMemory, dict[str, Alert]]:
    """Return the memory prolonged by new suspensions, and the alerts that changed."""
    suspended_s = suspensions.suspended_s(memory.observed_until, now)
    if not suspended_s:
        return memory, {}
    after = {mark: delayed(alert, suspended_s) for mark, alert in memory.alerts.items()}
    changed = {mark: alert for mark, alert in after.items() if alert is not memory.alerts[mark]}
    alerts = {**memory.alerts, **changed} if changed else memory.alerts
    return replace(memory, alerts=alerts, plan_at=AT_ONCE), changed


def _judge(alerting: Alerting, facts: Facts, memory: AlertMemory) -> AlertPass:
    """One pass. Messages are planned only when an alert has changed or one is due: quiet passes are cheap."""
    tracks = memory.tracked.take(alerting, memory)
    update = tracks.watch.evaluate(facts, memory.alerts)
    waits = facts.now < memory.plan_at and not memory.muting.ended_by(facts.evaluated_from)
    if waits and _nothing_to_tell(update, memory):
        return _quiet(alerting, update, memory, tracks, facts.now)
    changed: dict[str, Alert | None] = {alert.fingerprint: alert for alert in update.changed}
    changed |= dict.fromkeys(update.removed)
    muting, remuted = tracks.mutes.mute(
        tracks.settled | changed,
        update.alerts,
        memory.silences.values(),
        memory.muting,
        facts.now,
        facts.evaluated_from,
    )
    for mark in {**changed, **dict.fromkeys(remuted)}:
        tracks.look_at(mark, update.alerts.get(mark), muting)
    planned = tracks.planner.plan(memory.said, facts.now)
    settled = tuple(settle(update.alerts[mark]) for mark in planned.settled)
    for alert in settled:
        tracks.watch.settled(alert)
    tracks.settled = {alert.fingerprint: alert for alert in settled}
    plan_at = min((due for due in (planned.next_due, muting.next_due) if due is not None), default=NEVER)
    after = AlertMemory(
        {**update.alerts, **{a.fingerprint: a for a in settled}} if settled else update.alerts,
        _said(memory.said, planned),
        memory.silences,
        muting,
        tracks.census.counts(),
        plan_at,
        facts.now,
    )
    return AlertPass(
        memory=tracks.kept_for(alerting, after),
        saved=(*update.changed, *settled),
        removed=update.removed,
        log=planned.log,
        forgotten_log=planned.forgotten_log,
        messages=planned.messages,
        events=(*update.events, *_muting_events(memory, update, muting, {*changed, *remuted}, facts.now)),
        next_due=_earliest(update.next_due, plan_at),
    )


def _nothing_to_tell(update: AlertUpdate, memory: AlertMemory) -> bool:
    """Whether no alert changed but in its words: an outage says at each pass how long it lasts."""
    known = ((alert, memory.alerts.get(alert.fingerprint)) for alert in update.changed)
    return not update.removed and all(was is not None and reworded(was, alert) for alert, was in known)


def _quiet(
    alerting: Alerting, update: AlertUpdate, memory: AlertMemory, tracks: Tracks, now: float
) -> AlertPass:
    for alert in update.changed:
        tracks.planner.reworded(alert, memory.muting)
    next_due = _earliest(update.next_due, memory.plan_at)
    after = replace(memory, alerts=update.alerts, observed_until=now)
    return AlertPass(tracks.kept_for(alerting, after), update.changed, next_due=next_due)


def _earliest(due: float | None, plan_at: float) -> float | None:
    earliest = plan_at if due is None else min(due, plan_at)
    return earliest if earliest < NEVER else None


def _muting_events(
    before: AlertMemory, update: AlertUpdate, after: Muting, concerned: Iterable[str], now: float
) -> Iterator[Event]:
    """Firing alerts that are muted now and were not, or the other way round."""
    for mark in sorted(concerned):
        alert, earlier = update.alerts.get(mark), before.alerts.get(mark)
        if alert is None or alert.state is not AlertState.FIRING:
            continue
        fired = earlier is not None and earlier.state is AlertState.FIRING
        was = before.muting.muted.get(mark, NOT_MUTED) if fired else NOT_MUTED
        muted = after.muted.get(mark, NOT_MUTED)
        if muted.inhibited_by and not was.inhibited_by:
            yield event_of(alert, "AlertInhibited", now, by=muted.inhibited_by)
        if muted.silenced_by and not was.silenced_by:
            yield event_of(alert, "AlertSilenced", now, by=muted.silenced_by)
        if was != NOT_MUTED and muted == NOT_MUTED:
            yield event_of(alert, "AlertUnmuted", now)


def _said(
    before: Mapping[LogKey, LoggedNotification], planned: NotificationPlan
) -> Mapping[LogKey, LoggedNotification]:
    if not planned.log and not planned.forgotten_log:
        return before
    said = {**before, **{(entry.receiver, entry.group_key): entry for entry in planned.log}}
    for key in planned.forgotten_log:
        said.pop(key, None)
    return said
