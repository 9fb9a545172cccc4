"""When no create is sent at all: a refused key, throttling, no connection (product.md, sections 3 and 11).

A quota of the account cools off like a region (`cooling`), because that is remembered over a restart; what is
here is not: a restart may have come with another key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nexusd.core.answers import CreateAnswer, Created, NotSent, Refused

AUTH_PROBE_S = 300.0
FIRST_WAIT_S = {"throttled": 10.0, "not_sent": 2.0}
LONGEST_WAIT_S = {"throttled": 300.0, "not_sent": 60.0}


@dataclass(frozen=True, slots=True)
class Pause:
    """No POST before `until`. `in_a_row` counts answers that paused, for the exponential wait. `auth`: it
    is the key that was refused. `proven`: the key was seen to be good for creates; until then one is sent at
    a time, so that a bad one is refused once.
    """

    until: float = 0.0
    reason: str = ""
    in_a_row: int = 0
    auth: bool = False
    proven: bool = False

    def wait_s(self, now: float) -> float:
        return max(0.0, self.until - now)

    def reason_at(self, now: float) -> str | None:
        """Why nothing is sent, or None when something may be."""
        return f"creates are paused: {self.reason}" if now < self.until else None

    def after(self, answer: CreateAnswer, now: float) -> Pause:
        """The pause after one more answer."""
        match answer:
            case Refused(kind="auth"):
                reason = f"CloudNexus refused the key ({answer.status} {answer.message})"
                return Pause(now + AUTH_PROBE_S, reason, self.in_a_row + 1, auth=True)
            case Refused(kind="throttled", scope="account"):
                wait_s = max(answer.retry_after_s or 0.0, self._backoff_s("throttled"))
                return self._longer(now + wait_s, f"CloudNexus throttles ({answer.message})")
            case NotSent(reason):
                return self._longer(now + self._backoff_s("not_sent"), f"no connection ({reason})")
            case Created():
                return Pause(proven=True)
            case Refused():
                return replace(self, auth=False, proven=True)
            case _:
                return self

    def _longer(self, until: float, reason: str) -> Pause:
        return replace(self, until=max(self.until, until), reason=reason, in_a_row=self.in_a_row + 1)

    def _backoff_s(self, kind: str) -> float:
        return float(min(LONGEST_WAIT_S[kind], FIRST_WAIT_S[kind] * 2 ** min(self.in_a_row, 20)))


NO_PAUSE = Pause()
