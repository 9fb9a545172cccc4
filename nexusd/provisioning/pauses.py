"""When placing stops for all regions at once: a refused key, a quota, throttling. Used by `worker`."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd.core.answers import CreateAnswer, Created, NotSent, Refused

AUTH_PROBE_S = 300.0
FIRST_WAIT_S = {"throttled": 10.0, "not_sent": 2.0}
LONGEST_WAIT_S = {"throttled": 300.0, "not_sent": 60.0}


@dataclass(frozen=True, slots=True)
class Pauses:
    """No POST before `until`. `in_a_row` counts answers that paused, for the exponential wait. `auth`: it
    is the key that was refused.
    """

    until: float = 0.0
    reason: str | None = None
    in_a_row: int = 0
    auth: bool = False

    def wait_s(self, now: float) -> float:
        return max(0.0, self.until - now)

    def after(self, answer: CreateAnswer, now: float) -> Pauses:
        """The pause after one more answer."""
        match answer:
            case Refused(kind="auth"):
                return Pauses(now + AUTH_PROBE_S, answer.message, self.in_a_row + 1, auth=True)
            case Refused(scope="account"):
                wait_s = answer.retry_after_s or self._backoff_s(
                    "quota" if answer.kind == "quota" else "throttled"
                )
                return Pauses(max(self.until, now + wait_s), answer.message, self.in_a_row + 1)
            case NotSent(reason):
                return Pauses(max(self.until, now + self._backoff_s("not_sent")), reason, self.in_a_row + 1)
            case Created():
                return Pauses()
            case _:
                return self

    def _backoff_s(self, kind: str) -> float:
        first_s = FIRST_WAIT_S.get(kind, 60.0)
        longest_s = LONGEST_WAIT_S.get(kind, 1800.0)
        return float(min(longest_s, first_s * 2 ** min(self.in_a_row, 20)))
