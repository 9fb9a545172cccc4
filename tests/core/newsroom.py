"""A scene whose alerts become messages: what is told to whom, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nexusd.core.alerting import Alerting, AlertMemory, AlertPass, judge
from nexusd.core.alerts import Alert, AlertState
from nexusd.core.evaluation import AlertUpdate
from nexusd.core.notifications import Message, Routing
from nexusd.core.rules import Facts, Rule
from nexusd.core.silences import Silence
from tests.core.alert_scenes import Scene

OPS = Routing({"ops": True})


class Newsroom(Scene):
    """Every evaluation is a whole pass. `sent`: messages, with the time of each. `events`: their types."""

    def __init__(self, *rules: Rule, routing: Routing = OPS) -> None:
        super().__init__(*rules)
        self.alerting = Alerting(self.rules, routing)
        self.memory = AlertMemory()
        self.judged = AlertPass(self.memory)
        self.sent: list[tuple[float, Message]] = []
        self.events: list[str] = []
        self.due: float | None = None

    def evaluate(self, **more: object) -> AlertUpdate:
        facts = Facts(
            self.now,
            self.polls,
            self.region_snapshot,
            self.inventory,
            frozenset(self.stopped_running),
            placements=self.placements,
            backlog=self.backlog,
        )
        if self.alerting.rules != self.rules:
            self.alerting = replace(self.alerting, rules=self.rules)
            self.memory = self.memory.replanned()
        if self.alerts != self.memory.alerts:
            self.memory = replace(self.memory, alerts=self.alerts)
        judged = judge(self.alerting, self.looked_at(replace(facts, **more)), self.memory)  # type: ignore[arg-type]
        self.judged, self.memory = judged, judged.memory
        self.alerts = dict(judged.memory.alerts)
        self.due = judged.next_due
        self.events += [event.type for event in judged.events]
        self.sent += [(self.now, message) for message in judged.messages]
        self.last = AlertUpdate(
            judged.memory.alerts, judged.saved, judged.removed, judged.events, judged.next_due
        )
        return self.last

    def restart(self) -> None:
        super().restart()
        memory = self.memory
        self.memory = AlertMemory.restored(
            self.alerts.values(), memory.said.values(), memory.silences.values(), self.now
        )

    def silence(self, *silences: Silence) -> None:
        """These are all there are from now on."""
        self.memory = self.memory.silenced({s.id: s for s in silences})
        self.evaluate()

    def pass_time(self, seconds: float, happens: Callable[[], object] | None = None) -> None:
        """Time goes by, with a pass whenever one is due; then `happens`."""
        until = self.now + seconds
        while self.due is not None and self.due <= until:
            assert self.due > self.now, "it would spin"
            self.now = self.due
            self.evaluate()
        self.now = until
        if happens is not None:
            happens()

    @property
    def messages(self) -> list[Message]:
        return [message for _, message in self.sent]

    def about(self, alertname: str) -> list[list[Alert]]:
        """What was told of the alerts of that name, message by message."""
        found = [[a for a in message.alerts if a.name == alertname] for message in self.messages]
        return [alerts for alerts in found if alerts]


def states(told: list[list[Alert]]) -> list[list[AlertState]]:
    return [[a.state for a in alerts] for alerts in told]
