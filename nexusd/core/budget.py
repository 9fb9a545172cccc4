"""How fast creates may follow one another: a token bucket as a value (product.md, section 11, Creates)."""

from __future__ import annotations

from dataclasses import dataclass, replace

LARGEST_BURST = 10.0


@dataclass(frozen=True, slots=True)
class Budget:
    """`tokens` at the instant `at`; refilled at `per_minute`, up to one minute's worth, at most 10.

    At least one: less than one a minute is one now and then.
    """

    per_minute: float
    tokens: float
    at: float

    @classmethod
    def full(cls, per_minute: float, now: float) -> Budget:
        return cls(per_minute, _burst(per_minute), now)

    def resumed(self, tokens: float, now: float) -> Budget:
        """With what an earlier process left; the time since then refills nothing, for its clock may have been
        another.
        """
        return replace(self, tokens=min(self.tokens, tokens), at=now)

    def refilled(self, now: float) -> Budget:
        gained = max(0.0, now - self.at) * self.per_minute / 60.0
        return replace(self, tokens=min(_burst(self.per_minute), self.tokens + gained), at=now)

    def taken(self, now: float) -> Budget | None:
        """One token less, or None when there is none."""
        refilled = self.refilled(now)
        return replace(refilled, tokens=refilled.tokens - 1.0) if refilled.tokens >= 1.0 else None

    def wait_s(self, now: float) -> float:
        """Seconds until the next token."""
        missing = 1.0 - self.refilled(now).tokens
        return max(0.0, missing * 60.0 / self.per_minute)


def _burst(per_minute: float) -> float:
    return max(1.0, min(LARGEST_BURST, per_minute))
