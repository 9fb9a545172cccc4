"""The rule about notifications themselves. What it judges is nexusd's own outbox, so it is never stale."""

from __future__ import annotations

from collections.abc import Iterable

from nexusd.core.backlog import Backlog
from nexusd.core.rules import UNKNOWN, Facts, Finding, Judgement, Rule

NOTIFICATIONS_FAILING = "NotificationsFailing"
"""Its alerts are not sent to the receiver that they are about (`notifications`)."""


def notifications_failing(facts: Facts, rule: Rule) -> Judgement:
    """Evaluate `NotificationsFailing`: one alert per receiver.

    A dead message counts for `resolve_after`, or until it is replayed. Time in which nexusd was suspended
    does not make a message late.
    """
    if facts.backlog is None:
        return UNKNOWN
    by_receiver: dict[str, list[Backlog]] = {}
    for backlog in facts.backlog:
        by_receiver.setdefault(backlog.receiver, []).append(backlog)
    told = (_finding(name, found, rule, facts) for name, found in sorted(by_receiver.items()))
    dues = (due for b in facts.backlog for due in (_dead_until(b, rule), _late_at(b, rule, facts)))
    return Judgement(
        tuple(finding for finding in told if finding is not None),
        due=min((due for due in dues if facts.now < due < float("inf")), default=None),
    )


def _finding(receiver: str, backlogs: Iterable[Backlog], rule: Rule, facts: Facts) -> Finding | None:
    dead = sum(b.dead for b in backlogs if facts.now < _dead_until(b, rule))
    late = any(_late_at(b, rule, facts) <= facts.now for b in backlogs)
    reasons = [f"{_messages(dead)} given up" * bool(dead)]
    reasons.append(f"the oldest that waits is older than {(rule.threshold or 0.0) / 60:g} min" * late)
    if not dead and not late:
        return None
    return Finding(
        {"receiver": receiver},
        f"Notifications to {receiver} fail",
        f"{' and '.join(filter(None, reasons)).capitalize()}. `nexusd outbox list` says why; once it works, "
        "`nexusd outbox replay --all` sends what was given up.",
    )


def _messages(count: int) -> str:
    return "1 message was" if count == 1 else f"{count} messages were"


def _dead_until(backlog: Backlog, rule: Rule) -> float:
    if not backlog.dead or backlog.dead_at is None:
        return float("-inf")
    return backlog.dead_at + (rule.resolve_after_s if rule.resolve_after_s is not None else float("inf"))


def _late_at(backlog: Backlog, rule: Rule, facts: Facts) -> float:
    since = backlog.waiting_since
    if since is None:
        return float("inf")
    return facts.suspensions.awake_until(since, rule.threshold or 0.0, facts.now)
