"""Where no create is tried for a while, because the last ones were refused (product.md, sections 3 and 11).

A region that refused for want of capacity or health cools off; a plan there that met a quota; or the whole
account. The wait doubles with each refusal in a row. After it the place is half-open: one create is a probe,
and each success doubles how many may be under way, until the place is trusted again. So a dry region costs a
handful of creates an hour however many are queued for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from nexusd.core import retry_after

FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 1800.0
LONGEST_AT_STEP = 6
"""From this step on the wait is the longest, and the power no longer grows."""

WINDOW = 4
"""Creates that may be in flight or in doubt in one region at once. It bounds what a region that has just gone
dry is asked before its first refusal arrives; more would not be faster, the launch budget is less."""

Place: TypeAlias = tuple[str, str]
"""(region, plan); either may be empty: every one."""

ACCOUNT: Place = ("", "")


@dataclass(frozen=True, slots=True)
class CoolingOff:
    """No create before `until`, then at most `allowed` under way at once. `step`: refusals in a row."""

    region: str
    until: float
    step: int
    reason: str
    allowed: int = 1
    plan: str = ""

    @property
    def place(self) -> Place:
        return self.region, self.plan


Coolings: TypeAlias = Mapping[Place, CoolingOff]


def refused_place(kind: str, scope: str, region: str, plan: str) -> Place | None:
    """What cools off after a refusal; None for one about the request, the key or the pace of requests.

    `kind`, `scope`: as in `answers.Refused`.
    """
    if scope == "request" or kind in {"auth", "unknown"}:
        return None
    if scope == "account":
        return None if kind == "throttled" else ACCOUNT
    return region, plan if kind == "quota" else ""


def cool_off(
    place: Place, before: CoolingOff | None, reason: str, now: float, at_least_s: float = 0.0
) -> CoolingOff:
    """The cooling off after one more refusal. Refusals that arrive while it already cools count once.

    `at_least_s`: what the provider asked for (Retry-After).
    """
    if before is not None and now < before.until:
        return before
    step = before.step + 1 if before is not None else 1
    return CoolingOff(place[0], now + max(_wait_s(step), at_least_s), step, reason, plan=place[1])


def _wait_s(step: int) -> float:
    """Return how long a place cools off after so many refusals in a row."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (min(step, LONGEST_AT_STEP) - 1))


def succeeded(before: CoolingOff, now: float) -> CoolingOff | None:
    """After a create that was accepted: twice as many may be under way, None when it is trusted again.

    One that was sent before the place began to cool off proves nothing.
    """
    if now < before.until:
        return before
    allowed = before.allowed * 2
    return replace(before, allowed=allowed) if allowed <= WINDOW else None


def after_success(coolings: Coolings, region: str, plan: str, now: float) -> dict[Place, CoolingOff | None]:
    """What a create that was accepted changes: each place's cooling off from now on, None when it is over."""
    before = {place: coolings[place] for place in places(region, plan) if place in coolings}
    after = {place: succeeded(cooling, now) for place, cooling in before.items()}
    return {place: cooling for place, cooling in after.items() if cooling != before[place]}


def cooling_reason(cooling: CoolingOff | None, under_way: int, now: float) -> str | None:
    """Why no create may be tried there now, or None when one may. `under_way`: in flight or in doubt."""
    if cooling is None:
        return None
    if now < cooling.until:
        return f"cooling off after {cooling.reason}"
    if under_way >= cooling.allowed:
        many = "one attempt is" if cooling.allowed == 1 else f"{cooling.allowed} attempts are"
        return f"{many} under way after {cooling.reason}"
    return None


def places(region: str, plan: str) -> Iterator[Place]:
    """What may cool off and concerns a create of the plan in the region."""
    yield region, ""
    yield region, plan
    yield ACCOUNT


def within_reach(coolings: Coolings, now: float) -> Coolings:
    """Return the cooldowns, each no further ahead than its own longest wait.

    An earlier process may have stored them by a clock that was ahead.
    """
    return {
        place: replace(c, until=min(c.until, now + max(_wait_s(c.step), retry_after.MOST_S)))
        for place, c in coolings.items()
    }
