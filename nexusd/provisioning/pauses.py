"""When placing stops for all regions at once: a refused key, a quota, throttling. Used by `worker`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nexusd.core.answers import CreateAnswer, Created, NotSent, Refused

AUTH_PROBE_S = 300.0
FIRST_WAIT_S = {"throttled": 10.0, "not_sent": 2.0}
LONGEST_WAIT_S = {"throttled": 300.0, "not_sent": 60.0}


@dataclass(frozen=True, slots=True)
class Pauses:
    """No POST before `until`. `in_a_row` counts answers that paused, for the exponential wait. `auth`: it
    is the key that was refused. `proven`: the key was seen to be good for creates; until then one is sent at
    a time, so that a bad one is refused once.
    """

    until: float = 0.0
    reason: str | None = None
    in_a_row: int = 0
    auth: bool = False
    proven: bool = False

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
                return self._longer(now + wait_s, answer.message)
            case NotSent(reason):
                return self._longer(now + self._backoff_s("not_sent"), reason)
            case Created():
                return Pauses(proven=True)
            case Refused():
                return replace(self, proven=True)
            case _:
                return self

    def _longer(self, until: float, reason: str) -> Pauses:
        return replace(self, until=max(self.until, until), reason=reason, in_a_row=self.in_a_row + 1)

    def _backoff_s(self, kind: str) -> float:
        first_s = FIRST_WAIT_S.get(kind, 60.0)
        longest_s = LONGEST_WAIT_S.get(kind, 1800.0)
        return float(min(longest_s, first_s * 2 ** min(self.in_a_row, 20)))
