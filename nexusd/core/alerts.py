"""Alerts: from findings of rules to pending, firing and resolved.

(none) ──found──▶ pending ──held for `for`──▶ firing ──ended, or `resolve_after`──▶ resolved ──told──▶ settled
  └──▶ latent ──▶ ┘  └──ended──▶ (none)          └── stays through `keep_firing_for`, and while flapping

A settled alert is remembered for a while, to know how often it comes back. What cannot be known changes
nothing: neither state nor, for a pending alert, the step to firing.

Here is what becomes of one alert; `evaluation` says which of them a pass looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from nexusd.core import flapping
from nexusd.core.events import Event, Subject
from nexusd.core.flapping import Pairs
from nexusd.core.rules import Facts, Finding, Judgement, Rule


class AlertState(StrEnum):
    """State of an alert.

    `LATENT`: the condition has not held for half of a threshold that is a wait. A latent alert is stored, and
    otherwise invisible: no event, no count, on no page.
    """

    LATENT = "latent"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True, gc=False):
    """One alert, and all that is remembered of it. `fingerprint` is Alertmanager's, 16 hex digits.

    `active_at`: when the condition was first seen to hold. `fired_at`: when it last began to fire.
    `resolved_at`: when it last ended, None while it fires; a pending alert that was resolved shortly before
    keeps it, so that the end is still told. `keep_firing_since`: when the condition was first seen not to
    hold while the alert fires on (`keep_firing_for`, or flapping). `expired`: it was resolved by
    `resolve_after` while its condition still holds, and does not fire again before that has ended.
    `settled`: of its last end everybody was told who is to be; it is only remembered. `changes`: when it last
    began and ended, oldest first, as many as `flapping` needs. `flapping_since`: it changes so often that it
    is told once, as firing.
    """

    fingerprint: str
    labels: Pairs
    annotations: Pairs
    state: AlertState
    active_at: float
    fired_at: float | None = None
    resolved_at: float | None = None
    keep_firing_since: float | None = None
    expired: bool = False
    settled: bool = False
    changes: tuple[float, ...] = ()
    flapping_since: float | None = None

    def label(self, name: str) -> str:
        """The value of a label, "" when the alert has none of that name."""
        for key, value in self.labels:
            if key == name:
                return value
        return ""

    @property
    def name(self) -> str:
        return self.label("alertname")

    @property
    def ended(self) -> bool:
        """Whether it fired and ended; receivers that were told of it are to be told that."""
        return self.state is not AlertState.FIRING and self.resolved_at is not None and not self.settled


_WAITING = (AlertState.LATENT, AlertState.PENDING)

_FNV_OFFSET = 14695981039346656037
_FNV_PRIME = 1099511628211
_MASK = (1 << 64) - 1
_REMEMBERED = 4096
_FEW_VALUES = frozenset({"alertname", "severity", "region", "fleet", "receiver"})


def fingerprint(labels: Iterable[tuple[str, str]]) -> str:
    """Alertmanager's: FNV-1a 64 over each name, 0xff, value, 0xff in the order of names, in hex."""
    return _fingerprint(tuple(sorted(labels)))


@lru_cache(_REMEMBERED)
def _fingerprint(labels: Pairs) -> str:
    """What goes on is found again at each pass."""
    digest = _FNV_OFFSET
    for name, value in labels:
        digest = _hashed_before(digest, name)
        digest = _hashed_before(digest, value) if name in _FEW_VALUES else _hashed(digest, value)
    return f"{digest:016x}"


def _hashed(digest: int, text: str) -> int:
    """The digest after the text and 0xff."""
    for byte in b"%b\xff" % text.encode("utf-8", "replace"):
        digest = (digest ^ byte) * _FNV_PRIME & _MASK
    return digest


def _hashed_before(digest: int, text: str) -> int:
    """The same for a text that comes again and again."""
    factor, addend = _effect(text, digest & 0xFF)
    return digest * factor + addend & _MASK


@lru_cache(_REMEMBERED)
def _effect(text: str, low: int) -> tuple[int, int]:
    """What a text makes of any digest whose lowest byte is `low`: it times the first, plus the second. FNV's
    exclusive or touches the lowest byte alone; all above it is only multiplied.
    """
    factor = pow(_FNV_PRIME, len(text.encode("utf-8", "replace")) + 1, _MASK + 1)
    return factor, _hashed(low, text) - low * factor


def forgotten_at(alert: Alert) -> float:
    """Until when a settled alert is remembered."""
    return (alert.resolved_at or 0.0) + flapping.REMEMBERED_S


def settle(alert: Alert) -> Alert:
    """What is left of an alert that is over once everybody was told (`notifications.plan` says when)."""
    return replace(alert, settled=True)


def not_ahead(alert: Alert, now: float) -> Alert:
    """Return the alert without changes in the future, stored by a wrong clock."""
    if not alert.changes or alert.changes[-1] <= now:
        return alert
    return replace(alert, changes=tuple(min(at, now) for at in alert.changes))


