"""One evaluation of all rules, at the cost of what may have changed. Used by `alerting`.

An alert changes when its finding does, when its subject was looked at, or when time alone changes it; all
others are as the last pass left them. `Watch` remembers what it takes to tell: made anew, every alert is
looked at, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nexusd.core.alerts import (
    Alert,
    AlertState,
    dues,
    ended_at_once,
    events_of,
    forgotten_at,
    found,
    not_found,
)
from nexusd.core.events import Event
from nexusd.core.rules import Facts, Finding, Judgement, Rule, anything
from nexusd.core.timers import NEVER, Timers


@dataclass(frozen=True, slots=True)
class AlertUpdate:
    """What a pass makes of the alerts. `alerts` is all of them after it, by fingerprint.

    `changed`: the rows to write. `removed`: the fingerprints to delete (pending alerts whose condition
    ended, settled ones that were remembered long enough). `next_due`: when to evaluate again if nothing else
    asks for it.
    """

    alerts: Mapping[str, Alert]
    changed: tuple[Alert, ...] = ()
    removed: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    next_due: float | None = None


def evaluate(rules: Iterable[Rule], facts: Facts, alerts: Mapping[str, Alert]) -> AlertUpdate:
    """One pass of all rules that looks at every alert."""
    return Watch(rules, alerts.values()).evaluate(facts, alerts)


class Watch:
    """What is known of the alerts between two passes with the same rules. Each pass is given the alerts that
    the one before it left; what was settled meanwhile is told by `settled`.
    """

    def __init__(self, rules: Iterable[Rule], alerts: Iterable[Alert]) -> None:
        self._rules = {rule.name: rule for rule in rules if rule.enabled}
        self._of_rule: dict[str, set[str]] = {}
        self._of_subject: dict[tuple[str, str], tuple[str, ...]] = {}
        self._findings: dict[str, _Findings] = {}
        self._timers: dict[str, Timers[str]] = {}
        self._overdue: dict[str, set[str]] = {}
        self._forgetting: Timers[str] = Timers()
        for alert in alerts:
            self._add(alert)
            if _only_remembered(alert):
                self._forgetting.set(alert.fingerprint, forgotten_at(alert))
        self._unsure = self._of_rule.keys() | self._rules.keys()

    def evaluate(self, facts: Facts, alerts: Mapping[str, Alert]) -> AlertUpdate:
        """One pass. An alert ends at once when its rule is disabled or gone, or now finds the same under
        other labels (an instance was renamed, a severity was configured).
        """
        judgements = [(rule, rule.condition.judge(facts, rule)) for rule in self._rules.values()]
        after: dict[str, Alert | None] = {}
        for rule, judgement in judgements:
            if judgement.known:
                _Look(self, rule, judgement, facts, alerts, after).look()
        self._end_orphans(facts.now, alerts, after)
        for mark in self._forgetting.take_due(facts.now):
            alert = alerts.get(mark)
            if alert is not None and mark not in after and _only_remembered(alert):
                after[mark] = None
        different = {mark: alert for mark, alert in after.items() if alert is not alerts.get(mark)}
        self._learn(alerts, different)
        known = [rule.name for rule, judgement in judgements if judgement.known]
        return _update(alerts, different, facts.now, self._next_due(judgements, known, facts.now))

    def settled(self, alert: Alert) -> None:
        """Of its end everybody was told: it is only remembered, and for how long."""
        self._forgetting.set(alert.fingerprint, forgotten_at(alert))

    def unsure_of(self, rule: Rule, judgement: Judgement) -> bool:
        """Whether all of its alerts are to be looked at: not yet since the start, or not for everything that
        it may find.
        """
        return rule.name in self._unsure or (
            judgement.touched is anything and rule.name not in self._findings
        )

    def sure_of(self, rule: Rule) -> None:
        self._unsure.discard(rule.name)

    def of_rule(self, rule: Rule) -> Iterable[str]:
        return self._of_rule.get(rule.name, ())

    def of_subject(self, rule: Rule, subject: str) -> Iterable[str]:
        return self._of_subject.get((rule.name, subject), ())

    def take_findings(self, rule: Rule) -> _Findings:
        """What it found when it last looked at everything, by subject, and the fingerprints of that."""
        return self._findings.pop(rule.name, {})

    def found(self, rule: Rule, findings: _Findings) -> None:
        self._findings[rule.name] = findings

    def take_due(self, rule: Rule, now: float) -> Iterable[str]:
        """The alerts that time alone may change now."""
        timers = self._timers.get(rule.name)
        return (*self._overdue.pop(rule.name, ()), *(timers.take_due(now) if timers is not None else ()))

    def wait(self, rule: Rule, mark: str, instants: Iterable[float], now: float) -> None:
        """Time alone may change the alert then. If one has come and nothing could be done, it is due again at
        the next pass.
        """
        upcoming = NEVER
        for at in instants:
            if at > now:
                upcoming = min(upcoming, at)
            else:
                self._overdue.setdefault(rule.name, set()).add(mark)
        timers = self._timers.setdefault(rule.name, Timers())
        timers.set(mark, upcoming)

    def _end_orphans(self, now: float, alerts: Mapping[str, Alert], after: dict[str, Alert | None]) -> None:
        """The alerts of rules that are disabled or gone."""
        for name in self._unsure.difference(self._rules):
            for mark in self._of_rule.get(name, ()):
                if not _only_remembered(alerts[mark]):
                    after[mark] = ended_at_once(alerts[mark], now)
            self._unsure.discard(name)

    def _learn(self, alerts: Mapping[str, Alert], different: Mapping[str, Alert | None]) -> None:
        for mark, alert in different.items():
            was = alerts.get(mark)
            if was is None and alert is not None:
                self._add(alert)
            elif was is not None and alert is None:
                self._drop(was)
            remembered = alert is not None and _only_remembered(alert)
            self._forgetting.set(mark, forgotten_at(alert) if alert is not None and remembered else NEVER)

    def _add(self, alert: Alert) -> None:
        self._of_rule.setdefault(alert.name, set()).add(alert.fingerprint)
        key = self._subject(alert)
        self._of_subject[key] = (*self._of_subject.get(key, ()), alert.fingerprint)

    def _drop(self, alert: Alert) -> None:
        self._of_rule[alert.name].discard(alert.fingerprint)
        key = self._subject(alert)
        left = tuple(mark for mark in self._of_subject.pop(key) if mark != alert.fingerprint)
        if left:
            self._of_subject[key] = left

    def _subject(self, alert: Alert) -> tuple[str, str]:
        rule = self._rules.get(alert.name)
        return alert.name, alert.label(rule.condition.subject_label) if rule is not None else ""

    def _next_due(
        self, judgements: Iterable[tuple[Rule, Judgement]], known: Iterable[str], now: float
    ) -> float | None:
        """What is not known changes with what is read, not with time."""
        told = [judgement.due for _, judgement in judgements if judgement.due is not None]
        timers = [self._timers[name].next for name in known if name in self._timers]
        upcoming = [due for due in (*told, *timers, self._forgetting.next) if now < due < NEVER]
        return min(upcoming, default=None)


_Findings = dict[str, tuple[Finding, str]]


class _Look:
    """What one rule's judgement makes of its alerts, into `after`."""

    def __init__(
        self,
        watch: Watch,
        rule: Rule,
        judgement: Judgement,
        facts: Facts,
        alerts: Mapping[str, Alert],
        after: dict[str, Alert | None],
    ) -> None:
        self._watch = watch
        self._rule = rule
        self._judgement = judgement
        self._facts = facts
        self._alerts = alerts
        self._after = after
        self._due = dict.fromkeys(watch.take_due(rule, facts.now))
        self._all_looked_at = judgement.touched is anything
        self._unsure = watch.unsure_of(rule, judgement)
        self._before = watch.take_findings(rule)
        self._findings: _Findings = {}
        self._marks: set[str] = set()

    def look(self) -> None:
        candidates = dict.fromkeys(self._find())
        candidates |= dict.fromkeys(self._may_have_ended()) | self._due
        for mark in candidates:
            if mark not in self._marks and mark in self._alerts and not _only_remembered(self._alerts[mark]):
                self._not_found(self._alerts[mark])
        if self._all_looked_at:
            kept = {s: self._before[s] for s in self._judgement.unknown if s in self._before}
            self._watch.found(self._rule, kept | self._findings)
        self._watch.sure_of(self._rule)

    def _find(self) -> Iterator[str]:
        """The alerts of what is found. Yields those that had the same subject under other labels."""
        rule = self._rule
        for finding in self._judgement.findings:
            subject = finding.labels.get(rule.condition.subject_label, "")
            before = self._before.get(subject)
            same = before is not None and before[0] == finding and before[1] not in self._due
            if before is not None and same and subject not in self._findings:
                self._findings[subject] = before
                self._marks.add(before[1])
                continue
            alert = found(rule, finding, self._alerts, self._facts)
            self._findings[subject] = finding, alert.fingerprint
            self._marks.add(alert.fingerprint)
            self._became(alert.fingerprint, alert, rule.wait_s + finding.wait_s)
            yield from self._watch.of_subject(rule, subject)

    def _may_have_ended(self) -> Iterable[str]:
        """Alerts that something may have ended, found or not."""
        if self._unsure:
            return self._watch.of_rule(self._rule)
        subjects: Iterable[str]
        if self._all_looked_at:
            subjects = self._before.keys() - self._findings.keys()
        else:
            delta = self._facts.delta
            gone = delta.vanished if delta is not None else frozenset()
            subjects = (*self._facts.looked_at, *gone)
        return (mark for subject in subjects for mark in self._watch.of_subject(self._rule, subject))

    def _not_found(self, alert: Alert) -> None:
        rule = self._rule
        if alert.label(rule.condition.subject_label) in self._findings:
            left = ended_at_once(alert, self._facts.now)
        else:
            left = not_found(alert, rule, self._judgement, self._facts)
        self._became(alert.fingerprint, left, rule.wait_s)

    def _became(self, mark: str, alert: Alert | None, wait_s: float) -> None:
        self._after[mark] = alert
        instants = dues(alert, self._rule, wait_s, self._facts) if alert is not None else ()
        self._watch.wait(self._rule, mark, instants, self._facts.now)


def _only_remembered(alert: Alert) -> bool:
    return alert.settled and alert.state is AlertState.RESOLVED


def _update(
    before: Mapping[str, Alert], different: Mapping[str, Alert | None], now: float, next_due: float | None
) -> AlertUpdate:
    if not different:
        return AlertUpdate(before, next_due=next_due)
    kept = dict(before)
    for mark, alert in different.items():
        if alert is None:
            del kept[mark]
        else:
            kept[mark] = alert
    return AlertUpdate(
        kept,
        tuple(alert for alert in different.values() if alert is not None),
        tuple(mark for mark, alert in different.items() if alert is None),
        tuple(
            event for mark, alert in different.items() for event in events_of(before.get(mark), alert, now)
        ),
        next_due,
    )
