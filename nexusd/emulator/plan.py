"""What the faults that struck one request do to it: `Cloud.plan` makes it, the server carries it out."""

from __future__ import annotations

from dataclasses import dataclass, field

from nexusd.emulator.effects import (
    Answer,
    Drip,
    Drop,
    LateAnswer,
    Latency,
    ListLag,
    Omit,
    PageCap,
    RequestEffect,
    Truncate,
)


@dataclass(slots=True)
class Plan:
    """What the faults that struck one request do to it. Waits (seconds) add up; else the first counts."""

    latency_s: float = 0.0
    late_s: float = 0.0
    list_lag_s: float | None = None
    page_cap: int | None = None
    answer: Answer | None = None
    drop: Drop | None = None
    truncate: Truncate | None = None
    drip: Drip | None = None
    omit: set[str] = field(default_factory=set)

    @property
    def loses_answer(self) -> bool:
        """Whether a create that it strikes is made without its caller being told so."""
        harms = (self.drop, self.truncate, self.answer)
        return any(harm is not None for harm in harms) or "id" in self.omit

    def add(self, effect: RequestEffect) -> None:
        match effect:
            case Latency(delay_s):
                self.latency_s += delay_s
            case LateAnswer(delay_s):
                self.late_s += delay_s
            case ListLag(lag_s):
                self.list_lag_s = lag_s if self.list_lag_s is None else self.list_lag_s
            case PageCap(limit):
                self.page_cap = limit if self.page_cap is None else self.page_cap
            case Answer():
                self.answer = self.answer or effect
            case Drop():
                self.drop = self.drop or effect
            case Truncate():
                self.truncate = self.truncate or effect
            case Drip():
                self.drip = self.drip or effect
            case Omit(fields):
                self.omit.update(fields)