def delayed(alert: Alert, seconds: float) -> Alert:
    """Return the alert with its waits prolonged by unobserved time.

    The waits are `for` and `keep_firing_for`, if unfinished.

    As Prometheus does for its downtime: a condition counts as held only while it was observed.
    """
    if alert.state in _WAITING:
        return replace(alert, active_at=alert.active_at + seconds)
    if alert.state is AlertState.FIRING and alert.keep_firing_since is not None:
        return replace(alert, keep_firing_since=alert.keep_firing_since + seconds)
    return alert


def reworded(was: Alert, alert: Alert) -> bool:
    """Whether they differ in their annotations at most."""
    return replace(alert, annotations=was.annotations) == was


def found(rule: Rule, finding: Finding, alerts: Mapping[str, Alert], facts: Facts) -> Alert:
    """The alert while its condition holds."""
    now = facts.now
    labels = _labels(rule, finding)
    mark = fingerprint(labels)
    annotations = _annotations(rule, finding)
    before = alerts.get(mark)
    if before is None:
        alert = Alert(mark, labels, annotations, _first_state(rule), now)
    elif before.state is not AlertState.RESOLVED:
        alert = _seen_again(before, now)
    elif before.expired:
        return before
    else:
        alert = replace(before, state=_first_state(rule), active_at=now)
    alert = _holding(alert, rule, rule.wait_s + finding.wait_s, facts)
    if alert.flapping_since is not None:
        annotations = flapping.marked(annotations)
    return alert if alert.annotations == annotations else replace(alert, annotations=annotations)


def _first_state(rule: Rule) -> AlertState:
    return AlertState.LATENT if rule.latent_s > 0.0 else AlertState.PENDING


def _seen_again(alert: Alert, now: float) -> Alert:
    """The condition holds, perhaps after a gap; one that counted as an end makes this a beginning."""
    if alert.keep_firing_since is None:
        return alert
    back = replace(alert, keep_firing_since=None)
    return _changed(back, now) if _end_counted(alert) else back


def _changed(alert: Alert, now: float, **more: Any) -> Alert:
    """It has begun or ended; perhaps once too often. `more`: what becomes of it besides."""
    alert = replace(alert, changes=flapping.with_change(alert.changes, now), **more)
    if alert.flapping_since is not None or not flapping.too_often(alert.changes):
        return alert
    return replace(alert, flapping_since=now, annotations=flapping.marked(alert.annotations))


def _steady(alert: Alert) -> Alert:
    """It flaps no more."""
    if alert.flapping_since is None:
        return alert
    return replace(alert, flapping_since=None, annotations=flapping.unmarked(alert.annotations))


def _flaps(alert: Alert, now: float) -> bool:
    """Whether it changed too often, and not long ago."""
    return alert.flapping_since is not None and flapping.calm_at(alert.changes) > now


def _labels(rule: Rule, finding: Finding) -> Pairs:
    """Sorted by name. An empty value is the same as no label, as in Prometheus."""
    own = {"alertname": rule.name, "severity": rule.severity}
    merged = {**dict(rule.labels), **finding.labels, **own}
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def _annotations(rule: Rule, finding: Finding) -> Pairs:
    own = {"summary": finding.summary, "description": finding.description, "runbook_url": rule.runbook_url}
    merged = {**own, **dict(rule.annotations)}
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def not_found(alert: Alert, rule: Rule, judgement: Judgement, facts: Facts) -> Alert | None:
    """The alert when no finding was made for it; None when nothing is left of it."""
    subject = alert.label(rule.condition.subject_label)
    if not judgement.known or subject in judgement.unknown:
        return alert
    if not judgement.touched(subject):
        return _as_it_was(alert, rule, facts)
    if _continues(alert, rule, facts, subject):
        return alert if alert.expired else _holding(alert, rule, rule.wait_s, facts)
    return _ending(alert, rule.keep_firing_for_s, facts.now)


def _as_it_was(alert: Alert, rule: Rule, facts: Facts) -> Alert | None:
    """Nothing new is known of its subject, whose data is fresh: what held holds, and time goes on."""
    if alert.state is AlertState.RESOLVED:
        return alert
    if alert.keep_firing_since is not None:
        return _ending(alert, rule.keep_firing_for_s, facts.now)
    return _holding(alert, rule, rule.wait_s, facts)


def _continues(alert: Alert, rule: Rule, facts: Facts, subject: str) -> bool:
    condition = rule.condition
    if condition.continues is None or alert.keep_firing_since is not None:
        return False
    instance = facts.instance(subject)
    if instance is not None and not rule.admits(instance):
        return False
    lasting = alert.state is AlertState.FIRING or alert.expired
    if condition.momentary:
        lasting = alert.state is not AlertState.RESOLVED
    return lasting and condition.continues(facts, subject)


