"""One pass of alerting, from facts to messages and what is remembered of them. Used by `cycle`.

facts ─ alerts.evaluate ─▶ pending, firing, resolved ─ notifications.plan ─▶ messages, log of what was said
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nexusd.core.alerts import Alert, AlertUpdate, evaluate, settle
from nexusd.core.events import Event
from nexusd.core.notifications import LoggedNotification, LogKey, Message, NotificationPlan, Routing, plan
from nexusd.core.rules import Facts, Rule

AT_ONCE = 0.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Alerting:
    """What alerts are judged by and whom they are told to. `failed_for_s`: how long a failure is a fact."""

    rules: tuple[Rule, ...]
    routing: Routing
    failed_for_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """What alerting knows between two passes; the store has it, too.

    `alerts` by fingerprint, `said` by receiver and group. `plan_at`: when messages are to be planned again
    if no alert changes before.
    """

    alerts: Mapping[str, Alert] = field(default_factory=dict)
    said: Mapping[LogKey, LoggedNotification] = field(default_factory=dict)
    plan_at: float = AT_ONCE

    def replanned(self) -> AlertMemory:
        """The same, with messages planned at the next pass: somebody else is to be told, or otherwise."""
        return replace(self, plan_at=AT_ONCE)


@dataclass(frozen=True, slots=True)
class AlertPass:
    """What a pass makes of the memory. Rows and messages are to be committed together.

    `saved`, `log`: rows to write. `removed`, `forgotten_log`: rows to delete. `next_due`: when to make a pass
    if nothing else asks for one. `recheck`: see `AlertUpdate`.
    """

    memory: AlertMemory
    saved: tuple[Alert, ...]
    removed: tuple[str, ...]
    log: tuple[LoggedNotification, ...]
    forgotten_log: tuple[LogKey, ...]
    messages: tuple[Message, ...]
    events: tuple[Event, ...]
    next_due: float | None
    recheck: bool


def judge(alerting: Alerting, facts: Facts, memory: AlertMemory) -> AlertPass:
    """One pass. Messages are planned only when an alert has changed or one is due: quiet passes are cheap."""
    update = evaluate(alerting.rules, facts, memory.alerts)
    quiet = not update.changed and not update.removed and facts.now < memory.plan_at
    if quiet:
        planned = NotificationPlan(next_due=memory.plan_at if memory.plan_at < NEVER else None)
    else:
        planned = plan(update.alerts.values(), alerting.routing, memory.said, facts.now)
    return _pass(update, planned, memory)


def _pass(update: AlertUpdate, planned: NotificationPlan, memory: AlertMemory) -> AlertPass:
    settled = tuple(settle(update.alerts[mark]) for mark in planned.settled)
    dues = [due for due in (update.next_due, planned.next_due) if due is not None]
    return AlertPass(
        memory=AlertMemory(
            {**update.alerts, **{a.fingerprint: a for a in settled}} if settled else update.alerts,
            _said(memory.said, planned),
            planned.next_due if planned.next_due is not None else NEVER,
        ),
        saved=(*update.changed, *settled),
        removed=update.removed,
        log=planned.log,
        forgotten_log=planned.forgotten_log,
        messages=planned.messages,
        events=update.events,
        next_due=min(dues, default=None),
        recheck=update.recheck,
    )


def _said(
    before: Mapping[LogKey, LoggedNotification], planned: NotificationPlan
) -> Mapping[LogKey, LoggedNotification]:
    if not planned.log and not planned.forgotten_log:
        return before
    said = {**before, **{(entry.receiver, entry.group_key): entry for entry in planned.log}}
    for key in planned.forgotten_log:
        said.pop(key, None)
    return said