def _holding(alert: Alert, rule: Rule, wait_s: float, facts: Facts) -> Alert:
    """What time makes of an alert whose condition holds."""
    now = facts.now
    if alert.state is AlertState.LATENT and alert.active_at + rule.latent_s <= now:
        alert = replace(alert, state=AlertState.PENDING)
    if alert.state is AlertState.PENDING and alert.active_at + wait_s <= now:
        alert = _changed(alert, now, state=AlertState.FIRING, fired_at=now, resolved_at=None, settled=False)
    if not _flaps(alert, now):
        alert = _steady(alert)
    expires_at = _expires_at(alert, rule, facts)
    if expires_at is not None and expires_at <= now:
        return replace(_over(alert, now), expired=not rule.condition.momentary)
    return alert


def _over(alert: Alert, now: float) -> Alert:
    return replace(_steady(alert), state=AlertState.RESOLVED, resolved_at=now, keep_firing_since=None)


def ended_at_once(alert: Alert, now: float) -> Alert | None:
    """What becomes of an alert that no rule makes any more."""
    if alert.state is AlertState.FIRING:
        return _over(alert, now)
    return _ending(alert, 0.0, now)


def _ending(alert: Alert, keep_firing_for_s: float, now: float) -> Alert | None:
    """What becomes of an alert whose condition does not hold."""
    if alert.state in _WAITING:
        return replace(alert, state=AlertState.RESOLVED) if alert.resolved_at is not None else None
    if alert.state is AlertState.RESOLVED:
        return replace(alert, expired=False) if alert.expired else alert
    if alert.keep_firing_since is None:
        alert = replace(alert, keep_firing_since=now)
    since = alert.keep_firing_since if alert.keep_firing_since is not None else now
    if since + keep_firing_for_s > now:
        return alert
    if not _end_counted(alert):
        alert = _changed(alert, now)
    return alert if _flaps(alert, now) else _over(alert, now)


def _end_counted(alert: Alert) -> bool:
    """Whether the gap that an alert fires through was long enough to count as an end."""
    since = alert.keep_firing_since
    return since is not None and bool(alert.changes) and alert.changes[-1] >= since


def _expires_at(alert: Alert, rule: Rule, facts: Facts) -> float | None:
    """Return when `resolve_after` ends.

    Time in which the condition was not observed does not count.
    """
    if alert.state is not AlertState.FIRING or alert.fired_at is None or rule.condition.timed:
        return None
    if rule.resolve_after_s is None:
        return None
    return facts.suspensions.awake_until(alert.fired_at, rule.resolve_after_s, facts.now)


def dues(alert: Alert, rule: Rule, wait_s: float, facts: Facts) -> Iterator[float]:
    """When time alone changes the alert. `wait_s`: how long its condition must hold before it fires."""
    if alert.state is AlertState.LATENT:
        yield alert.active_at + rule.latent_s
    if alert.state is AlertState.PENDING:
        yield alert.active_at + wait_s
    if alert.keep_firing_since is not None:
        yield alert.keep_firing_since + rule.keep_firing_for_s
    if alert.flapping_since is not None:
        yield flapping.calm_at(alert.changes)
    expires_at = _expires_at(alert, rule, facts)
    if expires_at is not None:
        yield expires_at


def events_of(was: Alert | None, alert: Alert | None, now: float) -> Iterator[Event]:
    """What a change is in the history. None: it is not there."""
    shown = alert if alert is not None else was
    if shown is not None:
        for change in _changes(was, alert):
            yield event_of(shown, change, now)


def _changes(was: Alert | None, alert: Alert | None) -> Iterator[str]:
    flapped = was is not None and was.flapping_since is not None
    flaps = alert is not None and alert.flapping_since is not None
    if flapped and not flaps:
        yield "AlertStoppedFlapping"
    transition = _transition(was.state if was else None, alert.state if alert else None)
    if transition is not None:
        yield transition
    if flaps and not flapped:
        yield "AlertBeganFlapping"


def _transition(was: AlertState | None, state: AlertState | None) -> str | None:
    if state is was or state is AlertState.LATENT:
        return None
    if state is AlertState.PENDING:
        return "AlertBecamePending"
    if state is AlertState.FIRING:
        return "AlertFired"
    if was in (AlertState.RESOLVED, AlertState.LATENT):
        return None  # it was only remembered, or never shown
    return "AlertResolved" if was is AlertState.FIRING else "AlertWithdrawn"


def event_of(alert: Alert, change: str, at: float, **detail: object) -> Event:
    """A change of an alert for the history and the stream. `AlertWithdrawn`: it was only ever pending."""
    subject = Subject("alert", alert.fingerprint, alert.name, alert.label("region") or None)
    summary = dict(alert.annotations).get("summary", "")
    return Event(at, change, subject, {"labels": dict(alert.labels), "summary": summary, **detail})
